"""Actions on OAuth clients, on codes, and on the tokens issued for codes."""

from __future__ import annotations

import hmac
import re
import secrets
import string
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from accounts.models import User
from audit.actions import record
from audit.models import Actor
from database.batches import ROWS, in_batches
from database.locks import delete_all, keep
from oauth.clients import server_client_id
from oauth.grants import spell_out_roles
from oauth.models import REDIRECT_URI_LENGTH, OAuthClient, OAuthCode
from scopes.grammar import check_scopes
from scopes.refusals import Conflict, Invalid, NotFound
from services.models import Service
from tokens import keys
from tokens.actions.importing import import_token
from tokens.actions.issuing import issue_token
from tokens.actions.revocation import revoke_tokens
from tokens.actions.values import MAX_NOTE_LENGTH
from tokens.models import APIToken, CreatedVia
from tokens.verification import proves
from web.hosts import service_origin, service_path

PREFIX: Final = "service-"
CODE_SECONDS: Final = 300
CODE_LENGTH: Final = 30
ALPHABET: Final = string.ascii_letters + string.digits
# Note of the token that a service gets from the request that creates it.
GIVEN: Final = "given when the service was created"


# Clients


@sensitive_variables("api_token")
def create_client(service: Service, api_token: str, by: Actor) -> None:
    """Import the API token of a new service, and create the client that its fields
    describe.
    """
    tokens = {}
    if api_token:
        tokens[service.name] = import_token(
            service, api_token, note=GIVEN, via=CreatedVia.API, by=by
        )
    update_clients([service], tokens, by=by)


def delete_client(service: Service, by: Actor) -> None:
    """Delete the client of a service that is being deleted, and the client's tokens."""
    end_clients(OAuthClient.objects.filter(service=service), by=by)


@transaction.atomic
def update_clients(
    services: Iterable[Service], tokens: Mapping[str, APIToken], *, by: Actor
) -> None:
    """Update the clients of these services to what their fields describe now.

    `tokens` are, by the names of services, the tokens whose secrets are those of the
    clients; a client without one keeps its token.
    """
    services = list(services)
    wanted = {
        service.pk: fields
        for service in services
        if (fields := _client_fields(service)) is not None
    }
    clients = {
        client.service_id: client
        for client in OAuthClient.objects.filter(service__in=services)
    }
    # Deletions come first, because an identifier may belong to another service now.
    gone = [
        client.pk
        for pk, client in clients.items()
        if pk not in wanted or wanted[pk]["identifier"] != client.identifier
    ]
    if gone:
        end_clients(OAuthClient.objects.filter(pk__in=gone), by=by)
    for service in services:
        if service.pk not in wanted:
            continue
        client = clients.get(service.pk)
        if client is None or client.pk in gone:
            client = OAuthClient(service=service)
        _store(client, wanted[service.pk], tokens.get(service.name))


@transaction.atomic
def register_server_client(
    owner: str,
    name: str,
    *,
    token: APIToken,
    redirect_uri: str,
    description: str,
    allowed_scopes: Iterable[str],
    by: Actor,
) -> OAuthClient:
    """Create or overwrite the client of a server that starts; `token` is the server's
    own.
    """
    server = f"{owner}/{name}"
    check_redirect_uri(redirect_uri)
    allowed = spell_out_roles(allowed_scopes)
    check_scopes(allowed, holder=f"server {server}", limited=False)
    identifier = server_client_id(owner, name)
    end_clients(
        OAuthClient.objects.filter(server=server).exclude(identifier=identifier), by=by
    )
    client, _ = OAuthClient.objects.update_or_create(
        identifier=identifier,
        defaults={
            "server": server,
            "description": description,
            "redirect_uri": redirect_uri,
            "allowed_scopes": allowed,
            "secret": token,
        },
    )
    return client


