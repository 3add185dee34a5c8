#!/usr/bin/env python3
"""Sign in 100 people at once on a hub with a limit of 1 GB of memory.

Prints the waiting times, the responses and the peak memory of the hub's processes. The
limit needs a control group, and so root on Linux.

With `--hosted`, a class of JupyterHub's kind checks the passwords, in a process of its
own. Then the time of one sign-in beyond the class's own time, and the memory of that
process beyond what the class alone takes, are printed as well.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlencode

from crowding import API, PYTHON, ROOT, Hub, call
from processes import memory_mb, tree

PASSWORD = "a password for one hundred"  # noqa: S105 - of this benchmark only
SET_PASSWORDS = (
    "from django.contrib.auth.hashers import make_password;"
    "from accounts.models import User;"
    "User.objects.filter(name__startswith='p').update("
    f"password=make_password({PASSWORD!r}))"
)
GROUPS = Path("/sys/fs/cgroup")
# A class that blocks, as one that asks a directory does.
OWN_SECONDS = 0.1
HOSTED = f"""
import time
from jupyterhub.auth import Authenticator

class Directory(Authenticator):
    def authenticate(self, handler, data):
        time.sleep({OWN_SECONDS})
        return data["username"] if data["password"] == {PASSWORD!r} else None

c.JupyterHub.authenticator_class = Directory
"""
SINGLE = 40
# A process with the class and nothing else, which waits to be looked at.
ALONE = "import jupyterhub.auth, tornado.web; print('ready', flush=True); input()"


@contextmanager
def limited(pids: list[int], megabytes: int) -> Iterator[bool]:
    """Limit the memory of processes and their children; yield whether this worked."""
    is_first_version = (GROUPS / "memory").is_dir()
    group = (GROUPS / "memory" if is_first_version else GROUPS) / f"hub-{os.getpid()}"
    name = "memory.limit_in_bytes" if is_first_version else "memory.max"
    try:
        group.mkdir()
        (group / name).write_text(str(megabytes << 20))
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        with suppress(OSError):
            group.rmdir()
        yield False
        return
    try:
        yield True
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (group.parent / "cgroup.procs").write_text(pid)
        group.rmdir()


async def sign_in(hub: Hub, name: str) -> tuple[int, int, float]:
    """Sign in, and retry on request; return status, tries and seconds."""
    began = time.monotonic()
    for tries in range(1, 100):
        page = await call(hub.hub, "GET", "/hub/login")
        form = {"username": name, "password": PASSWORD, "_xsrf": page.cookies["_xsrf"]}
        answer = await call(
            hub.hub,
            "POST",
            "/hub/login",
            urlencode(form).encode(),
            seconds=120,
            Cookie=f"_xsrf={page.cookies['_xsrf']}",
            Content_Type="application/x-www-form-urlencoded",
        )
        if answer.status != 503:
            return answer.status, tries, time.monotonic() - began
        await asyncio.sleep(int(answer.headers.get("retry-after", "1")))
    return 503, tries, time.monotonic() - began


async def all_at_once(
    hub: Hub, people: int
) -> tuple[list[tuple[int, int, float]], float]:
    """Return the result of each sign-in, and the peak memory meanwhile."""
    most = 0.0
    done = asyncio.gather(*(sign_in(hub, f"p{number}") for number in range(people)))
    while not done.done():
        most = max(most, memory_mb(tree(hub.process.pid)))
        await asyncio.wait([done], timeout=0.05)
    return await done, most


def one_after_another(hub: Hub) -> float:
    """Return the median of the seconds of single sign-ins beyond the class's own."""

    async def measure() -> list[float]:
        found = []
        for number in range(SINGLE):
            _, _, seconds = await sign_in(hub, f"s{number}")
            page = time.monotonic()
            await call(hub.hub, "GET", "/hub/login")
            # A sign-in opens the page first, which is not part of the check.
            found.append(seconds - (time.monotonic() - page) - OWN_SECONDS)
        return found

    return statistics.median(asyncio.run(measure()))


def memory_of_class() -> float:
    """Return the memory of a process that only imports what the class needs."""
    with subprocess.Popen(  # noqa: S603 - our own
        [str(PYTHON), "-c", ALONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout  # noqa: S101
        process.stdout.readline()
        found = memory_mb([process.pid])
        process.kill()
    return found


def host_of(pids: Iterable[int]) -> list[int]:
    """Return the process of the class among those of a hub."""
    return [
        pid
        for pid in pids
        if b"authenticator" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--hosted", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sign-ins-") as folder:
        hub = Hub(Path(folder) / "hub", HOSTED if options.hosted else "", {})
        with hub.running():
            names = [f"p{number}" for number in range(options.people)]
            asyncio.run(hub.make("POST", f"{API}/users", {"usernames": names}))
            subprocess.run(  # noqa: S603 - our own
                [str(PYTHON), str(ROOT / "manage.py"), "shell", "-c", SET_PASSWORDS],
                cwd=hub.folder,
                env={**os.environ, "HUB_DATA_DIR": str(hub.folder / "data")},
                check=True,
            )
            pids = tree(hub.process.pid)
            host = host_of(pids)
            if options.hosted:
                beyond = one_after_another(hub)
                own, alone = memory_mb(host), memory_of_class()
                print(
                    f"One sign-in: {beyond * 1000:.0f} ms beyond the class's own "
                    f"{OWN_SECONDS * 1000:.0f} ms (median of {SINGLE}). The process of "
                    f"the class: {own:.0f} MB, of which the class alone {alone:.0f} MB."
                )
            else:
                print(f"Processes for a class that is hosted: {len(host)}.")
            idle = memory_mb(pids)
            with limited(pids, options.megabytes) as is_limited:
                answers, most = asyncio.run(all_at_once(hub, options.people))
            is_alive = hub.process.poll() is None
    statuses = Counter(status for status, _, _ in answers)
    waits = sorted(seconds for _, _, seconds in answers)
    tries = max(tries for _, tries, _ in answers)
    half = waits[len(waits) // 2]
    limit = f"limited to {options.megabytes} MB" if is_limited else "not limited"
    print(
        f"{options.people} people at once, memory {limit}: answers {dict(statuses)}, "
        f"at most {tries} tries; half within {half:.1f} s, all within "
        f"{waits[-1]:.1f} s; memory of all processes {idle:.0f} MB idle, at most "
        f"{most:.0f} MB; the hub {'goes on' if is_alive else 'has ended'}."
    )


if __name__ == "__main__":
    main()
