"""The expansion of raw scopes for a user, a service and an OAuth client's token."""

from __future__ import annotations

import pytest

from scopes.definitions import DEFAULT_ROLES
from scopes.expansion import Identity, client_access, expand, identify

ADA = Identity("user", "ada")
CI = Identity("service", "ci")
PORTAL = Identity("service", "portal")
LAB = Identity("server", "ada/lab")


def test_self_is_the_list_that_a_plain_user_sees() -> None:
    names = (
        "access:servers, delete:servers, read:servers, read:shares, read:tokens,"
        " read:users, read:users:activity, read:users:groups, read:users:name,"
        " read:users:shares, servers, start:servers, tokens, users:activity,"
        " users:shares"
    )

    assert expand(["self"], ADA) == {f"{name}!user=ada" for name in names.split(", ")}


@pytest.mark.parametrize(
    ("raws", "identity", "client", "expanded"),
    [
        (["self"], CI, None, set()),
        (["self!user=bob"], ADA, None, set()),
        (["inherit"], ADA, None, set()),
        (["(no_scope)"], ADA, None, set()),
        (["no:such:scope"], ADA, None, set()),
        (["read:hub"], CI, None, {"read:hub"}),
        (["list:users"], CI, None, {"list:users", "read:users:name"}),
        (
            ["list:users!group=g"],
            CI,
            None,
            {"list:users!group=g", "read:users:name!group=g"},
        ),
        # Short filters find their target with the owner, then with the client.
        (["read:tokens!user"], ADA, None, {"read:tokens!user=ada"}),
        (["read:tokens!user"], CI, None, set()),
        (
            ["read:services!service"],
            CI,
            PORTAL,
            {"read:services!service=ci", "read:services:name!service=ci"},
        ),
        (
            ["read:services!service"],
            ADA,
            PORTAL,
            {"read:services!service=portal", "read:services:name!service=portal"},
        ),
        (["read:services!service"], ADA, LAB, set()),
        (["access:servers!server"], ADA, LAB, {"access:servers!server=ada/lab"}),
        (["access:servers!server"], ADA, PORTAL, set()),
        (["access:servers!server"], ADA, None, set()),
        (["read:tokens!group"], ADA, None, set()),
        (["read:tokens!user="], ADA, None, set()),
        # Whoever sees a server is not told about its user.
        (["read:servers!server=ada/"], CI, None, {"read:servers!server=ada/"}),
        (["read:users:name!server=ada/"], CI, None, set()),
        (
            ["shares!server=ada/"],
            CI,
            None,
            {
                "shares!server=ada/",
                "access:servers!server=ada/",
                "read:shares!server=ada/",
                "users:shares!server=ada/",
                "groups:shares!server=ada/",
                "read:groups:shares!server=ada/",
            },
        ),
    ],
)
def test_expansion(
    raws: list[str], identity: Identity, client: Identity | None, expanded: set[str]
) -> None:
    assert expand(raws, identity, client) == expanded


def test_the_role_of_servers_reaches_its_owner_and_itself() -> None:
    assert expand(DEFAULT_ROLES["server"]["scopes"], ADA, LAB) == {
        "users:activity!user=ada",
        "read:users:activity!user=ada",
        "access:servers!server=ada/lab",
    }


def test_identify_scopes() -> None:
    assert identify(ADA) == {"read:users:name!user=ada", "read:users:groups!user=ada"}
    assert identify(CI) == {"read:services:name!service=ci"}


def test_a_client_lets_its_tokens_in() -> None:
    assert client_access(PORTAL) == {"access:services!service=portal"}
    assert client_access(LAB) == {"access:servers!server=ada/lab"}
