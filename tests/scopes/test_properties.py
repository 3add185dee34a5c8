"""Properties that hold for any scopes.

In a small set of objects with fixed memberships, the reach of an access can be computed
for every object. So two accesses are compared by their effect, not by their scopes.
"""

from __future__ import annotations

from collections.abc import Collection

from hypothesis import given
from hypothesis import strategies as st

from scopes.access import Access, Identity, Target, expand, identify, token_access
from scopes.definitions import SCOPES

USERS = ("ada", "bob")
GROUPS = ("math", "art")
MEMBERSHIPS = {("ada", "math"), ("bob", "math"), ("bob", "art")}
# Group filters of both kinds are tried: those for members and those for the group.
NAMES = (
    "read:users",
    "read:users:name",
    "servers",
    "read:servers",
    "read:groups",
    "groups",
    "shares",
    "tokens",
    "list:users",
    "admin:users",
    "read:services",
    "read:hub",
)
FILTERS = (
    "",
    *(f"!user={user}" for user in USERS),
    *(f"!group={group}" for group in GROUPS),
    *(f"!server={user}/{name}" for user in USERS for name in ("", "lab")),
    "!service=ci",
)
SHORT = ("!user", "!service", "!server")
WORLD = (
    *(
        Target(user=user, group=[g for u, g in MEMBERSHIPS if u == user])
        for user in USERS
    ),
    *(
        Target(
            user=user,
            server=f"{user}/{name}",
            group=[g for u, g in MEMBERSHIPS if u == user],
        )
        for user in USERS
        for name in ("", "lab")
    ),
    *(Target(group=group) for group in GROUPS),
    Target(service="ci"),
)
IDENTITIES = (
    *(
        Identity("user", user, frozenset(g for u, g in MEMBERSHIPS if u == user))
        for user in USERS
    ),
    Identity("service", "ci"),
)

scopes = st.builds(str.__add__, st.sampled_from(NAMES), st.sampled_from(FILTERS))
raw_scopes = st.one_of(
    scopes,
    st.builds(str.__add__, st.sampled_from(NAMES), st.sampled_from(SHORT)),
    st.sampled_from(("self", "inherit", "(no_scope)", "gone!user=ada")),
)
raws = st.frozensets(raw_scopes, max_size=6)
identities = st.sampled_from(IDENTITIES)
accesses = st.builds(
    lambda raws, identity: Access.of(expand(raws, identity)), raws, identities
)
clients = st.sampled_from(
    (None, Identity("service", "ci"), Identity("server", "ada/lab"))
)


def members(pairs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    return set(pairs) & MEMBERSHIPS


def effect(access: Access) -> set[tuple[str, object]]:
    """List all that an access permits: each scope with each object of the world."""
    reached: set[tuple[str, object]] = set()
    for scope in SCOPES:
        if access.allows(scope):
            reached.add((scope, "everything"))
        reached |= {
            (scope, number)
            for number, target in enumerate(WORLD)
            if access.allows(scope, obj=target)
        }
    return reached


@given(accesses, accesses)
def test_intersection_only_narrows(one: Access, other: Access) -> None:
    assert effect(one.intersect(other, members)) <= effect(one) & effect(other)


@given(accesses, accesses)
def test_intersection_is_the_same_from_both_sides(one: Access, other: Access) -> None:
    assert one.intersect(other, members) == other.intersect(one, members)


@given(accesses)
def test_intersection_with_itself_changes_nothing(access: Access) -> None:
    assert access.intersect(access, members) == access


@given(accesses, accesses)
def test_what_is_covered_is_not_narrowed(one: Access, other: Access) -> None:
    for wanted in (other, one.intersect(other, members)):
        if one.covers(wanted.scopes, members):
            assert effect(wanted) <= effect(one)
            assert effect(wanted.intersect(one, members)) == effect(wanted)


@given(accesses, accesses)
def test_what_both_have_in_common_is_covered_by_both(
    one: Access, other: Access
) -> None:
    common = one.intersect(other, members)

    assert one.covers(common.scopes, members)
    assert other.covers(common.scopes, members)


@given(raws, identities, clients)
def test_expansion_is_idempotent(
    raws: frozenset[str], identity: Identity, client: Identity | None
) -> None:
    once = expand(raws, identity, client)

    assert expand(once, identity, client) == once


@given(raws, raws, identities)
def test_expansion_goes_scope_by_scope(
    one: frozenset[str], other: frozenset[str], identity: Identity
) -> None:
    assert expand(one | other, identity) == (
        expand(one, identity) | expand(other, identity)
    )


@given(raws, identities)
def test_reduction_changes_no_answer(raws: frozenset[str], identity: Identity) -> None:
    access = Access.of(expand(raws, identity))

    assert Access.of(access.scopes) == access


@given(raws, raws, identities, clients)
def test_a_token_never_does_more_than_its_owner(
    own: frozenset[str],
    owners: frozenset[str],
    identity: Identity,
    client: Identity | None,
) -> None:
    owner = Access.of(expand(owners, identity))

    token = token_access(own, owner, identity, client, members)

    assert effect(token) <= effect(owner)


@given(raws, raws, identities)
def test_a_token_never_has_more_rights_than_its_page_shows(
    own: frozenset[str], owners: frozenset[str], identity: Identity
) -> None:
    owner = Access.of(expand(owners, identity))
    said = (
        owner
        if "inherit" in own
        else Access.of(expand(own, identity) | identify(identity))
    )

    token = token_access(own, owner, identity, None, members)

    assert effect(token) <= effect(said)


@given(accesses, st.sampled_from(("user", "server", "group", "service")))
def test_a_view_answers_for_all_objects_as_for_each(access: Access, table: str) -> None:
    view = access.view(table)

    if view.fixed is not None:
        fresh = Access(access.scopes).view(table)
        assert {view.keys(target) for target in WORLD} == {view.fixed}
        assert fresh.fixed == view.fixed
