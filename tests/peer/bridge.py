"""Runs beside the hub: reads and changes its rows on request.

One JSON object on each line of standard input, one on each line of standard output:
the response to `{"call": name, "args": [...]}` is `{"value": ...}` or `{"error": kind,
"message": text}`. An object of the hub is `{"$": [kind, id]}`. Changes use the hub's
own actions if there is one, so that only valid states are made.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubsite.settings")

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.db import transaction  # noqa: E402
from django.db.models import F  # noqa: E402
from django.utils import timezone  # noqa: E402

from accounts import actions as accounts  # noqa: E402
from accounts import group_actions  # noqa: E402
from accounts.models import Group, Role, User  # noqa: E402
from audit.models import Actor  # noqa: E402
from oauth.grants import required_scopes  # noqa: E402
from oauth.models import OAuthClient  # noqa: E402
from scopes.access import Access, Identity, Target, expand  # noqa: E402
from scopes.grammar import check_scopes  # noqa: E402
from scopes.refusals import Invalid, Refusal  # noqa: E402
from servers.actions import know_default_server, stop_servers  # noqa: E402
from servers.models import Server, Share, ShareCode  # noqa: E402
from services.models import Service  # noqa: E402
from sharing import actions as sharing  # noqa: E402
from tokens.actions import importing, issuing, values  # noqa: E402
from tokens.models import APIToken  # noqa: E402

BY = Actor.system("peer")

MODELS = {
    "User": User,
    "Group": Group,
    "Role": Role,
    "Service": Service,
    "APIToken": APIToken,
    "OAuthClient": OAuthClient,
    "Spawner": Server,
    "Share": Share,
    "ShareCode": ShareCode,
}
KINDS = {model: kind for kind, model in MODELS.items()}


def pack(value):
    if type(value) in KINDS:
        return {"$": [KINDS[type(value)], value.pk]}
    if isinstance(value, datetime):
        return {"time": value.isoformat()}
    if isinstance(value, dict):
        return {"dict": [[key, pack(each)] for key, each in value.items()]}
    if isinstance(value, list | tuple | set | frozenset):
        return [pack(each) for each in value]
    return value


def unpack(value):
    if isinstance(value, dict):
        if "$" in value:
            kind, pk = value["$"]
            return MODELS[kind].objects.get(pk=pk)
        if "time" in value:
            moment = datetime.fromisoformat(value["time"])
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            return moment
        return {key: unpack(each) for key, each in value["dict"]}
    if isinstance(value, list):
        return [unpack(each) for each in value]
    return value


def almighty() -> Access:
    admin = Role.objects.get(name="admin")
    return Access.of(expand(admin.scopes, Identity("user", "admin")))


# What can be asked


def prepare():
    """Do to the rows what a start of the hub does."""
    from hubsite.process import prepare

    prepare.prepare()


def reconcile():
    """Store what the configuration declares, and let other roles be as they are."""
    from hubsite.config.reconcile import reconcile

    with transaction.atomic():
        roles = save_roles()
        reconcile(settings.HUB)
        restore_roles(roles)


def rows(kind):
    """All rows of a kind that still count, oldest first."""
    found = MODELS[kind].objects.order_by("pk")
    if kind == "APIToken":
        found = found.active(timezone.now())
    if kind == "ShareCode":
        found = found.active(timezone.now())
    return list(found)


def exists(kind, pk):
    return MODELS[kind].objects.filter(pk=pk).exists()


def find(kind, name):
    key = {"OAuthClient": "identifier"}.get(kind, "name")
    return MODELS[kind].objects.filter(**{key: name}).first()


def check_role(spec):
    """Refuse what a configuration could not say of a role."""
    from hubsite.config.roles import roles

    try:
        roles([spec])
    except ValueError as error:
        return str(error)
    check_scopes(spec.get("scopes") or [])
    return ""


def find_token(secret):
    from tokens import digests, keys
    from tokens import format as token_format

    if token_format.is_ours(secret):
        public_id = token_format.public_id(secret)
    else:
        public_id = token_format.lookup_key(secret, keys.lookup_hash_key())
    found = APIToken.objects.active(timezone.now()).filter(public_id=public_id).first()
    if found is None or not digests.matches(secret, found.digest):
        return None
    return found


def create(kind, fields):
    if kind == "User":
        fields = dict(fields)
        user = accounts.create_user(fields.pop("name"), admin=False, by=BY)
        user = User.objects.get(pk=user.pk)
        user.roles.clear()
        if fields.pop("admin", False):
            accounts.update_user(user, admin=True, by=BY)
            user.roles.remove(Role.objects.get(name="user"))
        for key, value in fields.items():
            write(user, key, value)
        return User.objects.get(pk=user.pk)
    if kind == "Group":
        return group_actions.create_groups([fields["name"]], by=BY)[0]
    if kind == "Role":
        return Role.objects.create(
            name=fields["name"],
            description=fields.get("description") or "",
            scopes=fields.get("scopes") or [],
        )
    if kind == "Service":
        return Service.objects.create(
            name=fields["name"], admin=fields.get("admin", False)
        )
    raise KeyError(f"can't create {kind}")


ATTRIBUTES = {
    "Share": {"spawner": "server"},
    "ShareCode": {"spawner": "server"},
}


def read(obj, name):
    if isinstance(obj, User):
        if name in ("roles", "groups", "shared_with_me"):
            return list(getattr(obj, name).order_by("pk"))
        if name == "api_tokens":
            return list(obj.api_tokens.active(timezone.now()).order_by("pk"))
        if name == "spawners":
            return list(obj.servers.order_by("pk"))
        if name == "shares":
            return list(Share.objects.filter(server__user=obj).order_by("pk"))
        if name == "share_codes":
            return list(ShareCode.objects.filter(server__user=obj).order_by("pk"))
    if isinstance(obj, Group):
        if name == "users":
            return list(obj.users.order_by("pk"))
        if name == "roles":
            return list(obj.roles.order_by("pk"))
        if name == "shared_with_me":
            return list(obj.shared_with_us.order_by("pk"))
    if isinstance(obj, Role) and name in ("users", "services", "groups"):
        return list(getattr(obj, name).order_by("pk"))
    if isinstance(obj, Service):
        if name == "roles":
            return list(obj.roles.order_by("pk"))
        if name == "api_tokens":
            return list(obj.api_tokens.active(timezone.now()).order_by("pk"))
        if name == "oauth_client":
            return OAuthClient.objects.filter(service=obj).first()
    if isinstance(obj, OAuthClient) and name == "allowed_scopes":
        # JupyterHub stores what every grant has; this hub adds it to each.
        always = (each for each in required_scopes(obj) if each[:7] == "access:")
        return [*obj.allowed_scopes, *always]
    if isinstance(obj, APIToken):
        if name == "api_id":
            return str(obj)
        if name == "expires_in":
            if obj.expires_at is None:
                return None
            return int((obj.expires_at - timezone.now()).total_seconds())
    if isinstance(obj, Server):
        if name == "shares":
            return list(obj.shares.order_by("pk"))
        if name == "share_codes":
            return list(obj.share_codes.order_by("pk"))
        if name == "is_pending":
            return obj.pending or ("spawn" if obj.generation != obj.settled else None)
        if name == "is_active":
            return bool(obj.is_active or obj.generation != obj.settled)
        if name == "path":
            return obj.path
    if isinstance(obj, Share | ShareCode):
        if name == "scopes":
            return sorted(obj.raw_scopes())
        if name == "owner":
            return obj.server.user
        if name == "spawner":
            return obj.server
    return getattr(obj, name)


def _set_admin(user, admin):
    """Make or unmake an administrator, and leave the role `user` as it was."""
    had_user = user.roles.filter(name="user").exists()
    accounts.update_user(user, admin=admin, by=BY)
    if not had_user:
        user.roles.remove(Role.objects.get(name="user"))


@transaction.atomic
def write(obj, name, value):
    if isinstance(obj, User) and name == "admin":
        if bool(value) != obj.admin:
            _set_admin(obj, bool(value))
        return
    if isinstance(obj, User | Group | Service | Role) and name in (
        *("roles", "groups", "users", "services"),
    ):
        current = list(getattr(obj, name).all())
        for each in current:
            if each not in value:
                leave(obj, name, each)
        for each in value:
            if each not in current:
                join(obj, name, each)
        return
    if isinstance(obj, Service) and name == "admin":
        Service.objects.filter(pk=obj.pk).update(admin=value)
        return
    if isinstance(obj, Share) and name == "created_at":
        Share.objects.filter(pk=obj.pk).update(created_at=value)
        return
    setattr(obj, name, value)
    obj.save(update_fields=[name])


def _pair(obj, name, other):
    """Which user, if any, gets or loses a role by this."""
    if isinstance(other, Role) and isinstance(obj, User):
        return obj, other
    if isinstance(obj, Role) and isinstance(other, User):
        return other, obj
    return None


def join(obj, name, other):
    pair = _pair(obj, name, other)
    if pair and pair[1].name == "admin":
        _set_admin(pair[0], True)
        return
    getattr(obj, name).add(other)


def leave(obj, name, other):
    pair = _pair(obj, name, other)
    if pair and pair[1].name == "admin":
        _set_admin(pair[0], False)
        return
    getattr(obj, name).remove(other)


def delete(obj):
    if isinstance(obj, User):
        accounts.delete_user(obj, by=BY)
    elif isinstance(obj, Share):
        sharing.revoke_share(obj, by=BY)
    else:
        obj.delete()


def new_token(owner, options):
    options = dict(options)
    options["note"] = options.get("note") or ""
    _, secret = issuing.issue_token(owner, by=BY, **options)
    return secret


def adopt_token(owner, secret, client_id):
    """Store a secret that others brought, as one that an OAuth client obtained."""
    token = importing.import_token(owner, secret, by=BY)
    if client_id:
        token.client_id = client_id
        token.save(update_fields=["client_id"])
    return token


def check_token_scopes(token, scopes):
    return values.check_token_scopes(token.owner, scopes)


def scopes_of(obj):
    """What somebody may do by the hub's own reckoning."""
    if isinstance(obj, APIToken):
        obj = APIToken.objects.get(pk=obj.pk)
    return sorted(obj.access.scopes)


