"""A hub in its separate parts: web processes, proxy and controller.

No supervisor starts the controller again, so that a test decides when that happens.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from hubsite.process.proxy_process import find_proxy
from tests.backends.machine import processes, wait_until
from tests.backends.sites import Site
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 240.0
MARK = "HUB_TEST_PARTS"


class Hub:
    """The parts of one hub; `operator` and `stranger` are secrets of services.

    The operator may do everything with servers and use them, the stranger may do
    neither.
    """

    def __init__(self, folder: Path, site: Site, database: dict[str, str]) -> None:
        self.folder = folder
        self.site = site
        self.operator, self.stranger = secrets.token_hex(32), secrets.token_hex(32)
        self.proxy_token = secrets.token_hex(16)
        self.port, self.hub_port, self.api_port = free_ports(3)
        self.database = database
        self.parts: dict[str, subprocess.Popen[bytes]] = {}
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HUB_", "DJANGO_", "CONFIGPROXY_", "PYTEST"))
        }
        # A terminal's or a shell's way with SIGINT must not be inherited by servers.
        self.env = {**kept, **database, **site.env, MARK: str(folder)}
        self.config = folder / "jupyterhub_config.py"
        self.config.write_text(f"""
c.JupyterHub.bind_url = "http://127.0.0.1:{self.port}"
c.JupyterHub.authenticator_class = "local"
c.JupyterHub.hub_ip = {site.address!r}
c.JupyterHub.hub_port = {self.hub_port}
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 1, "slow_stop_timeout": 1}}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{self.api_port}"
c.ConfigurableHTTPProxy.auth_token = {self.proxy_token!r}
c.ConfigurableHTTPProxy.should_start = False
c.JupyterHub.services = [
    {{"name": "operator", "api_token": {self.operator!r}}},
    {{"name": "stranger", "api_token": {self.stranger!r}}},
]
c.JupyterHub.load_roles = [
    {{
        "name": "operator",
        "scopes": ["admin:users", "admin:servers", "access:servers", "proxy"],
        "services": ["operator"],
    }},
    {{"name": "stranger", "scopes": ["list:users"], "services": ["stranger"]}},
]
{site.config}
""")

    # Its parts

    def start(self) -> None:
        proxy_env = {**self.env, "CONFIGPROXY_AUTH_TOKEN": self.proxy_token}
        self._run(
            "proxy",
            *find_proxy(""),
            *("--ip", "127.0.0.1", "--port", str(self.port)),
            *("--api-ip", "127.0.0.1", "--api-port", str(self.api_port)),
            *("--default-target", f"http://{self.site.address}:{self.hub_port}"),
            env=proxy_env,
        )
        self._manage("web", "--prepare")
        wait_until(
            lambda: self._lives("web") and self.ask("GET", "/hub/health")[0] == 200,
            "the hub answers through its proxy",
            self.logs,
            PATIENCE,
        )
        self.start_controller()

    def start_controller(self) -> None:
        """Start a controller and return once it leads."""
        epoch = self.epoch()
        self._manage("controller")
        wait_until(
            lambda: self._lives("controller") and self.epoch() > epoch,
            "the controller leads",
            self.logs,
            PATIENCE,
        )

    def kill_controller(self) -> None:
        """End the controller as a crash does."""
        part = self.parts.pop("controller")
        part.kill()
        part.wait()

    def _lives(self, name: str) -> bool:
        if self.parts[name].poll() is not None:
            raise RuntimeError(f"{name} has ended:\n{self.logs()}")
        return True

    def _manage(self, command: str, *arguments: str) -> None:
        places = ("-f", str(self.config), "--data-dir", str(self.folder / "data"))
        self._run(
            command,
            *(sys.executable, str(ROOT / "manage.py"), command, *places, *arguments),
            env=self.env,
        )

    def _run(self, name: str, *command: str, env: dict[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as output:
            self.parts[name] = subprocess.Popen(
                command,
                env=env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def logs(self) -> str:
        """Return what the parts said, but for each request that was answered."""
        found = []
        for path in sorted(self.folder.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()
            told = [line for line in lines if '"event":"request"' not in line]
            found.append("\n".join([f"== {path.name}", *told[-60:]]))
        return "\n".join(found)

    def end(self) -> None:
        for name in ("controller", "web", "proxy"):
            part = self.parts.pop(name, None)
            if part is None:
                continue
            part.send_signal(signal.SIGTERM)
            try:
                part.wait(60)
            except subprocess.TimeoutExpired:
                part.kill()
                part.wait()
        # Workers of a web process that had to be killed; no server is among them.
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes(self) -> set[int]:
        """Return the processes of the parts, workers included; servers are none."""
        return processes(**{MARK: str(self.folder)})

    # What it is asked

    def ask(
        self, method: str, path: str, secret: str = "", body: Any = None
    ) -> tuple[int, Any]:
        """Ask something of the public address; 0 is the status if nobody answers."""
        headers = {"Authorization": f"token {secret}"} if secret else {}
        data = None if body is None else json.dumps(body).encode()
        request = Request(
            f"http://127.0.0.1:{self.port}{path}", data, headers, method=method
        )
        try:
            with urlopen(request, timeout=30) as reply:
                return reply.status, _json(reply.read())
        except HTTPError as error:
            return error.code, _json(error.read())
        except (URLError, OSError):
            return 0, None

    def api(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return self.ask(method, f"/hub/api/{path}", self.operator, body)

    def server(self, name: str = "") -> dict[str, Any]:
        """Return a server as the API shows it; nothing of one that is stopped."""
        status, user = self.api("GET", f"users/{self.site.user}")
        assert status == 200, (status, user)
        found: dict[str, Any] = user["servers"].get(name, {})
        return found

    def wait_until_ready(self, name: str = "") -> None:
        wait_until(
            lambda: self.server(name).get("ready"),
            f"the server {name!r} is ready",
            lambda: f"{self.server(name)}\n{self.logs()}",
            PATIENCE,
        )

    def wait_until_stopped(self, name: str = "") -> None:
        wait_until(
            lambda: not self.server(name),
            f"the server {name!r} is stopped",
            lambda: f"{self.server(name)}\n{self.logs()}",
            PATIENCE,
        )

    def visit(self, secret: str, path: str = "api/status", name: str = "") -> int:
        """Ask something of a server itself, through the proxy."""
        place = (
            f"/user/{self.site.user}/{name}/" if name else f"/user/{self.site.user}/"
        )
        return self.ask("GET", place + path, secret)[0]

    def events(self, name: str) -> str:
        """Return what has been told of a server's start so far."""
        rows = self.rows(
            "SELECT e.data FROM servers_serverevent e JOIN servers_server s "
            f"ON s.id = e.server_id WHERE s.name = '{name}' ORDER BY e.id"
        )
        return "\n".join(str(row[0]) for row in rows)

    def routes(self) -> set[str]:
        """Return the routes of servers that the proxy has."""
        status, routes = self.api("GET", "proxy")
        assert status == 200, routes
        return {path for path in routes if path.startswith("/user/")}

    # Its database

    @contextmanager
    def connection(self) -> Iterator[Any]:
        url = self.database.get("HUB_DATABASE_URL", "")
        if url:
            import psycopg

            with psycopg.connect(url, autocommit=True) as connection:
                yield connection
        else:
            path = self.folder / "data" / "hub.sqlite3"
            own = sqlite3.connect(path, timeout=20, isolation_level=None)
            try:
                yield own
            finally:
                own.close()

    def rows(self, query: str) -> list[Any]:
        with self.connection() as connection:
            found: list[Any] = connection.execute(query).fetchall()
        return found

    def read(self, query: str) -> Any:
        """Return one value, or None if there is none."""
        found = self.rows(query)
        return found[0][0] if found else None

    def attempt(self, name: str) -> str:
        """Return the id of a server's latest start, or nothing."""
        query = f"SELECT attempt FROM servers_server WHERE name = '{name}'"
        return str(self.read(query) or "")

    def epoch(self) -> int:
        return int(self.read("SELECT max(epoch) FROM servers_leadership") or 0)

    @contextmanager
    def writes_held_up(self) -> Iterator[None]:
        """Let nobody store anything about servers."""
        with self.connection() as connection:
            sqlite = isinstance(connection, sqlite3.Connection)
            connection.execute("BEGIN IMMEDIATE" if sqlite else "BEGIN")
            if not sqlite:
                connection.execute("LOCK TABLE servers_server IN EXCLUSIVE MODE")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")


def _json(text: bytes) -> Any:
    with suppress(ValueError):
        return json.loads(text)
    return None
