"""Odd requests to every address of the API, and JupyterHub's responses to them.

`python -m tests.wire.odd_requests` starts the installed JupyterHub, sends all requests
and writes the responses to `odd_requests.json`, with which `test_odd_requests.py`
compares this hub's.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from tests.ports import free_ports

RECORDED = Path(__file__).with_suffix(".json")
ROOT = Path(__file__).resolve().parents[2]
SECRET = "ops-service-token-8c1f40aa92"

# What stands for a value of any type, as JSON.
VALUES = {
    "null": "null",
    "true": "true",
    "zero": "0",
    "minus one": "-1",
    "fraction": "1.5",
    "huge integer": "1" + "0" * 400,
    "beyond 64 bits": "18446744073709551617",
    "NaN": "NaN",
    "infinity": "1e999",
    "empty text": '""',
    "blank": '" "',
    "text": '"x{n}"',
    "control characters": '"a\\u0007b{n}\\n"',
    "NUL": '"a\\u0000b"',
    "half a pair": '"\\ud800"',
    "not UTF-8": b'"\xff\xfe{n}"',
    "slash": '"a/b{n}"',
    "accents": '"\\u00e9\\ud83d\\ude00{n}"',
    "list": "[]",
    "list of null": "[null]",
    "list of numbers": "[1]",
    "list of texts": '["x{n}"]',
    "list of long texts": json.dumps(["y" * 300 + "{n}"]),
    "list of lists": '[["x{n}"]]',
    "list of empty text": '[""]',
    "twice the same": '["x{n}", "x{n}"]',
    "list of objects": '[{"x": 1}]',
    "object": "{}",
    "object with a key": '{"x{n}": 1}',
    "object of objects": '{"x{n}": {"y": null}}',
    "deep": "[" * 2000 + "]" * 2000,
}
LONG = {
    "long text": json.dumps("y" * 300 + "{n}"),
    "longer text": json.dumps("y" * 3000 + "{n}"),
}
# Where JupyterHub takes text for a list of its letters, and looks for each.
LISTS = ("usernames", "users", "groups", "scopes")
# Whole bodies that are sent to every address.
BODIES = {
    "no body": None,
    "blanks": "  \n",
    "cut": "{",
    "word": "hello",
    "two values": "{} {}",
    "a comma too many": '{"a": 1,}',
    "single quotes": "{'a': 1}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "bytes": b"\xff\xfe\x00",
    "form": "a=1&b=2",
    "unknown key": '{"no_such_key": 1}',
    "empty key": '{"": 1}',
    "NUL in a key": '{"\\u0000": 1}',
    "long key": json.dumps({"k" * 3000: 1}),
    "deep object": '{"a":' * 2000 + "1" + "}" * 2000,
    **{
        name: VALUES[name]
        for name in (
            *("null", "true", "zero", "fraction", "NaN", "empty text", "text"),
            *("list", "list of null", "list of texts", "object", "huge integer"),
            *("deep", "half a pair", "not UTF-8"),
        )
    },
}
CONTENT_TYPES = (
    *("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"),
    *("multipart/form-data; boundary=x", "application/json; charset=utf-16"),
    *(";;;", "application/xml", "application/json, text/plain"),
)
# What stands in the place of a name, in an address.
NAMES = {
    "long": "n" * 256 + "{n}",
    "longer": "n" * 2000 + "{n}",
    "NUL": "a%00b{n}",
    "bell": "a%07b{n}",
    "line feed": "a%0Ab{n}",
    "not UTF-8": "%FF",
    "half a pair": "%ED%A0%80",
    "escaped slash": "a%2Fb{n}",
    "escaped percent": "a%25b{n}",
    "blanks around": "%20a{n}%20",
    "plus": "a+b{n}",
    "dots": "..",
    "dot": ".",
    "accents": "%C3%A9{n}",
    "upper case": "ABC{n}",
    "at": "a@b.c{n}",
    "star": "*{n}",
    "question mark": "%3F{n}",
    "hash": "%23{n}",
    "semicolon": "a;b{n}",
    "bad escape": "%zz{n}",
}


@dataclass(frozen=True)
class Address:
    """An address with a method, a body that it takes, and the keys of that."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    keys: tuple[str, ...] = ()
    # Whether it is also sent with content types of all kinds.
    content_types: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


