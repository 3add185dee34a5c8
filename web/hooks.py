"""Hooks, with which a room calls functions of rooms to its right.

A room defines a `Hook` beside the action that calls it. The other rooms connect their
functions in `AppConfig.ready()`, so that imports point one way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Hook(Generic[P, R]):
    """Functions that are called together, in the order in which they were connected.

    `Hook[[User, Actor], object]` calls functions with a user and an actor. A function
    that raises stops the call, and the transaction in which the hook is called.
    """

    def __init__(self) -> None:
        self._functions: list[Callable[P, R]] = []

    def connect(self, function: Callable[P, R]) -> None:
        """Add a function; one that is connected already is not called twice."""
        if function not in self._functions:
            self._functions.append(function)

    def disconnect(self, function: Callable[P, R]) -> None:
        """Remove a function; raise ValueError if the function is not connected."""
        self._functions.remove(function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> list[R]:
        """Call all functions with these arguments and return their results."""
        return [function(*args, **kwargs) for function in self._functions]

    def __iter__(self) -> Iterator[Callable[P, R]]:
        return iter(self._functions)
