#!/usr/bin/env python3
"""Compare starts of servers: with the hub, with JupyterHub and without a hub.

Every figure is measured for both hubs in one run, each with its own proxy, on this
machine. Times are those of a client. See README.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import hubs
from http_client import Connection, request
from hubs import CONFIG_TOKEN, HERE, ROOT, Hub, JupyterHub, OurHub
from processes import cpu_seconds, tree

API = "/hub/api"
STUB = HERE.parent / "tests" / "servers" / "stub.py"
PARALLEL = 50
RUNNING = 100
STREAMS = 300

# The same for both hubs; all other settings have their defaults.
CONFIG = """
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/home/{{username}}"
c.Spawner.cmd = {command}
c.Spawner.args = {arguments}
c.Spawner.http_timeout = 120
c.Spawner.start_timeout = 120
c.JupyterHub.concurrent_spawn_limit = 500
c.ConfigurableHTTPProxy.should_start = True
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_api_port}"
"""
# Never listens, so that its start goes on as long as streams are watched.
NEVER = "import time; time.sleep(600)"


class WithServers:
    """Additions to a hub under comparison: a proxy, and servers of one kind."""

    servers: tuple[list[str], list[str]] = ([sys.executable, str(STUB)], [])

    def configuration(self) -> str:
        command, arguments = self.servers
        text = CONFIG.replace("{command}", repr(command))
        return text.replace("{arguments}", repr(arguments))

    def path(self) -> str:
        programs = [str(Path(sys.executable).parent), str(ROOT / "node_modules/.bin")]
        return os.pathsep.join([*programs, os.environ["PATH"]])


class OurHubWithServers(WithServers, OurHub):
    def environment(self) -> dict[str, str]:
        return {**super().environment(), "PATH": self.path()}


class JupyterHubWithServers(WithServers, JupyterHub):
    def configuration(self) -> str:
        own = hubs.JUPYTERHUB_CONFIG.partition("from jupyterhub.proxy")[0]
        return own + super().configuration()

    def environment(self) -> dict[str, str]:
        python = Path(hubs.jupyterhub_python()).parent
        return {"PATH": f"{python}{os.pathsep}{self.path()}"}


@contextmanager
def running(
    kind: type[Hub], folder: Path, port: int, servers: tuple[list[str], list[str]]
) -> Iterator[Hub]:
    """Run a hub that starts servers of one kind, and end the hub and its servers."""
    hub = kind(folder, port)
    hub.servers = servers  # type: ignore[attr-defined]
    hub.prepare(0, 0)
    time.sleep(3)
    try:
        yield hub
    finally:
        hub.stop()
        shutil.rmtree(hub.folder, ignore_errors=True)


def call(hub: Hub, method: str, path: str, body: object = None) -> int:
    connection = Connection(hub.port)
    try:
        return connection.send(request(method, API + path, hub.admin, body))[0]
    finally:
        connection.close()


def make_users(hub: Hub, prefix: str, number: int) -> list[str]:
    names = [f"{prefix}{index:03}" for index in range(number)]
    assert call(hub, "POST", "/users", {"usernames": names}) in (201, 409)  # noqa: S101
    return names


def state(hub: Hub, name: str) -> dict[str, object]:
    connection = Connection(hub.port)
    found = connection.expect(request("GET", f"{API}/users/{name}", hub.admin), 200)
    connection.close()
    return found["servers"].get("", {})


def start(hub: Hub, name: str) -> tuple[int, float]:
    """Start a server; return the status, and the seconds until it is ready."""
    began = time.perf_counter()
    status = call(hub, "POST", f"/users/{name}/server")
    if status == 202:
        while not state(hub, name).get("ready"):
            if time.perf_counter() - began > 120:
                raise TimeoutError(f"{hub.name}: the server of {name} never got ready")
            time.sleep(0.05)
    return status, time.perf_counter() - began


def stop(hub: Hub, name: str) -> float:
    began = time.perf_counter()
    call(hub, "DELETE", f"/users/{name}/server")
    while state(hub, name):
        time.sleep(0.05)
    return time.perf_counter() - began


def processes_of(hub: Hub, text: str) -> list[int]:
    """Return the processes below the hub whose command line contains a text."""
    found = []
    for pid in tree(hub.process.pid):  # type: ignore[union-attr]
        with suppress(OSError):
            if text in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(pid)
    return found


def seconds(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):.2f} s ({low:.2f} to {high:.2f})"


def one_by_one(hub: Hub, rounds: int) -> tuple[str, str]:
    names = make_users(hub, "one", rounds)
    started, stopped, statuses = [], [], []
    for name in names:
        status, took = start(hub, name)
        statuses.append(status)
        started.append(took)
        stopped.append(stop(hub, name))
    codes = ", ".join(f"{code}: {statuses.count(code)}" for code in sorted({*statuses}))
    return f"{seconds(started)}; {codes}", seconds(stopped)


def in_parallel(hub: Hub, number: int) -> str:
    names = make_users(hub, "many", number)
    began = time.perf_counter()
    with ThreadPoolExecutor(number) as pool:
        list(pool.map(lambda name: start(hub, name), names))
    took = time.perf_counter() - began
    ready = sum(bool(state(hub, name).get("ready")) for name in names)
    found = len(processes_of(hub, STUB.name))
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda name: stop(hub, name), names))
    left = len(processes_of(hub, STUB.name))
    return f"{took:.1f} s; {ready} ready, {found} processes; {left} left after stops"


def idle(hub: Hub, number: int, watched: float) -> str:
    """Return the share of one core that the hub uses without its servers."""
    names = make_users(hub, "idle", number)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda name: start(hub, name), names))
    time.sleep(5)
    own = set(hub.pids()) - set(processes_of(hub, STUB.name))
    before = cpu_seconds(own)
    time.sleep(watched)
    share = (cpu_seconds(own) - before) / watched
    return f"{100 * share:.2f} % of one core ({number} running, {len(own)} processes)"


def latencies(hub: Hub, watched: float) -> list[float]:
    """Call `GET /user` every 10 ms; return the duration of each call in ms."""
    connection = Connection(hub.port)
    order = request("GET", f"{API}/user", hub.admin)
    found = []
    end = time.perf_counter() + watched
    while time.perf_counter() < end:
        began = time.perf_counter()
        assert connection.send(order)[0] == 200  # noqa: S101
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(0.01)
    connection.close()
    return found


def beside_streams(hub: Hub, number: int, watched: float) -> str:
    """Compare response times without and with many watched starts."""
    names = make_users(hub, "watched", 10)
    quiet = latencies(hub, watched)
    for name in names:
        threading.Thread(target=start_and_forget, args=(hub, name), daemon=True).start()
    for name in names:
        while not state(hub, name).get("pending"):
            time.sleep(0.1)
    opened = []
    for index in range(number):
        connection = Connection(hub.port)
        path = f"{API}/users/{names[index % len(names)]}/server/progress"
        connection._open().sendall(request("GET", path, hub.admin))
        opened.append(connection)
    heard = 0
    for connection in opened:
        assert connection.socket is not None  # noqa: S101
        connection.socket.settimeout(20)
        with suppress(OSError):
            received = b""
            while b'"progress"' not in received:
                more = connection.socket.recv(65536)
                if not more:
                    break
                received += more
            heard += b'"progress"' in received
    busy = latencies(hub, watched)
    for connection in opened:
        connection.close()
    before, beside = p99(quiet), p99(busy)
    return (
        f"p99 {before:.1f} ms idle, {beside:.1f} ms beside them, "
        f"{beside / before:.2f} times; {heard} of {number} served"
    )


def start_and_forget(hub: Hub, name: str) -> None:
    with suppress(OSError, TimeoutError):
        call(hub, "POST", f"/users/{name}/server")


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def bare(hub: Hub, command: list[str], port: int) -> float:
    """Start a server without a hub; return the seconds until it responds.

    The server requests the hub's version, and has no owner.
    """
    prefix = "/user/bare/"
    address = f"http://127.0.0.1:{port}{prefix}"
    home = hub.folder / "home" / "bare"
    home.mkdir(parents=True, exist_ok=True)
    env = {
        **os.environ,
        **hub.environment(),
        "HOME": str(home),
        "JUPYTERHUB_API_TOKEN": hub.admin,
        "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-bare",
        "JUPYTERHUB_API_URL": f"http://127.0.0.1:{hub.port}{API}",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_SERVICE_PREFIX": prefix,
        "JUPYTERHUB_SERVICE_URL": address,
        "JUPYTERHUB_USER": "bare",
        "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{prefix}oauth_callback",
    }
    began = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - our own
        command,
        env=env,
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while True:
            if time.perf_counter() - began > 120:
                raise TimeoutError("the bare server never answered")
            try:
                with urllib.request.urlopen(f"{address}api", timeout=5):  # noqa: S310
                    return time.perf_counter() - began
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    return time.perf_counter() - began
            except OSError:
                pass
            time.sleep(0.02)
    finally:
        process.terminate()
        process.wait(30)


def laboratories(folder: Path, port: int, rounds: int) -> Iterator[tuple[str, str]]:
    """Compare JupyterLab with both hubs and without a hub, in turn."""
    servers = (["jupyterhub-singleuser"], ["--allow-root"])
    ours: list[float] = []
    theirs: list[float] = []
    alone: dict[str, list[float]] = {"ours": [], "jupyterhub": []}
    with (
        running(OurHubWithServers, folder, port, servers) as hub,
        running(JupyterHubWithServers, folder, port + 10, servers) as other,
    ):
        users = {each: make_users(each, "lab", rounds + 1) for each in (hub, other)}
        for index in range(rounds + 1):
            for each, found in ((hub, ours), (other, theirs)):
                program = shutil.which(
                    "jupyterhub-singleuser", path=each.environment()["PATH"]
                )
                lone = bare(each, [str(program), "--allow-root"], port + 5)
                _, took = start(each, users[each][index])
                stop(each, users[each][index])
                # The first start is left out, because it reads files from the disk.
                if index:
                    found.append(took)
                    alone[each.name].append(lone)
    for name, found in (("ours", ours), ("jupyterhub", theirs)):
        lone = alone[name]
        ratio = statistics.median(a / b for a, b in zip(found, lone, strict=True))
        both = f"{seconds(found)}; without a hub {seconds(lone)}"
        yield name, f"{both}; {ratio:.2f} times"


def measure(
    title: str, kinds: dict[str, type[Hub]], folder: Path, port: int,
    servers: tuple[list[str], list[str]], work: Callable[[Hub], str],
) -> None:  # fmt: skip
    for name, kind in kinds.items():
        with running(kind, folder, port, servers) as hub:
            print(f"| {title} | {name} | {work(hub)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--labs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--port", type=int, default=22700)
    parser.add_argument(
        "--only", help="comma-separated: starts, parallel, labs, streams, idle"
    )
    options = parser.parse_args()
    chosen = (options.only or "starts,parallel,labs,streams,idle").split(",")
    kinds = {"ours": OurHubWithServers, "JupyterHub": JupyterHubWithServers}
    stub = ([sys.executable, str(STUB)], [])
    never = ([sys.executable, "-c", NEVER], [])
    print("| scenario | hub | measured |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="hub-servers-") as place:
        folder, port = Path(place), options.port
        assert CONFIG_TOKEN  # noqa: S101
        if "starts" in chosen:
            measure(
                *("stub: POST to ready; DELETE to stopped", kinds, folder, port, stub),
                lambda hub: " / ".join(one_by_one(hub, options.rounds)),
            )
        if "parallel" in chosen:
            measure(
                *(f"stub: {PARALLEL} starts at once", kinds, folder, port, stub),
                lambda hub: in_parallel(hub, PARALLEL),
            )
        if "labs" in chosen:
            for name, text in laboratories(folder, port, options.labs):
                print(f"| JupyterLab: POST to ready | {name} | {text} |", flush=True)
        if "streams" in chosen:
            measure(
                *(f"{STREAMS} progress streams", kinds, folder, port, never),
                lambda hub: beside_streams(hub, STREAMS, options.seconds),
            )
        if "idle" in chosen:
            measure(
                *("idle beside running servers", kinds, folder, port, stub),
                lambda hub: idle(hub, RUNNING, options.seconds * 2),
            )


if __name__ == "__main__":
    main()
