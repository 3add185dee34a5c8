"""What the tests take for JupyterHub's objects: stand-ins over the hub under test.

Nothing is kept here. Each attribute that a test reads is read from the hub's rows at
that moment, each that it writes is written at once, so `commit()` has nothing to do.
What a stand-in has not, a test can't use: it ends as not portable, with the name.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import signal
import time
import uuid
from contextlib import contextmanager
from subprocess import TimeoutExpired
from types import SimpleNamespace
from urllib.parse import quote, urlsplit

import psutil
import pytest
import requests
from bs4 import BeautifulSoup
from jupyterhub.roles import get_default_roles
from jupyterhub.utils import utcnow
from tornado.httputil import url_concat

from tests.peer.hub import BridgeError, Hub, Ref


def not_portable(what: str):
    """End the running test as one that asks for JupyterHub's inside."""
    pytest.skip(f"not portable: {what}")


# Queries


class Condition:
    def __init__(self, test):
        self.test = test


class BoundColumn:
    """`orm.User.name` as it stands in a query."""

    def __init__(self, model, name):
        self.model, self.name = model, name

    def __eq__(self, other):
        return Condition(lambda row: getattr(row, self.name) == other)

    def __ne__(self, other):
        return Condition(lambda row: getattr(row, self.name) != other)

    __hash__ = None

    def asc(self):
        return (self.name, False)

    def desc(self):
        return (self.name, True)


class Query:
    def __init__(self, db, model, tests=(), order=None):
        self.db, self.model, self.tests, self.sorting = db, model, tests, order

    def filter(self, *conditions):
        tests = (*self.tests, *(each.test for each in conditions))
        return Query(self.db, self.model, tests, self.sorting)

    def filter_by(self, **values):
        def test(row):
            return all(getattr(row, key) == value for key, value in values.items())

        return Query(self.db, self.model, (*self.tests, test), self.sorting)

    def order_by(self, order):
        return Query(self.db, self.model, self.tests, order)

    def all(self):
        if self.model is Server:
            rows = [
                row.server
                for row in wrap(self.db.hub, self.db.hub.ask("rows", "Spawner"))
                if row.server is not None
            ]
        else:
            rows = wrap(self.db.hub, self.db.hub.ask("rows", self.model.kind))
        rows = [row for row in rows if all(test(row) for test in self.tests)]
        if self.sorting:
            name, down = self.sorting
            rows.sort(key=lambda row: getattr(row, name), reverse=down)
        return rows

    def __iter__(self):
        return iter(self.all())

    def first(self):
        return next(iter(self.all()), None)

    def one(self):
        (row,) = self.all()
        return row

    def one_or_none(self):
        rows = self.all()
        assert len(rows) < 2
        return rows[0] if rows else None

    def count(self):
        return len(self.all())


