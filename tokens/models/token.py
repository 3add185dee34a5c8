"""Tokens and their secrets."""

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
from tokens import clients, keys

# How long an ended token is shown on its owner's page.
ENDED_KEPT = timedelta(days=90)
# A token that ends within this time is shown as expiring soon.
SOON = timedelta(days=7)
# Tokens of OAuth clients, and those that ended with their server. No person requested
# them, so they are not shown after their end.
AUTOMATIC = ~Q(client_id="") | Q(revoked_at__gte=F("expires_at"))


# Rows from JupyterHub's database whose secret was not used here yet.
UNCLAIMED = ~Q(imported_prefix="")
# Nobody but such rows has a digest other than Argon2id.
KEPT_SAFELY = Q(digest__startswith="$argon2id$", imported_prefix="") | (
    Q(digest__startswith="sha512:") & UNCLAIMED
)


class Purpose(models.TextChoices):
    """What a token is for. Nothing is recognised by its note, which anybody may write.

    Rows of an older hub that runs beside this one have none; they count as a person's.
    """

    PERSON = "person", "a person"
    PROGRAM = "program", "a program"
    SERVER = "server", "a server"
    SERVICE = "service", "a service"
    CLIENT = "client", "an OAuth client"
    IMPORT = "import", "an imported secret"


class CreatedVia(models.TextChoices):
    """The way in which a token came to be."""

    PAGE = "page", "the Token page"
    API = "api", "the API"
    ADMIN = "admin", "Django admin"
    CONFIG = "config", "the configuration"
    COMMAND = "command", "the command line"
    DEVICE = "device", "a device sign-in"
    EXCHANGE = "exchange", "an exchange"
    SERVER = "server", "the start of a server"
    SERVICE = "service", "the start of a service"
    OAUTH = "oauth", "an OAuth sign-in"
    IMPORT = "import", "a database of JupyterHub"


