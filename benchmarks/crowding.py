#!/usr/bin/env python3
"""Measure the waiting time of other callers while one caller attacks the hub.

A hub is started with its proxy, and filled with users. Then each attack of `ROWS` runs
for some seconds, with its number of requests at once, and meanwhile another caller
requests `/hub/health`, `/hub/login` and `GET /hub/api/user`. See README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import http.cookies
import itertools
import json
import math
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from processes import memory_mb, tree

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv/bin/python"
ADMIN = secrets.token_hex(16)
ADMIN_PASSWORD = secrets.token_hex(16)
API = "/hub/api"
AT_ONCE = 16
# The address of other callers; attackers have 127.0.0.1.
ELSEWHERE = "127.0.0.2"
TOKENS = 500

# Others may wait this many times as long as on an idle hub, up to a limit in seconds.
MOST_TIMES = 10
MOST_SECONDS = 0.25
# The hub may take twice the memory of an idle one and so many MB more.
MORE_MEMORY = 100

CONFIG = """
c = get_config()
c.JupyterHub.hub_ip = "127.0.0.1"
c.JupyterHub.hub_port = {hub}
c.JupyterHub.bind_url = "http://127.0.0.1:{proxy}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api}"
c.JupyterHub.api_tokens = {{"{admin}": "admin"}}
c.JupyterHub.spawner_class = "simple"
c.Authenticator.admin_users = {{"admin"}}
c.JupyterHub.authenticator_class = "local"
c.Authenticator.allow_all = True
c.JupyterHub.allow_named_servers = True
{more}
"""
# A function of the configuration that never returns.
SILENT_LIMIT = """
import time
def limit(handler):
    time.sleep(20)
    return 5
c.JupyterHub.named_server_limit_per_user = limit
"""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    cookies: dict[str, str]


async def call(
    port: int,
    method: str,
    path: str,
    body: bytes = b"",
    seconds: float = 60,
    address: str = "127.0.0.1",
    **headers: str,
) -> Answer:
    """Make one request on a connection of its own."""
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, local_addr=(address, 0)
        )
        try:
            lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
            lines += [f"{name.replace('_', '-')}: {headers[name]}" for name in headers]
            lines += ["Connection: close", f"Content-Length: {len(body)}"]
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            received = await reader.read()
        finally:
            writer.close()
    head, _, rest = received.partition(b"\r\n\r\n")
    first, *others = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(": ")[::2] for line in others]
    jar = http.cookies.SimpleCookie()
    for name, value in pairs:
        if name.lower() == "set-cookie":
            jar.load(value)
    return Answer(
        int(first.split()[1]) if first else 0,
        {name.lower(): value for name, value in pairs},
        rest,
        {name: morsel.value for name, morsel in jar.items()},
    )


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"token {token}"}


class Hub:
    """The hub under test, at three free ports."""

    def __init__(self, folder: Path, more: str, variables: dict[str, str]) -> None:
        self.folder = folder
        self.hub, self.proxy, self.api = free_ports(3)
        folder.mkdir(parents=True)
        (folder / "jupyterhub_config.py").write_text(
            CONFIG.format(
                hub=self.hub, proxy=self.proxy, api=self.api, admin=ADMIN, more=more
            )
        )
        self.variables = variables
        self.token = self.other = ""

    @contextmanager
    def running(self) -> Iterator[Hub]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HUB_")}
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - our own
                [str(PYTHON), str(ROOT / "manage.py"), "hub"],
                cwd=self.folder,
                env=environment
                | {"HUB_DATA_DIR": str(self.folder / "data")}
                | self.variables,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.process = process
        try:
            asyncio.run(self.fill())
            yield self
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    async def fill(self) -> None:
        end = time.monotonic() + 120
        while True:
            with suppress(OSError, TimeoutError):
                if (await call(self.proxy, "GET", "/hub/health")).status == 200:
                    break
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit(f"The hub did not start: see {self.folder}/log")
            await asyncio.sleep(0.2)
        await self.make("POST", f"{API}/users", {"usernames": ["bob", "eve"]})
        self.token = await self.issue("bob")
        self.other = await self.issue("eve")

    async def make(self, method: str, path: str, body: object = None) -> Answer:
        return await call(
            self.hub, method, path, json.dumps(body).encode(), **bearer(ADMIN)
        )

    async def issue(self, name: str) -> str:
        answer = await self.make("POST", f"{API}/users/{name}/tokens", {"note": "x"})
        return str(json.loads(answer.body)["token"])

    def memory(self) -> float:
        """Return the memory of the web processes in MB."""
        pids = [pid for pid in tree(self.process.pid) if is_web(pid)]
        return memory_mb(pids)


def is_web(pid: int) -> bool:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return b"web" in words
    return False


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Silence:
    """A peer that accepts connections and never responds."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.port = self.listener.getsockname()[1]
        self.kept: list[socket.socket] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                self.kept.append(self.listener.accept()[0])


# Attacks. Each is a coroutine with one request of a caller, which is repeated.

Attack = Callable[[Hub, int], Awaitable[object]]