class Session:
    """The database session."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def query(self, model):
        return Query(self, model)

    def add(self, row):
        row.flush(self.hub)

    def add_all(self, rows):
        for row in rows:
            self.add(row)

    def delete(self, row):
        if row._id is not None and self.hub.ask("exists", row.kind, row._id):
            self.hub.ask("delete", row)

    def commit(self):
        pass

    rollback = flush = close = commit

    def refresh(self, row):
        pass

    expire = refresh

    def execute(self, statement):
        """Take the creation of a table by which locks are looked for."""


# Rows

KINDS: dict[str, type] = {}


def wrap(hub, value):
    """Return the stand-ins for what the bridge told."""
    if isinstance(value, Ref):
        return KINDS[value[0]].of(hub, value[1])
    if isinstance(value, list):
        return [wrap(hub, each) for each in value]
    if isinstance(value, dict):
        return {key: wrap(hub, each) for key, each in value.items()}
    return value


def with_bytes(value):
    """Undo how JSON keeps what was sent as a file."""
    if isinstance(value, dict):
        if value.get("__jupyterhub_bytes__"):
            return base64.b64decode(value["data"])
        return {key: with_bytes(each) for key, each in value.items()}
    return value


class Collection(list):
    """Rows that belong to a row; what is appended and removed here is so there."""

    def __init__(self, owner, name, rows):
        super().__init__(rows)
        self.owner, self.name = owner, name

    def append(self, row):
        row.flush(self.owner._hub)
        self.owner._hub.ask("join", self.owner, self.name, row)
        super().append(row)

    def extend(self, rows):
        for row in rows:
            self.append(row)

    def remove(self, row):
        if row not in self:
            raise ValueError(f"{row} not in {self.name}")
        self.owner._hub.ask("leave", self.owner, self.name, row)
        super().remove(row)


class Kind(type):
    """`orm.User.name` is a column."""

    def __getattr__(cls, name):
        if name in cls.__dict__.get("fields", ()):
            return BoundColumn(cls, name)
        raise AttributeError(name)


class Row(metaclass=Kind):
    kind = ""
    fields: frozenset[str] = frozenset()
    collections: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()

    def __init_subclass__(cls):
        KINDS[cls.kind] = cls

    def __init__(self, **values):
        object.__setattr__(self, "_hub", None)
        object.__setattr__(self, "_id", None)
        object.__setattr__(self, "_values", values)

    @classmethod
    def of(cls, hub, pk):
        known = hub.__dict__.setdefault("identities", {})
        row = known.get((cls.kind, pk))
        if row is None:
            row = cls()
            object.__setattr__(row, "_hub", hub)
            object.__setattr__(row, "_id", pk)
            known[cls.kind, pk] = row
        return row

    @property
    def peer_ref(self):
        if self._id is None:
            not_portable(f"a {self.kind} that is used before it is in the database")
        return (self.kind, self._id)

    def flush(self, hub):
        """Store a new row."""
        if self._id is not None:
            return
        ref = hub.ask("create", self.kind, self._values)
        self._stored(hub, ref[1])

    def _stored(self, hub, pk):
        object.__setattr__(self, "_hub", hub)
        object.__setattr__(self, "_id", pk)
        hub.__dict__.setdefault("identities", {})[self.kind, pk] = self

    def __getattr__(self, name):
        if name in self.collections or name in self.fields:
            if self._id is None:
                return self._values.get(name, [] if name in self.collections else None)
            try:
                value = wrap(self._hub, self._hub.ask("read", self, name))
                if name == "state" and value is None:
                    # No state is null here.
                    value = {}
                if name == "user_options":
                    value = with_bytes(value)
            except BridgeError as error:
                if error.kind == "DoesNotExist":
                    return [] if name in self.collections else self._seen.get(name)
                raise
            if name in self.collections:
                return Collection(self, name, value)
            self._seen[name] = value
            return value
        if name == "_seen":
            object.__setattr__(self, "_seen", {})
            return self._seen
        if name.startswith("__"):
            raise AttributeError(name)
        return not_portable(f"{self.kind}.{name}")

    def __delattr__(self, name):
        """Take back what a test has put into the place of a method."""
        self.__dict__.pop(name, None)

    def __setattr__(self, name, value):
        if name in self.own or isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        elif name not in self.fields and name not in self.collections:
            not_portable(f"{self.kind}.{name} is set")
        elif self._id is None:
            self._values[name] = value
        else:
            if isinstance(value, Row):
                value = value.orm_user if hasattr(type(value), "orm_user") else value
            self._hub.ask("write", self, name, value)

    def __repr__(self):
        return f"<{self.kind} {self._id}>"


class Named:
    @classmethod
    def find(cls, db, name):
        return wrap(db.hub, db.hub.ask("find", cls.kind, name))


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


def server_path(user, name):
    which = f"servers/{quote(name, safe='')}" if name else "server"
    return f"users/{quote(user.name, safe='')}/{which}"


async def api(hub, method, path, **options):
    """Call the hub as an administrator."""

    def call():
        hub.prepare()
        return requests.request(
            method,
            f"{hub.hub_url}api/{path}",
            headers={"Authorization": f"token {hub.admin_token()}"},
            timeout=100,
            **options,
        )

    return await asyncio.to_thread(call)


class Spawners:
    """A user's servers by name: those with a row, or those that are active."""

    def __init__(self, user, *, active):
        self.user, self.active_only = user, active

    def rows(self):
        hub = self.user._hub
        return [
            row
            for row in wrap(hub, hub.ask("read", self.user, "spawners"))
            if row.active or not self.active_only
        ]

    def __getitem__(self, name):
        if not name:
            return self.user.get_or_create_spawner("")
        hub = self.user._hub
        row = wrap(hub, hub.ask("find_spawner", self.user, name))
        if row is None:
            raise KeyError(name)
        return row

    def keys(self):
        names = {row.name for row in self.rows()}
        return names if self.active_only else names | {""}

    def __iter__(self):
        return iter(self.keys())

    def __len__(self):
        return len(self.keys())

    def __contains__(self, name):
        return name in self.keys()

    def values(self):
        return self.rows()

    def items(self):
        return [(row.name, row) for row in self.rows()]

    def pop(self, name):
        """Forget an object; there is none."""


