#!/usr/bin/env python3
"""Compare the hub with JupyterHub: CPU time for each request, side by side.

`run.py setup` installs JupyterHub for it, `run.py` measures. See README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections import defaultdict
from pathlib import Path

import hubs
from http_client import Connection, Unexpected, at_once, request
from hubs import HERE, ROOT, Floor, Hub, JupyterHub, OurHub, postgresql
from processes import busy_seconds
from rows import (
    API,
    ROWS,
    Row,
    Setting,
    add_to,
    create_users,
    many_tokens,
    waits_beside,
)

MEMBERS = 10_000
STREAMS = 300
# Connections under load, where the cost of a request matters.
MANY = 16
Costs = dict[tuple[str, int], list[float]]


def log(*words: object) -> None:
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


def calibrate() -> float:
    """Return the CPU time of a fixed loop in µs, which shows the machine's drift."""
    began = time.thread_time()
    total = 0
    for number in range(100_000):
        total += number * number % 7
    return (time.thread_time() - began) * 1e6


def measure(
    hub: Hub, row: Row, setting: Setting, seconds: float, connections: int = 1
) -> float:
    """Return the CPU µs of one request, measured over so many seconds."""
    connection = Connection(hub.port)
    if row.warm:
        for secret in hub.secrets:
            connection.expect(request("GET", f"{API}/user", secret), 200)
    orders = row.requests(hub, setting)
    count, used = 0, 0.0
    done: list[tuple[bytes, bytes]] = []
    end = time.perf_counter() + seconds

    def goes_on(sent: int) -> bool:
        return sent < row.most and time.perf_counter() < end

    def look(order: bytes, status: int, answer: bytes) -> None:
        if status not in row.status:
            raise Unexpected(f"{hub.name}, {row.name}: {status} {answer[:200]!r}")
        if row.undo is not None:
            done.append((order, answer))

    if row.apart:
        while goes_on(count):
            order = next(orders)
            before = hub.cpu()
            status, answer = connection.send(order)
            used += hub.cpu() - before
            look(order, status, answer)
            undo(hub, row, connection, *(done or [(order, answer)])[-1])
            count += 1
    else:
        before = hub.cpu()
        for exchange in at_once(hub.port, connections, orders, goes_on):
            look(*exchange)
            count += 1
        used = hub.cpu() - before
        for order, answer in done:
            undo(hub, row, connection, order, answer)
    connection.close()
    return used / count * 1e6


def undo(
    hub: Hub, row: Row, connection: Connection, order: bytes, answer: bytes
) -> None:
    if row.undo is not None:
        connection.send(row.undo(hub, order, answer))


