"""Preparation of a start: tables, declared rows, and a first administrator."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.tokens import default_token_generator
from django.core.management import call_command
from django.db import OperationalError, connection, connections
from django.db.migrations.exceptions import MigrationSchemaMissing
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Q
from django.urls import NoReverseMatch, reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from accounts.actions import create_user
from accounts.imported_passwords import firstuse_passwords, import_passwords
from accounts.models import User
from accounts.naming import is_valid_name
from accounts.password_files import find_password_file
from accounts.sign_up_actions import mails_links
from accounts.system_accounts import missing_groups
from audit.models import Actor
from controller.spawners.classes import BUILT_IN
from database.locks import Advisory, hold
from hubsite.config.addresses import EVERYWHERE
from hubsite.config.authenticators import PAM_LINEAGE, missing_module
from hubsite.config.environment import unknown_variables
from hubsite.config.file import PACKAGES, ConfigError
from hubsite.config.hub_config import HubConfig
from hubsite.config.reconcile import reconcile
from moving.offer import offered, source_of
from scopes.refusals import Refusal
from web.cache import look_for_cache

# The folder of PAM's rules for a service on Linux.
PAM_FOLDERS = (Path("/etc/pam.d"), Path("/usr/lib/pam.d"))
# The user for whom the first start makes a link, unless the file names administrators.
FIRST_ADMINISTRATOR = "admin"
# The file with the passwords of the system's accounts.
SHADOW = Path("/etc/shadow")


def prepare() -> dict[str, Any]:
    """Prepare the database for the configuration; return facts for the start.

    Keys: `remarks`, texts for an operator, and `welcome`, the path of the one-time link
    for the first administrator, or "".
    """
    migrate()
    moved = move_in(settings.HUB)
    remarks = [
        *(
            f"{name}: is not a variable of this hub; is it misspelt?"
            for name in unknown_variables()
        ),
        *settings.HUB.remarks,
        *who_starts_servers(settings.HUB.spawner_class, os.geteuid()),
        *password_remarks(settings.HUB.hosted_class, SHADOW, pam_service(settings.HUB)),
        *what_is_missing(settings.HUB),
        *look_for_cache(),
        *moved,
        *reconcile(settings.HUB),
        *import_firstuse(settings.HUB),
        *what_sign_up_lacks(settings.HUB),
        *what_administration_lacks(settings.HUB),
    ]
    return {"remarks": remarks, "welcome": welcome_path()}


def import_firstuse(hub: HubConfig) -> list[str]:
    """Import the passwords of FirstUseAuthenticator, if the configuration says so.

    A file that is gone was imported and deleted, or nobody has used it.
    """
    if not hub.firstuse_passwords or hub.authenticator_class != "local":
        return []
    path = Path(hub.firstuse_passwords).absolute()
    try:
        if (file := find_password_file(path)) is None:
            return []
        passwords = list(firstuse_passwords(path))
        report = import_passwords(passwords, by=Actor.system("config"))
        if hub.delete_firstuse_passwords and not report.odd:
            for each in file.paths:
                each.unlink()
    except (OSError, Refusal) as problem:
        raise ConfigError(f"FirstUse's passwords: {problem}") from None
    remarks = []
    if report.stored:
        remarks.append(f"{path}: imported {report.stored} passwords")
    if report.odd:
        shown = ", ".join(map(repr, report.odd[:5]))
        remarks.append(
            f"{path}: {len(report.odd)} entries are no names or digests that this hub "
            f"can use, {shown} among them; the file stays"
        )
    return remarks


def what_administration_lacks(hub: HubConfig) -> list[str]:
    """Warn if nobody administers the hub, and no link can be made for anybody."""
    if (
        hub.authenticator_class != "local"
        or is_valid_name(FIRST_ADMINISTRATOR)
        or User.objects.filter(roles__name="admin", is_active=True).exists()
    ):
        return []
    return [
        "c.Authenticator.admin_users: nobody administers this hub, and "
        f"{FIRST_ADMINISTRATOR!r} does not match c.Authenticator.username_pattern; "
        "name an administrator"
    ]


def what_sign_up_lacks(hub: HubConfig) -> list[str]:
    """Warn if people are to confirm their mail address, and can't."""
    if hub.signup == "off" or not hub.signup_self_approval or mails_links():
        return []
    lacking = "HUB_PUBLIC_URL" if settings.EMAIL_HOST else "HUB_EMAIL_HOST"
    if hub.signup_mail_server:
        lacking = "HUB_PUBLIC_URL"
    return [
        "signup_self_approval (allow_self_approval_for): no link can be mailed, so an "
        f"operator decides about each sign-up; set {lacking}"
    ]