def scopes(count: int) -> bytes:
    names = [f"read:users:name!user={secrets.token_hex(6)}" for _ in range(count)]
    return json.dumps({"scopes": names}).encode()


MANY_SCOPES = {count: scopes(count) for count in (10_000, 40_000, 150_000)}


def flood_of_scopes(count: int) -> Attack:
    async def attack(hub: Hub, number: int) -> None:
        path = f"{API}/users/bob/tokens"
        body = MANY_SCOPES[count]
        await call(hub.hub, "POST", path, body, **bearer(hub.token))

    return attack


async def mint(hub: Hub, number: int) -> None:
    await call(hub.hub, "POST", f"{API}/users/bob/tokens", b"{}", **bearer(hub.token))


async def list_tokens(hub: Hub, number: int) -> None:
    await call(hub.hub, "GET", f"{API}/users/bob/tokens", **bearer(hub.token))


async def list_stopped_servers(hub: Hub, number: int) -> None:
    path = f"{API}/users?include_stopped_servers"
    await call(hub.hub, "GET", path, **bearer(ADMIN))


async def sign_in_wrongly(hub: Hub, number: int) -> None:
    wrong = {"username": f"nobody{number}", "password": "wrong"}
    await submit(hub, "/hub/login", wrong)


async def submit(hub: Hub, path: str, fields: dict[str, str]) -> None:
    """Send a form like a browser that has loaded the page of sign-in."""
    page = await call(hub.proxy, "GET", "/hub/login")
    xsrf = page.cookies.get("_xsrf", "")
    cookies = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
    await call(
        hub.proxy,
        "POST",
        path,
        urlencode(fields | {"_xsrf": xsrf}).encode(),
        Cookie=cookies,
        Content_Type="application/x-www-form-urlencoded",
    )


def endless_body(through_proxy: bool, with_token: bool) -> Attack:
    async def attack(hub: Hub, number: int) -> None:
        port = hub.proxy if through_proxy else hub.hub
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        credential = f"Authorization: token {hub.token}\r\n" if with_token else ""
        try:
            writer.write(
                f"POST {API}/users/bob/tokens HTTP/1.1\r\nHost: x\r\n{credential}"
                "Content-Length: 9900000\r\n\r\n".encode()
            )
            with suppress(ConnectionError):
                for _ in range(98):
                    writer.write(b"x" * 100_000)
                    await writer.drain()
            await asyncio.sleep(3600)
        finally:
            writer.transport.abort()

    return attack


ACTIVITY = json.dumps(
    {
        "servers": {
            f"s{number}": {"last_activity": "2026-01-01T00:00:00Z"}
            for number in range(100_000)
        }
    }
).encode()


async def report_activity(hub: Hub, number: int) -> None:
    path = f"{API}/users/bob/activity"
    await call(hub.hub, "POST", path, ACTIVITY, **bearer(hub.token))


async def use_silent_sign_on(hub: Hub, number: int) -> None:
    # The page has a button; only its form sends a request to the site.
    await submit(hub, "/hub/accounts/oidc/oidc/login/", {"process": "login"})


async def announce_silent_proxy(hub: Hub, number: int) -> None:
    silent = f"http://127.0.0.1:{SILENCE.port}"
    body = json.dumps({"api_url": silent, "auth_token": "x"}).encode()
    await call(hub.hub, "PATCH", f"{API}/proxy", body, **bearer(ADMIN))


async def ask_silent_function(hub: Hub, number: int) -> None:
    path = f"{API}/users/bob/servers/s{number}"
    await call(hub.hub, "POST", path, **bearer(hub.token))


SILENCE = Silence()