def expand_scopes(scopes, kind, name):
    check_scopes(scopes)
    return sorted(Access.of(expand(scopes, Identity(kind, name))).scopes)


DEFAULT_ROLES = ("admin", "user", "server", "token")


def save_roles():
    """Tell of the roles that a start takes away, as no configuration names them."""
    return [
        {
            "id": role.pk,
            "name": role.name,
            "description": role.description,
            "scopes": role.scopes,
            "members": [
                list(getattr(role, kind).values_list("pk", flat=True))
                for kind in ("users", "groups", "services")
            ],
        }
        for role in Role.objects.exclude(name__in=DEFAULT_ROLES)
    ]


def restore_roles(saved):
    for each in saved:
        members = each.pop("members")
        if Role.objects.filter(name=each["name"]).exists():
            continue
        role = Role.objects.create(**each)
        # A start removes services that the configuration no longer names.
        for kind, pks in zip(("users", "groups", "services"), members, strict=True):
            relation = getattr(role, kind)
            relation.set(relation.model.objects.filter(pk__in=pks))


def has_scope(scope, have):
    """Tell whether scopes reach what another one names."""
    access = Access.of(expand(have, Identity("user", "")))
    name, _, rest = scope.partition("!")
    kind, _, value = rest.partition("=")
    if not kind:
        return access.allows(name)
    model = {"user": User, "group": Group}.get(kind)
    if model is not None:
        found = model.objects.filter(name=value).first()
        return access.allows(name, obj=found or Target(**{kind: value}))
    owner = User.objects.filter(name=value.partition("/")[0]).first()
    groups = [each.name for each in owner.groups.all()] if owner else []
    return access.allows(
        name, obj=Target(user=owner and owner.name, server=value, group=groups)
    )