@transaction.atomic
def end_clients(clients: Any, *, by: Actor) -> None:
    """Delete a queryset of clients; their tokens are revoked."""
    identifiers = list(clients.values_list("identifier", flat=True))
    if identifiers:
        tokens = APIToken.objects.filter(client_id__in=identifiers)
        revoke_tokens(tokens, by=by)
        delete_all(OAuthClient.objects.filter(identifier__in=identifiers))


def delete_clients(clients: Any, *, by: Actor) -> int:
    """Delete a queryset of clients at a person's request; return the number.

    The deletion is done in batches. Clients of services in the configuration are
    created again at the next start.
    """

    def act(names: list[str]) -> int:
        target = names[0] if len(names) == 1 else ""
        record(by, "client.end", "client", target, names=names)
        end_clients(OAuthClient.objects.filter(identifier__in=names), by=by)
        return len(names)

    names = clients.order_by("id").values_list("identifier", flat=True)
    return sum(in_batches(list(names), act))


@transaction.atomic
def revoke_abandoned(*, by: Actor) -> int:
    """Revoke tokens of deleted clients, because nobody could see their client."""
    known = OAuthClient.objects.filter(identifier=OuterRef("client_id"))
    abandoned = APIToken.objects.filter(~Exists(known), revoked_at=None)
    return revoke_tokens(abandoned.exclude(client_id=""), by=by)


def check_redirect_uri(uri: str) -> None:
    """Refuse an address to which no code may be sent.

    A path is on the hub's own host; `//host` is no path, although it looks like one.
    """
    parts = urlsplit(uri)
    is_path = bool(re.match(r"/(?![/\\])", uri))
    is_address = bool(parts.scheme and (parts.netloc or parts.path))
    if (
        not (is_path or is_address)
        or parts.fragment
        or len(uri) > REDIRECT_URI_LENGTH
        or not re.fullmatch(r"[!-~]+", uri)
        or parts.scheme in ("javascript", "data")
    ):
        raise Invalid(f"Not an address that visitors can be sent back to: {uri!r}")


def _client_fields(service: Service) -> dict[str, Any] | None:
    """Return the fields of the client that a service describes, or None."""
    redirect_uri = service.oauth_redirect_uri
    if not (
        service.url
        or service.oauth_client_id
        or redirect_uri
        or service.oauth_no_confirm
    ):
        return None
    name = service.name
    identifier = service.oauth_client_id or f"{PREFIX}{name}"
    if not identifier.startswith(PREFIX) or "\0" in identifier:
        raise Invalid(f"oauth_client_id of service {name} must begin with {PREFIX}")
    if not redirect_uri:
        if not service.url:
            raise Invalid(
                f"Service {name} has no url, so it needs an oauth_redirect_uri"
            )
        redirect_uri = f"{service_origin(name)}{service_path(name)}oauth_callback"
    check_redirect_uri(redirect_uri)
    allowed = spell_out_roles(service.oauth_client_allowed_scopes or ())
    check_scopes(allowed, holder=f"service {name}", limited=False)
    return {
        "identifier": identifier,
        "description": f"JupyterHub service {name}",
        "redirect_uri": redirect_uri,
        "allowed_scopes": allowed,
    }


def _store(client: OAuthClient, fields: dict[str, Any], token: APIToken | None) -> None:
    """Save a client if it differs from the stored one."""
    identifier = fields["identifier"]
    if client.pk is None and OAuthClient.objects.filter(identifier=identifier).exists():
        raise Invalid(f"oauth_client_id {identifier} belongs to another service")
    # A secret of the configuration that has ended does not replace one that works.
    if token is not None and not (token.is_ended and has_secret(client)):
        fields = fields | {"secret_id": token.pk}
    changed = [key for key, value in fields.items() if getattr(client, key) != value]
    for key in changed:
        setattr(client, key, fields[key])
    if client.pk is None:
        client.save()
    elif changed:
        client.save(update_fields=changed)


def has_secret(client: OAuthClient) -> bool:
    """Tell whether a client has a secret that has not ended; it may be disabled."""
    return client.secret is not None and not client.secret.is_ended


