"""The programs under comparison: start, data and end of each."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from http_client import Connection, Unexpected, request
from processes import cpu_seconds, memory_mb, tree

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CONFIG_TOKEN = hashlib.sha256(b"benchmark").hexdigest()
SECRETS = 1000

CONFIG = """
c = get_config()
c.JupyterHub.hub_ip = "127.0.0.1"
c.JupyterHub.hub_port = {port}
c.JupyterHub.bind_url = "http://127.0.0.1:{proxy_port}"
c.JupyterHub.api_tokens = {{"{token}": "admin"}}
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.spawner_class = "simple"
c.Authenticator.admin_users = {{"admin"}}
c.Authenticator.allow_all = True
"""
# The hub is measured at its own port, so its proxy only has to store routes.
JUPYTERHUB_CONFIG = """
c.JupyterHub.cookie_secret_file = "{folder}/cookie_secret"
c.JupyterHub.db_url = "{database}"
from jupyterhub.proxy import Proxy
class NoProxy(Proxy):
    routes = {{}}
    async def add_route(self, routespec, target, data):
        self.routes[routespec] = dict(routespec=routespec, target=target, data=data)
    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)
    async def get_all_routes(self):
        return self.routes
    async def start(self):
        pass
    async def stop(self):
        pass
c.JupyterHub.proxy_class = NoProxy
"""
OUR_CONFIG = """
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_api_port}"
"""


def jupyterhub_python() -> str:
    venv = os.environ.get("JUPYTERHUB_VENV", str(ROOT / ".venv-jupyterhub"))
    python = Path(venv) / "bin/python"
    if not python.exists():
        sys.exit("JupyterHub is not installed: run `benchmarks/run.py setup` first")
    return str(python)


class Hub:
    """One program under measurement, with its database in a folder of its own."""

    name = "?"

    def __init__(self, folder: Path, port: int, workers: int = 1) -> None:
        self.folder = folder / f"{self.name}-{port}"
        self.port = port
        self.workers = workers
        self.process: subprocess.Popen[bytes] | None = None
        self.secrets: list[str] = []
        self.admin = CONFIG_TOKEN
        self.database_pid = 0

    # Differences of the programs

    def configuration(self) -> str:
        return ""

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def fill(self, users: int, members: int) -> None:
        """Write users, tokens and groups into the database."""

    # Start and end

    def prepare(self, users: int, members: int) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        text = (CONFIG + self.configuration()).format(
            port=self.port,
            proxy_port=self.port + 1,
            proxy_api_port=self.port + 2,
            token=CONFIG_TOKEN,
            folder=self.folder,
            database=self.database(),
        )
        (self.folder / "jupyterhub_config.py").write_text(text)
        self.start()
        self.stop()
        self.fill(users, members)
        self.start()
        self.mint()

    def database(self) -> str:
        return ""

    def mint(self) -> None:
        """Issue an administrator's token, because the configured one is special."""
        made = Connection(self.port).expect(
            request(
                "POST", "/hub/api/users/admin/tokens", CONFIG_TOKEN, {"note": "bench"}
            ),
            *(200, 201),
        )
        self.admin = made["token"]

    def start(self) -> tuple[float, float]:
        """Start; return the seconds and the CPU seconds until the first response."""
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                raise Unexpected(f"port {self.port} is taken")
        log = (self.folder / "log").open("ab")
        began = time.perf_counter()
        self.process = subprocess.Popen(  # noqa: S603 - our own
            self.command(),
            cwd=self.folder,
            env={**os.environ, **self.environment()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        connection = Connection(self.port)
        while time.perf_counter() < began + 600:
            if self.process.poll() is not None:
                raise Unexpected(f"{self.name} ended at its start: {self.folder}/log")
            with suppress(OSError):
                if connection.send(request("GET", "/hub/api/"))[0] in (200, 404):
                    took = time.perf_counter() - began
                    connection.close()
                    return took, cpu_seconds(self.pids())
            time.sleep(0.02)
        raise Unexpected(f"{self.name} never answered")

    def stop(self) -> None:
        if self.process is None:
            return
        pids = self.pids()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process = None
        time.sleep(0.2)

    # Measuring

    def pids(self) -> list[int]:
        return tree(self.process.pid) if self.process else []

    def cpu(self) -> float:
        """Return the CPU seconds of the program and of its database server."""
        pids = self.pids()
        if self.database_pid:
            pids += tree(self.database_pid)
        return cpu_seconds(pids)

    def memory(self) -> float:
        return memory_mb(self.pids())


class OurHub(Hub):
    name = "ours"

    def configuration(self) -> str:
        return OUR_CONFIG

    def command(self) -> list[str]:
        places = ("-f", f"{self.folder}/jupyterhub_config.py")
        data = ("--data-dir", str(self.folder))
        return [sys.executable, str(ROOT / "manage.py"), "hub", *places, *data]

    def environment(self) -> dict[str, str]:
        return {
            "HUB_WORKERS": str(self.workers),
            "HUB_LOG_FORMAT": "json",
            "HUB_CONFIG": f"{self.folder}/jupyterhub_config.py",
            "HUB_DATA_DIR": str(self.folder),
        }

    def fill(self, users: int, members: int) -> None:
        out = subprocess.run(  # noqa: S603 - our own
            [sys.executable, str(HERE / "preload_hub.py"), str(users), str(members)],
            env={**os.environ, **self.environment()},
            stdout=subprocess.PIPE,
            check=True,
        )
        self.secrets = json.loads(out.stdout.splitlines()[-1])


class JupyterHub(Hub):
    name = "jupyterhub"

    def configuration(self) -> str:
        return JUPYTERHUB_CONFIG

    def command(self) -> list[str]:
        config = f"{self.folder}/jupyterhub_config.py"
        return [jupyterhub_python(), "-m", "jupyterhub", "-f", config]

    def database(self) -> str:
        return f"sqlite:///{self.folder}/jupyterhub.sqlite"

    def fill(self, users: int, members: int) -> None:
        subprocess.run(  # noqa: S603 - our own
            [
                *(jupyterhub_python(), str(HERE / "preload_jupyterhub.py")),
                *(self.database(), str(users), str(members)),
            ],
            check=True,
        )
        self.secrets = [
            hashlib.sha256(f"bench:{number}".encode()).hexdigest()[:32]
            for number in range(min(users, SECRETS))
        ]


class Floor(Hub):
    """The bare view, which has no database."""

    name = "floor"

    def prepare(self, users: int, members: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()

    def command(self) -> list[str]:
        return [sys.executable, str(HERE / "floor.py"), str(self.port)]


class OurHubOnPostgreSQL(OurHub):
    name = "ours-postgresql"
    url = ""

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "HUB_DATABASE_URL": self.url}


class JupyterHubOnPostgreSQL(JupyterHub):
    name = "jupyterhub-postgresql"
    url = ""

    def database(self) -> str:
        return self.url.replace("postgresql://", "postgresql+psycopg2://")


@contextmanager
def postgresql(folder: Path, port: int) -> Iterator[tuple[str, int]]:
    """Run a separate PostgreSQL server; yield its address and process."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
    programs = programs or Path(shutil.which("initdb") or "/nowhere").parent
    data = folder / "postgresql"
    # The server refuses to run as root.
    user = "postgres" if os.getuid() == 0 else None
    data.mkdir(parents=True)
    if user:
        for each in (folder, data):
            each.chmod(0o755)
        shutil.chown(data, user)
    subprocess.run(  # noqa: S603 - our own
        [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust"],
        user=user,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    server = subprocess.Popen(  # noqa: S603 - our own
        [
            *(str(programs / "postgres"), "-D", str(data), "-p", str(port)),
            *("-k", str(data), "-c", "listen_addresses=127.0.0.1"),
        ],
        user=user,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=data,
    )
    try:
        for name in ("ours", "jupyterhub"):
            for _ in range(100):
                made = subprocess.run(  # noqa: S603 - our own
                    [
                        *(str(programs / "createdb"), "-h", "127.0.0.1"),
                        *("-p", str(port), "-U", "postgres", name),
                    ],
                    stderr=subprocess.DEVNULL,
                    check=False,
                )
                if made.returncode == 0:
                    break
                time.sleep(0.1)
        yield f"postgresql://postgres@127.0.0.1:{port}", server.pid
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
