"""Notebook servers, and who may use the server of another."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, cast
from urllib.parse import quote

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import Group, User
from tokens.models import APIToken
from web.hosts import user_origin

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


def server_url(owner: str, name: str) -> str:
    """Return where people reach a server: its path, after its own host if any."""
    return f"{user_origin(owner)}{server_path(owner, name)}"


# Servers that run or are about to start or stop. The index `server_active` spells it
# the same way; spelt otherwise, SQLite would not use that.
ACTIVE = ~Q(generation=F("settled")) | Q(pending__isnull=False) | Q(ready=True)


class Server(models.Model):
    """A notebook server of a user; the default server's name is empty.

    `pending` and `ready` say what the server is doing; a row with neither is
    stopped. Web processes write what is *wanted* and count the wish in `generation`;
    the controller makes it true. A wish is settled when `settled` has caught up with
    `generation`: the server is ready or stopped, or its start has failed and
    `failure` says why. Until then nothing is promised.
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

    class Wanted(models.TextChoices):
        RUNNING = "running", "running"
        STOPPED = "stopped", "stopped"

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

    # The wish, and how far it has come.
    wanted = models.CharField(
        max_length=8, choices=Wanted, default=Wanted.STOPPED, editable=False
    )
    generation = models.PositiveBigIntegerField(default=0, editable=False)
    settled = models.PositiveBigIntegerField(default=0, editable=False)
    remove_when_stopped = models.BooleanField(default=False, editable=False)

    # The latest start: a random id by which what it set going can be found again,
    # the token that its process was given, the port that a batch job told of, and
    # why it failed, with the status that a waiting request is answered with. The
    # text of an unexpected exception is the detail, which only administrators read.
    attempt = models.CharField(max_length=32, blank=True, editable=False)
    token = models.ForeignKey(
        APIToken,
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="servers",
    )
    announced_port = models.PositiveIntegerField(null=True, editable=False)
    failure = models.TextField(blank=True, editable=False)
    failure_detail = models.TextField(
        blank=True, editable=False, default="", db_default=""
    )
    failure_status = models.PositiveSmallIntegerField(null=True, editable=False)

    class Meta:
        ordering = ("id",)
        indexes = (
            # The controller and the limits look at these few rows all the time.
            models.Index(
                fields=("id",),
                condition=ACTIVE,
                name="server_active",
            ),
            # Lists begin with what runs.
            models.Index(fields=("ready", "pending", "id"), name="server_condition"),
        )
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
    def was_started(self) -> bool:
        """Whether anybody has ever asked for a start."""
        return self.generation > 0

    @property
    def label(self) -> str:
        """What messages on the wire call it."""
        return f"{self.user.name}:{self.name}" if self.name else self.user.name

    @property
    def path(self) -> str:
        return server_path(self.user.name, self.name)

    @property
    def address(self) -> str:
        """Where people reach the server, as links to it say."""
        return server_url(self.user.name, self.name)


def path_of_running(user: User) -> str:
    """Return where a user's default server is, if it is there or just coming."""
    server = Server.objects.filter(user=user, name="").first()
    return server_url(user.name, "") if server and server.is_active else ""


class ServerEvent(models.Model):
    """One thing that happened while a server was started, as the wire tells it.

    `data` is the JSON object of a progress stream's frame: `progress`, `message`,
    perhaps `html_message`, and in the last one `ready` or `failed`. Events of
    earlier generations are deleted when a new start begins.
    """

    server = models.ForeignKey(Server, models.CASCADE, related_name="events")
    generation = models.PositiveBigIntegerField()
    data = models.JSONField()
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.server_id}: {self.data.get('message', '')}"


class Leadership(models.Model):
    """Which controller acts, as one row.

    `epoch` grows each time that one takes over, and everything that a controller
    writes carries the condition that the epoch is still its own. `seen` is its last
    sign of life; `facts` is what it tells of itself.
    """

    epoch = models.PositiveBigIntegerField(default=0)
    holder = models.CharField(max_length=255, blank=True)
    since = models.DateTimeField(null=True)
    seen = models.DateTimeField(null=True)
    facts = models.JSONField(default=dict)

    class Meta:
        verbose_name_plural = "leadership"
        constraints = (
            models.CheckConstraint(condition=Q(id=1), name="leadership_is_one_row"),
        )

    def __str__(self) -> str:
        return f"epoch {self.epoch}: {self.holder}"


class Inquiry(models.Model):
    """Something that a web process asks the controller, and what that answered.

    `kind` is one of `poll`, `options_form` and `options_from_form`; see
    `servers.controller_calls`.
    """

    kind = models.CharField(max_length=32)
    payload = models.JSONField(default=dict)
    answer = models.JSONField(null=True)
    asked_at = models.DateTimeField(default=timezone.now)
    answered_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "inquiries"
        indexes = (
            models.Index(
                fields=("id",),
                condition=Q(answered_at=None),
                name="inquiry_open",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class AnnouncedProxy(models.Model):
    """The proxy that announced itself in place of the configured one, as one row.

    `configured` is the address in whose place it came.
    """

    api_url = models.CharField(max_length=2047)
    sealed = models.TextField()
    configured = models.CharField(max_length=2047)
    announced_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(id=1), name="announced_proxy_is_one_row"
            ),
        )

    def __str__(self) -> str:
        return self.api_url


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
