"""Argon2 for passwords and secrets, with one limit for all hashes of a process.

Passwords from JupyterHub's plugins are digests of bcrypt. They count for the same
limit, and are replaced by Argon2 at the next sign-in.

Each Argon2 hash takes megabytes and a core while it runs. The limit is the number of
hashes at the same time, computed from the memory and the cores of this machine; other
hashes wait in a queue in the order of arrival. Secrets of tokens and clients go before
passwords, and passwords never take the last core, so that a class that signs in leaves
capacity for programs.

A password is hashed in a thread of lower priority, because it takes a core for as long
as dozens of other requests, which go first if there is no core to spare.

A thread that has its turn keeps it for all its hashes until the turn ends, so a turn
may be taken before anything else of a sign-in is done.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import (
    Argon2PasswordHasher,
    BCryptPasswordHasher,
    make_password,
)
from django.db import connection

from scopes.refusals import Unavailable
from web.outside import finish

T = TypeVar("T")

# Argon2id for passwords: OWASP recommends 19 MiB and two passes at least; 46 MiB and
# two passes are more than twice that, and take a core for some 60 ms.
PASSWORD_TIME: Final = 2
PASSWORD_MEMORY: Final = 46 * 1024  # KiB

# Length of the queue, and seconds of waiting. The last in the queue of a class of a
# hundred waits about six seconds on two cores.
MOST_WAITING: Final = 200
PATIENCE: Final = 30.0
RETRY_AFTER: Final = 5

# How much lower the priority of threads that hash passwords is, in steps of `nice`. Ten
# steps are a tenth of the time of others, if all wait for one core.
NICER: Final = 10
LOWEST: Final = 19

# What bcrypt takes beside its core, in KiB.
BCRYPT_MEMORY: Final = 8
# bcrypt reads so many bytes of a password and ignores the others.
BCRYPT_BYTES: Final = 72
# The cost of digests that are accepted from elsewhere: each step doubles the time, and
# 14 takes a core for more than a second.
LEAST_COST, MOST_COST = 4, 14
BCRYPT: Final = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
# The salt for names without a password, with the cost that the plugins use.
NOBODYS_SALT: Final = b"$2b$12$N0b0dyHasThisPassw0rd."

# Seconds after which the hub looks whether there still are imported digests.
LOOK_EVERY: Final = 300.0

CROWDED: Final = (
    "Many people are signing in at this moment. Try again in a few seconds."
)


class Kind(IntEnum):
    """Kinds of secrets, in the order of precedence."""

    SECRET = 0
    PASSWORD = 1


class Turn:
    """A place in the queue, and then the right to hash."""

    def __init__(self, kind: Kind, memory: int) -> None:
        self.kind = kind
        self.memory = memory
        self.granted = threading.Event()


class Ceiling:
    """A limit for Argon2: `slots` hashes at once, within `memory` KiB.

    A hash that takes more than all of the memory runs alone.
    """

    def __init__(
        self,
        slots: int,
        memory: int,
        *,
        most_waiting: int = MOST_WAITING,
        patience: float = PATIENCE,
    ) -> None:
        self.slots = slots
        self.memory = memory
        self.most_waiting = most_waiting
        self.patience = patience
        self.lock = threading.Lock()
        self.lines: dict[Kind, deque[Turn]] = {kind: deque() for kind in Kind}
        self.running: list[Turn] = []
        self.held = threading.local()

    @contextmanager
    def turn(self, kind: Kind, memory: int) -> Iterator[None]:
        """Wait in the queue, then run the block; raise `Unavailable` after too long."""
        if getattr(self.held, "turn", None) is not None:
            yield
            return
        turn = self._enter(kind, memory)
        self.held.turn = turn
        try:
            yield
        finally:
            self.held.turn = None
            with self.lock:
                self.running.remove(turn)
                self._advance()

    def _enter(self, kind: Kind, memory: int) -> Turn:
        turn = Turn(kind, memory)
        with self.lock:
            if connection.in_atomic_block:
                # Others may wait for the locks of this transaction, so it does not wait
                # itself; few transactions hash, one hash each.
                self.running.append(turn)
                return turn
            if len(self.lines[kind]) >= self.most_waiting:
                raise Unavailable(CROWDED, RETRY_AFTER)
            self.lines[kind].append(turn)
            self._advance()
        if turn.granted.wait(self.patience):
            return turn
        with self.lock, suppress(ValueError):
            self.lines[kind].remove(turn)
            raise Unavailable(CROWDED, RETRY_AFTER)
        # The turn came at the last moment.
        return turn

    def _advance(self) -> None:
        """Give turns to the first in the queue while there is capacity."""
        for line in self.lines.values():
            while line and self._has_room_for(line[0]):
                turn = line.popleft()
                self.running.append(turn)
                turn.granted.set()

    def _has_room_for(self, turn: Turn) -> bool:
        if not self.running:
            return True
        memory = sum(other.memory for other in self.running) + turn.memory
        if len(self.running) >= self.slots or memory > self.memory:
            return False
        passwords = sum(other.kind is Kind.PASSWORD for other in self.running)
        return turn.kind is Kind.SECRET or passwords < max(1, self.slots - 1)


def ceiling_for(cores: int, memory: int, processes: int) -> Ceiling:
    """Return the limit of one of several equal processes of a machine.

    `memory` is that of the machine in KiB, of which all processes together may use an
    eighth. Even on one core a secret need not wait until a password is checked.
    """
    slots = max(2, -(-cores // processes))
    return Ceiling(slots, max(memory // 8 // processes, PASSWORD_MEMORY))


def cores_here() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) or 1


def memory_here() -> int:
    """Return the memory that this process may use, in KiB."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024
    limits = [physical]
    # Containers and systemd's MemoryMax: cgroups of the second version, and the first.
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            text = (Path("/sys/fs/cgroup") / name).read_text()
            limits.append(int(text) // 1024)
    with suppress(OSError, ValueError, IndexError):
        own = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip()
        path = Path(f"/sys/fs/cgroup{own}/memory.max")
        limits.append(int(path.read_text()) // 1024)
    return min(limits)


# Workers are forked after this; each has its own limit.
ceiling = ceiling_for(cores_here(), memory_here(), settings.WEB_PROCESSES)


def in_background(call: Callable[..., T], *args: Any) -> T:
    """Call a function in a thread of lower priority, and wait for its result.

    Each call has a thread of its own, because a process may not raise the priority
    of a thread again.
    """
    result: Future[T] = Future()

    def run() -> None:
        # In a container that forbids this, threads are equal.
        with suppress(OSError):
            # On Linux, priorities belong to threads.
            thread = threading.get_native_id()
            nice = os.getpriority(os.PRIO_PROCESS, thread) + NICER
            os.setpriority(os.PRIO_PROCESS, thread, min(nice, LOWEST))
        finish(result, partial(call, *args))

    threading.Thread(target=run, name="hash", daemon=True).start()
    return result.result()


class PasswordHasher(Argon2PasswordHasher):
    """Django's Argon2id, within the limit, with one thread for each hash.

    Digests with other parameters are accepted, and renewed at the next sign-in.
    """

    time_cost = PASSWORD_TIME
    memory_cost = PASSWORD_MEMORY
    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        with ceiling.turn(Kind.PASSWORD, self.memory_cost):
            return str(in_background(super().encode, password, salt))

    def verify(self, password: str, encoded: str) -> bool:
        memory = self._memory_of(encoded)
        with ceiling.turn(Kind.PASSWORD, memory):
            return bool(in_background(super().verify, password, encoded))

    def _memory_of(self, encoded: str) -> int:
        parameters: Any = self.decode(encoded)["params"]
        return int(parameters.memory_cost)


class ImportedPasswordHasher(BCryptPasswordHasher):
    """Verifies bcrypt digests of JupyterHub's plugins, within the limit.

    Nothing is stored with it: Django renews a digest with the first hasher at the next
    sign-in. `bcrypt` is loaded only where there are such digests.
    """

    def encode(self, password: str, salt: str | bytes) -> str:
        salt = salt.encode() if isinstance(salt, str) else salt
        with ceiling.turn(Kind.PASSWORD, BCRYPT_MEMORY):
            digest: bytes = in_background(_bcrypt, password, salt)
        return f"{self.algorithm}${digest.decode()}"


def spend_time(name: str, password: str) -> None:
    """Take as long as the check of a password, for a name that has none.

    While there are imported digests, half of the names take as long as one of them.
    """
    odd = hashlib.sha256(f"{settings.SECRET_KEY}{name}".encode()).digest()[0] % 2
    if odd and _imported_digests.are_there():
        ImportedPasswordHasher().encode(password, NOBODYS_SALT)
    else:
        make_password(password)


class _ImportedDigests:
    """Knows whether some account has an imported digest, as of some minutes ago."""

    def __init__(self) -> None:
        self.known, self.until = False, 0.0

    def are_there(self) -> bool:
        if time.monotonic() >= self.until:
            start = f"{ImportedPasswordHasher.algorithm}$"
            users = get_user_model().objects.filter(password__startswith=start)
            self.known, self.until = users.exists(), time.monotonic() + LOOK_EVERY
        return self.known

    def forget(self) -> None:
        self.until = 0.0


_imported_digests = _ImportedDigests()


def forget_imported_digests() -> None:
    """Look again at the next name without a password."""
    _imported_digests.forget()


def _bcrypt(password: str, salt: bytes) -> bytes:
    import bcrypt

    return bcrypt.hashpw(password.encode()[:BCRYPT_BYTES], salt)


def imported_digest(digest: bytes | str) -> str | None:
    """Return a bcrypt digest as Django stores it; None if it can't be verified."""
    text = digest.decode("latin-1") if isinstance(digest, bytes) else digest
    found = BCRYPT.fullmatch(text)
    if found is None or not LEAST_COST <= int(found.group(1)) <= MOST_COST:
        return None
    return f"{ImportedPasswordHasher.algorithm}${text}"


def is_imported(password: str) -> bool:
    """Return whether a stored digest came from a plugin and was not renewed yet."""
    return password.startswith(f"{ImportedPasswordHasher.algorithm}$")
