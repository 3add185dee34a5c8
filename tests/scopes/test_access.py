"""The rights of an access: scopes, reach and visible keys, and the join of two."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from scopes.access import (
    EMPTY,
    Access,
    Identity,
    Target,
    expand,
    identify,
    token_access,
)
from scopes.refusals import Forbidden, NotFound
from scopes.visible_keys import TABLES

Pair = tuple[str, str]

ADA = Target(user="ada", group=("math",))
BOB = Target(user="bob", group=())
LAB = Target(user="ada", server="ada/lab", group=("math",))
MATH = Target(group="math")
PORTAL = Target(service="portal")

MEMBERSHIPS = {("ada", "math"), ("bob", "art")}


def members(pairs: Collection[Pair]) -> set[Pair]:
    return set(pairs) & MEMBERSHIPS


def ask_nobody(pairs: Collection[Pair]) -> set[Pair]:
    raise AssertionError(f"asked about {pairs}")


def access(*scopes: str) -> Access:
    return Access.of(scopes)


# Holding


def test_an_access_is_the_same_object_for_the_same_scopes() -> None:
    assert access("read:hub", "proxy") is access("proxy", "read:hub")
    assert access() is EMPTY


def test_overlaps_are_reduced() -> None:
    assert access("read:users", "read:users!user=a", "proxy!user=a").scopes == {
        "read:users",
        "proxy!user=a",
    }


def test_filters_are_kept_beside_each_other() -> None:
    both = {"servers!user=a", "servers!server=a/x"}

    assert access(*both).scopes == both


@pytest.mark.parametrize(
    ("held", "asked", "answer"),
    [
        ("read:hub", ["read:hub"], True),
        ("read:users!user=a", ["read:users"], True),
        ("read:users!user=a", ["read:hub", "read:users"], True),
        ("read:users!user=a", ["read:hub"], False),
        # Only what is spelled out counts: sub-scopes are there after expansion.
        ("admin:users", ["read:users"], False),
        ("read:users", [], False),
    ],
)
def test_has(held: str, asked: list[str], answer: bool) -> None:
    assert access(held).has(*asked) is answer


# Reaching

REACH = [
    ("", ADA, True),
    ("!user=ada", ADA, True),
    ("!user=ada", BOB, False),
    ("!user=Ada", ADA, False),
    ("!user=ada", LAB, True),
    ("!user=math", MATH, False),
    ("!user=portal", PORTAL, False),
    ("!group=math", ADA, True),
    ("!group=math", BOB, False),
    ("!group=math", LAB, True),
    ("!group=math", MATH, True),
    ("!group=art", MATH, False),
    ("!server=ada/lab", LAB, True),
    ("!server=ada/", LAB, False),
    ("!server=bob/lab", LAB, False),
    ("!server=ada/lab", ADA, False),
    ("!service=portal", PORTAL, True),
    ("!service=other", PORTAL, False),
    ("!service=ada", ADA, False),
]


@pytest.mark.parametrize(("filtering", "target", "answer"), REACH)
def test_allows(filtering: str, target: Target, answer: bool) -> None:
    assert access(f"read:users{filtering}").allows("read:users", obj=target) is answer


def test_several_filters_and_scopes_are_alternatives() -> None:
    held = access("read:users!user=x", "read:users!group=math", "read:hub!user=bob")

    assert held.allows("read:users", obj=ADA)
    assert not held.allows("read:users", obj=BOB)
    assert held.allows("read:users", "read:hub", obj=BOB)
    assert not held.allows("proxy", obj=BOB)


def test_without_an_object_everything_must_be_reached() -> None:
    assert access("read:users").allows("read:users")
    assert not access("read:users!user=ada").allows("read:users")
    assert not EMPTY.allows("read:users")


def test_groups_are_asked_for_only_when_they_decide() -> None:
    def groups() -> set[str]:
        raise AssertionError("asked")

    ada = Target(user="ada", group=groups)

    assert access("read:users!user=ada", "read:users!group=g").allows(
        "read:users", obj=ada
    )
    assert not access("read:users!user=bob").allows("read:users", obj=ada)
    assert access("read:users!group=g").allows(
        "read:users", obj=Target(user="ada", group=lambda: {"g"})
    )


def test_reach_returns_filters_of_all_scopes() -> None:
    held = access("a", "b!user=x", "c!user=y", "c!group=g")

    assert held.reach("a") is None
    assert held.reach("a", "b") is None
    assert held.reach("b", "c", "d") == {"user": {"x", "y"}, "group": {"g"}}
    assert held.reach("d") == {}


# Deciding


@pytest.mark.parametrize(
    ("held", "refusal"),
    [
        ("read:users", None),
        ("read:users:name", None),
        ("read:users!user=ada", None),
        ("read:users!group=math", None),
        ("read:users!user=bob", NotFound),
        ("read:users:name!server=ada/lab", NotFound),
        ("admin:users", Forbidden),
    ],
)
def test_decision_about_a_named_object(
    held: str, refusal: type[Exception] | None
) -> None:
    def decide() -> None:
        access(held).require_for(ADA, "read:users", "read:users:name")

    if refusal is None:
        decide()
    else:
        with pytest.raises(refusal):
            decide()


def test_a_filter_may_name_what_does_not_exist_yet() -> None:
    access("admin:groups!group=new").require_for(Target(group="new"), "admin:groups")


@pytest.mark.parametrize("held", ["admin:users!user=ada", "read:hub"])
def test_decision_about_no_single_object(held: str) -> None:
    with pytest.raises(Forbidden) as refusal:
        access(held).require("admin:users", "users")

    assert refusal.value.message == (
        "Action is not authorized with current scopes;"
        " requires any of [admin:users, users]"
    )
    access("users").require("admin:users", "users")


def test_what_is_out_of_reach_is_not_found() -> None:
    with pytest.raises(NotFound) as refusal:
        access("read:users!user=bob").require_for(ADA, "read:users")

    assert refusal.value.message == "No access to resources or resources not found"


@pytest.mark.parametrize(
    ("held", "passes"),
    [
        ("list:users", True),
        ("list:users!user=x", True),
        ("list:users!group=x", True),
        ("list:users!server=x/", False),
        ("list:users!service=x", False),
        ("read:users", False),
    ],
)
def test_decision_about_a_list(held: str, passes: bool) -> None:
    class Listed:
        scope_filters = {"user": "name", "group": "groups__name"}  # noqa: RUF012

    def decide() -> None:
        access(held).require_list("list:users", model=Listed)  # type: ignore[arg-type]

    if passes:
        decide()
    else:
        with pytest.raises(Forbidden):
            decide()


# Showing

READ_USERS = {
    "kind",
    "name",
    "admin",
    "user_info",
    "roles",
    "groups",
    "server",
    "pending",
    "created",
    "last_activity",
}
SERVER_KEYS = set(TABLES["server"].keys) - {"state"}


@pytest.mark.parametrize(
    ("table", "scopes", "keys"),
    [
        ("user", ["read:users"], READ_USERS),
        ("user", ["read:users:name"], {"kind", "name", "admin", "user_info"}),
        ("user", ["read:users:groups"], {"kind", "name", "groups"}),
        ("user", ["read:users:activity"], {"kind", "name", "last_activity"}),
        ("user", ["read:roles:users"], {"kind", "name", "admin", "roles"}),
        ("user", ["read:servers"], {"kind", "name", "servers"}),
        ("user", ["admin:auth_state"], {"kind", "name", "auth_state"}),
        ("user", ["list:users", "tokens", "read:groups"], set()),
        ("group", ["read:groups"], {"kind", "name", "users", "properties"}),
        ("group", ["read:groups:name"], {"kind", "name"}),
        ("group", ["read:roles:groups"], {"kind", "name", "roles"}),
        ("group", ["read:users"], set()),
        ("service", ["read:services:name"], {"kind", "name", "admin"}),
        ("service", ["read:roles:services"], {"kind", "name", "admin", "roles"}),
        (
            "service",
            ["read:services"],
            {
                "kind",
                "name",
                "admin",
                "url",
                "prefix",
                "command",
                "pid",
                "info",
                "display",
            },
        ),
        ("server", ["read:servers"], SERVER_KEYS),
        ("server", ["admin:server_state"], set()),
        ("server", ["read:servers", "admin:server_state"], SERVER_KEYS | {"state"}),
    ],
)
def test_keys_follow_scopes(table: str, scopes: list[str], keys: set[str]) -> None:
    held = access(*scopes)

    assert held.view(table).fixed == keys
    assert held.visible(table, ADA) == keys


def test_keys_may_differ_between_objects() -> None:
    held = access("read:users:name", "read:users!user=ada", "read:servers!group=math")

    assert held.view("user").fixed is None
    assert held.visible("user", ADA) == READ_USERS | {"servers"}
    assert held.visible("user", BOB) == {"kind", "name", "admin", "user_info"}


def test_a_filter_that_adds_no_key_does_not_matter() -> None:
    held = access("read:users", "read:users:name!user=ada")

    assert held.view("user").fixed == READ_USERS


def test_filters_reach_single_servers() -> None:
    held = access("read:servers!server=ada/lab", "admin:server_state!user=ada")

    assert held.visible("server", LAB) == SERVER_KEYS | {"state"}
    assert held.visible("server", Target(user="ada", server="ada/")) == set()
    assert held.visible("user", ADA) == set()


# Meeting


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        ([""], [""], [""]),
        ([""], ["!user=ada"], ["!user=ada"]),
        (["!user=ada"], ["!user=ada"], ["!user=ada"]),
        (["!user=ada"], ["!user=bob"], []),
        (["!user=ada", "!user=bob"], ["!user=bob"], ["!user=bob"]),
        (["!server=ada/x"], ["!user=ada"], ["!server=ada/x"]),
        (["!server=ada/"], ["!user=ada"], ["!server=ada/"]),
        (["!server=ada/x"], ["!user=ad"], []),
        (["!server=ada/x"], ["!server=ada/x"], ["!server=ada/x"]),
        (["!server=ada/x"], ["!server=ada/y"], []),
        (["!user=ada"], ["!group=math"], ["!user=ada"]),
        (["!user=ada"], ["!group=art"], []),
        (["!server=ada/x"], ["!group=math"], ["!server=ada/x"]),
        (["!server=ada/x"], ["!group=art"], []),
        (["!group=math"], ["!group=math"], ["!group=math"]),
        (["!group=math"], ["!group=art"], []),
        (["!service=a"], ["!service=a"], ["!service=a"]),
        (["!service=ada"], ["!user=ada"], []),
        (["!user=ada", "!group=art"], ["!group=math"], ["!user=ada"]),
        (
            ["!user=ada", "!server=ada/x"],
            ["!user=ada"],
            ["!user=ada", "!server=ada/x"],
        ),
    ],
)
def test_intersection(one: list[str], other: list[str], common: list[str]) -> None:
    left = Access.of(f"servers{filtering}" for filtering in one)
    right = Access.of(f"servers{filtering}" for filtering in other)
    expected = Access.of(f"servers{filtering}" for filtering in common)

    assert left.intersect(right, members) is expected
    assert right.intersect(left, members) is expected


def test_different_scopes_have_nothing_in_common() -> None:
    assert access("read:users").intersect(access("users"), members) is EMPTY


def test_memberships_are_asked_for_only_when_they_decide() -> None:
    assert access("servers!user=ada").intersect(
        access("servers!user=ada", "servers!group=math"), ask_nobody
    ) == access("servers!user=ada")
    assert access("servers!group=math").intersect(
        access("servers!group=math", "servers!service=ada"), ask_nobody
    ) == access("servers!group=math")


def test_without_memberships_nobody_is_a_member() -> None:
    assert access("servers!user=ada").intersect(access("servers!group=math")) is EMPTY


@pytest.mark.parametrize(
    ("held", "wanted", "lacking"),
    [
        (["read:users"], ["read:users!user=ada"], set()),
        (["read:users!user=ada"], ["read:users"], {"read:users"}),
        (["servers!user=ada"], ["servers!server=ada/x"], set()),
        (["servers!server=ada/x"], ["servers!user=ada"], {"servers!user=ada"}),
        (["servers!group=math"], ["servers!user=ada"], set()),
        (["servers!group=math"], ["servers!user=bob"], {"servers!user=bob"}),
        (["servers!user=ada"], ["servers!group=math"], {"servers!group=math"}),
        (["a", "b"], [], set()),
    ],
)
def test_lacking_and_covers(
    held: list[str], wanted: list[str], lacking: set[str]
) -> None:
    assert access(*held).lacking(wanted, members) == lacking
    assert access(*held).covers(wanted, members) is not bool(lacking)


# Tokens

OWNER = Identity("user", "ada", frozenset({"math"}))
SELF = Access.of(expand(["self"], OWNER))
IDENTIFY = identify(OWNER)


@pytest.mark.parametrize(
    ("raws", "owner", "client", "scopes"),
    [
        (["inherit"], SELF, None, SELF.scopes),
        (["inherit", "admin:users"], SELF, None, SELF.scopes),
        ([], SELF, None, IDENTIFY),
        ([], EMPTY, None, set()),
        (["(no_scope)"], SELF, None, IDENTIFY),
        (["admin:users"], SELF, None, expand(["users!user"], OWNER) & SELF.scopes),
        (["read:hub"], SELF, None, IDENTIFY),
        (["read:hub"], access("read:hub"), None, {"read:hub"}),
        (["self"], SELF, None, SELF.scopes),
        (["read:tokens!user=bob"], SELF, None, IDENTIFY),
        # The owner's own memberships are known without asking.
        (["read:tokens!group=math"], SELF, None, IDENTIFY | {"read:tokens!user=ada"}),
        (["read:tokens!group=art"], SELF, None, IDENTIFY),
        # A token of an OAuth client may use that client, if its owner may.
        (
            [],
            SELF,
            Identity("server", "ada/lab"),
            IDENTIFY | {"access:servers!server=ada/lab"},
        ),
        ([], SELF, Identity("server", "bob/"), IDENTIFY),
        ([], SELF, Identity("service", "portal"), IDENTIFY),
        (
            [],
            access("access:services"),
            Identity("service", "portal"),
            {"access:services!service=portal"},
        ),
    ],
)
def test_a_token_is_its_scopes_cut_down_by_its_owner(
    raws: list[str], owner: Access, client: Identity | None, scopes: set[str]
) -> None:
    assert token_access(raws, owner, OWNER, client, ask_nobody).scopes == scopes


def test_a_token_asks_about_the_memberships_of_others() -> None:
    held = token_access(
        ["read:users!group=art"],
        access("read:users!user=bob", "read:users!user=eve"),
        OWNER,
        None,
        members,
    )

    assert held == access("read:users!user=bob", "read:users:name!user=ada").intersect(
        access("read:users!user=bob")
    )


def test_identify_scopes_can_be_lent() -> None:
    lent = EMPTY.joined(identify(OWNER))

    assert lent.visible("user", ADA) == {"kind", "name", "admin", "user_info", "groups"}
    assert EMPTY.visible("user", ADA) == set()
