"""Where, when and for what tokens were used.

The rows are written by the rounds of `tokens/activity.py`, not by requests. The
database checks no foreign keys of theirs, because a check would wait for a token that
somebody else has locked; rows without a token are deleted by the next purge.
"""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from tokens.models.token import APIToken


class TokenUse(models.Model):
    """A network and an agent from which a token was used; the last five are kept."""

    token = models.ForeignKey(
        APIToken, models.CASCADE, related_name="uses", db_constraint=False
    )
    network = models.CharField(max_length=64)
    agent = models.CharField(max_length=255, blank=True)
    first_at = models.DateTimeField(default=timezone.now)
    last_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-last_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("token", "network", "agent"), name="token_use_is_distinct"
            ),
        )

    def __str__(self) -> str:
        return f"a{self.token_id} from {self.network}"


class TokenDay(models.Model):
    """The number of requests with a token on one day; 30 days are kept."""

    token = models.ForeignKey(
        APIToken, models.CASCADE, related_name="days", db_constraint=False
    )
    day = models.DateField()
    count = models.PositiveBigIntegerField(default=0)
    # The last use that is counted, and the time at which the row was written.
    last_at = models.DateTimeField(null=True, blank=True)
    written_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("day",)
        # For the trend of all tokens, and for the purge.
        indexes = (models.Index(fields=("day",), name="token_day"),)
        constraints = (
            models.UniqueConstraint(fields=("token", "day"), name="token_day_is_one"),
        )

    def __str__(self) -> str:
        return f"a{self.token_id} on {self.day}"


class TokenOperation(models.Model):
    """An operation of the API for which a token was used, and the scope for that.

    `operation` is a method and a path with placeholders, as in `GET /users/{name}`.
    `scope` is the name, without a filter, of the scope that the operation needed and
    the token had; empty if the operation needs none.
    """

    token = models.ForeignKey(
        APIToken, models.CASCADE, related_name="operations", db_constraint=False
    )
    operation = models.CharField(max_length=255)
    scope = models.CharField(max_length=255, blank=True)
    first_at = models.DateTimeField(default=timezone.now)
    last_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("operation", "scope")
        constraints = (
            models.UniqueConstraint(
                fields=("token", "operation", "scope"),
                name="token_operation_is_distinct",
            ),
        )

    def __str__(self) -> str:
        return f"a{self.token_id}: {self.operation}"
