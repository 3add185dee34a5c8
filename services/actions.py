"""Adding services to a running hub, and taking them away."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote, urlsplit

from django.db import IntegrityError, transaction
from django.views.decorators.debug import sensitive_variables

from accounts.models import NAME_LENGTH, Role
from audit.actions import record
from audit.models import Actor
from database.locks import lock_tree
from scopes.access import Access, Identity, expand
from scopes.definitions import DEFAULT_ROLES, INHERIT, SELF
from scopes.grammar import RawScope, check_scopes
from scopes.refusals import Conflict, Forbidden, Invalid, NotFound
from services.models import Service
from web.hooks import Hook

# Called with a new service, its API token or "", and the actor.
post_create = Hook[[Service, str, Actor], object]()

# Called with a service that is being deleted and the actor, before the row is deleted.
pre_delete = Hook[[Service, Actor], object]()

# The number of services of a hub, and the size of one service's `info` in characters of
# JSON, are limited because one response contains all services.
MOST_SERVICES = 1_000
MAX_TOLD = 16_384


def check_service_name(name: str) -> None:
    """Refuse a name that can't be part of a path."""
    if (
        not name.strip(".")
        or len(name) > NAME_LENGTH
        or "/" in name
        or unquote(name) != name
        or name != name.strip()
    ):
        raise Invalid(
            f"Invalid service name: {name!r}. Use up to {NAME_LENGTH} characters, not "
            "only dots, without a slash, percent escapes or blanks at the ends."
        )


def refuse_taken(name: str) -> None:
    """Raise `Conflict` if there is a service of this name; without a lock."""
    if Service.objects.filter(name=name).exists():
        raise Conflict(f"Service {name} already exists")


@sensitive_variables("api_token")
def create_service(
    name: str, *, by: Actor, access: Access, api_token: str = "", **fields: Any
) -> Service:
    """Create a service while the hub runs.

    A service can't get more rights than its creator has, given by `access`. A hub does
    not start programs on request, so a service with a command belongs in the
    configuration.
    """
    check_service_name(name)
    if fields.get("command"):
        raise Invalid(f"Can not create managed service {name} at runtime")
    url = fields.get("url")
    if url and urlsplit(url).scheme not in ("http", "https"):
        raise Invalid("service.url must be an http or https address")
    for key in ("info", "environment"):
        if len(json.dumps(fields.get(key))) > MAX_TOLD:
            raise Invalid(
                f"service.{key} is longer than {MAX_TOLD} characters as JSON: put less"
                " into it"
            )
    client_id = fields.get("oauth_client_id")
    if client_id is not None and not client_id.startswith("service-"):
        raise Invalid("service.oauth_client_id must start with service-")
    if fields.get("oauth_redirect_uri") == "":
        raise Invalid("service.oauth_redirect_uri must be an address")
    refuse_taken(name)
    if Service.objects.count() >= MOST_SERVICES:
        raise Conflict(
            f"This hub has {MOST_SERVICES} services, as many as there may be: delete"
            " one that is not needed"
        )
    _refuse_excess(name, fields, access, by)
    return _store_service(name, by, api_token, fields)


@transaction.atomic
@sensitive_variables("api_token")
def _store_service(
    name: str, by: Actor, api_token: str, fields: dict[str, Any]
) -> Service:
    try:
        with transaction.atomic():
            service = Service.objects.create(name=name, **fields)
    except IntegrityError:
        # Another request created the service after the check.
        raise Conflict(f"Service {name} already exists") from None
    if service.admin:
        service.roles.add(Role.objects.get(name="admin"))
    record(
        by,
        "service.create",
        "service",
        name,
        admin=service.admin,
        url=service.url,
    )
    post_create(service, api_token, by)
    return service


@transaction.atomic
def delete_service(service: Service, *, by: Actor) -> None:
    """Delete a service that was added at run time, and its tokens with it."""
    if service.from_config:
        raise Forbidden(f"Service {service.name} is not modifiable at runtime")
    lock_tree(Service.objects.filter(pk=service.pk))
    record(by, "service.delete", "service", service.name)
    pre_delete(service, by)
    _, deleted = service.delete()
    if not deleted.get(Service._meta.label):
        raise NotFound(f"No such service: {service.name}")


def _refuse_excess(
    name: str, fields: dict[str, Any], access: Access, by: Actor
) -> None:
    """Refuse rights for a new service that its creator lacks."""
    wanted = list(fields.get("oauth_client_allowed_scopes") or ())
    check_scopes(wanted)
    if fields.get("admin"):
        wanted += DEFAULT_ROLES["admin"]["scopes"]
    itself = Identity("service", name)
    excess = sorted(access.lacking(expand(wanted, itself)))
    if excess:
        raise Invalid(
            "Not assigning requested scopes "
            f"{','.join(excess[:100])}{' …' if len(excess) > 100 else ''} not held by "
            f"{by.kind.capitalize()} {by.name}"
        )
    # Such a service would get tokens of every user who only follows a link to it.
    unasked = fields.get("oauth_no_confirm") and any(map(_means_visitor, wanted))
    if unasked and not access.allows("tokens"):
        raise Invalid(
            "A service that acts in the name of its visitors asks for their consent;"
            " only who holds `tokens` for everybody adds one with oauth_no_confirm"
        )


def _means_visitor(raw: str) -> bool:
    """Return whether a scope refers to the user who signs in to a service."""
    scope = RawScope.parse(raw)
    return raw in (INHERIT, SELF) or (scope.kind == "user" and scope.value is None)
