"""A site for controllers: a database, the proxy's routes and its processes."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from asyncio.events import _set_running_loop
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from accounts.models import User
from audit.models import Actor
from hubsite.settings import database
from servers.actions import start_server, stop_server
from servers.models import Leadership, Server
from tests.servers import stub

ROOT = Path(__file__).resolve().parent.parent.parent
STUB = Path(stub.__file__)
BY = Actor.system("test")

T = TypeVar("T")


class Proxy:
    """The REST API of a proxy, which leads nowhere and remembers its routes."""

    def __init__(self) -> None:
        routes: dict[str, Any] = {}
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply(200, routes)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                routes[self.route()] = json.loads(body)
                self.reply(201)

            def do_DELETE(self) -> None:
                found = routes.pop(self.route(), None)
                self.reply(404 if found is None else 204)

            def route(self) -> str:
                path = unquote(self.path.removeprefix("/api/routes"))
                return "/" + path.strip("/")

            def reply(self, status: int, body: Any = None) -> None:
                status = status if proxy.status is None else proxy.status
                data = b"" if body is None else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self.routes = routes
        self.status: int | None = None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Site:
    """Everything that controllers share. Its database is this thread's default one."""

    def __init__(self, folder: Path, database_url: str, proxy: Proxy) -> None:
        self.folder, self.database_url, self.proxy = folder, database_url, proxy
        self.mark = secrets.token_hex(8)
        self.config = folder / "jupyterhub_config.py"
        self.controllers: list[Controller] = []
        self.configure()

    def configure(self, *arguments: str, lines: str = "") -> None:
        """Write the configuration: what the stub is started with, and more lines."""
        self.config.write_text(
            textwrap.dedent(f"""
            c.JupyterHub.authenticator_class = "local"
            c.JupyterHub.spawner_class = "simple"
            c.JupyterHub.allow_named_servers = True
            c.SimpleLocalProcessSpawner.home_dir_template = "{self.folder}/homes"
            c.Spawner.cmd = {[sys.executable, "-S", "-E", str(STUB)]!r}
            c.Spawner.args = {list(arguments)!r}
            c.Spawner.environment = {{"SITE": "{self.mark}"}}
            c.ConfigurableHTTPProxy.api_url = "{self.proxy.url}"
            c.ConfigurableHTTPProxy.auth_token = "a-secret-for-the-proxy"
            """)
            + textwrap.dedent(lines)
        )

    # Controllers

    def controller(self, *, leads: bool = True, **variables: str) -> Controller:
        """Start one more controller; wait until it leads, unless another does."""
        controller = self.new_controller(**variables)
        self.controllers.append(controller)
        until(lambda: controller.says("Leading" if leads else "Standing by"))
        return controller

    def new_controller(self, log: str = "", **variables: str) -> Controller:
        environment = {
            name: value for name, value in os.environ.items() if name[:4] != "HUB_"
        }
        environment |= {
            "HUB_DATA_DIR": str(self.folder),
            "HUB_CONFIG": str(self.config),
            "HUB_DATABASE_URL": self.database_url,
            "HUB_LOG_FORMAT": "json",
            **variables,
        }
        name = log or f"{self.folder}/controller-{secrets.token_hex(4)}.log"
        return Controller(Path(name), environment)

    # Wishes and facts

    def user(self, name: str) -> User:
        return User.objects.get_or_create(name=name)[0]

    def start(self, user: str = "alan", name: str = "", **options: Any) -> Server:
        return start_server(self.user(user), name, by=BY, **options)[0]

    def stop(self, user: str = "alan", name: str = "", **options: Any) -> None:
        stop_server(self.user(user), name, by=BY, **options)

    def row(self, user: str = "alan", name: str = "") -> Server:
        return Server.objects.select_related("user", "token").get(
            user__name=user, name=name
        )

    def settled(
        self, user: str = "alan", name: str = "", seconds: float = 15
    ) -> Server:
        """Return the row of a server once nothing is pending for it."""

        def look() -> Server | None:
            row = self.row(user, name)
            return row if row.settled == row.generation and not row.pending else None

        return until(look, seconds)

    def events(self, user: str = "alan", name: str = "") -> list[dict[str, Any]]:
        return [event.data for event in self.row(user, name).events.all()]

    def epoch(self) -> int:
        return Leadership.objects.get().epoch

    def processes(self) -> list[int]:
        """Return the ids of the servers' processes that live."""
        entry = f"SITE={self.mark}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with suppress(OSError):
                    # That of a zombie is empty.
                    if entry in (folder / "environ").read_bytes().split(b"\0"):
                        found.append(int(folder.name))
        return sorted(found)

    def answers(self, row: Server) -> dict[str, Any]:
        """Return what the stub at a server's address says of itself."""
        with urlopen(f"{row.url}whoami", timeout=60) as reply:
            return dict(json.load(reply))

    def routes(self) -> dict[str, str]:
        """Return the targets of the servers' routes, by path."""
        return {
            path: route["target"]
            for path, route in self.proxy.routes.items()
            if "user" in route
        }

    def close(self) -> None:
        """End everything; whatever is left then should not have been."""
        alive = [each for each in self.controllers if each.process.poll() is None]
        for each in alive:
            each.process.send_signal(signal.SIGUSR1)
        for each in alive:
            with suppress(subprocess.TimeoutExpired):
                each.process.wait(60)
        for each in alive:
            each.kill()
        for each in self.controllers:
            # Shown only if the test fails.
            print(f"-- {each.log}", *map(str, each.lines()), sep="\n")
        left = self.processes()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, f"processes were left behind: {left}"


class Controller:
    """A real one, in a process of its own."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "controller"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def lines(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if not self.log.is_file():
            # `/dev/full` has no end to be read to.
            return found
        for line in self.log.read_text("utf-8").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return found

    def says(self, event: str, count: int = 1) -> bool:
        """Tell whether it has logged something; fails if it has ended without."""
        if sum(line.get("event") == event for line in self.lines()) >= count:
            return True
        assert self.process.poll() is None, self.log.read_text("utf-8")
        return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self, number: int = signal.SIGTERM, seconds: float = 10) -> int:
        self.process.send_signal(number)
        return self.process.wait(seconds)


def until(look: Callable[[], T], seconds: float = 120) -> T:
    """Return what a look finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.02)
    return found


@contextmanager
def default_database(url: str) -> Iterator[None]:
    """Let the default connection, and those made meanwhile, be to another database."""
    settings = database(url)
    for key, value in connections.settings["default"].items():
        if key not in ("OPTIONS", "TEST"):
            settings.setdefault(key, value)
    # Wishes are no transactions of the test: others must see them.
    settings["ATOMIC_REQUESTS"] = False
    before = connections["default"], connections.settings["default"]
    own = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, "default")
    # Event loops and other threads make connections of their own from the settings.
    _use(own, settings)
    try:
        yield
    finally:
        own.close()
        _use(*before)


def _use(default: BaseDatabaseWrapper, settings: dict[str, Any]) -> None:
    """Make a connection the default one, for code on event loops as well.

    Django keeps two: one for each thread, and one for each context of a loop. The
    latter is left behind by a browser test, whose loop runs in this same context, and
    handed down to every loop that is begun later.
    """
    connections.settings["default"] = settings
    connections["default"] = default
    loop = asyncio.new_event_loop()
    _set_running_loop(loop)
    try:
        connections["default"] = default
    finally:
        _set_running_loop(None)
        loop.close()


def copy_sqlite(template: Path, target: Path) -> str:
    shutil.copy(template, target)
    return f"sqlite:///{target}"


def address_of(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()