@transaction.atomic
@sensitive_variables("secret")
def renew_secret(client: OAuthClient, *, by: Actor) -> tuple[APIToken, str]:
    """Issue a token for the service of a client without a secret; return both.

    The secret of the token is that of the client, as with every service. A server gets
    a secret at its next start.
    """
    if client.service is None:
        raise Conflict("A server gets a new secret when it is started again.")
    if has_secret(client):
        raise Conflict(f"The client has a secret: rotate token {client.secret}.")
    # The token has a foreign key to the service.
    keep(Service, client.service.pk)
    token, secret = issue_token(
        client.service,
        by=by,
        note=f"Secret of {client.identifier}"[:MAX_NOTE_LENGTH],
        via=CreatedVia.ADMIN,
    )
    unchanged = OAuthClient.objects.filter(pk=client.pk, secret=client.secret)
    if not unchanged.update(secret=token):
        raise Conflict("The client got a secret in the meantime.")
    record(by, "client.renew", "client", client.identifier, on=str(token))
    return token, secret


@sensitive_variables("presented")
def matches(client: OAuthClient, presented: str, address: str | None = None) -> bool:
    """Check a client's secret, sent from an address; wrong secrets cost no Argon2 hash.

    Raises `WrongNetwork` if the right secret may not be used from there.
    """
    return client.secret is not None and proves(presented, client.secret, address)


# Codes


@transaction.atomic
@sensitive_variables("code")
def issue_code(
    client: OAuthClient,
    user: User,
    *,
    redirect_uri: str,
    scopes: Iterable[str],
    by: Actor,
    session_id: str = "",
    code_challenge: str = "",
    code_challenge_method: str = "",
    now: datetime | None = None,
) -> str:
    """Store a code for one token, and return the code.

    The code exists in the return value and nowhere else. Opening another user's server
    is recorded, and the owner can see the event.
    """
    now = now or timezone.now()
    # The code has foreign keys to both, and would check the client's first.
    keep(User, user.pk)
    if client.server and not client.is_own_server_of(user):
        record(by, "server.open", "server", client.server)
    code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
    OAuthCode.objects.create(
        handle=_handle(code),
        client=client,
        user=user,
        redirect_uri=redirect_uri,
        scopes=list(scopes),
        session_id=session_id,
        code_challenge=code_challenge,
        code_challenge_method=code_challenge_method,
        expires_at=now + timedelta(seconds=CODE_SECONDS),
    )
    return code


@transaction.atomic
def sweep_codes(now: datetime) -> int:
    """Delete a batch of expired codes; return the number."""
    expired = OAuthCode.objects.expired(now).order_by("pk")
    first = list(expired.values_list("pk", flat=True)[:ROWS])
    return delete_all(OAuthCode.objects.filter(pk__in=first)) if first else 0


def find_code(code: str, client: OAuthClient, now: datetime) -> OAuthCode | None:
    """Return the row of a client's code, if it is still valid."""
    found = OAuthCode.objects.active(now).filter(
        handle=_handle(code), client=client, user__is_active=True
    )
    return found.select_related("user", "client").first()


@transaction.atomic
@sensitive_variables("secret")
def redeem_code(promise: OAuthCode, *, by: Actor) -> tuple[APIToken, str]:
    """Exchange a code for its token, once; return the token with its secret."""
    # The token has a foreign key to the user.
    keep(User, promise.user_id)
    deleted, _ = OAuthCode.objects.filter(pk=promise.pk).delete()
    if not deleted:
        # Another request redeemed the code after the check.
        raise NotFound("This code was used already.")
    return issue_token(
        promise.user,
        by=by,
        scopes=promise.scopes,
        expires_in=settings.HUB.oauth_token_expires_in or None,
        session_id=promise.session_id or None,
        client_id=promise.client.identifier,
        via=CreatedVia.OAUTH,
        capped=False,
    )


def _handle(code: str) -> str:
    return hmac.digest(keys.derived("code"), code.encode(), "sha256").hex()
