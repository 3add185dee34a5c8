"""Notebook servers, and who may use the server of another."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, cast
from urllib.parse import quote

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Group, User

# A share answers to the names of its server: whoever may see the shares of a server
# sees each of them.
SHARED_FILTERS = {
    "user": "server__user__name",
    "server": "server__user__name/server__name",
    "group": "server__user__groups__name",
}


def server_path(owner: str, name: str) -> str:
    """Return the public path of a server; every part is escaped, `@` is not."""
    path = f"{settings.HUB.base_url}user/{quote(owner, safe='@')}/"
    return f"{path}{quote(name, safe='@')}/" if name else path


class Server(models.Model):
    """A notebook server of a user; the default server's name is empty.

    `pending` and `ready` say what the server is doing; a row with neither is
    stopped.
    """

    scope_filters: ClassVar[dict[str, str]] = {
        "user": "user__name",
        "server": "user__name/name",
        "group": "user__groups__name",
    }
    scope_permissions: ClassVar[dict[str, tuple[str, ...]]] = {
        "view": ("read:servers",),
    }

    class Pending(models.TextChoices):
        SPAWN = "spawn", "starting"
        STOP = "stop", "stopping"
        CHECK = "check", "being verified"

    user = models.ForeignKey(User, models.CASCADE, related_name="servers")
    name = models.CharField(max_length=255, blank=True)
    display_name = models.CharField(max_length=255, blank=True)
    user_options = models.JSONField(null=True, blank=True)
    state = models.JSONField(null=True, blank=True)
    pending = models.CharField(  # noqa: DJ001 - null on the wire, if there is none
        max_length=8, choices=Pending, null=True, blank=True
    )
    ready = models.BooleanField(default=False)
    url = models.CharField(max_length=2047, blank=True)
    created = models.DateTimeField(default=timezone.now)
    started = models.DateTimeField(null=True, blank=True)
    last_activity = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(
                fields=("user", "name"), name="server_name_unique_per_user"
            ),
            models.CheckConstraint(
                condition=Q(ready=False) | Q(pending=None),
                name="server_ready_is_not_pending",
            ),
        )

    def __str__(self) -> str:
        return f"{self.user.name}/{self.name}"

    @property
    def is_active(self) -> bool:
        return bool(self.ready or self.pending)

    @property
    def path(self) -> str:
        return server_path(self.user.name, self.name)


class Share(models.Model):
    """Scopes over one server, granted to a user or to a group.

    `scopes` are bare names: all of them reach this server and nothing else, whatever
    it and its owner are called by then.
    """

    scope_filters: ClassVar[dict[str, str]] = SHARED_FILTERS

    server = models.ForeignKey(Server, models.CASCADE, related_name="shares")
    user = models.ForeignKey(
        User, models.CASCADE, null=True, blank=True, related_name="shared_with_me"
    )
    group = models.ForeignKey(
        Group, models.CASCADE, null=True, blank=True, related_name="shared_with_us"
    )
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(user=None, group__isnull=False)
                | Q(user__isnull=False, group=None),
                name="share_has_one_recipient",
            ),
            models.UniqueConstraint(
                fields=("server", "user"), name="share_unique_per_user"
            ),
            models.UniqueConstraint(
                fields=("server", "group"), name="share_unique_per_group"
            ),
        )

    def __str__(self) -> str:
        return f"{self.server} to {self.recipient}"

    @property
    def kind(self) -> str:
        return "user" if self.group_id is None else "group"

    @property
    def recipient(self) -> User | Group:
        # The constraint `share_has_one_recipient` sees to it that there is one.
        return cast("User | Group", self.user or self.group)

    def raw_scopes(self) -> list[str]:
        """Return the scopes as they are written elsewhere, with their filter."""
        return [f"{name}!server={self.server}" for name in self.scopes]


class ShareCodeQuerySet(models.QuerySet["ShareCode"]):
    """Invitations, by condition."""

    def active(self, now: datetime) -> ShareCodeQuerySet:
        return self.filter(expires_at__gt=now)


class ShareCode(models.Model):
    """An invitation to a server, exchanged for a share as often as wanted.

    As of a token, only the digest of the code is kept, and `public_id` finds the row.
    """

    scope_filters: ClassVar[dict[str, str]] = SHARED_FILTERS

    server = models.ForeignKey(Server, models.CASCADE, related_name="share_codes")
    public_id = models.CharField(max_length=32, unique=True)
    digest = models.CharField(max_length=255)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    exchange_count = models.PositiveIntegerField(default=0)
    last_exchanged_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager[ShareCode]] = ShareCodeQuerySet.as_manager()

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"sc_{self.pk}"

    def raw_scopes(self) -> list[str]:
        """Return the scopes as they are written elsewhere, with their filter."""
        return [f"{name}!server={self.server}" for name in self.scopes]