def move_in(hub: HubConfig) -> list[str]:
    """Import the database of the old hub if that is wished, or offer it.

    Rows come before those of the configuration, which has the last word as in
    JupyterHub.
    """
    folder = settings.SITE.config.parent if settings.SITE.config else None
    db_url = hub.raw.get("JupyterHub", {}).get("db_url", "")
    address = offered(db_url if isinstance(db_url, str) else "", folder)
    if not address:
        return []
    name = source_of(address)
    if not settings.SITE.import_jupyterhub:
        return [
            f"{name} is the database of a JupyterHub and was not imported: "
            f"`manage.py import_jupyterhub {name}` brings its people, tokens and "
            "servers here, and HUB_IMPORT_JUPYTERHUB=yes does that at the next start"
        ]

    def run() -> None:
        # Its library takes memory that this process would keep.
        from hubsite.process.moving_console import import_from

        import_from(address)

    in_child(run, f"{name} could not be imported, see above")
    return []


def who_starts_servers(spawner_class: str, user_id: int) -> list[str]:
    """Warn before people sign in if hardly any server can start."""
    if user_id == 0 or spawner_class != BUILT_IN["default"]:
        return []
    return [
        "JupyterHub.spawner_class: LocalProcessSpawner starts servers as the system's "
        "accounts of their owners, which takes root, and this hub does not run as root;"
        ' `c.JupyterHub.spawner_class = "simple"` starts them all as its own account'
    ]


def pam_service(hub: HubConfig) -> str:
    """Return the PAM service of JupyterHub's class, as the configuration names it."""
    sections = (hub.raw.get(name, {}) for name in PAM_LINEAGE)
    return next((str(s["service"]) for s in sections if "service" in s), "login")


def password_remarks(
    hosted_class: str, shadow: Path, service: str = "login"
) -> list[str]:
    """Warn before people sign in if the system's passwords can't be checked.

    A site's own PAM service may check passwords elsewhere, in a directory for instance.
    """
    is_readable = os.access(shadow, os.R_OK) or not shadow.exists()
    if (hosted_class, service) != ("pam", "login") or is_readable:
        return []
    return [
        "JupyterHub.authenticator_class: this hub's account can't read the system's "
        "passwords, so PAM accepts its own alone; run the hub as root, or see "
        "docs/how-to/sign-in.md"
    ]


def what_is_missing(hub: HubConfig) -> Iterator[str]:
    """Yield what the configuration needs and the machine lacks."""
    if hub.hosted_class == "pam":
        service = pam_service(hub)
        if not any((folder / service).exists() for folder in PAM_FOLDERS):
            yield (
                f"c.PAMAuthenticator.service: there is no {service!r} in "
                "/etc/pam.d, so the rules of its `other` decide, which mostly refuse "
                "everybody"
            )
        for trait in ("allowed_groups", "admin_groups"):
            for section in PAM_LINEAGE:
                groups = hub.raw.get(section, {}).get(trait, ())
                if isinstance(groups, set | list | tuple | frozenset) and (
                    missing := missing_groups(groups)
                ):
                    yield (
                        f"c.{section}.{trait}: the system has no group "
                        f"{', '.join(missing)}"
                    )
    named = hub.raw.get("JupyterHub", {}).get("authenticator_class")
    if hub.is_hosted and named and (module := missing_module(named)):
        # JupyterHub would not start; the hub does, for tokens and running servers.
        yield (
            f"c.JupyterHub.authenticator_class: {hub.hosted_class!r} is not installed, "
            "so nobody can sign in; install its package "
            f"{PACKAGES.get(module, module)!r} where the hub is installed"
        )
    if settings.LOGO_FILE is not None and not settings.LOGO_FILE.is_file():
        yield (
            f"c.JupyterHub.logo_file: there is no file {settings.LOGO_FILE}, so the "
            "hub's own mark is shown"
        )
    host = urlsplit(hub.hub_connect_url).hostname or ""
    if hub.hub_ip in EVERYWHERE and not is_known(host):
        yield (
            f"c.JupyterHub.hub_ip: this machine finds no address of {host}, where "
            "servers are told to find the hub; set c.JupyterHub.hub_connect_ip"
        )


