"""The simulator of a token's operations agrees with the API.

`test_scope_matrix` calls every operation with every scope and filter of its table; here
the simulator is compared with the same table.
"""

from __future__ import annotations

import pytest

from scopes.access import Access
from scopes.definitions import METASCOPES, SCOPES, implied
from scopes.expansion import Identity, expand
from tests.api.test_scope_matrix import (
    IDENTIFIED,
    NEW_USER,
    PROTECTED,
    TOKEN,
    Endpoint,
)
from tokens.operations import Operation, callable_with, list_operations, reach

NOBODY = Identity("service", "caller")
NAMES = [name for name in SCOPES if name not in METASCOPES]


def operations() -> dict[tuple[str, str], Operation]:
    listed = [each for many in list_operations() for each in many]
    return {(each.method, each.path): each for each in listed}


def path_of(route: str) -> str:
    for kind in ("<name:", "<"):
        route = route.replace(kind, "{")
    return "/" + route.replace(">", "}")


def simulated(endpoint: Endpoint) -> Operation:
    return operations()[endpoint.method, path_of(endpoint.route)]


def access(*raws: str) -> Access:
    return Access.of(expand(raws, NOBODY))


API = [endpoint for endpoint in PROTECTED if not endpoint.page]


def test_every_operation_that_needs_a_scope_is_simulated() -> None:
    tabled = {(each.method, path_of(each.route)) for each in API}
    needing = {key for key, operation in operations().items() if operation.scopes}

    assert needing == {key for key in tabled if key in needing}
    assert {key for key in tabled - needing if "oauth2" not in key[1]} == set()


@pytest.mark.parametrize("endpoint", API, ids=str)
def test_each_scope_is_simulated_as_the_api_answers(endpoint: Endpoint) -> None:
    operation = simulated(endpoint)

    for name in NAMES:
        expected = bool(implied(name) & set(endpoint.scopes))

        assert (reach(operation, access(name)) is None) is expected, name
        if not expected:
            assert reach(operation, access(name)) == {}, name


@pytest.mark.parametrize("endpoint", API, ids=str)
def test_each_filter_is_simulated_as_the_api_answers(endpoint: Endpoint) -> None:
    operation = simulated(endpoint)
    kinds = {filtering[1:].partition("=")[0] for filtering in endpoint.place.reached_by}
    if endpoint.place is NEW_USER:
        # Nobody is in a group before the creation; for a name that exists the call is
        # permitted, and refused as a conflict.
        kinds.add("group")
    if endpoint.place is TOKEN:
        # Other tokens at such an address belong to services.
        kinds.add("service")
    assert operation.kinds == kinds

    for scope in endpoint.scopes:
        for filtering in endpoint.place.reached_by:
            kind, _, value = filtering[1:].partition("=")
            reached = reach(operation, access(f"{scope}{filtering}"))
            assert reached is not None
            assert value in reached[kind], filtering
        for filtering in endpoint.place.missed_by:
            kind, _, value = filtering[1:].partition("=")
            reached = reach(operation, access(f"{scope}{filtering}"))
            # A filter of a kind that fits names another object, never this one.
            assert reached == ({kind: frozenset({value})} if kind in kinds else {})


def test_operations_without_a_scope_are_open_to_each_token() -> None:
    calls = [each.operation for each in callable_with(access())]
    nothing = {(each.method, each.path) for each in calls}

    open_to_all = {(method, path_of(route)) for method, route, *_ in IDENTIFIED}
    assert nothing == open_to_all & set(operations())
    assert ("GET", "/user") in nothing