class Table:
    """All measurements, by section, row, program and number of connections."""

    def __init__(self) -> None:
        self.costs: dict[str, dict[str, Costs]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(list))
        )
        self.rows: dict[str, Row] = {}
        self.notes: list[str] = []
        self.calibrations: list[float] = []
        self.foreign: list[float] = []

    def add(
        self, section: str, row: Row, hub: str, cost: float, connections: int = 1
    ) -> None:
        self.rows[row.name] = row
        key = (hub.partition("-")[0], connections)
        self.costs[section][row.name][key].append(cost)

    def print(self) -> None:
        for section, rows in self.costs.items():
            print(f"\n### {section}\n")
            print(
                f"| scenario | JupyterHub, {MANY} | ours, {MANY} | ratio | spread "
                "| JupyterHub, 1 | ours, 1 | ratio, 1 | to reach |"
            )
            print("| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- |")
            for name, costs in rows.items():
                self.print_row(self.rows[name], costs)
            self.print_floor(rows)
        if self.notes:
            print("\n### Others\n")
            for note in self.notes:
                print(f"* {note}")
        if not self.calibrations or not self.foreign:
            return
        print(
            f"\nA fixed loop took {statistics.median(self.calibrations):.0f} µs "
            f"({min(self.calibrations):.0f} to {max(self.calibrations):.0f}); others "
            f"used {statistics.median(self.foreign):.1f} cores meanwhile "
            f"(at most {max(self.foreign):.1f})."
        )

    def print_floor(self, rows: dict[str, Costs]) -> None:
        for connections in (MANY, 1):
            floors = [
                cost
                for costs in rows.values()
                for cost in costs.get(("floor", connections), [])
            ]
            if floors:
                print(
                    f"\nA bare view, {connections} connections: "
                    f"{statistics.median(floors):.0f} µs "
                    f"({min(floors):.0f} to {max(floors):.0f})."
                )

    def print_row(self, row: Row, costs: Costs) -> None:
        cells, first = [], 0.0
        for connections in (MANY, 1):
            theirs = costs.get(("jupyterhub", connections), [])
            ours = costs.get(("ours", connections), [])
            ratio = (
                statistics.median(theirs) / statistics.median(ours)
                if (theirs and ours)
                else 0.0
            )
            first = first or ratio
            cells += [
                micros(theirs),
                micros(ours),
                f"**{ratio:.1f}**" if ratio else "-",
            ]
            if connections == MANY:
                pairs = sorted(a / b for a, b in zip(theirs, ours, strict=False))
                cells.append(f"{pairs[0]:.1f} to {pairs[-1]:.1f}" if pairs else "-")
        asked = ""
        if row.ratio and first:
            asked = f"{row.ratio:g} {'✓' if first >= row.ratio else '✗'}"
        print(f"| {row.name} | {' | '.join(cells)} | {asked} |")


def micros(costs: list[float]) -> str:
    return f"{statistics.median(costs):,.0f} µs" if costs else "-"


