"""Runs the hub under test as a child process, and the bridge to its rows.

If a test changes settings of the running hub, the hub uses a changed configuration
before the next request. Depending on the setting, the hub reads it while it runs, or is
restarted.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import cloudpickle
import requests

from tests.peer.reloading import have_all_read_again
from tests.ports import free_ports

CONFIG = "jupyterhub_config.py"
ROOT = Path(__file__).resolve().parent.parent.parent
NOT_FOR_THE_HUB = (
    *("HUB_", "DJANGO_", "CONFIGPROXY_", "JUPYTERHUB_"),
    *("PYTEST_", "PYTHON", "PEER_"),
)
# Calls of the bridge after which a hub may start otherwise.
CHANGES = {"create", "delete", "write", "join", "leave"}
# What is read at each use, so that a running hub can follow a change.
READ_AT_EACH_USE = (
    *("Peer.", "Spawner.", "JupyterHub.allow_named_servers"),
    *("JupyterHub.named_server_limit_per_user", "JupyterHub.concurrent_spawn_limit"),
    *("JupyterHub.active_server_limit", "JupyterHub.api_page_"),
    *("JupyterHub.token_expires_in_max_seconds", "JupyterHub.default_url"),
    *("JupyterHub.shutdown_on_logout", "JupyterHub.tornado_settings"),
    *("JupyterHub.spawner_class", "JupyterHub.default_server_name"),
    "JupyterHub.allow_existing_invalid_named_servers",
    "JupyterHub.authenticate_prometheus",
    *("JupyterHub.oauth_require_pkce", "JupyterHub.use_legacy_stopped"),
)
# What a start stores in rows as well, which a running hub can do once more.
STORED = (
    *("JupyterHub.services", "JupyterHub.custom_scopes", "Authenticator."),
    "ConfigurableHTTPProxy.extra_routes",
)
# Seconds that a busy machine may need for a start.
PATIENCE = 240
PROXY_TOKEN = "peer-proxy-token"


class BridgeError(Exception):
    """What the hub's own code refused or failed with, by the name of its class."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class Hub:
    """One hub: its folder, its ports, its processes, and what it is configured to."""

    def __init__(self, folder: Path, *, only_rows: bool = False) -> None:
        # Whether only what a start does to the rows is wanted, and no process.
        self.only_rows = only_rows
        self.folder = folder
        # The name of a Unix socket must be short.
        self.sockets = Path(tempfile.mkdtemp(prefix="peer-"))
        self.port, self.hub_port, api_port = free_ports(3)
        self.base_url = "/@/space%20word/"
        self.hub_url = f"http://127.0.0.1:{self.hub_port}{self.base_url}hub/"
        self.proxy_api = f"http://127.0.0.1:{api_port}"
        self.process: subprocess.Popen | None = None
        self.bridge: subprocess.Popen | None = None
        self.running: str | None = None
        self.running_lines: dict[str, str] = {}
        self.lock = threading.RLock()
        self.starts = 0
        # How often the hub was to run services anew.
        self.services_changed = 0
        # A start removes roles that the configuration does not name. Those that a
        # test has made outlive the starts that the test does not know of.
        self.keeps_roles = True
        self.saved_roles: list = []
        # What sees to it that a hub runs as a test has set it.
        self.prepare = self.settle
        # c.Section.name: value
        self.config: dict[str, object] = {}

    # Configuration

    def text(self) -> str:
        """Return the configuration file for what is set now."""
        lines = [
            "import base64",
            "from tests.peer import lighter",
            "from tests.peer.reloading import listen",
            f"listen({str(self.sockets)!r})",
            "c = get_config()",
            f"c.JupyterHub.bind_url = 'http://127.0.0.1:{self.port}{self.base_url}'",
            f"c.JupyterHub.hub_port = {self.hub_port}",
            f"c.ConfigurableHTTPProxy.auth_token = {PROXY_TOKEN!r}",
            "c.ConfigurableHTTPProxy.api_url = " + repr(self.proxy_api),
            "c.JupyterHub.authenticator_class = 'dummy'",
            "c.JupyterHub.cleanup_servers = False",
            "c.Authenticator.allow_all = True",
            "c.Authenticator.admin_users = {'admin'}",
            f"c.SimpleLocalProcessSpawner.home_dir_template = {str(self.folder)!r}"
            " + '/home/{username}'",
        ]
        return "\n".join([*lines, *self.lines().values()]) + "\n"

    def lines(self) -> dict[str, str]:
        """Return the line for each place in the configuration that is set."""
        lines = {}
        for place, value in sorted(self.config.items()):
            try:
                if eval(repr(value)) != value:
                    raise ValueError
                shown = repr(value)
            except Exception:
                function = getattr(value, "func", value)
                module = sys.modules.get(getattr(function, "__module__", ""))
                if module is not None and "jupyterhub.tests" in module.__name__:
                    # The hub need not be able to load the tests.
                    cloudpickle.register_pickle_by_value(module)
                pickled = base64.b64encode(cloudpickle.dumps(value)).decode()
                shown = (
                    f"__import__('cloudpickle').loads(base64.b64decode({pickled!r}))"
                )
            lines[place] = f"c.{place} = {shown}"
        return lines

    # Processes

    def settle(self) -> None:
        """See to it that a hub runs with the configuration of this moment."""
        with self.lock:
            text = self.text()
            if text == self.running and self.is_up():
                return
            if self.is_up() and self.follows(text):
                return
            began = time.monotonic()
            self.stop()
            stopped = time.monotonic()
            self.start(text)
            if os.environ.get("PEER_TIMES"):
                took = (stopped - began, time.monotonic() - stopped)
                print("restart: {:.1f} s to stop, {:.1f} s to start".format(*took))

    def follows(self, text: str) -> bool:
        """Have a running hub read its configuration again, if that is enough."""
        lines = self.lines()
        changed = {
            place
            for place in lines.keys() | self.running_lines.keys()
            if lines.get(place) != self.running_lines.get(place)
        }
        if self.only_rows or not all(
            place.startswith((*READ_AT_EACH_USE, *STORED)) for place in changed
        ):
            return self._start_instead(", ".join(sorted(changed)))
        (self.folder / CONFIG).write_text(text)
        if any(place.startswith(STORED) for place in changed):
            # The bridge stores first what the controller then acts upon.
            if not have_all_read_again(self.sockets, "bridge"):
                return self._start_instead("the bridge refused to read it")
            try:
                self.ask("reconcile")
            except BridgeError as error:
                # A start refuses this configuration, and says so.
                return self._start_instead(str(error))
        if not have_all_read_again(self.sockets):
            return self._start_instead("a process refused to read it")
        self.running, self.running_lines = text, lines
        if "JupyterHub.services" in changed:
            self.services_changed += 1
        return True

    def _start_instead(self, why: str) -> bool:
        if os.environ.get("PEER_TIMES"):
            print(f"not followed: {why}")
        return False

    def environment(self) -> dict[str, str]:
        found = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(NOT_FOR_THE_HUB)
        }
        programs = Path(sys.executable).parent
        node = ROOT / "node_modules" / ".bin"
        found["PATH"] = os.pathsep.join([str(programs), str(node), found["PATH"]])
        found["HUB_LOG_LEVEL"] = "INFO"
        return found

    def start(self, text: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / CONFIG
        config.write_text(text)
        data = self.folder / "data"
        template = os.environ.get("PEER_TEMPLATE")
        if template and not data.exists():
            shutil.copytree(template, data)
        if not self.only_rows:
            self.start_processes(config)
        self.running, self.running_lines = text, self.lines()
        self.is_changed = False
        self.starts += 1
        self.services_changed += 1
        self.bridge = subprocess.Popen(
            [sys.executable, "-m", "tests.peer.bridge"],
            cwd=ROOT,
            env=self.environment()
            | {"HUB_CONFIG": str(config), "HUB_DATA_DIR": str(data)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.folder / "bridge.log").open("a"),
            text=True,
        )
        if self.only_rows:
            self.ask("prepare")
            return
        if self.keeps_roles:
            self.ask("restore_roles", self.saved_roles)
        self.wait_for_controller()

    def start_processes(self, config: Path) -> None:
        """Start the hub, and wait until it answers through its proxy."""
        place = ["-f", str(config), "--data-dir", str(self.folder / "data")]
        log = (self.folder / "hub.log").open("a")
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "hub", *place],
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"The hub ended at its start:\n{self.last_lines()}")
            try:
                if self.routed() and any(self.sockets.glob("controller-*.sock")):
                    break
            except requests.RequestException:
                pass
            time.sleep(0.05)
        else:
            raise RuntimeError(f"The hub did not start:\n{self.last_lines()}")

    def routed(self) -> bool:
        """Tell whether the proxy leads to the hub already."""
        url = f"http://127.0.0.1:{self.port}{self.base_url}hub/api/"
        return requests.get(url, timeout=10).ok

    def wait_for_controller(self) -> None:
        """Wait until servers that ran before are known to run, or not to."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            busy = [
                each
                for each in self.ask("rows", "Spawner")
                if self.ask("read", each, "pending") == "check"
            ]
            if not busy:
                return
            time.sleep(0.1)

    def stop(self) -> None:
        with self.lock:
            if self.bridge is not None:
                bridge = self.bridge
                if self.keeps_roles and bridge.poll() is None:
                    self.saved_roles = self.ask("save_roles")
                self.bridge = None
                bridge.stdin.close()
                try:
                    bridge.wait(60)
                except subprocess.TimeoutExpired:
                    bridge.kill()
                    bridge.wait()
            if self.process is not None and self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                try:
                    self.process.wait(60)
                except subprocess.TimeoutExpired:
                    os.killpg(self.process.pid, signal.SIGKILL)
                    self.process.wait(10)
            self.process = None
            self.running = None
            for left in self.sockets.glob("*"):
                left.unlink()

    def end(self) -> None:
        """End the hub with all its servers, which it would keep for its next start."""
        # A hub whose configuration is refused ends by itself.
        with suppress(RuntimeError, OSError):
            if self.bridge is not None and self.is_up():
                self.ask("stop_all")
                deadline = time.monotonic() + PATIENCE
                while self.ask("counts")["active"] and time.monotonic() < deadline:
                    time.sleep(0.05)
        self.stop()

    def is_up(self) -> bool:
        process = self.bridge if self.only_rows else self.process
        return process is not None and process.poll() is None

    def remove(self) -> None:
        """End everything and remove what it left, unless that is to be looked at."""
        self.end()
        shutil.rmtree(self.sockets, ignore_errors=True)
        if not os.environ.get("PEER_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def last_lines(self) -> str:
        return (self.folder / "hub.log").read_text()[-3000:]

    # The bridge

    def on_demand(self) -> None:
        """Do what is to be done if rows are asked for before there is a hub."""
        raise RuntimeError("No hub runs")

    def admin_token(self) -> str:
        """Return a token with which everything may be done."""
        return self.ask("new_token", self.ask("find", "User", "admin"), {})

    def ask(self, call: str, *args):
        """Have the bridge call one of its functions."""
        with self.lock:
            if self.bridge is None:
                self.on_demand()
            if call in CHANGES:
                self.is_changed = True
            self.bridge.stdin.write(
                json.dumps({"call": call, "args": [pack(each) for each in args]}) + "\n"
            )
            self.bridge.stdin.flush()
            line = self.bridge.stdout.readline()
        if not line:
            tail = (self.folder / "bridge.log").read_text()[-3000:]
            raise RuntimeError(f"The bridge ended:\n{tail}")
        told = json.loads(line)
        if "error" in told:
            raise BridgeError(told["error"], told["message"])
        return unpack(told["value"])


class Ref(tuple):
    """An object of the hub: its kind and its id."""

    __slots__ = ()


def pack(value):
    if isinstance(value, Ref):
        return {"$": list(value)}
    if hasattr(value, "peer_ref"):
        return {"$": list(value.peer_ref)}
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
            return Ref(value["$"])
        if "time" in value:
            moment = datetime.fromisoformat(value["time"])
            # JupyterHub keeps moments without a zone, in UTC.
            return moment.replace(tzinfo=None)
        return {key: unpack(each) for key, each in value["dict"]}
    if isinstance(value, list):
        return [unpack(each) for each in value]
    return value