SERVER = "/users/{user}/servers/{server}"
NEW_SERVER = "/users/{user}/servers/{new}"
ADDRESSES = (
    Address("GET", "/"),
    Address("GET", "/info"),
    Address("GET", "/user"),
    Address("GET", "/users"),
    Address(
        "POST",
        "/users",
        {"usernames": ["{new}"]},
        ("usernames", "admin"),
        content_types=True,
    ),
    Address("GET", "/users/{user}"),
    Address("POST", "/users/{new}", {}, ("admin", "name", "groups", "auth_state")),
    Address(
        "PATCH",
        "/users/{user}",
        {},
        ("admin", "name", "groups", "auth_state", "server"),
        content_types=True,
    ),
    Address("DELETE", "/users/{user}"),
    Address(
        "POST",
        "/users/{user}/activity",
        {"last_activity": "2020-01-06T10:00:00Z"},
        ("last_activity", "servers"),
    ),
    Address("GET", "/users/{user}/tokens"),
    Address(
        "POST",
        "/users/{user}/tokens",
        {"note": "x"},
        ("note", "expires_in", "scopes", "roles", "auth", "no_such_key"),
        content_types=True,
    ),
    Address("GET", "/users/{user}/tokens/{token}"),
    Address("DELETE", "/users/{user}/tokens/{token}"),
    Address("GET", "/users/{user}/server"),
    Address("POST", "/users/{user}/server", {}, ("profile",)),
    Address("PUT", "/users/{user}/server", {}, ("user_options",)),
    Address("PATCH", "/users/{user}/server", {}, ("display_name",)),
    Address("DELETE", "/users/{user}/server", {}, ("remove",)),
    Address("GET", "/users/{user}/server/progress"),
    Address("GET", SERVER),
    Address("POST", SERVER, {}, ("profile",)),
    Address("PUT", SERVER),
    Address("PUT", NEW_SERVER, {}, ("display_name", "user_options", "name")),
    Address("PATCH", SERVER, {}, ("display_name", "user_options", "name")),
    Address("DELETE", SERVER, {}, ("remove",)),
    Address("GET", f"{SERVER}/progress"),
    Address("GET", "/groups"),
    # Before any group has an odd name.
    Address("GET", "/groups/{group}/shared"),
    Address("POST", "/groups", {"groups": ["{new}"]}, ("groups", "no_such_key")),
    Address("GET", "/groups/{group}"),
    Address("POST", "/groups/{new}", {}, ("users", "properties", "roles", "name")),
    Address("DELETE", "/groups/{group}"),
    Address("POST", "/groups/{group}/users", {"users": ["{user}"]}, ("users", "x")),
    Address("DELETE", "/groups/{group}/users", {"users": ["{user}"]}, ("users", "x")),
    Address("PUT", "/groups/{group}/properties", {"a": 1}, ("a",), content_types=True),
    Address("GET", "/services"),
    Address("GET", "/services/{service}"),
    Address(
        "POST",
        "/services/{new}",
        {"url": "{address}"},
        (
            *("url", "name", "admin", "display", "info", "oauth_no_confirm"),
            *("oauth_client_id", "oauth_redirect_uri", "api_token"),
            *("oauth_client_allowed_scopes", "environment", "command", "no_such_key"),
        ),
    ),
    Address("DELETE", "/services/{service}"),
    Address("GET", "/shares/{user}"),
    Address("GET", "/shares/{user}/{server}"),
    Address(
        "POST",
        "/shares/{user}/{server}",
        {"user": "{other}"},
        ("user", "group", "scopes", "no_such_key"),
    ),
    Address(
        "PATCH",
        "/shares/{user}/{server}",
        {"user": "{other}"},
        ("user", "group", "scopes", "no_such_key"),
    ),
    Address("DELETE", "/shares/{user}/{server}"),
    Address("GET", "/share-codes/{user}"),
    Address("GET", "/share-codes/{user}/{server}"),
    Address(
        "POST",
        "/share-codes/{user}/{server}",
        {},
        ("scopes", "expires_in", "no_such_key"),
    ),
    Address("DELETE", "/share-codes/{user}/{server}"),
    Address("GET", "/users/{user}/shared"),
    Address("GET", "/users/{user}/shared/{other}/{server}"),
    Address("DELETE", "/users/{user}/shared/{other}/{server}"),
    Address("GET", "/groups/{group}/shared/{other}/{server}"),
    Address("DELETE", "/groups/{group}/shared/{other}/{server}"),
    Address("PATCH", "/proxy"),
    Address("POST", "/users/{user}/admin-access"),
    Address("GET", "/authorizations/token/{token}"),
    Address("POST", "/authorizations/token"),
    Address("GET", "/authorizations/cookie/{token}"),
    Address("GET", "/oauth2/authorize"),
    Address("POST", "/oauth2/token"),
    Address("GET", "/no-such-address"),
    Address("POST", "/no-such-address"),
)
# Either value ends the hub, and so does a body that is an object.
SHUTDOWN = Address("POST", "/shutdown", {}, ("proxy", "servers"))
REFUSED_BY_SHUTDOWN = (
    *("null", "fraction", "empty text", "text", "list", "object"),
    *("list of texts", "object with a key", "minus one"),
)


