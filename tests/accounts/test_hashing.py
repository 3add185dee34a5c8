"""The limit of concurrent Argon2 hashes, and the queue behind it."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.hashers import (
    Argon2PasswordHasher,
    check_password,
    identify_hasher,
    make_password,
)
from django.db import connection, transaction

from accounts import hashing
from accounts.hashing import (
    LOWEST,
    NICER,
    PASSWORD_MEMORY,
    Ceiling,
    Kind,
    PasswordHasher,
    ceiling_for,
)
from scopes.refusals import Unavailable
from tests.test_architecture import sources

MIB = 1024


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


class Crowd:
    """Threads that take turns and hold them until they are told to go."""

    def __init__(self, ceiling: Ceiling) -> None:
        self.ceiling = ceiling
        self.inside: list[str] = []
        self.done: list[str] = []
        self.refused: list[str] = []
        self.gates: dict[str, threading.Event] = {}
        self.threads: list[threading.Thread] = []

    def come(self, name: str, kind: Kind = Kind.PASSWORD, memory: int = MIB) -> None:
        """Let somebody come; return when they are inside or wait in line."""
        self.gates[name] = threading.Event()
        before = self.seen()
        thread = threading.Thread(target=self._take, args=(name, kind, memory))
        self.threads.append(thread)
        thread.start()
        wait_for(lambda: self.seen() > before)

    def seen(self) -> int:
        waiting = sum(len(line) for line in self.ceiling.lines.values())
        return waiting + len(self.inside) + len(self.done) + len(self.refused)

    def _take(self, name: str, kind: Kind, memory: int) -> None:
        try:
            with self.ceiling.turn(kind, memory):
                self.inside.append(name)
                self.gates[name].wait()
                self.inside.remove(name)
                self.done.append(name)
        except Unavailable:
            self.refused.append(name)

    def go(self, name: str) -> None:
        self.gates[name].set()
        wait_for(lambda: name in self.done)

    def all_go(self) -> None:
        for gate in self.gates.values():
            gate.set()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def crowd(request: pytest.FixtureRequest) -> Any:
    made: list[Crowd] = []

    def make(slots: int = 2, memory: int = 1000 * MIB, **options: Any) -> Crowd:
        made.append(Crowd(Ceiling(slots, memory, **options)))
        return made[-1]

    yield make
    for each in made:
        each.all_go()


def test_who_waits_waits_in_line(crowd: Any) -> None:
    people = crowd()
    for name in "abcd":
        people.come(name)

    assert people.inside == ["a"]
    for name, following in zip("abc", "bcd", strict=True):
        people.go(name)
        wait_for(lambda following=following: people.inside == [following])
    people.go("d")
    assert people.done == ["a", "b", "c", "d"]


def test_passwords_leave_a_place_for_secrets(crowd: Any) -> None:
    people = crowd(slots=3)
    for name in "abc":
        people.come(name)
    people.come("token", Kind.SECRET)

    assert people.inside == ["a", "b", "token"]


def test_secrets_go_before_passwords(crowd: Any) -> None:
    people = crowd(slots=2)
    people.come("a")
    people.come("token", Kind.SECRET)
    people.come("b")
    people.come("another token", Kind.SECRET)
    people.go("a")

    wait_for(lambda: len(people.inside) == 2)
    assert people.inside == ["token", "another token"]


def test_memory_is_limited_as_well(crowd: Any) -> None:
    people = crowd(slots=8, memory=100 * MIB)
    for name in "abc":
        people.come(name, memory=46 * MIB)

    assert people.inside == ["a", "b"]


def test_what_takes_more_than_all_runs_alone(crowd: Any) -> None:
    people = crowd(slots=8, memory=50 * MIB)
    people.come("old digest", memory=100 * MIB)
    people.come("token", Kind.SECRET)
    assert people.inside == ["old digest"]

    people.go("old digest")
    wait_for(lambda: people.inside == ["token"])


def test_the_line_has_an_end(crowd: Any) -> None:
    people = crowd(most_waiting=2)
    for name in "abcd":
        people.come(name)

    assert people.refused == ["d"]
    people.all_go()
    assert sorted(people.done) == ["a", "b", "c"]


def test_nobody_waits_for_ever(crowd: Any) -> None:
    people = crowd(patience=0.05)
    people.come("a")
    people.come("b")

    wait_for(lambda: people.refused == ["b"])
    people.go("a")
    people.come("c")
    assert people.inside == ["c"]


def test_a_refusal_has_the_time_of_the_next_try() -> None:
    ceiling = Ceiling(2, MIB, most_waiting=0)
    with pytest.raises(Unavailable) as refusal, ceiling.turn(Kind.PASSWORD, MIB):
        pass

    assert refusal.value.retry_after


def test_a_turn_is_enough_for_all_that_is_hashed_in_it() -> None:
    ceiling = Ceiling(2, MIB, patience=0.05)
    with ceiling.turn(Kind.PASSWORD, MIB), ceiling.turn(Kind.PASSWORD, MIB):
        assert len(ceiling.running) == 1
    assert not ceiling.running


def test_a_failure_ends_the_turn() -> None:
    ceiling = Ceiling(2, MIB)
    with pytest.raises(ZeroDivisionError), ceiling.turn(Kind.PASSWORD, MIB):
        _ = 1 / 0
    assert not ceiling.running


@pytest.mark.django_db(transaction=True)
def test_a_transaction_does_not_wait(crowd: Any) -> None:
    people = crowd(patience=0.05)
    people.come("a")

    with transaction.atomic(), people.ceiling.turn(Kind.PASSWORD, MIB):
        assert len(people.ceiling.running) == 2
    with pytest.raises(Unavailable), people.ceiling.turn(Kind.PASSWORD, MIB):
        pass
    connection.close()


@pytest.mark.parametrize(
    ("cores", "memory", "processes", "slots", "passwords"),
    [
        (2, 1_000_000, 1, 2, 1),  # the smallest that there is
        (1, 500_000, 1, 2, 1),
        (8, 32_000_000, 1, 8, 7),
        (8, 32_000_000, 4, 2, 1),
        (64, 1_000_000, 1, 64, 2),  # memory for two
    ],
)
def test_the_ceiling_is_chosen_by_memory_and_cores(
    cores: int, memory: int, processes: int, slots: int, passwords: int
) -> None:
    ceiling = ceiling_for(cores, memory, processes)
    running = 0
    turn = hashing.Turn(Kind.PASSWORD, PASSWORD_MEMORY)
    while ceiling._has_room_for(turn):
        ceiling.running.append(turn)
        running += 1

    assert ceiling.slots == slots
    assert running == passwords


# Passwords


def test_passwords_are_hashed_within_the_ceiling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[tuple[Kind, int]] = []

    class Watched(Ceiling):
        def turn(self, kind: Kind, memory: int) -> Any:
            used.append((kind, memory))
            return super().turn(kind, memory)

    monkeypatch.setattr(hashing, "ceiling", Watched(2, 1000 * MIB))
    stored = make_password("correct horse")

    assert check_password("correct horse", stored)
    assert not check_password("wrong", stored)
    assert used == [(Kind.PASSWORD, PASSWORD_MEMORY)] * 3


def test_passwords_are_hashed_at_a_lower_priority(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    priorities: list[int] = []

    def encode(self: object, password: str, salt: str) -> str:
        priorities.append(priority())
        return password[::-1]

    before = priority()
    monkeypatch.setattr(Argon2PasswordHasher, "encode", encode)

    assert PasswordHasher().encode("correct", "salt") == "tcerroc"
    assert priorities == [min(before + NICER, LOWEST)]
    assert priority() == before


def test_a_failure_to_hash_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(self: object, password: str, salt: str) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(Argon2PasswordHasher, "encode", encode)

    with pytest.raises(ZeroDivisionError):
        PasswordHasher().encode("correct", "salt")
    assert not hashing.ceiling.running


def test_older_digests_are_verified_and_renewed() -> None:
    # Of Django's own hasher: 100 MiB, in eight threads.
    older = (
        "argon2$argon2id$v=19$m=102400,t=2,p=8$c29tZXNhbHRzb21lc2FsdA"
        "$6fBDA5fXZV3E4u0JrNu9ynlm8n9u9fkkQ4PY1N6Qxxo"
    )
    hasher = identify_hasher(older)

    assert hasher.must_update(older)
    assert not hasher.must_update(make_password("correct horse"))


def test_no_other_code_hashes_with_argon2() -> None:
    using = {
        path.name
        for path in sources()
        if re.search(r"^(from|import) argon2", path.read_text("utf-8"), re.MULTILINE)
    }
    assert using == {"digests.py"}
