"""The API operations that a token may call, for the pages about tokens.

The operations themselves are declared by the views of the API, a room to the right,
which connects `list_operations`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scopes.access import Access, Filters
from web.hooks import Hook

# Most names in the text of one limit.
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address of the API.

    One of `scopes` is needed; without any, every valid token may call the operation.
    `kinds` are the kinds of filters that can reach the object of the address, or the
    rows of its list; without any, the scope is needed without a filter.
    """

    method: str
    path: str
    summary: str
    subject: str
    scopes: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Callable:
    """An operation that an access permits, and for which objects.

    `limits` are texts such as "user ada"; without any, all objects are reached.
    """

    operation: Operation
    limits: tuple[str, ...] = ()


list_operations: Hook[[], Sequence[Operation]] = Hook()


def callable_with(access: Access) -> list[Callable]:
    """Return the operations that `access` permits, those of a subject together."""
    found: list[Callable] = []
    for operations in list_operations():
        for operation in operations:
            reached = reach(operation, access)
            if reached is None:
                found.append(Callable(operation))
            elif reached:
                found.append(Callable(operation, _words(reached)))
    places: dict[str, int] = {}
    for each in found:
        places.setdefault(each.operation.subject, len(places))
    return sorted(found, key=lambda each: places[each.operation.subject])


def reach(operation: Operation, access: Access) -> Filters | None:
    """Return the filters within which an operation may be called.

    None is everywhere, and an empty mapping nowhere.
    """
    if not operation.scopes:
        return None
    filters = access.reach(*operation.scopes)
    if filters is None:
        return None
    return {
        kind: values
        for kind, values in filters.items()
        if kind in operation.kinds and values
    }


def _words(filters: Filters) -> tuple[str, ...]:
    words: list[str] = []
    for kind, values in sorted(filters.items()):
        named = sorted(values)
        words += [f"{kind} {value}" for value in named[:MOST_NAMED]]
        if len(named) > MOST_NAMED:
            words.append(f"and {len(named) - MOST_NAMED} more")
    return tuple(words)


def changes_others(access: Access, name: str) -> bool:
    """Return whether `access` permits changes beyond what user `name` owns."""
    for operations in list_operations():
        for operation in operations:
            if operation.method == "GET" or not operation.scopes:
                continue
            reached = reach(operation, access)
            if reached is None or any(
                not _is_own(kind, value, name)
                for kind, values in reached.items()
                for value in values
            ):
                return True
    return False


def _is_own(kind: str, value: str, name: str) -> bool:
    return (kind == "user" and value == name) or (
        kind == "server" and value.startswith(f"{name}/")
    )