@dataclass
class Case:
    """One request, with places in braces for what it is about."""

    id: str
    method: str
    path: str
    body: str | bytes | None
    headers: dict[str, str] = field(default_factory=dict)


def cases() -> Iterator[Case]:
    """Yield every request, always in the same order."""
    for address in ADDRESSES:
        yield from _of(address)
    for key in SHUTDOWN.keys:
        for name in REFUSED_BY_SHUTDOWN:
            body = with_value({}, key, VALUES[name])
            yield Case(f"{SHUTDOWN}: {key}: {name}", "POST", SHUTDOWN.path, body)
    for name in ("cut", "word", "bytes"):
        yield Case(f"{SHUTDOWN}: {name}", "POST", SHUTDOWN.path, BODIES[name])


def _of(address: Address) -> Iterator[Case]:
    def case(what: str, body: Any, path: str = address.path, **headers: str) -> Case:
        return Case(f"{address}: {what}", address.method, path, body, headers)

    bodies = BODIES
    if address.method == "GET" or address.body is None:
        bodies = {name: BODIES[name] for name in ("no body", "cut", "null", "bytes")}
    for name, body in bodies.items():
        yield case(name, body)
    good = None if address.body is None else json.dumps(address.body)
    for key in address.keys:
        values = VALUES | ({} if key in LISTS else LONG)
        for name, value in values.items():
            yield case(f"{key}: {name}", with_value(address.body or {}, key, value))
        yield case(f"{key}: two values", f'{{"{key}": null, "{key}": 1}}')
    if address.body is not None:
        yield case("as it should be", good)
    if address.content_types:
        for kind in CONTENT_TYPES:
            yield case(f"content type {kind!r}", good, **{"Content-Type": kind})
    for place in ("{user}", "{new}", "{group}", "{service}", "{server}", "{token}"):
        if place in address.path and (address.method == "GET" or place == "{new}"):
            for name, value in NAMES.items():
                path = address.path.replace(place, value)
                yield case(f"{place}: {name}", good, path)


def with_value(body: dict[str, Any], key: str, value: str | bytes) -> bytes:
    """Spell an object that has a value under a key, however odd that value is."""
    rest = {other: known for other, known in body.items() if other != key}
    head = json.dumps(rest)[:-1].encode() + (b", " if rest else b"")
    value = value if isinstance(value, bytes) else value.encode()
    return head + json.dumps(key).encode() + b": " + value + b"}"


# How a request is sent: method, path below the API, body, headers → status, body.
Send = Callable[[str, str, bytes | None, dict[str, str]], tuple[int, bytes]]


