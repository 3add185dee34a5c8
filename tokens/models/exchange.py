"""Tokens that were exchanged for narrower ones."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q, TextField, Value
from django.db.models.functions import Cast, Coalesce

from tokens.models.token import APIToken


class TokenExchangeQuerySet(models.QuerySet["TokenExchange"]):
    """Exchanges, by condition."""

    def in_force(self) -> TokenExchangeQuerySet:
        """Return those whose parent is as it has to be; see `is_in_force`."""

        def text(name: str) -> Coalesce:
            return Coalesce(
                Cast(name, TextField()), Value(""), output_field=TextField()
            )

        unchanged = Q(
            parent__revoked_at=None,
            parent__disabled_at=None,
            parent__frozen_at=None,
            parent__rate_limit=None,
            parent__scopes=F("scopes"),
            parent_networks=text("networks"),
        )
        outlives = Q(parent__expires_at=None) | Q(
            parent__expires_at__gte=F("token__expires_at")
        )
        exchanges = self.alias(parent_networks=text("parent__networks"))
        return exchanges.filter(Q(parent=None) | unchanged & outlives)


class TokenExchange(models.Model):
    """The token for which another one, its parent, was exchanged (RFC 8693).

    The token is valid as long as its parent is, the scopes and networks of the parent
    are those of the exchange, and the parent has no limit of requests; verification
    compares them. So a change of the parent, of any kind and in any process, ends the
    token at once. A row without a parent belongs to a token that was exchanged for one
    of another system.

    A token that came by an exchange is refused without such a row, so that the deletion
    of the parent, which deletes the row, ends the token as well.
    """

    token = models.OneToOneField(
        APIToken, models.CASCADE, primary_key=True, related_name="exchange"
    )
    parent = models.ForeignKey(
        APIToken, models.CASCADE, null=True, blank=True, related_name="exchanges"
    )
    scopes = models.JSONField(default=list)
    networks = models.JSONField(null=True, blank=True)

    objects: ClassVar[models.Manager[TokenExchange]] = (
        TokenExchangeQuerySet.as_manager()
    )

    class Meta:
        verbose_name = "exchange"
        ordering = ("token",)

    def __str__(self) -> str:
        return f"a{self.token_id} for {self.parent or 'a foreign token'}"

    @property
    def is_in_force(self) -> bool:
        """Whether the parent is as it has to be; as verification has it in SQL."""
        parent = self.parent
        if parent is None:
            return True
        stopped = (parent.revoked_at, parent.disabled_at, parent.frozen_at)
        ends = self.token.expires_at
        return (
            stopped == (None, None, None)
            and parent.rate_limit is None
            and parent.scopes == self.scopes
            and parent.networks == self.networks
            and (
                parent.expires_at is None
                or (ends is not None and parent.expires_at >= ends)
            )
        )
