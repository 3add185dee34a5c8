"""The rows of the table: the requests to each program, and their cost limits.

A row yields the requests of one measurement; `undo` reverts their changes, without
being measured. Costs are CPU seconds of the whole process tree for each request.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from http_client import PAGED, Connection, request
from hubs import CONFIG_TOKEN, Hub

API = "/hub/api"
# Tokens in one measurement of issuing or revoking them.
MANY = 100
Requests = Iterator[bytes]


@dataclass(frozen=True)
class Setting:
    """The size of a database."""

    users: int
    members: int


@dataclass(frozen=True)
class Row:
    """One scenario, and the factor by which it should be cheaper than in JupyterHub."""

    name: str
    requests: Callable[[Hub, Setting], Requests]
    status: tuple[int, ...] = (200,)
    ratio: float | None = None
    # Compared with a bare view.
    has_floor: bool = False
    # Most requests in one measurement, for those that are slow or change rows.
    most: int = 100_000
    # The request that reverts a change, without being measured.
    undo: Callable[[Hub, bytes, bytes], bytes] | None = None
    # Whether calls are measured one by one, and undone before the next.
    apart: bool = False
    # Whether all tokens are used before the measurement, so that no use is written.
    warm: bool = False


def cycle(requests: list[bytes]) -> Requests:
    random.Random(1).shuffle(requests)  # noqa: S311 - the same order for everybody
    return itertools.cycle(requests)


def one_token(hub: Hub, setting: Setting) -> Requests:
    return itertools.repeat(request("GET", f"{API}/user", hub.secrets[0]))


def many_tokens(hub: Hub, setting: Setting) -> Requests:
    return cycle([request("GET", f"{API}/user", secret) for secret in hub.secrets])


def config_token(hub: Hub, setting: Setting) -> Requests:
    return itertools.repeat(request("GET", f"{API}/user", CONFIG_TOKEN))


def unknown_tokens(hub: Hub, setting: Setting) -> Requests:
    made_up = (hashlib.sha256(b"%d" % n).hexdigest()[:32] for n in range(500))
    return cycle([request("GET", f"{API}/user", token) for token in made_up])


def forged_tokens(hub: Hub, setting: Setting) -> Requests:
    """Yield calls with real tokens with another ending, of the right format."""
    swap = str.maketrans("0123456789abcdef", "123456789abcdef0")
    forged = (secret[:-8] + secret[-8:].translate(swap) for secret in hub.secrets)
    return cycle([request("GET", f"{API}/user", token) for token in forged])


def names(setting: Setting) -> list[str]:
    step = max(1, setting.users // 1000)
    return [f"u{number:06}" for number in range(0, setting.users, step)]


def user(hub: Hub, setting: Setting) -> Requests:
    return cycle(
        [request("GET", f"{API}/users/{n}", hub.admin) for n in names(setting)]
    )


def first_page(hub: Hub, setting: Setting) -> Requests:
    path = f"{API}/users?limit=200"
    return itertools.repeat(request("GET", path, hub.admin, accept=PAGED))


def deep_page(hub: Hub, setting: Setting) -> Requests:
    path = f"{API}/users?limit=200&offset={max(0, setting.users - 300)}"
    return itertools.repeat(request("GET", path, hub.admin, accept=PAGED))


def name_filter(hub: Hub, setting: Setting) -> Requests:
    """Yield lists filtered by a part of a name: ten users of 1,000 or of 100,000."""
    stem = f"{(setting.users - 1) // 10:05}"
    path = f"{API}/users?limit=50&name_filter=u{stem}"
    return itertools.repeat(request("GET", path, hub.admin, accept=PAGED))


def big_group(hub: Hub, setting: Setting) -> Requests:
    return itertools.repeat(request("GET", f"{API}/groups/big", hub.admin))


def add_to(group: str, count: int) -> Callable[[Hub, Setting], Requests]:
    def requests(hub: Hub, setting: Setting) -> Requests:
        # Users who are not in `big` yet, if there are any.
        outside = setting.members if setting.users > setting.members else 0
        low = outside if group == "big" else 0
        for start in itertools.count(0, count):
            some = [
                f"u{low + (start + n) % (setting.users - low):06}" for n in range(count)
            ]
            if group == "big" and not outside:
                some = ["admin"]
            path = f"{API}/groups/{group}/users"
            yield request("POST", path, hub.admin, {"users": some})

    return requests


def take_out(hub: Hub, sent: bytes, answer: bytes) -> bytes:
    body = json.loads(sent.split(b"\r\n\r\n", 1)[1])
    group = "big" if b"/groups/big/" in sent[:60] else "small"
    return request("DELETE", f"{API}/groups/{group}/users", hub.admin, body)


serial = itertools.count()


def create_users(count: int) -> Callable[[Hub, Setting], Requests]:
    def requests(hub: Hub, setting: Setting) -> Requests:
        while True:
            batch = next(serial)
            new = [f"n{batch}x{number}" for number in range(count)]
            yield request("POST", f"{API}/users", hub.admin, {"usernames": new})

    return requests


def issue(hub: Hub, setting: Setting) -> Requests:
    body = {"note": "benchmark", "expires_in": 3600}
    path = f"{API}/users/u000001/tokens"
    return itertools.repeat(request("POST", path, hub.admin, body))


def revoke_issued(hub: Hub, sent: bytes, answer: bytes) -> bytes:
    path = f"{API}/users/u000001/tokens/{json.loads(answer)['id']}"
    return request("DELETE", path, hub.admin)


def revoke(hub: Hub, setting: Setting) -> Requests:
    """Yield revocations of tokens that are issued beforehand."""
    connection = Connection(hub.port)
    order = next(issue(hub, setting))
    answers = [connection.send(order)[1] for _ in range(MANY)]
    connection.close()
    return iter([revoke_issued(hub, order, answer) for answer in answers])


def activity(hub: Hub, setting: Setting) -> Requests:
    start = time.time()
    for number in itertools.count():
        moment = datetime.fromtimestamp(start + number / 1e4, UTC)
        body = {"last_activity": moment.isoformat().replace("+00:00", "Z")}
        name = f"u{number % min(1000, setting.users):06}"
        yield request("POST", f"{API}/users/{name}/activity", hub.admin, body)


ROWS = [
    Row("GET /user", one_token, ratio=5, has_floor=True),
    Row("GET /user, 1,000 tokens in turn", many_tokens, ratio=5, warm=True),
    Row("GET /user, token from the config", config_token),
    Row("unknown token", unknown_tokens, (403,), ratio=5),
    Row("forged token", forged_tokens, (403,), ratio=5),
    Row("GET /users/NAME", user, ratio=14),
    Row("page of 200 users, first", first_page, ratio=20),
    Row("page of 200 users, deep", deep_page, ratio=20),
    Row("name_filter", name_filter),
    Row("group of 10,000: read", big_group),
    Row("group of 10,000: add one member", add_to("big", 1), most=16, undo=take_out),
    Row(
        "add 1,000 members",
        add_to("small", 1000),
        ratio=200,
        most=2,
        undo=take_out,
        apart=True,
    ),
    Row(
        "create 1,000 users", create_users(1000), (201,), ratio=250, most=1, apart=True
    ),
    Row("issue a token", issue, (200, 201), ratio=3, most=MANY, undo=revoke_issued),
    Row("revoke a token", revoke, (204,), ratio=6, most=MANY),
    Row("POST activity", activity, ratio=12),
]


def waits_beside(hub: Hub, bulk: bytes, status: int) -> list[float]:
    """Return the duration of each `GET /user` during one bulk call."""
    connection, other = Connection(hub.port), Connection(hub.port)
    order = request("GET", f"{API}/user", hub.secrets[0])
    connection.expect(order, 200)
    thread = threading.Thread(target=lambda: other.expect(bulk, status))
    waits = []
    thread.start()
    while thread.is_alive():
        began = time.perf_counter()
        connection.expect(order, 200)
        waits.append(time.perf_counter() - began)
    return waits
