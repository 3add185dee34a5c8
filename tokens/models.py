"""API tokens: the stored data, and which of them are valid."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar, cast

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.functional import cached_property

from accounts.models import User
from accounts.rights import (
    access_of,
    identity_of,
    members_among,
    read_texts,
    within_reach,
)
from scopes.access import EMPTY, Access, Identity, token_access
from scopes.definitions import NO_SCOPE
from scopes.grammar import describe
from services.models import Service
from tokens import clients

# How long an ended token is shown on its owner's page.
ENDED_KEPT = timedelta(days=90)
# Tokens of OAuth clients, and those that ended with their server. No person requested
# them, so they are not shown after their end.
AUTOMATIC = ~Q(client_id="") | Q(revoked_at__gte=F("expires_at"))


class APITokenQuerySet(models.QuerySet["APIToken"]):
    """Tokens, by owner and by condition."""

    def owned_by(self, owner: User | Service) -> APITokenQuerySet:
        if isinstance(owner, User):
            return self.filter(user=owner)
        return self.filter(service=owner)

    def active(self, now: datetime) -> APITokenQuerySet:
        # A page left open for a day must not offer tokens that have died since,
        # so expiry is compared in the query and not in the template.
        unexpired = Q(expires_at=None) | Q(expires_at__gt=now)
        return self.filter(unexpired, revoked_at=None)

    def recent_first(self) -> APITokenQuerySet:
        """Sort by last use; a token that was never used by its creation."""
        return self.order_by(Coalesce("last_activity", "created").desc(), "-pk")

    def usable(self, now: datetime) -> APITokenQuerySet:
        """Return those that can be used now; a disabled token can't be used."""
        return self.active(now).filter(disabled_at=None)

    def recently_ended(self, now: datetime) -> APITokenQuerySet:
        """Return requested tokens that ended lately, the latest first."""
        expired = Q(expires_at__lte=now)
        ended = self.filter(expired | Q(revoked_at__isnull=False)).exclude(AUTOMATIC)
        lately = Coalesce("revoked_at", "expires_at")
        return (
            ended.alias(ended_at=lately)
            .filter(ended_at__gt=now - ENDED_KEPT)
            .order_by("-ended_at", "-pk")
        )

    def to_purge(self, now: datetime) -> APITokenQuerySet:
        """Return those that have ended and are not shown any more.

        An imported secret is kept, because the next start would import it again.
        """
        before = now - ENDED_KEPT
        return self.filter(
            Q(expires_at__lte=now) & AUTOMATIC
            | Q(expires_at__lte=before)
            | Q(revoked_at__lte=before),
            origin=APIToken.Origin.GENERATED,
        )


class APIToken(models.Model):
    """A token without its secret.

    `public_id` finds the row: a generated token contains it, for an imported secret it
    is a short keyed hash of the secret, the lookup key. `digest` is Argon2id over the
    whole token. `tag_key` is the id of the key of the tag, so that the loss of a key is
    noticed. A revoked row is kept, so that a secret from the configuration can't come
    back at a restart.
    """

    scope_filters: ClassVar[dict[str, str]] = {
        "user": "user__name",
        "group": "user__groups__name",
        "service": "service__name",
    }
    scope_permissions: ClassVar[dict[str, tuple[str, ...]]] = {
        "view": ("read:tokens",),
        "add": ("tokens",),
        "change": ("tokens",),
    }

    class Origin(models.TextChoices):
        GENERATED = "minted", "made by the hub"
        IMPORTED = "brought", "brought by an operator"

    user = models.ForeignKey(
        User, models.CASCADE, null=True, blank=True, related_name="api_tokens"
    )
    service = models.ForeignKey(
        Service, models.CASCADE, null=True, blank=True, related_name="api_tokens"
    )
    public_id = models.CharField(max_length=32, unique=True)
    digest = models.CharField(max_length=255)
    origin = models.CharField(max_length=8, choices=Origin, default=Origin.GENERATED)
    tag_key = models.CharField(max_length=8, blank=True)
    note = models.CharField(max_length=1023, blank=True)
    scopes = models.JSONField(default=list)
    client_id = models.CharField(max_length=255, blank=True, db_index=True)
    session_id = models.CharField(  # noqa: DJ001 - null on the wire, if there is none
        max_length=255, null=True, blank=True, db_index=True
    )
    created = models.DateTimeField(default=timezone.now)
    last_activity = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True, db_index=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    disabled_by = models.CharField(
        max_length=300, blank=True, default="", db_default=""
    )
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=300, blank=True, default="", db_default="")

    objects: ClassVar[models.Manager[APIToken]] = APITokenQuerySet.as_manager()

    class Meta:
        verbose_name = "token"
        ordering = ("id",)
        # Indexes for the sorting of lists; that by last use is in the migration
        # `search`.
        indexes = (
            models.Index(fields=("expires_at", "id"), name="token_expires"),
            models.Index(fields=("created", "id"), name="token_created"),
            models.Index(
                fields=("revoked_at", "disabled_at", "expires_at"), name="token_state"
            ),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(user=None, service__isnull=False)
                | Q(user__isnull=False, service=None),
                name="token_has_one_owner",
            ),
            models.CheckConstraint(
                condition=Q(digest__startswith="$argon2id$"),
                name="token_is_kept_as_argon2id",
            ),
            models.CheckConstraint(
                condition=~Q(public_id=""), name="token_has_a_public_id"
            ),
        )

    def __str__(self) -> str:
        return f"a{self.pk}"

    @property
    def owner(self) -> User | Service:
        # A constraint ensures that there is exactly one.
        return cast("User | Service", self.service or self.user)

    @property
    def owner_kind(self) -> str:
        return "user" if self.service_id is None else "service"

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def scopes_in_words(self) -> list[str]:
        """Descriptions of the token's scopes, addressed to its owner."""
        scopes = self.scopes or (NO_SCOPE,)
        return [describe(scope, to_owner=True) for scope in scopes]

    @cached_property
    def access(self) -> Access:
        """The token's current rights: its scopes, limited by its owner's."""
        kind, owner = self.owner_kind, self.owner
        texts = read_texts(kind, owner.pk)
        if texts is None:
            return EMPTY
        reached = within_reach(self.client_id, texts)
        return self.access_within(
            access_of(kind, owner.name, *reached),
            identity_of(kind, owner.name, texts[0]),
            clients.describe([self.client_id])[self.client_id].identity,
        )

    def access_within(
        self, owner: Access, identity: Identity, client: Identity | None = None
    ) -> Access:
        """Return `access` from the owner's access and the client's identity.

        For lists of tokens, which read both once for all.
        """
        return token_access(self.scopes, owner, identity, client, members_among)


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

    `mail_due` is the time of the next attempt to mail the owner; null if no mail is to
    be sent any more.
    """

    token = models.OneToOneField(APIToken, models.CASCADE, related_name="leak")
    at = models.DateTimeField(default=timezone.now)
    address = models.CharField(max_length=64)
    source = models.CharField(max_length=500, blank=True)
    mail_due = models.DateTimeField(null=True, blank=True, db_index=True)
    mailed_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"leak of {self.token_id}"