class Benchmark:
    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.table = Table()
        self.deadline = time.monotonic() + options.minutes * 60
        self.floor = Floor(folder, options.port)

    def in_time(self) -> bool:
        return time.monotonic() < self.deadline

    def chosen(self, row: Row) -> bool:
        words = self.options.only
        return not words or any(word in row.name for word in words.split(","))

    def rounds(self, section: str, pair: list[Hub], setting: Setting) -> None:
        """Measure all rows, the programs in turn and in changing order."""
        for row in ROWS:
            if not self.chosen(row):
                continue
            programs = [*pair, self.floor] if row.has_floor else pair
            for number in range(self.options.rounds):
                if not self.in_time():
                    return
                self.table.calibrations.append(calibrate())
                order = programs if number % 2 == 0 else programs[::-1]
                for connections in (1,) if row.apart else (MANY, 1):
                    for hub in order:
                        self.one(section, row, hub, setting, connections)
            costs = self.table.costs[section][row.name]
            log(
                f"{section}, {row.name}:",
                ", ".join(
                    f"{name} ({connections}) {statistics.median(found):.0f} µs"
                    for (name, connections), found in costs.items()
                ),
            )

    def one(
        self, section: str, row: Row, hub: Hub, setting: Setting, connections: int = 1
    ) -> None:
        asked = ROWS[0] if hub is self.floor else row
        if hub is self.floor:
            hub.secrets = ["x"]
        busy, own, began = busy_seconds(), time.process_time(), time.perf_counter()
        used = hub.cpu()
        try:
            cost = measure(hub, asked, setting, self.options.seconds, connections)
        except (Unexpected, OSError) as problem:
            log(f"{hub.name}: {problem}")
            return
        took = time.perf_counter() - began
        mine = hub.cpu() - used + time.process_time() - own
        self.table.foreign.append(max(0.0, busy_seconds() - busy - mine) / took)
        self.table.add(section, row, hub.name, cost, connections)

    # Measurements with a start of their own

    def starts(self, section: str, pair: list[Hub], setting: Setting) -> None:
        """Restart each program; measure the start, and each token's first use."""
        start = Row("start to the first answer", many_tokens, ratio=10)
        first = Row("each token's first use after a restart", many_tokens, ratio=6)
        for number in range(self.options.starts):
            for hub in pair if number % 2 == 0 else pair[::-1]:
                if not self.in_time():
                    return
                hub.stop()
                _, cpu = hub.start()
                self.table.add(section, start, hub.name, cpu * 1e6)
                connection = Connection(hub.port)
                used = hub.cpu()
                for secret in hub.secrets:
                    connection.expect(request("GET", f"{API}/user", secret), 200)
                cost = (hub.cpu() - used) / len(hub.secrets) * 1e6
                self.table.add(section, first, hub.name, cost)
        log(f"{section}: restarts done")

    def memory(self, section: str, pair: list[Hub]) -> None:
        sizes = []
        for hub in pair:
            many = hub.workers
            hub.workers = 2
            hub.stop()
            hub.start()
            # So that each worker has responded and loaded all modules.
            for _ in range(8):
                connection = Connection(hub.port)
                for secret in hub.secrets[:100]:
                    connection.expect(request("GET", f"{API}/user", secret), 200)
                connection.close()
            sizes.append(hub.memory())
            hub.workers = many
            hub.stop()
            hub.start()
        self.table.notes.append(
            f"Memory, {section}: JupyterHub {sizes[0]:.0f} MB, ours with two web "
            f"processes and their supervisor {sizes[1]:.0f} MB (PSS)."
        )

    def waits(self, section: str, pair: list[Hub], setting: Setting) -> None:
        """Measure the waiting time of others during the two bulk calls."""
        for name, orders, status in (
            ("add 1,000 members", add_to("small", 1000), 200),
            ("create 1,000 users", create_users(1000), 201),
        ):
            parts = []
            for hub in pair:
                waits: list[float] = []
                for _ in range(3 if hub.name.startswith("ours") else 1):
                    if not self.in_time():
                        return
                    bulk = next(orders(hub, setting))
                    try:
                        waits += waits_beside(hub, bulk, status)
                    except Unexpected as problem:
                        log(problem)
                    undo = request(
                        "DELETE",
                        f"{API}/groups/small/users",
                        hub.admin,
                        json.loads(bulk.split(b"\r\n\r\n", 1)[1]),
                    )
                    Connection(hub.port).send(undo)
                if not waits:
                    return
                waits.sort()
                p99 = waits[min(len(waits) - 1, math.ceil(len(waits) * 0.99) - 1)]
                parts.append(
                    f"{hub.name} p99 {p99 * 1e3:.1f} ms, longest {waits[-1] * 1e3:.1f} "
                    f"ms of {len(waits)}"
                )
            note = f"`GET /user` beside `{name}`, {section}: {'; '.join(parts)}."
            log(note)
            self.table.notes.append(note)

    def streams(self) -> None:
        """Measure the cost of API calls while hundreds of event streams are open."""
        row = ROWS[0]
        setting = Setting(0, 0)
        self.floor.secrets = ["x"]
        idle, beside = [], []
        for _ in range(self.options.rounds):
            idle.append(measure(self.floor, row, setting, self.options.seconds))
            served, cost = asyncio.run(self.with_streams(row, setting))
            beside.append(cost)
        more = statistics.median(beside) / statistics.median(idle) - 1
        self.table.notes.append(
            f"{STREAMS} open event streams, one event a second each: {served} served; "
            f"a call of the API costs {statistics.median(beside):.0f} µs beside them, "
            f"{statistics.median(idle):.0f} µs without ({more:+.0%})."
        )
        log(self.table.notes[-1])

    async def with_streams(self, row: Row, setting: Setting) -> tuple[int, float]:
        async def follow() -> int:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.floor.port)
            writer.write(b"GET /hub/api/events HTTP/1.1\r\nHost: x\r\n\r\n")
            count = 0
            try:
                while await reader.readline():
                    count += 1
            except asyncio.CancelledError:
                writer.close()
            return count

        tasks = [asyncio.create_task(follow()) for _ in range(STREAMS)]
        # Until all are connected and have received their first events.
        await asyncio.sleep(3)
        cost = await asyncio.to_thread(
            measure, self.floor, row, setting, self.options.seconds
        )
        for task in tasks:
            task.cancel()
        lines = await asyncio.gather(*tasks)
        return sum(count > 3 for count in lines), cost

    # The whole table

    def run(self) -> None:
        self.floor.prepare(0, 0)
        port = self.options.port + 10
        for users in self.options.users:
            setting = Setting(users, min(users, MEMBERS))
            section = f"SQLite, {users:,} users"
            pair: list[Hub] = [
                JupyterHub(self.folder, port),
                OurHub(self.folder, port + 5),
            ]
            port += 10
            try:
                for hub in pair:
                    hub.prepare(setting.users, setting.members)
                    log(f"{hub.name} holds {users} users")
                self.rounds(section, pair, setting)
                if self.options.starts:
                    self.starts(section, pair, setting)
                    self.memory(section, pair)
                if not self.options.only:
                    self.waits(section, pair, setting)
            finally:
                for hub in pair:
                    hub.stop()
        if self.options.postgresql and self.in_time():
            self.on_postgresql(port)
        if not self.options.only:
            self.streams()

    def on_postgresql(self, port: int) -> None:
        setting = Setting(1000, 1000)
        with postgresql(self.folder, port + 9) as (url, pid):
            theirs = hubs.JupyterHubOnPostgreSQL(self.folder, port)
            ours = hubs.OurHubOnPostgreSQL(self.folder, port + 5)
            theirs.url, ours.url = f"{url}/jupyterhub", f"{url}/ours"
            row = Row("GET /user, hub and database", ROWS[0].requests, ratio=3)
            try:
                for hub in (theirs, ours):
                    hub.prepare(setting.users, setting.members)
                for number in range(self.options.rounds):
                    pair: list[Hub] = [theirs, ours]
                    for hub in pair if number % 2 == 0 else pair[::-1]:
                        # The server's processes belong to the measured program.
                        hub.database_pid = pid
                        for connections in (MANY, 1):
                            self.one(
                                "PostgreSQL, 1,000 users",
                                *(row, hub, setting, connections),
                            )
            finally:
                for hub in (theirs, ours):
                    hub.database_pid = 0
                    hub.stop()

    def end(self) -> None:
        self.floor.stop()


