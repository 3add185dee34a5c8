"""API tokens: what is kept of them, and which of them still count."""

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

# How long a token that has ended stays on its owner's page.
ENDED_KEPT = timedelta(days=90)
# An OAuth client's token, or one that ended with its server: nobody asked for it by
# hand, so nobody looks for it afterwards.
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
        """Sort by last use, and what was never used by its beginning."""
        return self.order_by(Coalesce("last_activity", "created").desc(), "-pk")

    def usable(self, now: datetime) -> APITokenQuerySet:
        """Return those that a program can use now; a disabled token can't be used."""
        return self.active(now).filter(disabled_at=None)

    def recently_ended(self, now: datetime) -> APITokenQuerySet:
        """Return what people asked for and what ended lately, the latest first."""
        expired = Q(expires_at__lte=now)
        ended = self.filter(expired | Q(revoked_at__isnull=False)).exclude(AUTOMATIC)
        lately = Coalesce("revoked_at", "expires_at")
        return (
            ended.alias(ended_at=lately)
            .filter(ended_at__gt=now - ENDED_KEPT)
            .order_by("-ended_at", "-pk")
        )

    def to_purge(self, now: datetime) -> APITokenQuerySet:
        """Return those that have ended and are shown to nobody any more.

        A secret that an operator brought is kept, or the next start would store the
        secret anew.
        """
        before = now - ENDED_KEPT
        return self.filter(
            Q(expires_at__lte=now) & AUTOMATIC
            | Q(expires_at__lte=before)
            | Q(revoked_at__lte=before),
            origin=APIToken.Origin.MINTED,
        )


class APIToken(models.Model):
    """A token without its secret.

    `public_id` finds the row: for tokens that the hub minted it stands in the
    token itself, for secrets that others brought it is a short keyed handle of the
    secret. `digest` is Argon2id over the whole token. `tag_key` names the key under
    which the tag was made, so that the loss of a key is noticed. A revoked row
    stays, so that a secret from the configuration can't come back by a restart.
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
        MINTED = "minted", "made by the hub"
        BROUGHT = "brought", "brought by an operator"

    user = models.ForeignKey(
        User, models.CASCADE, null=True, blank=True, related_name="api_tokens"
    )
    service = models.ForeignKey(
        Service, models.CASCADE, null=True, blank=True, related_name="api_tokens"
    )
    public_id = models.CharField(max_length=32, unique=True)
    digest = models.CharField(max_length=255)
    origin = models.CharField(max_length=8, choices=Origin, default=Origin.MINTED)
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
        # What lists are sorted by; by last use, the migration `search` does.
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
        # A constraint says that there is exactly one.
        return cast("User | Service", self.service or self.user)

    @property
    def owner_kind(self) -> str:
        return "user" if self.service_id is None else "service"

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def scopes_in_words(self) -> list[str]:
        """What this token may do, as it is said to the user whose it is."""
        scopes = self.scopes or (NO_SCOPE,)
        return [describe(scope, to_owner=True) for scope in scopes]

    @cached_property
    def access(self) -> Access:
        """What this token may do now: its scopes, cut down by its owner's."""
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
        """Work out `access` from what is known of its owner and of its client.

        For lists of tokens, which read both once for all.
        """
        return token_access(self.scopes, owner, identity, client, members_among)
