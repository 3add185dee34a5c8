"""Refuse changes that the token of the actor may not make."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet

from audit.models import Actor
from scopes.refusals import Forbidden
from tokens.models import APIToken, TokenExchange


def refuse_itself(token: APIToken, by: Actor, act: str) -> None:
    """Refuse a change that a token may not make of itself."""
    refuse_among(APIToken.objects.filter(pk=token.pk), by, act)


def refuse_among(tokens: QuerySet[APIToken], by: Actor, act: str) -> None:
    """Refuse a change of tokens among which is the actor's own.

    A token and all tokens that it was exchanged for count as one, because each holder
    of the first can get the others.
    """
    if by.token_id is None:
        return
    exchanges = TokenExchange.objects.exclude(parent=None)
    parents = exchanges.filter(token=by.token_id).values_list("parent", flat=True)
    first = parents.first() or by.token_id
    narrower = exchanges.filter(parent=first).values("token")
    if tokens.filter(Q(pk=first) | Q(pk__in=narrower)).exists():
        raise Forbidden(f"A token can't {act}: sign in, or use another token.")


def is_no_exchange(by: Actor) -> tuple[str, list[Any]]:
    """Return the condition, in SQL, that the actor's token came by no exchange."""
    if by.token_id is None:
        return "", []
    exchanged = "SELECT 1 FROM tokens_tokenexchange x WHERE x.token_id = %s"
    return f"NOT EXISTS ({exchanged})", [by.token_id]


def refuse_exchanged(by: Actor) -> None:
    """Refuse a new secret to a token that came by an exchange.

    The new secret would outlive the token and its parent.
    """
    if by.token_id and TokenExchange.objects.filter(token=by.token_id).exists():
        raise Forbidden(
            "A token that came by an exchange can't issue or rotate tokens, because"
            " these would outlive it: use the token that was exchanged, or sign in."
        )
