"""The credentials of a server: its API token, and its OAuth client.

Both are issued for one start and revoked with it. The secret of the client is the
token, so that a server gets one secret only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django.db import transaction
from django.db.models import Q, Value
from django.db.models.functions import Concat
from django.views.decorators.debug import sensitive_variables

from accounts.models import Role, User
from accounts.rights import members_among
from audit.models import Actor
from database.locks import lock_all
from oauth.actions import end_clients, register_server_client
from oauth.models import OAuthClient
from scopes.access import Identity, cut_down, expand
from scopes.grammar import check_scopes
from scopes.refusals import Conflict, Invalid
from servers.models import Server
from tokens.actions.importing import import_token
from tokens.actions.issuing import issue_token
from tokens.actions.revocation import revoke_tokens
from tokens.models import APIToken, CreatedVia, Purpose
from tokens.verification import verify

CONTROLLER: Final = Actor.system("controller")
ROLE: Final = "server"
# Without this scope a server could not report its activity.
ACTIVITY: Final = "users:activity!user"
SUFFICES: Final = frozenset({ACTIVITY, "users:activity", "inherit"})

ENDED: Final = (
    "The server was resumed with a token that has ended; remove what is kept of it,"
    " such as its container, and start it anew."
)


@dataclass(frozen=True, slots=True)
class Requested:
    """The raw scopes that a configuration names for a server.

    `token` limits the scopes of the server's own token, or is empty for those of the
    role `server`; `client` adds to the scopes of visitors' tokens, which always include
    access to the server. A server that `resumes` may come back with its earlier token.
    """

    token: tuple[str, ...] = ()
    client: tuple[str, ...] = ()
    resumes: bool = False


@transaction.atomic
@sensitive_variables("secret")
def issue_credentials(
    server: Server, requested: Requested, *, by: Actor = CONTROLLER
) -> str:
    """Issue token and client for a start, and return the secret of both.

    The token is stored in the row only while the row has the attempt of `server`, so
    that a replaced controller stores nothing.
    """
    if not requested.resumes:
        _revoke(server, by)
    scopes = server_scopes(server, requested)
    token, secret = issue_token(
        server.user,
        by=by,
        scopes=scopes,
        note=f"Server at {server.path}",
        via=CreatedVia.SERVER,
        purpose=Purpose.SERVER,
        capped=False,
        limited=False,
    )
    _register(server, token, requested, by)
    started = Server.objects.filter(pk=server.pk, attempt=server.attempt)
    if not started.update(token=token, announced_port=None):
        raise Conflict("This server is being started by somebody else.")
    server.token, server.announced_port = token, None
    return secret


@transaction.atomic
@sensitive_variables("secret")
def rehash(
    server: Server, secret: str, requested: Requested, *, by: Actor = CONTROLLER
) -> str:
    """Replace the new secret by the secret that a resumed server has.

    Returns the reason if that is not possible, or "". A token of another owner is never
    accepted as the server's, and is revoked, because the server has seen it. A revoked
    token stays revoked.
    """
    bearer = verify(secret)
    if bearer is not None and (
        bearer.owner_kind != "user" or bearer.owner_id != server.user_id
    ):
        revoke_tokens(APIToken.objects.filter(pk=bearer.token_id), by=by)
        return f"The server was started with a token of {bearer.owner_name}."
    try:
        token = import_token(
            server.user,
            secret,
            note=f"Server at {server.path}",
            scopes=server_scopes(server, requested),
            via=CreatedVia.SERVER,
            purpose=Purpose.SERVER,
            by=by,
        )
    except Invalid:
        # The secret has our format; its row was purged since.
        return ENDED
    if verify(secret) is None:
        return ENDED
    _revoke(server, by)
    _register(server, token, requested, by)
    Server.objects.filter(pk=server.pk).update(token=token)
    server.token = token
    return ""


@transaction.atomic
def revoke_credentials(server: Server, *, by: Actor = CONTROLLER) -> None:
    """Revoke a server's token, its client, and the tokens of visitors."""
    clients = OAuthClient.objects.filter(server=str(server))
    identifiers = list(clients.values_list("identifier", flat=True))
    if server.token_id or identifiers:
        _revoke(server, by, identifiers)
        end_clients(clients, by=by)
    Server.objects.filter(pk=server.pk, token=server.token_id).update(token=None)
    server.token = None


def lock_credentials(servers: Iterable[Server], others: Q) -> None:
    """Lock what `revoke_credentials` changes for these servers, and `others` of tokens.

    Without it the tokens of the second server would be locked after the client of the
    first. All rows are locked for deletion, because a lock that is made stronger later
    is out of order.
    """
    names, held = [], []
    for server in servers:
        names.append(str(server))
        held.append(server.token_id)
    clients = OAuthClient.objects.filter(server__in=names)
    identifiers = list(clients.values_list("identifier", flat=True))
    obtained = Q(pk__in=held) | Q(client_id__in=identifiers)
    lock_all(APIToken.objects.filter(obtained | others), for_deletion=True)
    lock_all(clients, for_deletion=True)


def server_scopes(server: Server, requested: Requested) -> list[str]:
    """Return the raw scopes of a server's token: the wanted ones that its owner has.

    Unlike with other tokens, scopes beyond the owner are dropped, because the
    configuration applies to all servers at once.
    """
    wanted = list(requested.token) or _role_scopes()
    check_scopes(wanted, holder="server_token_scopes", limited=False)
    # `!server` is this server, although its token belongs to no client.
    wanted = [
        f"{scope}={server}" if scope.endswith("!server") else scope for scope in wanted
    ]
    if not SUFFICES.intersection(wanted):
        wanted.append(ACTIVITY)
    return sorted(_held_by(server.user, wanted))


def _role_scopes() -> list[str]:
    role = Role.objects.filter(name=ROLE).values_list("scopes", flat=True).first()
    return list(role or ())


def _held_by(user: User, raws: Iterable[str]) -> set[str]:
    """Reduce raw scopes to those that a user has, kept raw where possible."""
    identity = Identity("user", user.name)
    wanted = {raw: expand([raw], identity) for raw in raws}
    return cut_down(wanted, user.access, members_among)


def _register(server: Server, token: APIToken, requested: Requested, by: Actor) -> None:
    register_server_client(
        server.user.name,
        server.name,
        token=token,
        redirect_uri=f"{server.address}oauth_callback",
        description=f"Server at {server.path}",
        allowed_scopes=requested.client,
        by=by,
    )


def _revoke(server: Server, by: Actor, identifiers: Iterable[str] = ()) -> None:
    """Revoke the server's token, and the tokens that these clients obtained.

    They are marked as expired too, so that the next purge deletes them: unlike an
    imported token, a generated one can't be used again.
    """
    doomed = APIToken.objects.filter(
        Q(pk=server.token_id) | Q(client_id__in=list(identifiers))
    )
    doomed = doomed.filter(revoked_at=None)
    revoke_tokens(doomed, by=by, expires=True)


@transaction.atomic
def delete_stray_clients(*, by: Actor = CONTROLLER) -> None:
    """Delete the clients of servers that have no token, or are deleted."""
    called = Concat("user__name", Value("/"), "name")
    servers = Server.objects.filter(token__isnull=False).order_by()
    known = servers.values_list(called)
    # Selected once, not for each client: with ten thousand servers that would take ten
    # seconds without other writers.
    end_clients(
        OAuthClient.objects.filter(service=None).exclude(server__in=known), by=by
    )