def is_known(host: str) -> bool:
    """Return whether this machine can resolve a name or address."""
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False
    return True


def migrate() -> None:
    """Migrate the tables, if they are not up to date."""
    if is_current():
        return
    # Imported migrations stay in memory, and this process runs on.
    in_child(_migrate, "The database could not be migrated, see above")


def in_child(work: Callable[[], None], failure: str) -> None:
    """Do what takes much memory in a child process, which ends then."""
    # The child must not share the connection.
    connections.close_all()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        try:
            work()
            sys.stdout.flush()
        except (OperationalError, MigrationSchemaMissing) as error:
            reason = str(error).partition("\n")[0]
            print(f"ERROR: The database can't be used: {reason}", file=sys.stderr)
            os._exit(1)
        except Refusal as refusal:
            print(f"ERROR: {refusal.for_people}", file=sys.stderr)
            os._exit(1)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise ConfigError(failure)


def is_current() -> bool:
    """Return whether the tables are those of this version of the hub.

    Django's own check imports every migration, which takes longer than all the rest of
    a start; comparing file names in folders with rows in a table is enough.
    """
    applied = set(MigrationRecorder(connection).applied_migrations())
    shipped = set(_shipped_migrations())
    newer = sorted(
        f"{app}.{name}" for app, name in applied - shipped if app in own_apps()
    )
    if newer:
        raise ConfigError(
            f"The database was written by a newer version ({newer[0]}): install that "
            "version, or restore the backup that belongs to this one"
        )
    return shipped <= applied and cache_table_exists()


def _migrate() -> None:
    # The lock ends with the session, so the session lasts until the migration is done.
    connection.settings_dict["CONN_MAX_AGE"] = None
    # Of replicas that start together one migrates, and the others wait.
    hold(Advisory.MIGRATION)
    call_command("migrate", interactive=False, verbosity=0)
    call_command("createcachetable", verbosity=0)


def own_apps() -> set[str]:
    """Return the installed apps whose code is part of this project.

    Migrations of libraries are not checked, because a newer version may leave some that
    this version does not know and does not need.
    """
    return {
        app.label
        for app in apps.get_app_configs()
        if Path(app.path).resolve().parent == settings.BASE_DIR
    }


def cache_table_exists() -> bool:
    """Return whether the table that replaces a cache server exists."""
    cache = settings.CACHES["default"]
    if not cache["BACKEND"].endswith("DatabaseCache"):
        return True
    return cache["LOCATION"] in connection.introspection.table_names()


def _shipped_migrations() -> list[tuple[str, str]]:
    found = []
    for app in apps.get_app_configs():
        folder = Path(app.path) / "migrations"
        if folder.is_dir():
            found += [
                (app.label, entry[:-3])
                for entry in os.listdir(folder)
                if entry.endswith(".py") and entry[0] not in "_~."
            ]
    return found


def welcome_path() -> str:
    """Return the path of a one-time link, as long as no administrator can sign in.

    With the link the operator sets the first administrator's password. After that the
    link is invalid.
    """
    if settings.HUB.authenticator_class != "local":
        return ""
    admins = User.objects.filter(roles__name="admin", is_active=True).order_by("pk")
    unusable = Q(password__startswith=UNUSABLE_PASSWORD_PREFIX)
    if admins.exclude(unusable).exists():
        return ""
    user = admins.first()
    if user is None:
        if not is_valid_name(FIRST_ADMINISTRATOR):
            return ""
        user = User.objects.filter(name=FIRST_ADMINISTRATOR).first() or create_user(
            FIRST_ADMINISTRATOR, admin=True, by=Actor.system("first start")
        )
        if not user.admin:
            return ""
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    try:
        return reverse(
            "accounts:welcome", args=(uid, default_token_generator.make_token(user))
        )
    except NoReverseMatch:
        print("The page for the first administrator is missing.", file=sys.stderr)
        return ""
