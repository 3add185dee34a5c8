"""Reports of leaked tokens, and the tokens that were revoked because of one."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from tokens.models.token import APIToken


class LeakReport(models.Model):
    """Strings that somebody posted as leaked tokens; see `tokens.leaks`.

    `body` holds them encrypted until the controller has handled the report. The row
    stays for a while, because the reports of a network are counted.
    """

    received = models.DateTimeField(default=timezone.now)
    address = models.CharField(max_length=64)
    network = models.CharField(max_length=64)
    size = models.PositiveIntegerField()
    body = models.BinaryField()
    handled_at = models.DateTimeField(null=True, blank=True)
    found = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ("id",)
        indexes = (
            models.Index(fields=("network", "received"), name="leak_report_network"),
            models.Index(
                fields=("id",), condition=Q(handled_at=None), name="leak_report_waiting"
            ),
        )

    def __str__(self) -> str:
        return f"{self.size} strings from {self.address}"


class Leak(models.Model):
    """A token that was valid when it was reported as leaked, and was revoked.

    `public_id` is that of the leaked secret. With `is_earlier` that was an earlier
    secret of a rotated token; only this secret ended, and the token stays valid.

    `mail_due` is the time of the next attempt to mail the owner; null if no mail is to
    be sent any more.
    """

    token = models.ForeignKey(APIToken, models.CASCADE, related_name="leaks")
    public_id = models.CharField(max_length=32, blank=True, default="", db_default="")
    is_earlier = models.BooleanField(default=False, db_default=False)
    at = models.DateTimeField(default=timezone.now)
    address = models.CharField(max_length=64)
    source = models.CharField(max_length=500, blank=True)
    mail_due = models.DateTimeField(null=True, blank=True, db_index=True)
    mailed_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("token", "public_id"), name="leak_of_a_secret_is_one"
            ),
        )

    def __str__(self) -> str:
        return f"leak of {self.token_id}"
