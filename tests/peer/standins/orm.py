"""Stand-in for JupyterHub's module `orm`."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from contextlib import contextmanager
from subprocess import TimeoutExpired
from types import SimpleNamespace
from urllib.parse import quote

import psutil
from jupyterhub.utils import utcnow

from tests.peer.hub import BridgeError
from tests.peer.standins.rows import Named, Row, not_portable, wrap
from tests.peer.standins.servers import Server as Server
from tests.peer.standins.servers import Spawner as Spawner
from tests.peer.standins.servers import Spawners, api, server_path


class TokenOwner:
    def new_api_token(
        self, token=None, *, note="", scopes=None, roles=None, expires_in=None, **other
    ):
        if token is not None or other:
            not_portable(f"new_api_token({token=}, {sorted(other)})")
        if roles is not None:
            scopes = set()
            for name in roles:
                role = wrap(self._hub, self._hub.ask("find", "Role", name))
                if role is None:
                    raise ValueError(f"No such role: {name}")
                scopes.update(role.scopes)
        options = {"note": note, "expires_in": expires_in}
        if scopes is not None:
            options["scopes"] = sorted(scopes)
        try:
            return self._hub.ask("new_token", self, options)
        except BridgeError as error:
            if error.kind in ("Invalid", "Forbidden"):
                raise ValueError(str(error)) from error
            raise


class User(TokenOwner, Named, Row):
    kind = "User"
    fields = frozenset(("id", "name", "admin", "created", "last_activity"))
    collections = frozenset(
        ("roles", "groups", "api_tokens", "shared_with_me", "shares", "share_codes")
    )

    def flush(self, hub):
        """Store a new user, unless the start of a hub of the test's own has."""
        known = None if hub.keeps_roles else hub.ask("find", "User", self.name)
        if self._id is None and known is not None:
            self._stored(hub, known[1])
        super().flush(hub)

    @property
    def orm_user(self):
        return self

    @property
    def cookie_id(self):
        return uuid.uuid4().hex

    # Addresses

    @property
    def escaped_name(self):
        return quote(self.name, safe="@~")

    @property
    def base_url(self):
        return f"{self._hub.base_url}user/{self.escaped_name}/"

    url = prefix = proxy_spec = base_url

    def server_url(self, name=""):
        return self.base_url + (f"{quote(name, safe='@~')}/" if name else "")

    def public_url(self, name=""):
        return ""

    # Servers

    @property
    def allow_named_servers(self):
        return bool(self._hub.config.get("JupyterHub.allow_named_servers"))

    def get_or_create_spawner(self, name="", display_name=None):
        return wrap(self._hub, self._hub.ask("add_spawner", self, name, display_name))

    _new_orm_spawner = get_or_create_spawner

    def get_spawner(self, name=""):
        return self.get_or_create_spawner(name)

    @property
    def spawner(self):
        return self.get_or_create_spawner("")

    @property
    def spawners(self):
        return Spawners(self, active=True)

    @property
    def orm_spawners(self):
        return Spawners(self, active=False)

    @property
    def active(self):
        return any(each.active for each in Spawners(self, active=False).values())

    @property
    def running(self):
        return self.spawner.ready

    async def spawn(self, server_name="", **options):
        if options:
            not_portable("User.spawn with options")
        await api(self._hub, "POST", server_path(self, server_name))
        spawner = self.get_spawner(server_name)
        for _ in range(900):
            if spawner.ready:
                return
            if not spawner.active:
                raise RuntimeError(spawner.failure)
            await asyncio.sleep(0.1)
        raise TimeoutError

    async def stop(self, server_name=""):
        spawner = self.get_spawner(server_name)
        if not spawner.active:
            return
        await api(self._hub, "DELETE", server_path(self, server_name))
        for _ in range(900):
            if not spawner.active:
                return
            await asyncio.sleep(0.1)
        raise TimeoutError


class Group(Named, Row):
    kind = "Group"
    fields = frozenset(("id", "name", "properties", "created"))
    collections = frozenset(("users", "roles", "shared_with_me"))


class Role(Named, Row):
    kind = "Role"
    fields = frozenset(("id", "name", "description", "scopes"))
    collections = frozenset(("users", "services", "groups"))


class Service(TokenOwner, Named, Row):
    kind = "Service"
    fields = frozenset(
        (
            *("id", "name", "admin", "url", "command", "info", "pid"),
            *("oauth_client_id", "oauth_no_confirm", "oauth_client"),
        )
    )
    collections = frozenset(("roles", "api_tokens"))
    own = frozenset(("_proc", "spec"))

    @property
    def orm(self):
        return self

    @property
    def api_token(self):
        return self.spec["api_token"]

    @property
    def display(self):
        return self.spec.get("display", True)

    @display.setter
    def display(self, value):
        self.spec["display"] = value

    @property
    def prefix(self):
        return f"{self._hub.base_url}services/{quote(self.name, safe='@~')}/"

    href = prefix

    @property
    def server(self):
        return SimpleNamespace(base_url=self.prefix)

    @property
    def managed(self):
        return bool(self.command)

    @property
    def oauth_available(self):
        return self.oauth_client is not None

    @property
    def proc(self):
        pid = self.pid
        known = self.__dict__.get("_proc")
        if known is None or pid not in (0, known.pid):
            self._proc = Process(pid)
        return self._proc


