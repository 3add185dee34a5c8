"""The cost of many scopes: time in proportion to their number, and limited memory."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from accounts import rights
from scopes import access as access_module
from scopes.access import Access, Identity, expand
from scopes.caches import remembered
from scopes.grammar import MAX_SCOPE_LENGTH, MAX_SCOPES, check_scopes
from scopes.refusals import Invalid

ADA = Identity("user", "ada", frozenset({"math"}))


def many(number: int) -> list[str]:
    return [f"read:users:name!user=user-{n}" for n in range(number)]


def fastest(act: Callable[[int], object], number: int) -> float:
    """Return the processor time of the best of a few."""
    taken = []
    for _ in range(3):
        begun = time.process_time()
        act(number)
        taken.append(time.process_time() - begun)
    return min(taken)


def build(number: int) -> object:
    return Access(expand(many(number), ADA))


def compare_with_groups(number: int) -> object:
    owner = Access(frozenset(f"read:users:name!group=g{n}" for n in range(number)))
    return owner.lacking(many(number))


def compare_with_filters(number: int) -> object:
    return Access(frozenset(many(number))).lacking(many(number))


@pytest.mark.parametrize("act", [build, compare_with_groups, compare_with_filters])
def test_time_grows_with_the_number_of_scopes(act: Callable[[int], object]) -> None:
    # Sixteen times as many would take 256 times as long if it were their square.
    assert fastest(act, 16_000) < 80 * max(fastest(act, 1_000), 0.002)


def test_more_scopes_than_the_limit_are_refused() -> None:
    check_scopes(many(MAX_SCOPES))
    with pytest.raises(Invalid, match="at most 1000"):
        check_scopes(many(MAX_SCOPES + 1))


def test_the_configuration_may_declare_more() -> None:
    check_scopes(many(MAX_SCOPES + 1), limited=False)


def test_a_scope_has_a_longest_length() -> None:
    name = "x" * (MAX_SCOPE_LENGTH - len("read:users!user="))
    check_scopes([f"read:users!user={name}"])
    with pytest.raises(Invalid, match="longer than"):
        check_scopes([f"read:users!user={name}y"])


def test_what_was_refused_is_not_kept() -> None:
    owner = Access.of(["read:users!group=math", "tokens!user=ada"])
    unique = count()

    def refuse() -> None:
        n = next(unique)
        wanted = [f"read:users!user=user-{n}-{m}" for m in range(MAX_SCOPES)]
        check_scopes(wanted)
        assert owner.lacking(expand(wanted, ADA))
        assert not owner.covers(expand(wanted, ADA))

    refuse()
    held = access_module._access.held
    with traced() as grown:
        for _ in range(3):
            refuse()
        assert grown() < 500_000
    assert access_module._access.held == held


def test_accesses_are_remembered_up_to_a_size() -> None:
    for n in range(100):
        Access.of(f"read:users:name!user=u{n}-{m}" for m in range(MAX_SCOPES))

    assert access_module._access.held <= access_module._access.size


def test_access_of_owners_is_remembered_up_to_a_size() -> None:
    for n in range(100):
        scopes = ",".join(f'"read:users!user=u{n}-{m}"' for m in range(300))
        rights.access_of("user", "ada", "[]", f"[{scopes}]", *[None] * 3)

    assert rights.access_of.held <= rights.access_of.size


def test_a_memory_forgets_the_least_recently_used() -> None:
    made: list[str] = []

    @remembered(100_000, weigh=lambda result: 5_000)
    def make(name: str) -> str:
        made.append(name)
        return name

    for name in (*"abc", "a", *(f"other-{n}" for n in range(16)), "a"):
        make(name)

    assert made.count("a") == 1
    assert "b" not in {key[0] for key in make.entries}
    assert make.held <= make.size


def test_a_memory_keeps_nothing_that_would_push_out_all_the_rest() -> None:
    @remembered(100_000, weigh=len)
    def make(size: int) -> bytes:
        return bytes(size)

    assert len(make(50_000)) == 50_000
    assert not make.entries


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    access_module._access.cache_clear()
    rights.forget()


class traced:
    """Measures by how much memory has grown since the block began."""

    def __enter__(self) -> Callable[[], int]:
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]

        def grown() -> int:
            gc.collect()
            return tracemalloc.get_traced_memory()[0] - before

        return grown

    def __exit__(self, *_: object) -> None:
        tracemalloc.stop()
