"""`orm.Spawner` and `orm.Server`, and JupyterHub's objects in memory beside them."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import psutil
import requests

from tests.peer.standins.rows import Row, not_portable, wrap


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

    @classmethod
    def rows(cls, hub):
        return [row.server for row in Spawner.rows(hub) if row.server is not None]

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
