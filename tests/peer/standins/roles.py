"""Stand-in for JupyterHub's module `roles`."""

from __future__ import annotations

from jupyterhub.roles import get_default_roles as get_default_roles

from tests.peer.hub import BridgeError
from tests.peer.standins.orm import Role, Service, User
from tests.peer.standins.rows import not_portable


def _name(role):
    return role if isinstance(role, str) else role.name


def _role(db, role):
    found = Role.find(db, _name(role))
    if found is None:
        raise KeyError(f"No such role: {_name(role)}")
    return found


def create_role(db, spec, **_):
    if "managed_by_auth" in spec:
        not_portable("roles that an authenticator manages, which this hub has not")
    if "name" not in spec:
        raise KeyError("name")
    spec = {key: value for key, value in spec.items() if value is not None}
    try:
        refused = db.hub.ask("check_role", spec)
    except BridgeError as error:
        raise KeyError(str(error)) from error
    if refused:
        raise ValueError(refused)
    known = Role.find(db, spec["name"])
    if known is not None:
        for key in ("description", "scopes"):
            if key in spec:
                setattr(known, key, spec[key])
        return known
    kept = ("name", "description", "scopes")
    role = Role(**{key: spec[key] for key in kept if key in spec})
    role.flush(db.hub)
    return role


def validate_role_name(name, db):
    refused = db.hub.ask("check_role", {"name": name})
    if refused:
        raise ValueError(refused)
    return True


def delete_role(db, name):
    if name in ("admin", "user", "server", "token"):
        raise ValueError(name)
    db.delete(_role(db, name))


def grant_role(db, entity, role=None, rolename=None, managed=False, commit=True):
    if managed:
        not_portable("roles that an authenticator manages, which this hub has not")
    role = _role(db, role or rolename)
    if role not in entity.roles:
        entity.roles.append(role)


def strip_role(db, entity, role=None, rolename=None, commit=True):
    role = _role(db, role or rolename)
    if role in entity.roles:
        entity.roles.remove(role)


def update_roles(db, entity, roles):
    for name in roles:
        grant_role(db, entity, name)


def assign_default_roles(db, entity):
    if isinstance(entity, User):
        if entity.admin:
            grant_role(db, entity, "admin")
        grant_role(db, entity, "user")


def roles_to_scopes(roles):
    return {scope for role in roles for scope in role.scopes}


def roles_to_expanded_scopes(roles, owner=None):
    if not roles:
        return set()
    hub = roles[0]._hub
    kind = "service" if isinstance(owner, Service) else "user"
    # JupyterHub leaves this one for who reads tokens.
    kept = roles_to_scopes(roles) & {"inherit"}
    return kept | set(
        hub.ask(
            "expand_scopes",
            sorted(roles_to_scopes(roles)),
            kind,
            owner.name if owner else "",
        )
    )
