"""The export to a database on which JupyterHub 6.1 starts.

JupyterHub can't verify Argon2id and accepts no token of more than 64 characters, so
tokens that this hub made are left out. Tokens that came from JupyterHub are exported
with their digest as long as they were not used here, and otherwise with the digest in
the old database. This hub keeps no digest weaker than Argon2id for an export.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import sqlalchemy
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from sqlalchemy.exc import DBAPIError

from accounts.models import AuthState, Group, Role, User
from audit.actions import record
from audit.models import Actor
from moving.clients import HUB_CLIENT
from moving.jupyterhub_database import DRIVERS, LATEST, OldDatabase, parse_address, text
from moving.models import ImportedRow
from moving.offer import file_of, source_of
from moving.report import Report
from oauth.clients import server_client_id
from oauth.models import OAuthClient
from scopes.former import divide, with_filter
from scopes.refusals import Conflict, Invalid
from servers.models import Server, Share, ShareCode, server_path
from services.models import Service
from tokens import imported
from tokens.models import APIToken

BY: Final = Actor.system("export")
CHUNK: Final = 1_000
# Not stored anywhere: JupyterHub generates the secrets of services it declares.
NO_SECRET: Final = ""

Rows = list[dict[str, Any]]


def export_database(address: str, old: OldDatabase | None = None) -> Report:
    """Write all that JupyterHub can use into a new file or an empty database.

    `old` is the database that was imported, for digests of tokens that were used since.
    """
    path = file_of(address)
    if path is not None:
        # Only its owner may read it, from the beginning; links are not followed.
        try:
            path.touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            raise Conflict(f"{path} exists already: name a new file.") from None
        address = f"sqlite:///{path}"
    url = parse_address(address)
    name = url.get_backend_name()
    if name in DRIVERS:
        url = url.set(drivername=DRIVERS[name])
    engine = sqlalchemy.create_engine(url)
    try:
        # All reads see one moment.
        with transaction.atomic(), engine.begin() as connection:
            report = Export(connection, old).run()
    except DBAPIError as problem:
        _discard(path)
        raise Invalid(
            f"{source_of(address)} can't be written: {problem.orig}"
        ) from None
    except BaseException:
        _discard(path)
        raise
    finally:
        engine.dispose()
    with transaction.atomic():
        record(
            BY,
            "export.finish",
            "database",
            source_of(address)[:511],
            counts=report.counts(),
        )
    return report


def _discard(path: Path | None) -> None:
    if path is not None:
        path.unlink(missing_ok=True)


class Export:
    """One export into an open, empty database."""

    def __init__(
        self, connection: sqlalchemy.Connection, old: OldDatabase | None
    ) -> None:
        # JupyterHub's own definition of its tables, and its scopes.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        from jupyterhub import orm
        from jupyterhub.scopes import scope_definitions

        self.connection = connection
        self.metadata = orm.Base.metadata
        self.scopes = set(scope_definitions)
        self.old = old
        self.report = Report()
        self.now = timezone.now()
        # Tokens that go, by id, with their digest and its beginning.
        self.digests: dict[int, tuple[str, str]] = {}
        self.clients: set[str] = set()

    def run(self) -> Report:
        present = sqlalchemy.inspect(self.connection).get_table_names()
        if present:
            raise Conflict("The database has tables already: name an empty one.")
        self.metadata.create_all(self.connection)
        self.connection.exec_driver_sql(
            "CREATE TABLE alembic_version"
            " (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
        )
        self.connection.execute(
            sqlalchemy.text("INSERT INTO alembic_version VALUES (:revision)"),
            {"revision": LATEST},
        )
        self.find_digests()
        for step in (
            self.roles,
            self.groups,
            self.users,
            self.clients_of_services,
            self.services,
            self.memberships,
            self.servers,
            self.tokens,
            self.shares,
            self.codes,
            self.set_sequences,
        ):
            step()
        return self.report

    def add(self, table: str, rows: Iterator[dict[str, Any]] | Rows) -> int:
        """Insert rows, some at a time; return their number."""
        number = 0
        batch: Rows = []
        for row in rows:
            batch.append(row)
            if len(batch) == CHUNK:
                self.connection.execute(self.metadata.tables[table].insert(), batch)
                number, batch = number + len(batch), []
        if batch:
            self.connection.execute(self.metadata.tables[table].insert(), batch)
        return number + len(batch)

    # Principals

    def known(self, scopes: list[str], holder: str) -> list[str]:
        """Return the scopes that JupyterHub has, too."""
        kept, unknown = divide(scopes, self.scopes)
        for scope in unknown:
            reason = "unknown to JupyterHub"
            self.report.leave("scopes", reason, f"{holder}: {scope}")
        return kept

    def roles(self) -> None:
        rows = [
            {
                "id": role.pk,
                "name": role.name,
                "description": role.description,
                "scopes": self.known(role.scopes, f"role {role.name}"),
                "managed_by_auth": role.managed_by_auth,
            }
            for role in Role.objects.order_by("pk")
        ]
        self.report.came["roles"] += self.add("roles", rows)

    def groups(self) -> None:
        rows = (
            {"id": group.pk, "name": group.name, "properties": group.properties}
            for group in Group.objects.order_by("pk").iterator(CHUNK)
        )
        self.report.came["groups"] += self.add("groups", rows)

    def users(self) -> None:
        states = dict(AuthState.objects.values_list("user_id", "encrypted"))

        def rows() -> Iterator[dict[str, Any]]:
            for user in User.objects.order_by("pk").iterator(CHUNK):
                if not user.is_active:
                    self.report.leave(
                        "roles and groups",
                        "of deactivated people, whom JupyterHub lets in unless they "
                        "are in c.Authenticator.blocked_users",
                        user.name,
                    )
                state = states.get(user.pk)
                yield {
                    "id": user.pk,
                    "name": user.name,
                    "admin": user.admin if user.is_active else False,
                    "created": naive(user.created),
                    "last_activity": naive(user.last_activity),
                    "cookie_id": secrets.token_hex(16),
                    "user_info": user.user_info or {},
                    "encrypted_auth_state": None if state is None else bytes(state),
                }

        self.report.came["users"] += self.add("users", rows())
        self.report.came["auth states"] += len(states)
        with_password = User.objects.exclude(
            Q(password="") | Q(password__startswith=UNUSABLE_PASSWORD_PREFIX)
        )
        if number := with_password.count():
            self.report.remarks.append(
                f"{number} people have a password here, which JupyterHub's "
                "authenticators don't use"
            )

    def memberships(self) -> None:
        active = Q(user__is_active=True)
        for table, model, one, other, who in (
            ("user_group_map", User.groups.through, "user_id", "group_id", active),
            ("user_role_map", User.roles.through, "user_id", "role_id", active),
            ("group_role_map", Group.roles.through, "group_id", "role_id", Q()),
            ("service_role_map", Service.roles.through, "service_id", "role_id", Q()),
        ):
            through: Any = model
            has_origin = any(
                field.name == "managed_by_auth" for field in through._meta.fields
            )
            columns = [one, other, *(["managed_by_auth"] if has_origin else [])]
            found = through.objects.filter(who).order_by("pk").values(*columns)
            extra = {} if has_origin or table == "user_group_map" else MANAGED
            kind = (
                "memberships" if table == "user_group_map" else "assignments of roles"
            )
            self.report.came[kind] += self.add(
                table, ({**row, **extra} for row in found.iterator(CHUNK))
            )

    # Services and servers

    def clients_of_services(self) -> None:
        """Write the clients of services; `services` and tokens point to them."""
        rows = [self.client_row(OAuthClient(identifier=HUB_CLIENT))]
        found = OAuthClient.objects.filter(service__isnull=False).order_by("pk")
        for client in found.select_related("service"):
            rows.append(self.client_row(client))
            has_secret = client.secret_id in self.digests
            if not has_secret and client.service and not client.service.from_config:
                self.report.leave(
                    "secrets of OAuth clients",
                    "which JupyterHub can't verify: add the service again",
                    client.service.name,
                )
        self.report.came["OAuth clients"] += self.add("oauth_clients", rows) - 1

    def client_row(self, client: OAuthClient) -> dict[str, Any]:
        self.clients.add(client.identifier)
        digest, _ = self.digests.get(client.secret_id or 0, (NO_SECRET, ""))
        return {
            "identifier": client.identifier,
            "description": client.description,
            "secret": digest,
            "redirect_uri": client.redirect_uri,
            "allowed_scopes": self.known(client.allowed_scopes, client.identifier),
        }

    def services(self) -> None:
        def rows() -> Iterator[dict[str, Any]]:
            for service in Service.objects.order_by("pk"):
                identifier = service.oauth_client_id
                yield {
                    "id": service.pk,
                    "name": service.name,
                    "admin": service.admin,
                    "url": service.url,
                    "oauth_client_allowed_scopes": service.oauth_client_allowed_scopes,
                    "info": service.info,
                    "display": service.display,
                    "oauth_no_confirm": service.oauth_no_confirm,
                    "command": service.command,
                    "cwd": service.cwd,
                    "environment": service.environment,
                    "user": service.user,
                    "timeout": service.timeout,
                    "from_config": service.from_config,
                    "oauth_client_id": identifier
                    if identifier in self.clients
                    else None,
                }

        self.report.came["services"] += self.add("services", rows())

    def servers(self) -> None:
        """Write servers, and clients of those that run."""
        found = list(Server.objects.select_related("user").order_by("pk"))
        running = {server.pk: server for server in found if server.ready and server.url}
        addresses: dict[int, dict[str, Any]] = {}
        for server in running.values():
            parts = urlsplit(server.url)
            addresses[server.pk] = {
                "id": len(addresses) + 1,
                "proto": parts.scheme,
                "ip": parts.hostname or "",
                "port": parts.port or (443 if parts.scheme == "https" else 80),
                "base_url": server_path(server.user.name, server.name),
                "cookie_name": f"jupyterhub-user-{server.pk}",
            }
        self.add("servers", list(addresses.values()))
        clients = OAuthClient.objects.filter(service=None).order_by("pk")
        names = {str(server): server for server in running.values()}
        self.report.came["OAuth clients"] += self.add(
            "oauth_clients",
            [self.client_row(client) for client in clients if client.server in names],
        )
        for server in running.values():
            if server.token_id not in self.digests:
                self.report.leave(
                    "tokens of running servers",
                    "made by this hub: JupyterHub adopts these servers, and their "
                    "owners have to stop and start them once",
                    str(server),
                )
        rows: Rows = []
        for server in found:
            identifier = server_client_id(server.user.name, server.name)
            address = addresses.get(server.pk)
            rows.append(
                {
                    "id": server.pk,
                    "user_id": server.user_id,
                    "server_id": None if address is None else address["id"],
                    "state": server.state or {},
                    "name": server.name,
                    "display_name": server.display_name or None,
                    "started": naive(server.started),
                    "last_activity": naive(server.last_activity),
                    "user_options": server.user_options or {},
                    "oauth_client_id": identifier
                    if identifier in self.clients
                    else None,
                }
            )
        self.report.came["servers"] += self.add("spawners", rows)
        self.report.came["running servers"] += len(running)

    # Secrets

    def find_digests(self) -> None:
        """Find the digests of tokens that JupyterHub can verify."""
        unused = APIToken.objects.exclude(imported_prefix="")
        for pk, hashed, prefix in unused.values_list("pk", "digest", "imported_prefix"):
            self.digests[pk] = (hashed, prefix)
        if self.old is None:
            return
        here = dict(
            ImportedRow.objects.filter(kind="token").values_list("key", "target")
        )
        for table in ("api_tokens", "oauth_access_tokens"):
            for rows in self.old.chunks(table):
                for row in rows:
                    hashed = text(row["hashed"])
                    target = here.get(imported.source_of(hashed))
                    if target is not None:
                        self.digests.setdefault(target, (hashed, text(row["prefix"])))
        # A rotated token has another secret now.
        rotated = APIToken.objects.filter(rotated_at__isnull=False)
        for pk in rotated.values_list("pk", flat=True):
            self.digests.pop(pk, None)

    def tokens(self) -> None:
        usable = APIToken.objects.usable(self.now).filter(frozen_at=None)
        usable = usable.exclude(user__is_active=False)

        def rows() -> Iterator[dict[str, Any]]:
            for token in usable.order_by("pk").iterator(CHUNK):
                row = self.token_row(token)
                if row is not None:
                    yield row

        self.report.came["tokens"] += self.add("api_tokens", rows())

    def token_row(self, token: APIToken) -> dict[str, Any] | None:
        label = f"{token} ({token.note[:40]})" if token.note else str(token)
        found = self.digests.get(token.pk)
        client_id = token.client_id or HUB_CLIENT
        if token.networks is not None or token.rate_limit is not None:
            self.report.leave(
                "tokens", "limited to networks or a rate, unlike in JupyterHub", label
            )
        elif found is None and token.origin == APIToken.Origin.IMPORTED:
            self.report.leave(
                "tokens",
                "used here since, and renewed: those of the configuration are read "
                "from it again; for others name the old database (--old)",
                label,
            )
        elif found is None:
            self.report.leave(
                "tokens", "made by this hub: JupyterHub can't verify them", label
            )
        elif client_id not in self.clients:
            self.report.leave("tokens", "of servers and clients that ended", label)
        else:
            hashed, prefix = found
            return {
                "id": token.pk,
                "user_id": token.user_id,
                "service_id": token.service_id,
                "hashed": hashed,
                "prefix": prefix,
                "client_id": client_id,
                "session_id": token.session_id,
                "created": naive(token.created),
                "expires_at": naive(token.expires_at),
                "last_activity": naive(token.last_activity),
                "note": token.note,
                "scopes": self.known(token.scopes, str(token)),
            }
        return None

    def shares(self) -> None:
        found = Share.objects.select_related("server__user").order_by("pk")
        rows = (
            {
                "id": share.pk,
                "owner_id": share.server.user_id,
                "spawner_id": share.server_id,
                "user_id": share.user_id,
                "group_id": share.group_id,
                "scopes": with_filter(share.scopes, "server", str(share.server)),
                "created_at": naive(share.created_at),
            }
            for share in found.iterator(CHUNK)
        )
        self.report.came["shares"] += self.add("shares", rows)

    def codes(self) -> None:
        found = ShareCode.objects.active(self.now).select_related("server__user")
        unused = found.exclude(imported_prefix="").order_by("pk")
        rows = (
            {
                "id": code.pk,
                "owner_id": code.server.user_id,
                "spawner_id": code.server_id,
                "hashed": code.digest,
                "prefix": code.imported_prefix,
                "scopes": with_filter(code.scopes, "server", str(code.server)),
                "created_at": naive(code.created_at),
                "expires_at": naive(code.expires_at),
                "exchange_count": code.exchange_count,
                "last_exchanged_at": naive(code.last_exchanged_at),
            }
            for code in unused
        )
        self.report.came["share codes"] += self.add("share_codes", rows)
        for code in found.filter(imported_prefix=""):
            self.report.leave("share codes", "which JupyterHub can't verify", str(code))

    def set_sequences(self) -> None:
        """Let PostgreSQL count on from the ids that were written."""
        if self.connection.dialect.name != "postgresql":
            return
        for name, table in self.metadata.tables.items():
            if "id" in table.c:
                self.connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), "  # noqa: S608
                    f"(SELECT COALESCE(max(id), 1) FROM {name}))"
                )


MANAGED: Final = {"managed_by_auth": False}


def naive(moment: datetime | None) -> datetime | None:
    """Return a time as JupyterHub stores it: UTC, without a zone."""
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)
