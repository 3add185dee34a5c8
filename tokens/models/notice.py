"""What the owner of a token is told, by mail and on the page Token."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone

from tokens.models.token import APIToken


class TokenNotice(models.Model):
    """Something that happened to a token.

    `mail_due` is the time of the next attempt to mail the owner; null if no mail is to
    be sent any more. `seen_at` is null while the page shows the notice. The database
    checks no foreign key, see `TokenUse`.
    """

    class Kind(models.TextChoices):
        CREATED = "created", "was created"
        EXPIRING = "expiring", "expires soon"
        NETWORK = "network", "was used from a new network"
        DISABLED = "disabled", "was disabled"
        FROZEN = "frozen", "was frozen by an alarm"
        TRIPPED = "tripped", "was used with an earlier secret"

    ALARMS: ClassVar = (Kind.FROZEN, Kind.TRIPPED)

    token = models.ForeignKey(
        APIToken, models.CASCADE, related_name="notices", db_constraint=False
    )
    kind = models.CharField(max_length=16, choices=Kind)
    at = models.DateTimeField(default=timezone.now)
    detail = models.JSONField(default=dict)
    mail_due = models.DateTimeField(null=True, blank=True, db_index=True)
    mailed_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"a{self.token_id} {self.get_kind_display()}"

    @property
    def is_alarm(self) -> bool:
        return self.kind in self.ALARMS