async def many_tokens(hub: Hub) -> None:
    for _ in range(TOKENS // AT_ONCE):
        await asyncio.gather(*(mint(hub, number) for number in range(AT_ONCE)))


async def many_servers(hub: Hub) -> None:
    names = [f"m{number}" for number in range(2000)]
    for start in range(0, len(names), 500):
        await hub.make(
            "POST", f"{API}/users", {"usernames": names[start : start + 500]}
        )


@dataclass
class Row:
    """One attack, its number of requests at once, and its preparation."""

    name: str
    attack: Attack
    at_once: int = AT_ONCE
    before: Callable[[Hub], Awaitable[None]] | None = None
    more: str = ""
    variables: Callable[[], dict[str, str]] = dict


def silent_sign_on() -> dict[str, str]:
    return {
        "HUB_OIDC_URL": f"http://127.0.0.1:{SILENCE.port}",
        "HUB_OIDC_CLIENT_ID": "hub",
        "HUB_OIDC_CLIENT_SECRET": "secret",
    }


# The machine has no accounts for the users of the hub, and needs none.
PAM = """
c.JupyterHub.authenticator_class = "pam"
c.PAMAuthenticator.create_system_users = True
c.PAMAuthenticator.add_user_cmd = ["true"]
"""

ROWS = [
    *(
        Row(f"tokens with {count:,} scopes", flood_of_scopes(count))
        for count in MANY_SCOPES
    ),
    Row("minting tokens", mint),
    Row("lists of tokens", list_tokens, before=many_tokens),
    Row("include_stopped_servers", list_stopped_servers, before=many_servers),
    Row("wrong sign-ins, 12 at a time", sign_in_wrongly, 12),
    Row("wrong sign-ins, 100 at a time", sign_in_wrongly, 100),
    Row("wrong sign-ins with PAM", sign_in_wrongly, more=PAM),
    Row("60 endless bodies", endless_body(False, False), 60),
    Row("60 endless bodies, with a token", endless_body(False, True), 60),
    Row("60 endless bodies, by the proxy", endless_body(True, False), 60),
    Row("60 endless bodies, by the proxy, token", endless_body(True, True), 60),
    Row("activity of 100,000 servers", report_activity),
    Row("silent sign-on site", use_silent_sign_on, variables=silent_sign_on),
    Row("silent proxy", announce_silent_proxy),
    Row("silent function of the operator", ask_silent_function, more=SILENT_LIMIT),
]


# Others


@dataclass
class Waits:
    """The waiting times of others in seconds, by address."""

    found: dict[str, list[float]]
    memory: float = 0.0

    def p(self, name: str, share: float) -> float:
        waits = sorted(self.found[name])
        if not waits:
            return math.inf
        return waits[min(len(waits) - 1, math.ceil(len(waits) * share) - 1)]


async def others(hub: Hub, seconds: float) -> Waits:
    """Call three addresses in turn for so long; a failed request counts as endless."""
    waits = Waits({"health": [], "login": [], "user": []})
    asked = {
        "health": ("/hub/health", {}),
        "login": ("/hub/login", {}),
        "user": (f"{API}/user", bearer(hub.other)),
    }
    end = time.monotonic() + seconds
    for name in itertools.cycle(asked):
        path, headers = asked[name]
        began = time.perf_counter()
        try:
            answer = await call(hub.hub, "GET", path, address=ELSEWHERE, **headers)
            good = answer.status == 200
        except (OSError, TimeoutError):
            good = False
        waits.found[name].append(time.perf_counter() - began if good else math.inf)
        waits.memory = max(waits.memory, hub.memory())
        if time.monotonic() > end:
            return waits
        await asyncio.sleep(0.01)
    return waits


def crowd(hub: Hub, row: Row, stop: threading.Event) -> None:
    """Attack until `stop`; runs in a process of its own."""

    async def again(number: int) -> None:
        while True:
            with suppress(OSError, TimeoutError, ValueError, IndexError):
                await row.attack(hub, number)
            await asyncio.sleep(0)

    async def all_of_them() -> None:
        tasks = [asyncio.create_task(again(n)) for n in range(row.at_once)]
        while not stop.is_set():
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(all_of_them())


@contextmanager
def crowded(hub: Hub, row: Row) -> Iterator[None]:
    """Attack from a child process, so that the measurement is not delayed."""
    pid = os.fork()
    if not pid:
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        with suppress(BaseException):
            crowd(hub, row, stop)
        os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def measure(row: Row, folder: Path, seconds: float) -> tuple[Waits, Waits]:
    """Return the waiting times of others on an idle hub, and during an attack."""
    hub = Hub(folder, row.more, row.variables())
    with hub.running():
        if row.before is not None:
            asyncio.run(row.before(hub))
        asyncio.run(others(hub, 1))
        idle = asyncio.run(others(hub, seconds / 2))
        with crowded(hub, row):
            time.sleep(0.5)
            return idle, asyncio.run(others(hub, seconds))


def print_row(row: Row, idle: Waits, beside: Waits) -> bool:
    cells, is_good = [], True
    for name in beside.found:
        before, p50, p99 = idle.p(name, 0.99), beside.p(name, 0.5), beside.p(name, 0.99)
        most = min(MOST_TIMES * before, MOST_SECONDS)
        good = p99 <= most
        is_good &= good
        cells.append(
            f"{before * 1e3:.0f} → {p50 * 1e3:.0f} / {p99 * 1e3:.0f}"
            f"{'' if good else ' ✗'}"
        )
    fits = beside.memory <= 2 * idle.memory + MORE_MEMORY
    is_good &= fits
    cells.append(f"{idle.memory:.0f} → {beside.memory:.0f}{'' if fits else ' ✗'}")
    print(
        f"| {row.name} | {' | '.join(cells)} | {'✓' if is_good else '✗'} |", flush=True
    )
    return is_good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="of each attack")
    parser.add_argument("--only", default="", help="rows whose names contain this")
    options = parser.parse_args()
    print(
        "p99 of an idle hub → p50 / p99 of others beside the attack, in ms; "
        "MB of the web process.\n"
    )
    print("| attack | /hub/health | /hub/login | GET /hub/api/user | memory | bar |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    good = True
    with tempfile.TemporaryDirectory(prefix="crowding-") as folder:
        for number, row in enumerate(ROWS):
            if re.search(re.escape(options.only), row.name):
                waits = measure(row, Path(folder) / str(number), options.seconds)
                good &= print_row(row, *waits)
    print(
        f"\nThe bar: p99 below {MOST_TIMES} times idle and below "
        f"{MOST_SECONDS * 1e3:.0f} ms, memory below twice idle and {MORE_MEMORY} MB."
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
