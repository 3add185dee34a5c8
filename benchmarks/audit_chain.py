"""Measure the hash chain of the audit log: sealing, verifying, and what requests cost.

Run in the hub's environment on an empty, migrated database: `audit_chain.py [EVENTS]`,
by default 1,000,000. The script fills the audit log, seals it, verifies the database
and an export, and prints seconds and memory. Then it prints the CPU time and the time
by the clock of calls in this process, without sealing and beside a process that seals
each second, and without and with recorded uses of tokens.
"""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubsite.settings")

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402

from accounts.actions import create_user  # noqa: E402
from accounts.models import Role, User  # noqa: E402
from audit import uses  # noqa: E402
from audit.models import Actor, Event, Seal  # noqa: E402
from audit.sealing import seal_events  # noqa: E402
from scopes.definitions import DEFAULT_ROLES  # noqa: E402
from tokens.actions.issuing import issue_token  # noqa: E402

CHUNK = 5_000
CALLS, ROUNDS = 300, 7
BY = Actor.system("benchmark")
SEALER = """
import django, time
django.setup()
from audit.sealing import seal_events
while True:
    while seal_events().number:
        time.sleep(0.05)
    time.sleep(1)
"""


def main() -> None:
    logging.disable(logging.CRITICAL)
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"{connection.vendor}, Python {sys.version.split()[0]}")
    fill(number - Event.objects.count())
    with timed(f"{Event.objects.count():,} events sealed"):
        seal_all()
    with timed("verified in the database"):
        call_command("audit", "verify")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "audit.jsonl"
        with timed("exported"):
            call_command("audit", "export", "--output", str(file))
        with timed(f"verified in the export of {file.stat().st_size / 1e6:,.0f} MB"):
            call_command("audit", "verify", "--file", str(file))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{memory:8.0f} MB at most in this process")
    measure_calls()


def fill(number: int) -> None:
    at = timezone.now()
    for start in range(0, number, CHUNK):
        Event.objects.bulk_create(
            Event(
                at=at,
                actor_kind="user",
                actor_name=f"user{n % 5_000:04}",
                token_id=n % 20_000,
                address=f"10.0.{n % 200}.{n % 250}",
                action="token.use",
                target_kind="token",
                target_name=f"a{n % 20_000}",
                detail={
                    **{"method": "GET", "path": f"/hub/api/users/user{n % 5_000:04}"},
                    **{"status": 200, "agent": "python-requests/2.32"},
                },
            )
            for n in range(start, min(start + CHUNK, number))
        )


def seal_all() -> None:
    floor = 0
    while (sealed := seal_events(floor)).number:
        floor = sealed.last_id


@contextmanager
def timed(words: str) -> Iterator[None]:
    began, worked = time.perf_counter(), time.process_time()
    yield
    took = time.perf_counter() - began
    print(f"{took:8.1f} s, {time.process_time() - worked:.1f} of CPU: {words}")


def expect(status: int, expected: int) -> None:
    if status != expected:
        sys.exit(f"A call was answered with the status {status}")


def measure_calls() -> None:
    if not User.objects.filter(name="bench").exists():
        create_user("bench", admin=True, by=BY)
    user = User.objects.get(name="bench")
    for name in ("user", "admin"):
        scopes = list(DEFAULT_ROLES[name]["scopes"])
        Role.objects.get_or_create(name=name, defaults={"scopes": scopes})
    user.roles.add(*Role.objects.filter(name__in=("user", "admin")))
    _, secret = issue_token(user, by=BY, scopes=["inherit"])
    client = Client(headers={"authorization": f"token {secret}", "host": "127.0.0.1"})
    number = iter(range(1_000_000))

    def act() -> None:
        name = f"g{os.getpid()}x{next(number)}"
        answer = client.post(
            f"/hub/api/groups/{name}", {}, content_type="application/json"
        )
        expect(answer.status_code, 201)

    def read() -> None:
        expect(client.get("/hub/api/user").status_code, 200)

    for _ in range(CALLS):
        act()
        read()
    print(f"Calls: medians of {ROUNDS} interleaved rounds of {CALLS}, µs of CPU time,")
    print("then µs by the clock: median and 99th percentile of all")
    hub = settings.HUB

    @contextmanager
    def sealing() -> Iterator[None]:
        root = Path(__file__).resolve().parent.parent
        sealer = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", SEALER], cwd=root, env={**os.environ}
        )
        time.sleep(4)
        try:
            yield
        finally:
            sealer.terminate()
            sealer.wait()

    @contextmanager
    def using(which: str | int) -> Iterator[None]:
        settings.HUB = replace(hub, audit_token_use=which)
        try:
            yield
        finally:
            settings.HUB = hub

    @contextmanager
    def nothing() -> Iterator[None]:
        yield

    compare(act, {"an act, no sealing": nothing, "an act, sealing": sealing})
    compare(
        read,
        {
            "GET /user, uses off": nothing,
            "GET /user, one in 100": lambda: using(100),
            "GET /user, complete": lambda: using("complete"),
        },
        after=uses.flush,
    )
    print(f"{Seal.objects.count():,} seals")


def compare(
    call: Callable[[], None],
    ways: dict[str, Callable[[], object]],
    after: Callable[[], object] = lambda: None,
) -> None:
    costs: dict[str, list[float]] = {name: [] for name in ways}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            with way():  # type: ignore[attr-defined]
                worked = time.process_time()
                for _ in range(CALLS):
                    began = time.perf_counter()
                    call()
                    times[name].append(time.perf_counter() - began)
                costs[name].append((time.process_time() - worked) / CALLS)
            after()
    for name, taken in times.items():
        taken.sort()
        slow = taken[len(taken) * 99 // 100]
        print(
            f"{1e6 * median(costs[name]):8.0f} µs of CPU,"
            f" {1e6 * median(taken):6.0f} and {1e6 * slow:6.0f} by the clock: {name}"
        )


if __name__ == "__main__":
    main()
