"""Changes of many tokens, made in steps."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone

from audit.models import Actor


class BulkChange(models.Model):
    """One act of an operator on many tokens, and how far the act has come.

    `ids` are the chosen tokens, fixed when the operator confirmed. `moment` is the time
    that the change gives to its tokens, so that an undo finds exactly those: a token
    that somebody else disabled has another time.
    """

    class Act(models.TextChoices):
        DISABLE = "disable", "disable"
        ENABLE = "enable", "enable"
        FREEZE = "freeze", "freeze"
        UNFREEZE = "unfreeze", "unfreeze"
        REVOKE = "revoke", "revoke"

    act = models.CharField(max_length=8, choices=Act)
    actor_kind = models.CharField(max_length=16)
    actor_name = models.CharField(max_length=255)
    actor_address = models.CharField(max_length=64, blank=True)
    moment = models.DateTimeField(default=timezone.now)
    ids = models.JSONField()
    total = models.PositiveIntegerField()
    position = models.PositiveIntegerField(default=0)
    changed = models.PositiveIntegerField(default=0)
    finished_at = models.DateTimeField(null=True, blank=True)
    refusal = models.CharField(max_length=1023, blank=True)
    undoes = models.OneToOneField(
        "self", models.SET_NULL, null=True, blank=True, related_name="undone_by"
    )

    # The past of each act, for sentences.
    DONE: ClassVar[dict[str, str]] = {
        "disable": "disabled",
        "enable": "enabled",
        "freeze": "frozen",
        "unfreeze": "unfrozen",
        "revoke": "revoked",
    }

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(
                fields=("id",),
                condition=models.Q(finished_at=None),
                name="bulk_change_unfinished",
            ),
        )

    def __str__(self) -> str:
        return f"{self.act} {self.total} tokens"

    @property
    def done(self) -> str:
        return self.DONE[self.act]

    @property
    def actor(self) -> Actor:
        return Actor(self.actor_kind, self.actor_name, None, self.actor_address)