class APITokenQuerySet(models.QuerySet["APIToken"]):
    """Tokens, by owner and by condition."""

    def owned_by(self, owner: User | Service) -> APITokenQuerySet:
        if isinstance(owner, User):
            return self.filter(user=owner)
        return self.filter(service=owner)

    def active(self, now: datetime) -> APITokenQuerySet:
        # A page left open for a day must not offer tokens that have ended since,
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

        An imported secret is kept, because the next start would import it again. Those
        with an end are no secrets of the configuration, and expired ones are never
        imported.
        """
        before = now - ENDED_KEPT
        is_over = Q(expires_at__lte=now) & AUTOMATIC | Q(expires_at__lte=before)
        return self.filter(
            (is_over | Q(revoked_at__lte=before)) & Q(origin=APIToken.Origin.GENERATED)
            | is_over & Q(created_via=CreatedVia.IMPORT)
        )


class APIToken(models.Model):
    """A token without its secret.

    `public_id` finds the row: a generated token contains it, for an imported secret it
    is a short keyed hash of the secret, the lookup key. `digest` is Argon2id over the
    whole token. Until the first use of a token from JupyterHub's database it is
    JupyterHub's, and `imported_prefix` finds the row, see `tokens.imported`. `tag_key`
    is the id of the key of the tag, so that the loss of a key is noticed. `fingerprint`
    finds the row by the SHA-256 of the whole token; it is a keyed hash of that, and
    empty until the first use for tokens of older hubs. A revoked row is kept, so that a
    secret from the configuration can't come back at a restart.

    A rotation gives the row another public id and digest, and keeps the earlier ones as
    a `PreviousSecret`. `networks` (CIDR) and `rate_limit` (requests in a minute) are
    null without a limit of the token's own.
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
    imported_prefix = models.CharField(
        max_length=16, blank=True, default="", db_default=""
    )
    origin = models.CharField(max_length=8, choices=Origin, default=Origin.GENERATED)
    tag_key = models.CharField(max_length=8, blank=True)
    fingerprint = models.CharField(max_length=43, blank=True, default="", db_default="")
    rotated_at = models.DateTimeField(null=True, blank=True)
    purpose = models.CharField(
        max_length=8, choices=Purpose, blank=True, default="", db_default=""
    )
    created_via = models.CharField(
        max_length=8, choices=CreatedVia, blank=True, default="", db_default=""
    )
    created_by = models.CharField(max_length=300, blank=True, default="", db_default="")
    created_address = models.CharField(
        max_length=64, blank=True, default="", db_default=""
    )
    note = models.CharField(max_length=1023, blank=True)
    scopes = models.JSONField(default=list)
    client_id = models.CharField(max_length=255, blank=True, db_index=True)
    session_id = models.CharField(  # noqa: DJ001 - null on the wire, if there is none
        max_length=255, null=True, blank=True, db_index=True
    )
    created = models.DateTimeField(default=timezone.now)
    last_activity = models.DateTimeField(null=True, blank=True)
    last_address = models.CharField(
        max_length=64, blank=True, default="", db_default=""
    )
    last_agent = models.CharField(max_length=255, blank=True, default="", db_default="")
    last_endpoint = models.CharField(
        max_length=255, blank=True, default="", db_default=""
    )
    expires_at = models.DateTimeField(null=True, blank=True, db_index=True)
    # Days before the expiry of which the owner was reminded last.
    reminded_days = models.PositiveSmallIntegerField(null=True, blank=True)
    networks = models.JSONField(null=True, blank=True)
    rate_limit = models.PositiveIntegerField(null=True, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    disabled_by = models.CharField(
        max_length=300, blank=True, default="", db_default=""
    )
    frozen_at = models.DateTimeField(null=True, blank=True)
    frozen_by = models.CharField(max_length=300, blank=True, default="", db_default="")
    frozen_reason = models.CharField(
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
            models.Index(fields=("fingerprint",), name="token_fingerprint"),
            models.Index(
                fields=("imported_prefix",),
                condition=UNCLAIMED,
                name="token_imported_prefix",
            ),
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
                condition=KEPT_SAFELY, name="token_is_kept_as_argon2id"
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
    def expires_soon(self) -> bool:
        """Whether a valid token ends within a week."""
        if self.expires_at is None:
            return False
        return not self.is_expired and self.expires_at <= timezone.now() + SOON

    @property
    def is_ended(self) -> bool:
        return self.revoked_at is not None or self.is_expired

    @property
    def is_stopped(self) -> bool:
        """Whether a token that came by an exchange is refused because of its parent."""
        if self.created_via != CreatedVia.EXCHANGE:
            return False
        exchange = getattr(self, "exchange", None)
        return exchange is None or not exchange.is_in_force

    @property
    def visible_start(self) -> str:
        """The part of the token before its secret; empty for an imported secret."""
        return keys.visible_start(self.public_id)

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


class PreviousSecret(models.Model):
    """A secret that a rotation replaced.

    It is valid until `ends_at`, so that programs change over without a failed call.
    Afterwards it is a tripwire, because its use means that the secret was given away or
    forgotten. `freezes` says that such a use freezes the token. `rotation_key` is a
    keyed hash of the idempotency key of the rotation, so that a repeated request is
    answered with the same new secret.
    """

    token = models.ForeignKey(APIToken, models.CASCADE, related_name="previous_secrets")
    public_id = models.CharField(max_length=32, unique=True)
    digest = models.CharField(max_length=255)
    imported_prefix = models.CharField(
        max_length=16, blank=True, default="", db_default=""
    )
    origin = models.CharField(max_length=8, choices=APIToken.Origin)
    tag_key = models.CharField(max_length=8, blank=True)
    fingerprint = models.CharField(max_length=43, blank=True)
    replaced_at = models.DateTimeField(default=timezone.now)
    replaced_by = models.CharField(max_length=300, blank=True)
    ends_at = models.DateTimeField()
    freezes = models.BooleanField(default=False)
    rotation_key = models.CharField(max_length=43, blank=True)
    tripped_at = models.DateTimeField(null=True, blank=True)
    tripped_address = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ("id",)
        indexes = (
            models.Index(fields=("fingerprint",), name="previous_fingerprint"),
            models.Index(
                fields=("imported_prefix",),
                condition=UNCLAIMED,
                name="previous_imported_prefix",
            ),
        )
        constraints = (
            models.CheckConstraint(
                condition=KEPT_SAFELY, name="previous_secret_is_kept_as_argon2id"
            ),
            # A repeated rotation finds the first one.
            models.UniqueConstraint(
                fields=("token", "rotation_key"),
                condition=~Q(rotation_key=""),
                name="previous_secret_of_a_rotation",
            ),
        )

    def __str__(self) -> str:
        return f"earlier secret of a{self.token_id}"

    @property
    def is_valid(self) -> bool:
        return self.ends_at > timezone.now()
