"""The definitions of scopes: implied scopes, default roles, custom scopes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scopes.definitions import (
    DEFAULT_ROLES,
    SCOPES,
    Scope,
    implied,
    register_custom_scopes,
)
from scopes.grammar import check_scopes, describe
from scopes.refusals import Invalid


@pytest.fixture
def vocabulary() -> Iterator[dict[str, object]]:
    """Give the vocabulary back as it was."""
    before = dict(SCOPES)
    yield SCOPES
    SCOPES.clear()
    SCOPES.update(before)
    implied.cache_clear()


DIRECT = {
    "admin:users": {"admin:auth_state", "users", "read:roles:users", "delete:users"},
    "users": {"read:users", "list:users", "users:activity"},
    "list:users": {"read:users:name"},
    "read:users": {"read:users:name", "read:users:groups", "read:users:activity"},
    "users:activity": {"read:users:activity"},
    "read:roles": {"read:roles:users", "read:roles:services", "read:roles:groups"},
    "admin:servers": {"admin:server_state", "servers"},
    "servers": {"read:servers", "start:servers", "delete:servers"},
    "read:servers": {"read:users:name"},
    "tokens": {"read:tokens"},
    "admin:groups": {"groups", "read:roles:groups", "delete:groups"},
    "groups": {"read:groups", "list:groups"},
    "list:groups": {"read:groups:name"},
    "read:groups": {"read:groups:name"},
    "admin:services": {"list:services", "read:services", "read:roles:services"},
    "list:services": {"read:services:name"},
    "read:services": {"read:services:name"},
    "shares": {"access:servers", "read:shares", "users:shares", "groups:shares"},
    "users:shares": {"read:users:shares"},
    "groups:shares": {"read:groups:shares"},
}


def test_scopes_imply_those_of_the_contract() -> None:
    assert {name: set(s.subscopes) for name, s in SCOPES.items() if s.subscopes} == (
        DIRECT
    )


def test_there_are_exactly_the_scopes_of_the_contract() -> None:
    leaves = {sub for subs in DIRECT.values() for sub in subs}
    others = {
        "(no_scope)",
        "self",
        "inherit",
        "admin-ui",
        "read:hub",
        "access:services",
        "proxy",
        "shutdown",
        "read:metrics",
    }
    assert set(SCOPES) == set(DIRECT) | leaves | others


@pytest.mark.parametrize("name", [name for name in SCOPES if name != "self"])
def test_every_scope_is_described_in_words(name: str) -> None:
    assert SCOPES[name].description[0].isupper()
    assert describe(name) == SCOPES[name].description


@pytest.mark.parametrize(
    ("name", "not_implied"),
    [
        ("admin:users", "tokens"),
        ("admin:servers", "access:servers"),
        ("delete:servers", "read:servers"),
        ("read:users", "read:roles:users"),
        ("admin:groups", "list:users"),
    ],
)
def test_nothing_more_is_implied(name: str, not_implied: str) -> None:
    assert not_implied not in implied(name)


def test_implication_is_transitive() -> None:
    assert implied("admin:servers") == {
        "admin:servers",
        "admin:server_state",
        "servers",
        "read:servers",
        "start:servers",
        "delete:servers",
        "read:users:name",
    }


def test_default_roles_hold_scopes_that_exist() -> None:
    assert set(DEFAULT_ROLES) == {"user", "admin", "server", "token"}
    for role in DEFAULT_ROLES.values():
        check_scopes(role["scopes"], holder="role")


GRADES = {
    "custom:grades:read": {"description": "Read grades"},
    "custom:grades:write": {
        "description": "Write grades",
        "subscopes": ["custom:grades:read"],
    },
}


def test_custom_scopes_become_part_of_the_vocabulary(
    vocabulary: dict[str, object],
) -> None:
    register_custom_scopes(GRADES)

    assert implied("custom:grades:write") == set(GRADES)
    check_scopes(["custom:grades:write!group=math"])


def test_the_same_definition_may_come_again(vocabulary: dict[str, object]) -> None:
    register_custom_scopes(GRADES)
    register_custom_scopes(GRADES)

    assert set(GRADES) <= set(vocabulary)


def test_another_definition_of_a_known_scope_is_refused(
    vocabulary: dict[str, object],
) -> None:
    register_custom_scopes(GRADES)

    with pytest.raises(Invalid, match="already defined"):
        register_custom_scopes({"custom:grades:read": {"description": "Other"}})

    assert describe("custom:grades:read") == "Read grades"


def test_keys_of_custom_scopes_that_mean_nothing_are_left_out(
    vocabulary: dict[str, object],
) -> None:
    register_custom_scopes({"custom:a": {"description": "x", "colour": "red"}})

    assert vocabulary["custom:a"] == Scope("x")


@pytest.mark.parametrize(
    "definitions",
    [
        {"grades": {"description": "x"}},
        {"custom:": {"description": "x"}},
        {"custom:Grades": {"description": "x"}},
        {"custom:-a": {"description": "x"}},
        {"custom:a:": {"description": "x"}},
        {"custom:a-": {"description": "x"}},
        {"custom:a!b": {"description": "x"}},
        {"custom:a\n": {"description": "x"}},
        {"custom:a": {}},
        {"custom:a": {"description": ""}},
        {"custom:a": {"description": 3}},
        {"custom:a": "words"},
        {"custom:a": {"description": "x", "subscopes": ["read:users"]}},
        {"custom:a": {"description": "x", "subscopes": ["custom:b"]}},
        {"custom:a": {"description": "x", "subscopes": "custom:a"}},
        {"custom:ok": {"description": "x"}, "custom:no": {}},
    ],
)
def test_wrong_custom_scopes_are_refused_together(
    definitions: dict[str, dict[str, object]], vocabulary: dict[str, object]
) -> None:
    before = dict(vocabulary)

    with pytest.raises(Invalid):
        register_custom_scopes(definitions)

    assert vocabulary == before


@pytest.mark.parametrize(
    "name", ["custom:a", "custom:9", "custom:a*", "custom:a_", "custom:a:b-c:*"]
)
def test_legal_names_of_custom_scopes(name: str, vocabulary: dict[str, object]) -> None:
    register_custom_scopes({name: {"description": "x"}})

    assert name in vocabulary
