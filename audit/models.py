"""The record of acts: who did what to whom, when and from where.

Rows are only ever added; triggers in the database hold every writer to that, ours
and others. A row names its actor and target instead of pointing at them, so that it
outlives both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import models
from django.http import HttpRequest
from django.utils import timezone


@dataclass(frozen=True, slots=True)
class Actor:
    """Who performs an act, and with which credential.

    `kind` is `user`, `service` or `system` (start-up, command line).
    """

    kind: str
    name: str
    token_id: int | None = None
    address: str = ""

    @property
    def label(self) -> str:
        """Name the actor for people: a user by name, the hub without its parts."""
        if self.kind == "system":
            return "the hub"
        return f"service {self.name}" if self.kind == "service" else self.name

    @classmethod
    def system(cls, name: str) -> Actor:
        """The hub itself, in one of its parts (`config`, `command line`)."""
        return cls("system", name)

    @classmethod
    def of_request(cls, request: HttpRequest, user: Any = None) -> Actor:
        """The person at the browser: `user`, or the user who is signed in."""
        address = request.META.get("REMOTE_ADDR", "")
        user = request.user if user is None else user
        return cls("user", user.get_username(), None, address)

    @classmethod
    def stranger(cls, request: HttpRequest) -> Actor:
        """A person who has not signed in."""
        return cls("stranger", "", None, request.META.get("REMOTE_ADDR", ""))


class Event(models.Model):
    """One act, written once and never changed."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    actor_kind = models.CharField(max_length=16)
    actor_name = models.CharField(max_length=255, db_index=True)
    token_id = models.BigIntegerField(null=True, blank=True)
    address = models.CharField(max_length=64, blank=True)
    action = models.CharField(max_length=64, db_index=True)
    target_kind = models.CharField(max_length=16)
    target_name = models.CharField(max_length=511, db_index=True)
    detail = models.JSONField(default=dict)

    class Meta:
        verbose_name = "act"
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.actor_name} {self.action} {self.target}"

    @property
    def target(self) -> str:
        """What it was done to, in words; of many, how many and the first of them."""
        names = self.detail.get("names")
        if self.target_name or not names:
            return f"{self.target_kind} {self.target_name}".strip()
        shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
        parts = self.detail.get("parts")
        of = f" (part {self.detail.get('part')} of {parts})" if parts else ""
        return f"{len(names)} {self.target_kind}s{of}: {shown}"


class Purge(models.Model):
    """The announcement that events older than `before` may be deleted.

    Retention is the one reason to delete from the record. The database lets go of
    no event that such a row does not cover, and the row itself stays.
    """

    before = models.DateTimeField()
    at = models.DateTimeField(default=timezone.now)
    actor_name = models.CharField(max_length=255)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"events before {self.before:%Y-%m-%d %H:%M}"