class Spawner(Row):
    kind = "Spawner"
    own = frozenset(("start", "stop"))
    fields = frozenset(
        (
            *("id", "name", "user", "display_name", "user_options", "state"),
            *("last_activity", "started", "ready", "failure", "is_pending"),
            *("is_active", "path", "token"),
        )
    )
    collections = frozenset(("shares", "share_codes"))

    @property
    def orm_spawner(self):
        return self

    @property
    def active(self):
        return bool(self.is_active)

    @property
    def pending(self):
        return self.is_pending

    @property
    def _spawn_pending(self):
        return self.is_pending == "spawn"

    @_spawn_pending.setter
    def _spawn_pending(self, value):
        if not value:
            not_portable("Spawner._spawn_pending is taken away")
        self._control("gate").write_text("closed")

    @property
    def _stop_pending(self):
        return self.is_pending == "stop"

    @property
    def server(self):
        if not self.ready and self.pending != "stop":
            return None
        return Server(self)

    @server.setter
    def server(self, server):
        """Have a server; one that really runs, from the next request on."""
        if server is None:
            not_portable("Spawner.server is taken away")
        self._hub.__dict__.setdefault("to_start", {})[self._id] = self

    @property
    def handler(self):
        return None

    async def poll(self):
        pid = (self.state or {}).get("pid")
        if pid and psutil.pid_exists(pid):
            return None
        return None if self.ready else 0

    @property
    def api_token(self):
        """The secret, as the server's process has it."""
        variables = psutil.Process(self.state["pid"]).environ()
        return variables["JUPYTERHUB_API_TOKEN"]

    @property
    def _spawn_future(self):
        return None if self.pending == "stop" else Start(self)

    @_spawn_future.setter
    def _spawn_future(self, future):
        not_portable("Spawner._spawn_future is set")

    # Each start of a server has a spawner of its own.
    reused = property(lambda self: False, lambda self, value: None)

    def start(self):
        """Be there for tests that put something in its place."""
        not_portable("Spawner.start is called")

    def stop(self):
        not_portable("Spawner.stop is called")

    # What tests change of one spawner object: of all, as there is one that counts.

    def _configure(self, name, value):
        self._hub.__dict__.setdefault("of_spawners", {})[f"Spawner.{name}"] = value

    @property
    def pre_spawn_hook(self):
        return self._hub.config.get("Spawner.pre_spawn_hook")

    @property
    def progress_ready_hook(self):
        not_portable("Spawner.progress_ready_hook is read")

    @progress_ready_hook.setter
    def progress_ready_hook(self, hook):
        self._configure("progress_ready_hook", hook)

    @property
    def cmd(self):
        not_portable("Spawner.cmd is read")

    @cmd.setter
    def cmd(self, command):
        self._configure("cmd", command)

    @property
    def progress(self):
        not_portable("Spawner.progress is read")

    @progress.setter
    def progress(self, progress):
        self._hub.__dict__.setdefault("of_spawners", {})["Peer.progress"] = progress

    # Passed on to where a spawner is made.

    def _control(self, name):
        folder = self._hub.folder / "control" / self.user.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    @property
    def delay(self):
        not_portable("Spawner.delay is read")

    @delay.setter
    def delay(self, seconds):
        self._control("delay").write_text(str(seconds))

    @property
    def _start_future(self):
        return self._hub.__dict__.setdefault("gates", {})[self._id]

    @_start_future.setter
    def _start_future(self, future):
        gate = self._control("gate")
        gate.write_text("closed")
        self._hub.__dict__.setdefault("gates", {})[self._id] = future
        future.add_done_callback(lambda _: gate.unlink(missing_ok=True))


class Start:
    """The start of a server, as the future that JupyterHub keeps of it."""

    def __init__(self, spawner):
        self.spawner = spawner

    def __await__(self):
        while self.spawner.pending == "spawn":
            yield from asyncio.sleep(0.05).__await__()

    def cancelled(self):
        return self.spawner.pending == "stop"