class Process:
    """A process of the hub's, as `Popen` shows one."""

    def __init__(self, pid):
        self.pid = pid

    def poll(self):
        try:
            gone = psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            gone = True
        return 0 if gone else None

    def terminate(self):
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, timeout=None):
        end = time.monotonic() + (timeout or 60)
        while self.poll() is None:
            if time.monotonic() > end:
                raise TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.05)
        return 0


class OAuthClient(Row):
    kind = "OAuthClient"
    fields = frozenset(("id", "identifier", "redirect_uri", "allowed_scopes"))

    def flush(self, hub):
        """Keep it here: no hub has a client that is neither service nor server."""


class APIToken(Row):
    kind = "APIToken"
    fields = frozenset(
        (
            *("id", "api_id", "scopes", "user", "service", "expires_in", "note"),
            *("client_id", "session_id", "expires_at", "created", "oauth_client"),
            *("user_id", "service_id"),
        )
    )

    @classmethod
    def find(cls, db, token, **_):
        return wrap(db.hub, db.hub.ask("find_token", token))

    def update_scopes(self, scopes):
        try:
            checked = self._hub.ask("check_token_scopes", self, sorted(scopes))
        except BridgeError as error:
            raise ValueError(str(error)) from error
        self.scopes = checked

    def flush(self, hub):
        """Store it once its owner is known."""
        object.__setattr__(self, "_hub", hub)
        values = self._values
        if self._id is not None or not values.get("user"):
            return
        client = values.get("oauth_client")
        secret = values.get("token") or uuid.uuid4().hex
        ref = hub.ask(
            "adopt_token", values["user"], secret, client.identifier if client else ""
        )
        self._stored(hub, ref[1])

    def __setattr__(self, name, value):
        if self._id is not None and name == "oauth_client":
            super().__setattr__("client_id", value.identifier)
            return
        super().__setattr__(name, value)
        if self._id is None and self._hub is not None:
            self.flush(self._hub)


class Share(Row):
    kind = "Share"
    fields = frozenset(("id", "scopes", "owner", "spawner", "user", "group"))
    fields |= {"created_at"}

    @staticmethod
    def now():
        from jupyterhub import orm

        return orm.Share.now()

    @classmethod
    def grant(cls, db, spawner, share_with, scopes=None):
        return cls._ask(db, "grant", spawner, share_with, scopes)

    @classmethod
    def revoke(cls, db, spawner, share_with, scopes=None):
        return cls._ask(db, "revoke", spawner, share_with, scopes)

    @classmethod
    def _ask(cls, db, call, spawner, share_with, scopes):
        if not isinstance(share_with, User | Group):
            raise TypeError(share_with)
        if scopes is not None and not scopes:
            raise ValueError("no scopes")
        return wrap(db.hub, db.hub.ask(call, spawner, share_with, scopes))

    @classmethod
    def find(cls, db, spawner, share_with):
        return wrap(db.hub, db.hub.ask("find_share", spawner, share_with))


class ShareCode(Row):
    kind = "ShareCode"
    default_expires_in = 86400
    fields = frozenset(
        (
            *("id", "scopes", "owner", "spawner", "created_at", "expires_at"),
            *("exchange_count", "last_exchanged_at"),
        )
    )

    @staticmethod
    def now():
        from jupyterhub import orm

        return orm.ShareCode.now()

    @classmethod
    def new(cls, db, spawner, *, scopes, **_):
        row, code = wrap(db.hub, db.hub.ask("new_share_code", spawner, scopes))
        return row, code

    def flush(self, hub):
        if self._id is None:
            ref, _ = hub.ask(
                "new_share_code", self._values["spawner"], self._values["scopes"]
            )
            self._stored(hub, ref[1])

    @classmethod
    def find(cls, db, code=None):
        with at_that_time(db.hub):
            return wrap(db.hub, db.hub.ask("find_share_code", code))

    @classmethod
    def purge_expired(cls, db):
        """Left to the hub, which finds none that have expired."""

    def exchange(self, user):
        with at_that_time(self._hub):
            return wrap(self._hub, self._hub.ask("accept_share_code", self, user))


@contextmanager
def at_that_time(hub):
    """Let share codes be as old as they are at the time that a test has set."""
    from jupyterhub import orm as their_orm

    ahead = (their_orm.ShareCode.now() - utcnow(with_tz=False)).total_seconds()
    if ahead < 5:
        yield
        return
    hub.ask("shift_share_codes", ahead)
    try:
        yield
    finally:
        hub.ask("shift_share_codes", -ahead)


def get_class(name):
    return {
        "users": User,
        "services": Service,
        "groups": Group,
        "tokens": APIToken,
    }[name]
