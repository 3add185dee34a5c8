"""What a server proves itself with: its API token, and its OAuth client.

Both are made for one start and end with it. The secret of the client is the token,
so that a server is given one secret and no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django.db import transaction
from django.db.models import Q, Value
from django.db.models.functions import Concat
from django.utils import timezone
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
from tokens.actions import issue_token, revoke_tokens, store_brought_token
from tokens.models import APIToken
from tokens.verification import verify

CONTROLLER: Final = Actor.system("controller")
ROLE: Final = "server"
# Without it nobody would know that a server is in use.
ACTIVITY: Final = "users:activity!user"
SUFFICES: Final = frozenset({ACTIVITY, "users:activity", "inherit"})

ENDED: Final = (
    "The server was resumed with a token that has ended; remove what is kept of it,"
    " such as its container, and start it anew."
)


@dataclass(frozen=True, slots=True)
class Requested:
    """The raw scopes that a configuration wants for a server.

    `token` is what its own token may do at most, or nothing for what the role
    `server` says; `client` what the tokens of its visitors may do beyond reaching
    it. A server that `resumes` may come back with the token that it had.
    """

    token: tuple[str, ...] = ()
    client: tuple[str, ...] = ()
    resumes: bool = False


@transaction.atomic
@sensitive_variables("secret")
def give(server: Server, requested: Requested, *, by: Actor = CONTROLLER) -> str:
    """Make token and client for a start, and return the secret of both.

    The row is told its token only while the attempt is the one that `server` has:
    a controller that was replaced meanwhile gives nothing.
    """
    if not requested.resumes:
        _revoke(server, by)
    scopes = server_scopes(server, requested)
    token, secret = issue_token(
        server.user,
        by=by,
        scopes=scopes,
        note=f"Server at {server.path}",
        capped=False,
        limited=False,
    )
    _register(server, secret, requested, APIToken.Origin.MINTED, by)
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
    """Make do with the secret that a resumed server has, in place of the one given.

    Returns why that can't be, or nothing. A token of somebody else is never taken for
    the server's, and is revoked, for the server has seen it; one that ended stays
    ended.
    """
    bearer = verify(secret)
    if bearer is not None and (
        bearer.owner_kind != "user" or bearer.owner_id != server.user_id
    ):
        revoke_tokens(APIToken.objects.filter(pk=bearer.token_id), by=by)
        return f"The server was started with a token of {bearer.owner_name}."
    try:
        token = store_brought_token(
            server.user,
            secret,
            note=f"Server at {server.path}",
            scopes=server_scopes(server, requested),
            by=by,
        )
    except Invalid:
        # It looks like one of ours; its row was purged since.
        return ENDED
    if verify(secret) is None:
        return ENDED
    _revoke(server, by)
    _register(server, secret, requested, token.origin, by)
    Server.objects.filter(pk=server.pk).update(token=token)
    server.token = token
    return ""


@transaction.atomic
def take_back(server: Server, *, by: Actor = CONTROLLER) -> None:
    """End a server's token, its client, and what visitors hold through that."""
    clients = OAuthClient.objects.filter(server=str(server))
    identifiers = list(clients.values_list("identifier", flat=True))
    if server.token_id or identifiers:
        _revoke(server, by, identifiers)
        end_clients(clients, by=by)
    Server.objects.filter(pk=server.pk, token=server.token_id).update(token=None)
    server.token = None


def lock_credentials(servers: Iterable[Server], others: Q) -> None:
    """Lock what `take_back` ends for each of these servers, and `others` of tokens.

    Taken back one by one, the tokens of the second would come after the client of the
    first.
    """
    names, held = [], []
    for server in servers:
        names.append(str(server))
        held.append(server.token_id)
    clients = OAuthClient.objects.filter(server__in=names)
    identifiers = list(clients.values_list("identifier", flat=True))
    obtained = Q(pk__in=held) | Q(client_id__in=identifiers)
    lock_all(APIToken.objects.filter(obtained | others))
    lock_all(clients, for_deletion=True)


def server_scopes(server: Server, requested: Requested) -> list[str]:
    """Return the raw scopes of a server's token: what is wanted and its owner has.

    Unlike those of other tokens, scopes beyond the owner are dropped: the
    configuration speaks of all servers at once.
    """
    wanted = list(requested.token) or _role_scopes()
    check_scopes(wanted, holder="server_token_scopes", limited=False)
    # `!server` is the server itself, though its token belongs to no client.
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
    """Cut raw scopes down to what a user has, and keep them raw where that is all."""
    identity = Identity("user", user.name)
    wanted = {raw: expand([raw], identity) for raw in raws}
    return cut_down(wanted, user.access, members_among)


@sensitive_variables("secret")
def _register(
    server: Server, secret: str, requested: Requested, origin: str, by: Actor
) -> None:
    register_server_client(
        server.user.name,
        server.name,
        secret=secret,
        origin=origin,
        redirect_uri=f"{server.address}oauth_callback",
        description=f"Server at {server.path}",
        allowed_scopes=requested.client,
        by=by,
    )


def _revoke(server: Server, by: Actor, identifiers: Iterable[str] = ()) -> None:
    """End the server's token, and with it those that these clients obtained.

    They count as expired too: unlike what an operator brought, a token that the hub
    minted can't come back, so the next purge may take its row.
    """
    doomed = APIToken.objects.filter(
        Q(pk=server.token_id) | Q(client_id__in=list(identifiers))
    )
    doomed = doomed.filter(revoked_at=None)
    ids = list(doomed.values_list("pk", flat=True))
    if ids:
        now = timezone.now()
        revoke_tokens(APIToken.objects.filter(pk__in=ids), by=by, now=now)
        APIToken.objects.filter(pk__in=ids).update(expires_at=now)


@transaction.atomic
def end_strays(*, by: Actor = CONTROLLER) -> None:
    """End the clients of servers that have no token, or do not exist any more."""
    called = Concat("user__name", Value("/"), "name")
    servers = Server.objects.filter(token__isnull=False).order_by()
    known = servers.values_list(called)
    # Listed once, rather than looked through for each client: with ten thousand
    # servers that would take ten seconds, and nobody could write meanwhile.
    end_clients(
        OAuthClient.objects.filter(service=None).exclude(server__in=known), by=by
    )
