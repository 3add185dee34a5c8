#!/usr/bin/env python3
"""Flood the hub with forged tokens: what each costs, and how long others wait.

Forged tokens have the hub's format, a right checksum, and the public ids of tokens that
exist; only the keyed tag is wrong. First many of them are verified in this process, and
queries and Argon2 verifications are counted. Then a hub gets so many requests a second
with forged tokens, while another caller uses a valid one. See README.md.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import secrets
import selectors
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from http_client import Connection, request
from hubs import ROOT, OurHub
from processes import cpu_seconds, memory_mb

# The bar: the 99th percentile at most doubles, and the memory has a limit.
MOST_TIMES = 2.0
MORE_MEMORY = 50.0
CONNECTIONS = 32
USERS = 50
# Seconds between two calls of the caller with a valid token.
PAUSE = 0.005


def forge(known: list[str]) -> Iterator[str]:
    """Yield tokens with these public ids, right but for the tag."""
    from tokens import format

    key = secrets.token_bytes(32)
    for public_id in itertools.cycle(known):
        yield format.generate("hub", [key], public_id=public_id)[0]


def count_offline(number: int) -> bool:
    """Verify forged tokens; print what they cost, and return whether all was free."""
    import django

    django.setup()
    from django.db import connection

    from tokens import digests, format
    from tokens.verification import verify

    spent: Counter[str] = Counter()

    def count_query(execute: object, *rest: object) -> None:
        spent["queries"] += 1

    def count_hash(*words: object) -> bool:
        spent["Argon2 verifications"] += 1
        return False

    digests.matches = count_hash
    tokens = forge([format.generate("hub", [b"x"])[1] for _ in range(1000)])
    costs: list[float] = []
    accepted = done = 0
    with connection.execute_wrapper(count_query):
        while done < number:
            batch = list(itertools.islice(tokens, min(10_000, number - done)))
            if not all(format.has_checksum(token) for token in batch[:100]):
                sys.exit("The forged tokens have no right checksum")
            began = time.perf_counter()
            accepted += sum(verify(token) is not None for token in batch)
            costs.append((time.perf_counter() - began) / len(batch) * 1e6)
            done += len(batch)
    print(
        f"{done:,} forged tokens with a right checksum: {accepted} accepted,"
        f" {spent['queries']} queries, {spent['Argon2 verifications']} Argon2"
        f" verifications, {statistics.median(costs):.1f} µs each (median of batches)",
        flush=True,
    )
    return not accepted and not spent


@contextmanager
def flood(port: int, rate: float, known: list[str]) -> Iterator[list[int]]:
    """Send forged requests from a child process; yield a list for their number."""
    orders = [
        request("GET", "/hub/api/user", token)
        for token in itertools.islice(forge(known), 20_000)
    ]
    readable, writable = os.pipe()
    pid = os.fork()
    if not pid:
        stopped = []
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
        sent = 0
        with suppress(BaseException):
            sent = send_all(port, rate, itertools.cycle(orders), stopped)
        os.write(writable, str(sent).encode())
        os._exit(0)
    os.close(writable)
    total: list[int] = []
    try:
        yield total
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        total.append(int(os.read(readable, 64) or b"0"))
        os.close(readable)


def send_all(
    port: int, rate: float, orders: Iterator[bytes], stopped: list[int]
) -> int:
    """Send requests at a rate, each on a free connection; count the refusals."""
    free = [Connection(port, 10) for _ in range(CONNECTIONS)]
    began, sent, answered = time.perf_counter(), 0, 0
    with selectors.DefaultSelector() as selector:
        while not stopped:
            due = (time.perf_counter() - began) * rate
            while free and sent < due:
                connection = free.pop()
                server = connection.begin(next(orders))
                selector.register(server, selectors.EVENT_READ, connection)
                sent += 1
            if sent < due - rate:
                # The hub is slower than the rate; do not catch up later.
                sent = int(due)
            for key, _ in selector.select(0.001):
                selector.unregister(key.fileobj)
                status, _ = key.data.finish()
                answered += status == 403
                free.append(key.data)
    return answered


def waits(port: int, secret: str, seconds: float) -> list[float]:
    """Call with a valid token for so long; return the waiting times in seconds."""
    connection = Connection(port, 60)
    order = request("GET", "/hub/api/user", secret)
    found = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        connection.expect(order, 200)
        found.append(time.perf_counter() - began)
        time.sleep(PAUSE)
    connection.close()
    return sorted(found)


def p(found: list[float], share: float) -> float:
    return found[min(len(found) - 1, math.ceil(len(found) * share) - 1)] * 1e3


def measure(options: argparse.Namespace, folder: Path) -> bool:
    hub = OurHub(folder, options.port, workers=options.workers)
    hub.prepare(USERS, 1)
    good = True
    try:
        known = [secret.split("_")[1] for secret in hub.secrets]
        for secret in hub.secrets:
            Connection(hub.port).expect(request("GET", "/hub/api/user", secret), 200)
        waits(hub.port, hub.secrets[0], 2)
        idle, beside, rates, forged = [], [], [], 0
        memory = memory_mb(hub.pids())
        cpu = 0.0
        # In turn, so that other programs on the machine disturb both alike.
        for _ in range(options.rounds):
            used = cpu_seconds(hub.pids())
            alone = waits(hub.port, hub.secrets[0], options.seconds)
            own = (cpu_seconds(hub.pids()) - used) / len(alone)
            used, began = cpu_seconds(hub.pids()), time.perf_counter()
            with flood(hub.port, options.rate, known) as sent:
                time.sleep(0.5)
                together = waits(hub.port, hub.secrets[0], options.seconds)
            rates.append(sent[0] / (time.perf_counter() - began))
            cpu += cpu_seconds(hub.pids()) - used - own * len(together)
            forged += sent[0]
            idle, beside = idle + alone, beside + together
        more = memory_mb(hub.pids()) - memory
        idle.sort()
        beside.sort()
        ratio = p(beside, 0.99) / p(idle, 0.99)
        good = ratio <= MOST_TIMES and more <= MORE_MEMORY
        print(
            f"{statistics.median(rates):,.0f} forged requests a second with known"
            f" public ids: a valid call waits {p(idle, 0.5):.1f} ms (median) and"
            f" {p(idle, 0.99):.1f} ms (p99) without them,"
            f" {p(beside, 0.5):.1f} and {p(beside, 0.99):.1f} ms beside them:"
            f" {ratio:.1f} times {'✓' if ratio <= MOST_TIMES else '✗'}\n"
            f"Memory of the hub: {memory:.0f} MB, {more:+.0f} MB after the floods"
            f" {'✓' if more <= MORE_MEMORY else '✗'}\n"
            f"CPU of the hub for each forged request: {cpu / max(1, forged) * 1e6:.0f}"
            " µs",
            flush=True,
        )
    finally:
        hub.stop()
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=1_000_000, help="verified here")
    parser.add_argument("--rate", type=float, default=1000, help="requests a second")
    parser.add_argument("--seconds", type=float, default=10, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="web processes")
    parser.add_argument("--port", type=int, default=18_500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flood-") as folder:
        os.environ["HUB_DATA_DIR"] = f"{folder}/here"
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubsite.settings")
        sys.path.insert(0, str(ROOT))
        good = count_offline(options.tokens)
        if options.rate:
            good &= measure(options, Path(folder))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