def setup() -> None:
    """Install JupyterHub into a virtual environment of its own."""
    folder = ROOT / ".venv-jupyterhub"
    venv.create(folder, with_pip=True)
    requirements = HERE / "requirements-jupyterhub.txt"
    subprocess.run(  # noqa: S603 - our own
        [str(folder / "bin/python"), "-m", "pip", "install", "-r", str(requirements)],
        check=True,
    )


def machine() -> str:
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores of {model}, {memory:.0f} GB, Linux "
        f"{platform.release().split('-')[0]}, Python {platform.python_version()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", nargs="?", choices=("setup",))
    parser.add_argument("--users", default="1000,100000", help="sizes, with commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="of each measurement"
    )
    parser.add_argument("--starts", type=int, default=3, help="restarts of each hub")
    parser.add_argument("--minutes", type=float, default=40, help="after which it ends")
    parser.add_argument("--only", default="", help="rows with these words, with commas")
    parser.add_argument("--no-postgresql", dest="postgresql", action="store_false")
    parser.add_argument("--port", type=int, default=21100, help="first of 100 ports")
    parser.add_argument("--folder", type=Path, help="of the databases; kept afterwards")
    options = parser.parse_args()
    if options.command == "setup":
        setup()
        return
    options.users = [int(size) for size in options.users.split(",")]
    memory = Path("/dev/shm")  # noqa: S108 - a folder that costs no disk writes
    folder = options.folder or Path(
        tempfile.mkdtemp(
            prefix="hub-benchmark-", dir=memory if memory.is_dir() else None
        )
    )
    benchmark = Benchmark(options, folder)
    try:
        benchmark.run()
    finally:
        benchmark.end()
        if not options.folder:
            shutil.rmtree(folder, ignore_errors=True)
        # The measurements so far are useful even after a failure.
        kind = "in memory" if str(folder).startswith(str(memory)) else "on disk"
        print(f"{machine()}; databases {kind}; medians of {options.rounds} rounds.")
        benchmark.table.print()


if __name__ == "__main__":
    main()