class Player:
    """Sends requests to one hub, each about things that no other one has changed."""

    def __init__(self, send: Send, address: str = "http://127.0.0.1:9") -> None:
        self.send = send
        # Where services answer, if they do.
        self.address = address
        self.number = 0
        self.made: dict[str, str] = {}

    def play(self, case: Case) -> dict[str, Any]:
        """Return what the hub answers, without what differs between two runs."""
        body = case.body.encode() if isinstance(case.body, str) else case.body
        body = body and body.replace(b"{address}", self.address.encode())
        self.number += 1
        number = str(self.number)
        path = case.path.replace("{n}", number)
        body = body and body.replace(b"{n}", number.encode())
        for place in ("user", "other", "new", "group", "service", "server", "token"):
            mark = "{" + place + "}"
            if mark in path or (body and mark.encode() in body):
                name = self.thing(place)
                path = path.replace(mark, name)
                body = body and body.replace(mark.encode(), name.encode())
        status, said = self.send(case.method, path, body, case.headers)
        if status < 400 or status >= 500:
            self.made.clear()
        if status >= 500:
            # JupyterHub refuses the next requests after its database has failed.
            for _ in range(3):
                self.send("GET", "/user", None, {})
        return {"status": status, "shape": shape_of(status, said)}

    def thing(self, place: str) -> str:
        """Return the name of something that is as it was made."""
        if place not in self.made:
            self.number += 1
            self.made[place] = self.make(place, f"{place}-{self.number}")
        return self.made[place]

    def make(self, place: str, name: str) -> str:
        if place in ("user", "other"):
            self.must("POST", f"/users/{name}")
        elif place == "group":
            self.must("POST", f"/groups/{name}")
        elif place == "service":
            self.must("POST", f"/services/{name}", {"url": self.address})
        elif place == "server":
            self.must("PUT", f"/users/{self.thing('user')}/servers/{name}", {})
        elif place == "token":
            path = f"/users/{self.thing('user')}/tokens"
            return str(json.loads(self.must("POST", path, {}))["id"])
        return name

    def must(self, method: str, path: str, body: Any = None) -> bytes:
        sent = None if body is None else json.dumps(body).encode()
        status, said = self.send(method, path, sent, {})
        assert status < 400, (method, path, status, said)
        return said


def shape_of(status: int, said: bytes) -> Any:
    """Return the types of what was said, or "text" for what is not JSON."""
    if not said:
        return ""
    try:
        data = json.loads(said)
    except ValueError:
        return "text"
    if status >= 400:
        keys = data.keys() if isinstance(data, dict) else ()
        return "error" if {"status", "message"} == set(keys) else types_in(data)
    return types_in(data)


def types_in(data: Any) -> Any:
    if isinstance(data, dict):
        # Of what never ran these are null or empty in JupyterHub, as it happens.
        left = {"state", "user_options"}
        return {
            key.rstrip("0123456789"): types_in(data[key])
            for key in sorted(data)
            if key not in left
        }
    if isinstance(data, list):
        return [types_in(data[0])] if data else []
    return type(data).__name__


# Recording

CONFIG = """
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub_port}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/home/{{username}}"
c.Spawner.cmd = ["sleep", "60"]
c.Spawner.http_timeout = 1
c.JupyterHub.allow_named_servers = True
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 0}}
c.JupyterHub.services = [{{"name": "ops", "admin": True, "api_token": "{secret}"}}]
"""


def sender(port: int) -> Send:
    def send(
        method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Authorization": f"token {SECRET}"} | headers
        connection.request(method, f"/hub/api{path}", body, headers)
        response = connection.getresponse()
        kind = response.getheader("Content-Type", "")
        if kind.startswith("text/event-stream"):
            return response.status, b""
        return response.status, response.read()

    return send


def record() -> None:
    """Write down what the JupyterHub that is installed answers."""
    with tempfile.TemporaryDirectory() as folder:
        port, hub_port, api_port = free_ports(3)
        config = Path(folder) / "config.py"
        config.write_text(
            CONFIG.format(
                port=port,
                hub_port=hub_port,
                api_port=api_port,
                folder=folder,
                secret=SECRET,
            )
        )
        process = subprocess.Popen(
            [Path(sys.executable).with_name("jupyterhub"), "-f", str(config)],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        try:
            send = sender(hub_port)
            _wait(send, process)
            player = Player(send, _answering())
            answers = {case.id: player.play(case) for case in cases()}
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(120)
    lines = [f"{json.dumps(key)}: {json.dumps(told)}" for key, told in answers.items()]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _answering() -> str:
    """Return an address that answers: JupyterHub waits half a minute for services."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def _wait(send: Send, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            send("GET", "/", None, {})
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit("JupyterHub did not start")


if __name__ == "__main__":
    record()
