"""Services of a JupyterHub database."""

from __future__ import annotations

from typing import Any

from accounts.models import NAME_LENGTH, Role
from moving.importing import Import, Owner
from moving.jupyterhub_database import Row, loaded, text
from moving.memory import recall, remember
from moving.people import (
    DELETED,
    ODD_NAME,
    assign_service_roles,
    is_storable,
    pairs_of_services,
)
from oauth.models import OAuthClient
from services.models import Service


def import_services(work: Import) -> None:
    """Import services with their roles; those of the configuration stay its own."""
    assigned = pairs_of_services(work)
    rows = list(work.old.rows("services"))
    with work.batch():
        names = {row["id"]: text(row["name"]) for row in rows}
        before = recall("service", names.values())
        here = dict(Service.objects.values_list("name", "pk"))
        alive = set(here.values())
        redirects = {
            row["identifier"]: row["redirect_uri"]
            for row in work.old.rows("oauth_clients")
        }
        admin = Role.objects.get(name="admin")
        held = []
        for row in rows:
            name = names[row["id"]]
            if name in before and before[name] not in alive:
                work.report.leave("services", DELETED, name)
                continue
            if name in here:
                owner = Owner(here[name], name, is_new=name not in before)
                work.report.kept["services"] += 1
            elif not is_storable(name):
                work.report.leave("services", ODD_NAME, name[:NAME_LENGTH])
                continue
            else:
                service = Service.objects.create(
                    name=name, **_service_fields(work, row, redirects)
                )
                owner = Owner(service.pk, name, is_new=True)
                work.report.came["services"] += 1
            work.services[row["id"]] = owner
            roles = [
                work.roles[each]
                for each in assigned.get(row["id"], ())
                if each in work.roles
            ]
            if work.old.is_before_roles and row["admin"]:
                roles.append((admin.pk, False))
                if owner.is_new:
                    Service.objects.filter(pk=owner.pk).update(admin=True)
            held += [((owner.pk, owner.is_new), role) for role in roles]
        remember(
            "service",
            {
                owner.name: owner.pk
                for owner in work.services.values()
                if owner.name not in before
            },
        )
        through: Any = Service.roles.through
        assign_service_roles(through, held)


def _service_fields(
    work: Import, row: Row, redirects: dict[str, str]
) -> dict[str, Any]:
    from_config = True
    if work.old.has_column("services", "from_config"):
        from_config = bool(row["from_config"])
    display, timeout = row["display"], row["timeout"]
    identifier = row["oauth_client_id"]
    return {
        "url": _optional(row["url"], 2047),
        "command": loaded(row["command"]),
        "cwd": _optional(row["cwd"], 4095),
        "environment": loaded(row["environment"]),
        "user": _optional(row["user"], NAME_LENGTH),
        "info": loaded(row["info"]),
        "display": None if display is None else bool(display),
        "timeout": timeout if isinstance(timeout, int) and timeout > 0 else 30,
        "from_config": from_config,
        "oauth_client_id": _optional(identifier, NAME_LENGTH),
        "oauth_redirect_uri": _optional(redirects.get(identifier), 1023),
        "oauth_no_confirm": bool(row["oauth_no_confirm"]),
        "oauth_client_allowed_scopes": loaded(row["oauth_client_allowed_scopes"]),
    }


def _optional(value: Any, most: int) -> str | None:
    return None if value is None else text(value, most)


def link_services(work: Import, tokens: dict[int, int]) -> None:
    """Give the client of each service its newest token as its secret."""
    with work.batch():
        for service, token in tokens.items():
            OAuthClient.objects.filter(service=service, secret=None).update(
                secret=token
            )