def add_spawner(user, name, display_name):
    if not name:
        know_default_server(user)
        return Server.objects.get(user=user, name="")
    found, _ = Server.objects.get_or_create(
        user=user,
        name=name,
        defaults={"display_name": display_name or "", "user_options": {}},
    )
    return found


def find_spawner(user, name):
    return Server.objects.filter(user=user, name=name).first()


def counts():
    found = {"pending": 0, "active": 0, "ready": 0}
    for server in Server.objects.all():
        if server.pending or server.generation != server.settled:
            found["pending"] += 1
        if server.is_active or server.generation != server.settled:
            found["active"] += 1
        if server.ready:
            found["ready"] += 1
    return found


def grant(spawner, recipient, scopes):
    return sharing.grant_share(
        spawner, recipient, scopes=scopes or None, by=BY, access=almighty()
    )


def revoke(spawner, recipient, scopes):
    share = find_share(spawner, recipient)
    if share is None:
        return None
    return sharing.revoke_share(share, scopes=scopes, by=BY)


def find_share(spawner, recipient):
    kind = "user" if isinstance(recipient, User) else "group"
    return Share.objects.filter(server=spawner, **{kind: recipient}).first()


def new_share_code(spawner, scopes):
    return sharing.issue_share_code(
        spawner, scopes=scopes or None, by=BY, access=almighty()
    )


def find_share_code(code):
    return sharing.find_share_code(code, timezone.now())


def accept_share_code(code, user):
    if not ShareCode.objects.active(timezone.now()).filter(pk=code.pk).exists():
        raise Invalid("This code has expired.")
    return sharing.accept_share_code(code, user, by=BY)


def shift_share_codes(seconds):
    """Let share codes be older by some seconds: the nearest to a later hour."""
    ShareCode.objects.update(expires_at=F("expires_at") - timedelta(seconds=seconds))


def activity(user, moment):
    User.objects.filter(pk=user.pk).update(last_activity=moment)


def proxy():
    """Tell where the proxy is and what it asks for, as the hub knows it now."""
    from django.conf import settings

    from controller.proxy.announced_proxy import announced_proxy

    return announced_proxy() or (settings.HUB.proxy_api_url, settings.PROXY_AUTH_TOKEN)


def stop_all():
    return stop_servers(Server.objects.all(), by=BY)


def clean(keep):
    """Have nothing left but these users."""
    for user in User.objects.exclude(name__in=keep):
        accounts.delete_user(user, by=BY)
    Share.objects.all().delete()
    ShareCode.objects.all().delete()
    Server.objects.all().delete()
    Group.objects.all().delete()
    APIToken.objects.filter(user__isnull=False).delete()
    Role.objects.exclude(name__in=DEFAULT_ROLES).delete()
    Service.objects.filter(from_config=False).delete()


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            value = globals()[asked["call"]](*unpack(asked["args"]))
            told = {"value": pack(value)}
        except Refusal as refusal:
            told = {"error": type(refusal).__name__, "message": refusal.message}
        except Exception as error:
            told = {"error": type(error).__name__, "message": str(error)}
        out.write(json.dumps(told) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
