"""Notebook servers, and the shares that give others access to them."""

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

# Filters of shares match the names of their server, so that a person who may see the
# shares of a server sees each of them.
SHARED_FILTERS = {
    "user": "server__user__name",
    "server": "server__user__name/server__name",
    "group": "server__user__groups__name",
}


def server_path(owner: str, name: str) -> str:
    """Return the public path of a server; every part is escaped, except `@`."""
    path = f"{settings.HUB.base_url}user/{quote(owner, safe='@')}/"
    return f"{path}{quote(name, safe='@')}/" if name else path


def server_url(owner: str, name: str) -> str:
    """Return a server's public address: its path, after its host if any."""
    return f"{user_origin(owner)}{server_path(owner, name)}"


# Running and pending servers. The index `server_active` has the same condition, in the
# same form, because SQLite would not use the index otherwise.
ACTIVE = ~Q(generation=F("settled")) | Q(pending__isnull=False) | Q(ready=True)


class Server(models.Model):
    """A notebook server of a user; the default server's name is empty.

    `pending` and `ready` show the state of the server; a row with neither is stopped.
    Web processes write the *wanted* state and increment `generation`; the controller
    carries it out. A generation is settled when `settled` equals `generation`: then the
    server is ready or stopped, or its start has failed and `failure` contains the
    reason. Until then the result is open.
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

    # The wanted state, and its progress.
    wanted = models.CharField(
        max_length=8, choices=Wanted, default=Wanted.STOPPED, editable=False
    )
    generation = models.PositiveBigIntegerField(default=0, editable=False)
    settled = models.PositiveBigIntegerField(default=0, editable=False)
    remove_when_stopped = models.BooleanField(default=False, editable=False)

    # The latest start: the attempt, a random id by which its processes can be found
    # again, the token of its process, the port that a batch job reported, and the
    # reason of its failure, with the status for a waiting request. The detail is the
    # text of an unexpected exception, which only administrators read.
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
            # The controller and the limits read these few rows very often.
            models.Index(
                fields=("id",),
                condition=ACTIVE,
                name="server_active",
            ),
            # Lists begin with running servers.
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
        """Whether a start was ever requested."""
        return self.generation > 0

    @property
    def label(self) -> str:
        """The name of the server in messages of the API."""
        return f"{self.user.name}:{self.name}" if self.name else self.user.name

    @property
    def path(self) -> str:
        return server_path(self.user.name, self.name)

    @property
    def address(self) -> str:
        """The address of the server in links."""
        return server_url(self.user.name, self.name)


def path_of_running(user: User) -> str:
    """Return the path of a user's default server, if it is ready or starting."""
    server = Server.objects.filter(user=user, name="").first()
    return server_url(user.name, "") if server and server.is_active else ""


class ServerEvent(models.Model):
    """One event of a server's start, as the API reports it.

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
    """The controller that leads, as one row.

    `epoch` grows with each new leader, and every write of a controller has the
    condition that the epoch is still its own. `seen` is the time of its last sign of
    life; `facts` describes its process.
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
    """A call of a web process to the controller, and its result.

    `kind` is one of `poll`, `options_form`, `options_from_form` and `forget`; see
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
    """The proxy that was set over the API in place of the configured one, as one row.

    `configured` is the configured address that it replaces.
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

    `scopes` are base names: all of them reach this server and nothing else, also after
    the server or its owner was renamed.
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
        # The constraint `share_has_one_recipient` ensures that there is one.
        return cast("User | Group", self.user or self.group)

    def raw_scopes(self) -> list[str]:
        """Return the raw scopes, with their filter."""
        return [f"{name}!server={self.server}" for name in self.scopes]


class ShareCodeQuerySet(models.QuerySet["ShareCode"]):
    """Share codes, by condition."""

    def active(self, now: datetime) -> ShareCodeQuerySet:
        return self.filter(expires_at__gt=now)


class ShareCode(models.Model):
    """An invitation to a server, exchanged for a share any number of times.

    As of a token, only the digest of the code is stored, and `public_id` finds the row.
    """

    scope_filters: ClassVar[dict[str, str]] = SHARED_FILTERS

    server = models.ForeignKey(Server, models.CASCADE, related_name="share_codes")
    public_id = models.CharField(max_length=32, unique=True)
    digest = models.CharField(max_length=255)
    # Of a code from JupyterHub's database, until it is used.
    imported_prefix = models.CharField(
        max_length=16, blank=True, default="", db_default=""
    )
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
        """Return the raw scopes, with their filter."""
        return [f"{name}!server={self.server}" for name in self.scopes]
