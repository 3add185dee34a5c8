"""The supervisor: starts, watches and ends web processes, proxy and controller.

The supervisor imports neither Django nor the configuration. Its first web process
prepares the database and returns all addresses. Then the supervisor starts the proxy,
adds the hub's route, and starts the process of the authenticator if its class is
hosted. Once the hub answers, it starts the controller. Children
end with the supervisor, however it ends; notebook servers do not, nor does the proxy if
the configuration says so. The next start adopts them.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from controller.proxy.client import ProxyClient, ProxyError
from controller.shutdown import SUPERVISOR, read_shutdown
from hubsite.process import proxy_process
from hubsite.process.children import Child, OwnLog, PipedLog

ROOT = Path(__file__).resolve().parents[2]
# Stages of the end; the children of a stage end at once, the proxy as the last.
STAGES = (("web", "controller"), ("proxy", "authenticator"))
STOP_GRACE = {"web": 9.0, "controller": 20.0, "proxy": 3.0, "authenticator": 3.0}
# The same for a hosted class of proxies, which ends its own program first.
HOST_GRACE = 20.0
# Seconds for stopping all servers together, of which some are slow.
SERVERS_GRACE = 75.0
# Signals to the controller: end and let servers run, stop them and end, check the
# proxy's routes now.
LEAVE, STOP_ALL, CHECK_ROUTES = signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2
# The signal to a hosted class of proxies to outlive the hub.
OUTLIVE = signal.SIGUSR1
# Seconds for which lines are gathered, because each wake-up costs more than many lines.
GATHER = 0.05
# Seconds between two checks of what gives no event.
LOOK = 0.5
# Seconds until the signal to stop servers is sent again.
REMIND = 0.3
# Seconds after which a start counts as successful, so the next one needs no delay.
WELL = 60.0


def supervise() -> int:
    """Run the hub until a signal ends it; return the exit status."""
    data_dir = Path(os.environ.get("HUB_DATA_DIR", ROOT / "data")).absolute()
    os.environ["HUB_DATA_DIR"] = str(data_dir)
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data_dir / "logs").mkdir(mode=0o700, exist_ok=True)
        pid_file = open(data_dir / "hub.pid", "a+", opener=_privately)  # noqa: SIM115
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


class Supervisor:
    """The children, and the scheduled calls."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.logs = data_dir / "logs"
        self.selector = selectors.DefaultSelector()
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.children: dict[str, Child] = {}
        self.facts: dict[str, Any] = {}
        self.received = b""
        self.asked, self.heeded = 0, 0
        self.stopping = False
        self.ending: set[str] = set()
        self.still: int | None = None
        self.routed = False
        self.ready = False
        self.waits = 0.05
        self.status = 0
        self.env = dict(os.environ, PYTHONUNBUFFERED="1")
        # The memory for a password's hash is returned at once; by default the C library
        # soon keeps it. The megabyte for a token's digest is kept, because getting
        # it anew each time costs as much as the hash.
        self.env.setdefault("MALLOC_MMAP_THRESHOLD_", str(4 << 20))
        self.env.setdefault("MALLOC_TRIM_THRESHOLD_", str(8 << 20))
        self.env[SUPERVISOR] = str(os.getpid())
        if self.env.get("HUB_LOG_FORMAT", "auto") == "auto":
            # The children write to pipes; only the supervisor can have a terminal.
            self.env["HUB_LOG_FORMAT"] = "text" if sys.stderr.isatty() else "json"

    # The event loop

    def run(self) -> int:
        alarm, wake = os.pipe()
        os.set_blocking(alarm, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Only stored here, because a handler may interrupt anything, a start for
            # instance.
            signal.signal(number, self.ask_to_stop)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.selector.register(alarm, selectors.EVENT_READ, None)
        # A shutdown request of an earlier run does not apply to this one.
        read_shutdown(self.data_dir)
        self.start_web(first=True)
        while not (self.stopping and not self.children):
            self.wait(alarm)
            if self.asked > self.heeded:
                self.heeded = self.asked
                self.stop()
            self.collect_ended()
            now = time.monotonic()
            ripe = [task for when, task in self.due if when <= now]
            self.due = [item for item in self.due if item[0] > now]
            for task in ripe:
                task()
        self.report_remaining()
        return self.status

    def wait(self, alarm: int) -> None:
        timeout = None
        silent = [c for c in self.children.values() if c.output is None]
        if self.due:
            timeout = max(0.0, min(when for when, _ in self.due) - time.monotonic())
        if silent:
            timeout = LOOK if timeout is None else min(timeout, LOOK)
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
        for child in silent:
            child.follow()
        if busy and not self.stopping:
            time.sleep(GATHER)

    def ask_to_stop(self, *_: object) -> None:
        self.asked += 1

    def later(self, seconds: float, task: Callable[[], None]) -> None:
        self.due.append((time.monotonic() + seconds, task))

    def log_line(self, line: str) -> None:
        with suppress(OSError):
            print(line, file=sys.stderr, flush=True)
        path = self.logs / "hub.log"
        with suppress(OSError), open(path, "a", opener=_privately) as file:
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            file.write(f"{moment} {line}\n")

    # Children

    def run_child(self, child: Child, pass_fds: tuple[int, ...] = ()) -> None:
        self.children[child.name] = child
        child.start(pass_fds)
        if child.output:
            self.selector.register(child.output, selectors.EVENT_READ, child)
        if child.name == "proxy":
            proxy_process.remember(self.data_dir, child.process.pid, child.command())

    def start_web(self, *, first: bool = False) -> None:
        def command() -> list[str]:
            return [sys.executable, str(ROOT / "manage.py"), "web"]

        child = Child("web", command, self.env, PipedLog("web", self.logs))
        if not first:
            self.run_child(child)
            return
        reading, writing = os.pipe()
        child.command = lambda: [*command(), "--prepare", "--outcome", str(writing)]
        self.run_child(child, (writing,))
        child.command = command
        os.close(writing)
        self.selector.register(
            reading, selectors.EVENT_READ, lambda: self.read_facts(reading)
        )

    def read_facts(self, reading: int) -> None:
        """Read the facts of the first web process, then start the proxy."""
        data = os.read(reading, 65536)
        self.received += data
        if data:
            return
        self.selector.unregister(reading)
        os.close(reading)
        if not self.received or self.stopping:
            return
        self.facts = json.loads(self.received)
        for remark in self.facts["remarks"]:
            self.log_line(f"WARNING: {remark}")
        if self.facts["proxy_is_hosted"]:
            self.start_proxy_host()
        elif self.facts["proxy_should_start"]:
            try:
                self.start_proxy()
            except OSError as error:
                self.fail(f"The proxy can't start: {error.strerror or error}")
                return
        if self.facts["authenticator"]:
            self.start_authenticator()
        self.add_routes()
        self.show_address()

    def start_authenticator(self) -> None:
        command = [sys.executable, str(ROOT / "manage.py"), "authenticator"]
        log = PipedLog("authenticator", self.logs)
        self.run_child(Child("authenticator", lambda: command, self.env, log))

    def start_proxy(self) -> None:
        """Start the proxy, or adopt the one that an earlier hub has left."""
        facts = self.facts
        outlives = not facts["cleanup_proxy"]
        command = proxy_process.proxy_command(facts)
        if left := proxy_process.find_survivor(self.data_dir):
            if left.command == command and proxy_process.accepts_secret(
                facts["proxy_api_url"], facts["proxy_auth_token"]
            ):
                self.log_line(
                    f"The proxy of an earlier run goes on (process {left.pid})"
                )
                adopted = self.proxy_child(
                    OwnLog("proxy", self.logs), outlives=outlives
                )
                adopted.adopt(left)
                self.children["proxy"] = adopted
                return
            self.log_line(
                f"The proxy of an earlier run is replaced (process {left.pid})"
            )
            left.end()
        # A proxy without its port would run on without an error.
        for place, setting in (
            ("bind_url", "JupyterHub.bind_url"),
            ("proxy_api_url", "ConfigurableHTTPProxy.api_url"),
        ):
            proxy_process.check_free(facts[place], setting)
        kind = OwnLog if outlives else PipedLog
        self.run_child(self.proxy_child(kind("proxy", self.logs), outlives=outlives))

    def start_proxy_host(self) -> None:
        """Start the process of a class of proxies, instead of one of an earlier hub.

        The process ends by itself when the hub is gone, because it has to end the
        proxy of its class first.
        """
        if left := proxy_process.find_survivor(self.data_dir):
            self.log_line(
                f"The proxy of an earlier run is replaced (process {left.pid})"
            )
            left.end()
        self.run_child(self.proxy_child(OwnLog("proxy", self.logs), outlives=True))

    def proxy_child(self, log: PipedLog | OwnLog, *, outlives: bool) -> Child:
        command = proxy_process.proxy_command(self.facts)
        env = dict(self.env, CONFIGPROXY_AUTH_TOKEN=self.facts["proxy_auth_token"])
        return Child(
            "proxy", lambda: command, env, log, outlives=outlives, ignored=(OUTLIVE,)
        )

    def start_controller(self) -> None:
        command = [sys.executable, str(ROOT / "manage.py"), "controller"]
        # Notebook servers write to the controller's log, and outlive the controller.
        log = OwnLog("controller", self.logs)
        ignored = (STOP_ALL, CHECK_ROUTES)
        self.run_child(
            Child("controller", lambda: command, self.env, log, ignored=ignored)
        )

    def collect_ended(self) -> None:
        """Collect children that ended, and start them again after a pause."""
        for child in list(self.children.values()):
            status = child.process.poll()
            if status is None or self.children.get(child.name) is not child:
                # The child runs, or ended together with the previous one.
                continue
            if child.output:
                with suppress(KeyError):
                    self.selector.unregister(child.output)
            child.clean_up()
            del self.children[child.name]
            if child.name == "proxy":
                proxy_process.forget(self.data_dir)
            if self.stopping:
                self.stop_next()
            elif not self.ready:
                self.fail(f"The {child.name} process ended at its start ({status})")
            else:
                self.restart(child, status)

    def restart(self, child: Child, status: int) -> None:
        if time.monotonic() - child.started > WELL:
            child.backoff.reset()
        self.log_line(
            f"WARNING: The {child.name} process ended ({status}), "
            f"starting it again in {child.backoff.pause:g} s"
        )

        def again() -> None:
            if self.stopping:
                return
            self.run_child(child)
            if child.name == "proxy":
                # A new proxy has no routes: first those of the start are added, then
                # the controller adds the others.
                self.routed = False
                self.add_routes()

        self.later(child.backoff.pause, again)
        child.backoff.grow()

    # Start

    def proxy_client(self) -> ProxyClient:
        return ProxyClient(
            self.facts["proxy_api_url"], self.facts["proxy_auth_token"], timeout=1.0
        )

    def add_routes(self) -> None:
        """Add the first routes to the proxy; retry until it listens."""
        if self.stopping:
            return
        if self.facts["proxy_is_hosted"]:
            # It adds the first routes itself, and listens after that.
            if proxy_process.is_listening(self.facts["proxy_api_url"]):
                self.have_routes()
            else:
                self.later(0.1, self.add_routes)
            return
        proxy = self.proxy_client()
        try:
            for path, (target, data) in self.facts["routes"].items():
                proxy.add_route(path, target, **data)
        except ProxyError as error:
            own = "proxy" in self.children
            if not own:
                self.log_line(f"WARNING: {error}")
            self.later(0.1 if own else 5.0, self.add_routes)
        else:
            self.have_routes()

    def have_routes(self) -> None:
        """Go on with a proxy that has its first routes."""
        self.routed = True
        if controller := self.children.get("controller"):
            controller.signal(CHECK_ROUTES)

    def show_address(self) -> None:
        """Print the address once the hub answers; retry until it does."""
        if self.stopping:
            return
        if not (self.routed and self.is_healthy() and self.signs_in()):
            self.waits = min(self.waits * 1.2, 1.0)
            self.later(self.waits, self.show_address)
            return
        self.check_socket()
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
        # Not through `log_line`, because the link must not be in a log.
        with suppress(OSError):
            print("\n".join(["", *lines, ""]), flush=True)
        self.start_controller()

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

    def signs_in(self) -> bool:
        """Tell whether the process of a hosted authenticator listens, if there is one.

        It listens once its class has accepted its settings.
        """
        address = self.facts["authenticator"]
        return not address or is_listening(address)

    def check_socket(self) -> None:
        """Have the proxy use the hub's port if it can't open the hub's Unix socket.

        A proxy with an operator's own command may run where the file does not exist, or
        be too old for such targets.
        """
        facts = self.facts
        if not facts["proxy_socket"] or proxy_process.reaches_hub(facts):
            return
        self.log_line(
            "WARNING: The proxy can't reach the hub at the Unix socket "
            f"{facts['proxy_socket']}, so clients' addresses are not known. Set "
            "HUB_PROXY_SOCKET to a place that both can open, or to `off`"
        )
        # Without the file, no later check restores the route to the socket.
        with suppress(OSError):
            os.unlink(facts["proxy_socket"])
        facts["proxy_socket"] = ""
        self.env["HUB_PROXY_SOCKET"] = "off"
        for route in facts["routes"].values():
            if "hub" in route[1]:
                route[0] = facts["hub_url"]
        self.routed = False
        self.add_routes()

    # The end

    def fail(self, reason: str) -> None:
        """End a start that failed; the last lines of the child were shown already."""
        self.log_line(f"ERROR: {reason}; see {self.logs}")
        self.status = 1
        self.stop()

    def stop(self) -> None:
        """End everything in order; a second call ends the wait for servers."""
        if self.stopping:
            controller = self.children.get("controller")
            if controller and self.facts.get("cleanup_servers"):
                self.log_line("Servers that have not stopped by now run on")
                self.facts["cleanup_servers"] = False
                controller.signal(LEAVE)
            return
        self.stopping = True
        self.due.clear()
        self.facts |= read_shutdown(self.data_dir)
        if (
            self.ready
            and self.facts["cleanup_servers"]
            and "controller" not in self.children
        ):
            # The controller was about to be started again, and only it can stop
            # servers.
            self.start_controller()
        self.stop_next()

    def stop_next(self) -> None:
        """End the children of the first stage that has any."""
        for stage in STAGES:
            present = [self.children[name] for name in stage if name in self.children]
            if stage == STAGES[-1] and self.still is None:
                # Each server has a route, so the proxy's routes show how many there
                # are.
                self.still = self.count_servers()
            for child in present:
                if child.name not in self.ending:
                    self.ending.add(child.name)
                    self.end(child)
            if present:
                return

    def end(self, child: Child) -> None:
        grace = STOP_GRACE[child.name]
        if child.name == "controller" and self.facts.get("cleanup_servers"):
            grace = SERVERS_GRACE
            self.stop_servers(child, None)
        elif child.name == "proxy" and not self.facts.get("cleanup_proxy", True):
            if self.facts["proxy_is_hosted"]:
                child.signal(OUTLIVE)
            elif not child.outlives:
                self.replace_proxy(child)
            del self.children["proxy"]
            return
        else:
            if child.name == "proxy" and self.facts.get("proxy_is_hosted"):
                grace = HOST_GRACE
            child.signal(LEAVE)
        self.later(grace, partial(child.signal, signal.SIGKILL))

    def replace_proxy(self, child: Child) -> None:
        """Replace a proxy that ends with the hub by one that can outlive the hub.

        The kernel ends the former with this process, and its output would have no
        reader. Open connections are closed, and everything with a route is reachable
        again in a moment.
        """
        client = self.proxy_client()
        with suppress(ProxyError):
            routes = client.routes()
            child.signal(signal.SIGKILL)
            while child.process.poll() is None:
                time.sleep(0.01)
            if child.output:
                self.selector.unregister(child.output)
            child.clean_up()
            self.run_child(self.proxy_child(OwnLog("proxy", self.logs), outlives=True))
            proxy_process.add_routes(client, routes)

    def stop_servers(self, controller: Child, shown: int | None) -> None:
        """Have the controller stop all servers and end; show the progress."""
        if self.children.get("controller") is not controller:
            return
        if not self.facts["cleanup_servers"]:
            return
        still = self.count_servers()
        if still and still != shown:
            self.log_line(
                f"Stopping {_servers(still)}; once more Ctrl-C lets them run on"
            )
        # A controller that was just started may have missed the first signal.
        controller.signal(STOP_ALL)
        self.later(REMIND, partial(self.stop_servers, controller, still))

    def count_servers(self) -> int:
        """Return the number of servers with a route, as far as the proxy answers."""
        if not self.ready:
            return 0
        try:
            return sum(
                "user" in route for route in self.proxy_client().routes().values()
            )
        except ProxyError:
            return 0

    def report_remaining(self) -> None:
        what = [_servers(self.still)] if self.still else []
        if "proxy" in self.ending and not self.facts["cleanup_proxy"]:
            what.append("the proxy" if what else "The proxy")
        if not what:
            return
        command = [sys.executable, str(ROOT / "manage.py"), "stop"]
        if config := os.environ.get("HUB_CONFIG"):
            command += ["-f", config]
        command += ["--data-dir", str(self.data_dir)]
        verb = "runs" if len(what) == 1 and (self.still or 1) == 1 else "run"
        self.log_line(
            f"{' and '.join(what)} {verb} on; the next start adopts what "
            f"runs. To stop it:\n    {shlex.join(command)}"
        )


def is_listening(address: str) -> bool:
    """Return whether a process accepts connections at a Unix socket or `HOST:PORT`."""
    is_path = address.startswith("/")
    host, _, port = address.rpartition(":")
    family = socket.AF_UNIX if is_path else socket.AF_INET
    if ":" in host:
        family = socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(address if is_path else (host.strip("[]"), int(port)))
        except OSError:
            return False
    return True


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _servers(number: int) -> str:
    return "1 server" if number == 1 else f"{number} servers"
