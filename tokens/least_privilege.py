"""The scopes that a token was granted, beside those that it used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from accounts.models import User
from scopes.access import Access
from scopes.definitions import INHERIT, METASCOPES, SCOPES, implied
from scopes.grammar import RawScope, describe
from services.models import Service
from tokens.models import APIToken
from tokens.presets import relative, without_contained


@dataclass(frozen=True, slots=True)
class GrantedScope:
    """A raw scope of a token; `last_used` is None if no request needed the scope."""

    text: str
    last_used: datetime | None = None

    @property
    def words(self) -> str:
        return describe(self.text, to_owner=True)


def granted_scopes(token: APIToken, owner: User | Service) -> list[GrantedScope]:
    """Return the scopes of a token, each with its last use.

    A token with everything that its owner may do counts with each of the owner's
    scopes.
    """
    used = last_uses(token)
    return [
        GrantedScope(text, _latest(used, text))
        for text in sorted(_granted(token, owner))
    ]


def access_without(token: APIToken, group: str) -> Access:
    """Return a token's rights as if its owner were not in a group; "" is no group.

    The membership is removed in a transaction that is rolled back, so that the answer
    is the one that the database would give.
    """
    if not group or token.user_id is None:
        return token.access
    with transaction.atomic():
        through = User.groups.through
        through.objects.filter(user=token.user_id, group__name=group).delete()
        access = token.access
        transaction.set_rollback(True)
    return access


def last_uses(token: APIToken) -> dict[str, datetime]:
    """Return the latest use of each scope, by its name."""
    rows = token.operations.exclude(scope="").order_by("last_at")
    return dict(rows.values_list("scope", "last_at"))


def used_scopes(token: APIToken, owner: User | Service) -> list[str]:
    """Return the raw scopes that are enough for what the token was used for.

    Empty if nothing was used, or if that is all that was granted.
    """
    granted = _granted(token, owner)
    enough = {
        str(RawScope(name, scope.kind, scope.value))
        for name in last_uses(token)
        for scope in map(RawScope.parse, granted)
        if scope.name in SCOPES and name in implied(scope.name)
    }
    minimal = without_contained(enough)
    return sorted(minimal) if minimal and minimal != set(granted) else []


def scopes_within(token: APIToken, owner: User | Service) -> list[str]:
    """Return the raw scopes of a token, with the scopes that they contain."""
    return sorted(
        {
            str(RawScope(name, scope.kind, scope.value))
            for scope in map(RawScope.parse, _granted(token, owner))
            for name in (implied(scope.name) if scope.name in SCOPES else (scope.name,))
        }
    )


def _granted(token: APIToken, owner: User | Service) -> list[str]:
    texts = set(token.scopes)
    if INHERIT in texts:
        texts = set(owner.access.scopes)
        if isinstance(owner, User):
            texts = {relative(scope, owner) for scope in texts}
        return sorted(without_contained(texts))
    return sorted(texts)


def _latest(used: Mapping[str, datetime], text: str) -> datetime | None:
    name = RawScope.parse(text).name
    names: Collection[str] = (
        used if name in METASCOPES else implied(name) if name in SCOPES else (name,)
    )
    return max((used[each] for each in names if each in used), default=None)
