"""OAuth clients, and the authorization codes for tokens."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import User
from scopes.access import Identity
from services.models import Service
from tokens.models import APIToken

REDIRECT_URI_LENGTH = 1023
PROGRAM_LENGTH = 64
DEVICE_LENGTH = 100
# How long an expired request is kept, so that its device gets the right refusal.
DEVICE_REQUEST_KEPT = timedelta(minutes=10)


class OAuthClient(models.Model):
    """A service or server that people sign in to through the hub.

    Servers are in a room further right, so the column contains a name, `user/server`,
    and is no foreign key. The client's secret is that of an API token of the service or
    server, so it is hashed once, and is rotated, disabled and revoked with the token. A
    client without one can't be used.
    """

    scope_filters: ClassVar[dict[str, str]] = {"service": "service__name"}
    scope_permissions: ClassVar[dict[str, tuple[str, ...]]] = {
        "view": ("admin:services",),
        "delete": ("admin:services",),
    }

    identifier = models.CharField(max_length=511, unique=True)
    description = models.CharField(max_length=1023, blank=True)
    secret = models.ForeignKey(
        APIToken, models.SET_NULL, null=True, blank=True, related_name="secret_of"
    )
    redirect_uri = models.CharField(max_length=REDIRECT_URI_LENGTH)
    allowed_scopes = models.JSONField(default=list, blank=True)
    service = models.OneToOneField(
        Service, models.CASCADE, null=True, blank=True, related_name="oauth_client"
    )
    server = models.CharField(max_length=511, blank=True)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "OAuth client"
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(service__isnull=False, server="")
                | (Q(service=None) & ~Q(server="")),
                name="client_is_a_service_or_a_server",
            ),
        )

    def __str__(self) -> str:
        return self.identifier

    @property
    def client_id(self) -> str:
        """The identifier under its name in OAuth."""
        return self.identifier

    @property
    def identity(self) -> Identity:
        """The meaning of `!service` and `!server` in tokens of this client."""
        if self.service is not None:
            return Identity("service", self.service.name)
        return Identity("server", self.server)

    @property
    def needs_no_confirmation(self) -> bool:
        return self.service is not None and self.service.oauth_no_confirm

    @property
    def server_owner(self) -> str:
        return self.server.partition("/")[0]

    @property
    def server_name(self) -> str:
        return self.server.partition("/")[2]

    def is_own_server_of(self, user: User) -> bool:
        return bool(self.server) and self.server_owner == user.name


class OAuthCodeQuerySet(models.QuerySet["OAuthCode"]):
    """Codes by condition."""

    def active(self, now: datetime) -> OAuthCodeQuerySet:
        return self.filter(expires_at__gt=now)

    def expired(self, now: datetime) -> OAuthCodeQuerySet:
        return self.filter(expires_at__lte=now)


class OAuthCode(models.Model):
    """A code for one token, stored without the code itself.

    `handle` is a keyed hash of the code. A code has enough random bits that guessing
    one within its few minutes is impossible.
    """

    handle = models.CharField(max_length=64, unique=True)
    client = models.ForeignKey(OAuthClient, models.CASCADE, related_name="codes")
    user = models.ForeignKey(User, models.CASCADE, related_name="oauth_codes")
    redirect_uri = models.CharField(max_length=REDIRECT_URI_LENGTH)
    scopes = models.JSONField(default=list)
    code_challenge = models.CharField(max_length=128, blank=True)
    code_challenge_method = models.CharField(max_length=8, blank=True)
    session_id = models.CharField(max_length=255, blank=True)
    expires_at = models.DateTimeField(db_index=True)

    objects: ClassVar[models.Manager[OAuthCode]] = OAuthCodeQuerySet.as_manager()

    class Meta:
        verbose_name = "OAuth code"
        ordering = ("id",)

    def __str__(self) -> str:
        return f"code {self.pk} for {self.client_id}"


class DeviceRequestQuerySet(models.QuerySet["DeviceRequest"]):
    """Requests of devices by condition."""

    def active(self, now: datetime) -> DeviceRequestQuerySet:
        return self.filter(expires_at__gt=now)

    def undecided(self, now: datetime) -> DeviceRequestQuerySet:
        """Return those about which a person may still decide."""
        return self.active(now).filter(approved_at=None, denied_at=None)

    def outdated(self, now: datetime) -> DeviceRequestQuerySet:
        """Return those that expired long enough ago that no device asks any more."""
        return self.filter(expires_at__lte=now - DEVICE_REQUEST_KEPT)


class DeviceRequest(models.Model):
    """A program's request for a token, which a person decides in a browser (RFC 8628).

    Two secrets belong to it, stored as keyed hashes: the device code, with which the
    program fetches the token, and the short user code, which the person types. The
    token is issued when the program fetches it, so no secret waits in the database.

    `program` and `device` are what the program says of itself, and nobody has verified
    them. `asked` are the raw scopes that the program names, `scopes` and `lifetime`
    what the person has agreed to.
    """

    handle = models.CharField(max_length=64, unique=True)
    user_handle = models.CharField(max_length=64, unique=True)
    program = models.CharField(max_length=PROGRAM_LENGTH)
    device = models.CharField(max_length=DEVICE_LENGTH, blank=True)
    asked = models.JSONField(default=list, blank=True)
    address = models.CharField(max_length=64, blank=True)
    network = models.CharField(max_length=64, blank=True, db_index=True)
    created = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(db_index=True)
    # Seconds that the program has to wait between two questions.
    interval = models.PositiveSmallIntegerField(default=5)
    polled_at = models.DateTimeField(null=True, blank=True)
    user = models.ForeignKey(
        User, models.CASCADE, null=True, blank=True, related_name="device_requests"
    )
    scopes = models.JSONField(default=list, blank=True)
    lifetime = models.PositiveBigIntegerField(null=True, blank=True)
    approved_at = models.DateTimeField(null=True, blank=True)
    denied_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager[DeviceRequest]] = (
        DeviceRequestQuerySet.as_manager()
    )

    class Meta:
        verbose_name = "device request"
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(approved_at=None) | Q(denied_at=None),
                name="device_request_has_one_decision",
            ),
            models.CheckConstraint(
                condition=Q(approved_at=None) | Q(user__isnull=False),
                name="device_request_is_approved_by_a_user",
            ),
        )

    def __str__(self) -> str:
        return f"request {self.pk} of {self.program}"


class SpentAssertion(models.Model):
    """A signed token of a CI that was exchanged, so that it can't be used again.

    `handle` is a hash of its issuer and id. The row is kept until the signed token has
    expired.
    """

    handle = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = "spent assertion"
        ordering = ("id",)

    def __str__(self) -> str:
        return f"assertion {self.pk}"
