"""Caches of results, limited by bytes.

`functools.lru_cache` counts entries. The size of the entries here depends on clients,
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

# Bytes of an entry besides its key and its value.
OVERHEAD = 500


class Memory(Generic[P, R]):
    """A function with a cache of its results; the least recently used are dropped
    first.

    `weigh` estimates the bytes of a result; the texts among the arguments are counted
    too. Results above a sixteenth of the limit are not cached, because one caller would
    drop all other entries.
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
        """Remove all entries."""
        with self.lock:
            self.entries.clear()
            self.held = 0


def remembered(
    size: int, weigh: Callable[[Any], int]
) -> Callable[[Callable[P, R]], Memory[P, R]]:
    """Cache up to `size` bytes of a function's results; see `Memory`."""

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