class Server:
    """Where a server is to be found."""

    def __init__(self, spawner=None, orm_server=None):
        self.spawner = spawner
        self.base_url = self.url = spawner.path if spawner else ""

    def flush(self, hub):
        """Exist once a spawner has it."""

    def __eq__(self, other):
        return isinstance(other, Server) and other.base_url == self.base_url

    def __hash__(self):
        return hash(self.base_url)

    async def wait_up(self, http=False):
        for _ in range(900):
            if self.spawner.ready:
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


orm = SimpleNamespace(
    **{cls.__name__: cls for cls in KINDS.values() if cls.kind},
    Server=Server,
    get_class=get_class,
)


# Roles


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


roles = SimpleNamespace(
    get_default_roles=get_default_roles,
    create_role=create_role,
    delete_role=delete_role,
    grant_role=grant_role,
    strip_role=strip_role,
    update_roles=update_roles,
    assign_default_roles=assign_default_roles,
    roles_to_scopes=roles_to_scopes,
    roles_to_expanded_scopes=roles_to_expanded_scopes,
)


def get_scopes_for(entity):
    """What the hub itself reckons that somebody may do."""
    return frozenset(entity._hub.ask("scopes_of", entity))


# Pages

# What pages of this hub say, and the words for it by which tests know JupyterHub's.
WORDS = {
    "The server is stopped at the moment": "is not currently running",
    "is stopped": "is not running",
    "Name or password is wrong": "Invalid user",
    "Please try again": "Try again",
}
PATTERNS = {
    r'You start this server for <span class="break">([^<]*)</span>': (
        r"Spawning server for \1"
    ),
}


def in_their_words(text):
    """Return what JupyterHub's pages would say for what a page of this hub says."""
    found = [
        theirs for ours, theirs in WORDS.items() if ours in text and theirs not in text
    ]
    for pattern, words in PATTERNS.items():
        found += [match.expand(words) for match in re.finditer(pattern, text)]
    return found


class Page(BeautifulSoup):
    """A page of this hub, in which tests find what they know from JupyterHub's.

    Places get the names that they have there, and words of this hub are followed by
    those of JupyterHub that mean the same.
    """

    last_url = ""

    def __init__(self, text, features="html.parser", **options):
        super().__init__(text, features, **options)
        self._name("main", "div", "class", "container")
        self._name("nav", "div", "id", "thenavbar")
        self._name("#thenavbar > ul", "ul", "class", "navbar-nav")
        for link in self.select("#thenavbar a[href$='/hub/admin/']"):
            # Leads to the same page.
            link["href"] = link["href"].rstrip("/")
        for form in self.find_all("form"):
            self._complete(form)
        self._tell_form()
        place = self.select_one(".container")
        if place is not None:
            said = place.get_text()
            for words in in_their_words(said):
                place.append(self.new_string(f" {words} "))

    def _name(self, selector, tag, attribute, value):
        found = self.select_one(selector)
        if found is not None:
            found.name = tag
            found[attribute] = value

    def _complete(self, form):
        """Say where a form leads, as forms of JupyterHub do."""
        if not form.has_attr("action"):
            # As browsers do: back to where the page came from.
            parts = urlsplit(self.last_url)
            form["action"] = parts.path + (f"?{parts.query}" if parts.query else "")
        hidden = form.find("input", attrs={"name": "_xsrf"})
        if hidden is not None and "_xsrf=" not in form["action"]:
            form["action"] = url_concat(form["action"], {"_xsrf": hidden["value"]})

    def _tell_form(self):
        """Put into the page's form what the page says outside of it."""
        form = self.find("form")
        if form is None:
            return
        for problem in self.select(".notice-error"):
            error = self.new_tag("p", attrs={"class": "login_error"})
            said = problem.get_text()
            error.string = " ".join([said, *in_their_words(said)])
            form.append(error)
        listed = self.select_one(".container ul")
        if listed is not None and not form.select("input:not([type=hidden])"):
            form.append(self.new_string(listed.get_text(" ")))


# Metrics


class Metric:
    """A metric of `prometheus_client`, read from the hub's page."""

    def __init__(self, app, name):
        self.app, self.name = app, name

    def collect(self):
        from prometheus_client.parser import text_string_to_metric_families

        self.app.settle()
        text = requests.get(
            f"{self.app.peer.hub_url}metrics",
            headers={"Authorization": f"token {self.app.peer.admin_token()}"},
            timeout=100,
        ).text
        families = text_string_to_metric_families(text)
        return [each for each in families if each.name == self.name]
