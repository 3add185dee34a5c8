"""Results kept in memory, up to a size in bytes.

`functools.lru_cache` counts entries. The entries here are made of what clients chose,
so that a thousand of them may take a kilobyte or a gigabyte.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# What an entry takes beside its key and its value.
OVERHEAD = 500


class Memory(Generic[P, R]):
    """A function that remembers its results; the least recently used go first.

    `weigh` estimates the bytes that a result takes; the texts among the arguments
    are counted too. What weighs more than a sixteenth of the whole is not kept: one
    caller would push out everybody else's.
    """

    def __init__(
        self, function: Callable[P, R], size: int, weigh: Callable[[Any], int]
    ) -> None:
        self.function = function
        self.size = size
        self.weigh = weigh
        self.held = 0
        self.lock = threading.Lock()
        self.entries: OrderedDict[Hashable, tuple[R, int]] = OrderedDict()
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        key: Hashable = (args, tuple(kwargs.items())) if kwargs else args
        found = self.entries.get(key)
        if found is not None:
            # Another thread may have just made room for another entry.
            with suppress(KeyError):
                self.entries.move_to_end(key)
            return found[0]
        result = self.function(*args, **kwargs)
        self._keep(key, result, self.weigh(result) + _texts_in(args) + OVERHEAD)
        return result

    def _keep(self, key: Hashable, result: R, weight: int) -> None:
        if weight > self.size // 16:
            return
        with self.lock:
            if key in self.entries:
                return
            self.entries[key] = (result, weight)
            self.held += weight
            while self.held > self.size:
                _, (_, gone) = self.entries.popitem(last=False)
                self.held -= gone

    def cache_clear(self) -> None:
        """Forget everything."""
        with self.lock:
            self.entries.clear()
            self.held = 0


def remembered(
    size: int, weigh: Callable[[Any], int]
) -> Callable[[Callable[P, R]], Memory[P, R]]:
    """Let a function remember up to `size` bytes of results; see `Memory`."""

    def decorate(function: Callable[P, R]) -> Memory[P, R]:
        return Memory(function, size, weigh)

    return decorate


def _texts_in(args: tuple[object, ...]) -> int:
    total = 0
    for value in args:
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, frozenset):
            total += sum(len(text) for text in value if isinstance(text, str))
    return total
