"""The OAuth clients with access to a person's account."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Max, Min

from scopes.definitions import NO_SCOPE
from scopes.grammar import describe
from tokens import clients
from tokens.models import APITokenQuerySet

# Most clients, and most kinds of tokens of one client, the newest first.
MOST = 500


@dataclass(slots=True)
class Application:
    """An OAuth client, and all its tokens for one person.

    `token_id` is one of the tokens; revoking that one revokes them all.
    """

    description: str
    token_id: int
    authorized: datetime
    last_activity: datetime | None = None
    scopes: set[str] = field(default_factory=set)

    @property
    def scopes_in_words(self) -> list[str]:
        scopes = self.scopes or (NO_SCOPE,)
        return sorted({describe(scope, to_owner=True) for scope in scopes})

    @property
    def moment(self) -> datetime:
        return self.last_activity or self.authorized


def applications(tokens: APITokenQuerySet) -> list[Application]:
    """Return the tokens of OAuth clients, grouped by client, with two queries.

    A client gets a token at every sign-in, most of them with the same scopes; the
    database groups those.
    """
    groups = list(
        tokens.exclude(client_id="")
        .values("client_id", "scopes")
        .annotate(token_id=Max("pk"), first=Min("created"), last=Max("last_activity"))
        .order_by("-token_id")[:MOST]
    )
    described = clients.describe({group["client_id"] for group in groups})
    found: dict[str, Application] = {}
    for group in groups:
        client_id = group["client_id"]
        if client_id not in found:
            description = described[client_id].description
            found[client_id] = Application(
                description, group["token_id"], group["first"]
            )
        application = found[client_id]
        application.scopes.update(group["scopes"])
        application.authorized = min(application.authorized, group["first"])
        moments: Iterable[datetime | None] = (application.last_activity, group["last"])
        application.last_activity = max(filter(None, moments), default=None)
    return sorted(found.values(), key=lambda one: one.moment, reverse=True)
