"""Changes of a token: note, scopes, expiry, networks and rate."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from audit.models import Actor, Event
from scopes.refusals import Conflict, Forbidden, Invalid
from tests.conftest import API, BearerClient
from tests.factories import BY, make_service, make_token
from tokens.actions.changes import (
    change_scopes,
    extend_token,
    narrow_token,
    rename_token,
    set_limits,
)
from tokens.actions.issuing import issue_token
from tokens.actions.pausing import (
    disable_tokens,
    enable_tokens,
    freeze_tokens,
    unfreeze_tokens,
)
from tokens.actions.revocation import revoke_token
from tokens.models import APIToken
from tokens.networks import WrongNetwork
from tokens.verification import verify

Change = Callable[[APIToken], APIToken]
CHANGES: dict[str, Change] = {
    "rename": lambda token: rename_token(token, "other", by=BY),
    "narrow": lambda token: narrow_token(token, ["read:users!user"], by=BY),
    "extend": lambda token: extend_token(token, 60, by=BY),
    "limit": lambda token: set_limits(
        token, networks=["192.0.2.0/24"], rate_limit=7, by=BY
    ),
}


def itself(token: APIToken) -> Actor:
    return Actor("user", "alan", token.pk)


@pytest.mark.parametrize("act", CHANGES)
def test_each_change_is_recorded_once(alan: User, act: str) -> None:
    token, _ = make_token(alan)

    CHANGES[act](token)
    CHANGES[act](token) if act != "extend" else None

    event = Event.objects.get(action=f"token.{act}")
    assert event.target_name == str(token)
    assert event.detail["before"].keys() == event.detail["after"].keys()


@pytest.mark.parametrize("act", CHANGES)
def test_an_ended_token_is_not_changed(alan: User, act: str) -> None:
    token, _ = make_token(alan)
    revoke_token(token, by=BY)

    with pytest.raises(Conflict, match="revoked or has expired"):
        CHANGES[act](token)


def test_narrowing_counts_at_once(alan: User) -> None:
    token, secret = make_token(alan)
    assert verify(secret).access.has("tokens")  # type: ignore[union-attr]

    narrow_token(token, ["read:users!user"], by=itself(token))

    access = verify(secret).access  # type: ignore[union-attr]
    assert not access.has("tokens")
    assert access.has("read:users")


@pytest.mark.parametrize("scopes", [["inherit"], ["tokens!user"], ["read:users"]])
def test_narrowing_widens_nothing(alan: User, scopes: list[str]) -> None:
    token, _ = make_token(alan, scopes=["read:users!user"])

    with pytest.raises(Invalid, match="does not have"):
        narrow_token(token, scopes, by=BY)


@pytest.mark.parametrize("scopes", [None, "inherit", [7], ["no:such"]])
def test_odd_scopes_are_refused(alan: User, scopes: Any) -> None:
    token, _ = make_token(alan)

    for change in (narrow_token, change_scopes):
        with pytest.raises(Invalid):
            change(token, scopes, by=BY)


def test_others_widen_a_token_as_far_as_its_owner(alan: User) -> None:
    token, _ = make_token(alan, scopes=["read:users!user"])

    changed = change_scopes(token, ["read:users!user", "tokens!user"], by=BY)

    assert changed.scopes == ["read:users!user", "tokens!user"]
    assert Event.objects.filter(action="token.widen").exists()
    with pytest.raises(Invalid, match="not held by User alan"):
        change_scopes(token, ["admin:users"], by=BY)


def test_a_token_may_not_widen_extend_or_enable_itself(alan: User) -> None:
    token, _ = make_token(
        alan,
        scopes=["read:users!user"],
        expires_in=60,
        networks=["192.0.2.0/24"],
        rate_limit=5,
    )
    me = itself(token)
    limits: dict[str, Any] = {"networks": ["192.0.2.0/24"], "rate_limit": 5}
    for attempt in (
        lambda: change_scopes(token, ["tokens!user"], by=me),
        lambda: extend_token(token, 3600, by=me),
        lambda: extend_token(token, None, by=me),
        lambda: set_limits(token, **{**limits, "networks": None}, by=me),
        lambda: set_limits(token, **{**limits, "networks": ["192.0.0.0/16"]}, by=me),
        lambda: set_limits(token, **{**limits, "rate_limit": None}, by=me),
        lambda: set_limits(token, **{**limits, "rate_limit": 6}, by=me),
    ):
        with pytest.raises(Forbidden, match="A token can't"):
            attempt()
    chosen = APIToken.objects.filter(pk=token.pk)
    disable_tokens(chosen, by=BY)
    with pytest.raises(Forbidden, match="can't enable itself"):
        enable_tokens(chosen, by=me)


def test_a_token_may_limit_itself(alan: User) -> None:
    token, _ = make_token(alan)
    me = itself(token)

    set_limits(token, networks=["192.0.2.0/24"], rate_limit=5, by=me)
    set_limits(token, networks=["192.0.2.0/28"], rate_limit=4, by=me)
    changed = extend_token(token, 60, by=me)

    assert (changed.networks, changed.rate_limit) == (["192.0.2.0/28"], 4)
    assert changed.expires_at is not None


def test_an_extension_counts_from_now(alan: User) -> None:
    token, _ = make_token(alan, expires_in=60)
    now = timezone.now()

    changed = extend_token(token, 3600, by=BY, now=now)

    assert changed.expires_at == now + timedelta(seconds=3600)


@pytest.mark.parametrize("rate", [0, -1, True, "5", 1.5, 10**7])
def test_odd_rates_are_refused(alan: User, rate: Any) -> None:
    with pytest.raises(Invalid, match="rate_limit"):
        issue_token(alan, by=BY, rate_limit=rate)


# Networks


@pytest.mark.parametrize(
    ("networks", "text"),
    [
        ("192.0.2.0/24", "must be null or a list"),
        ([], "nobody could use"),
        (["192.0.2.7/24"], "write 192.0.2.0/24"),
        (["everywhere"], "is no network"),
        ([7], "is a text"),
        ([f"10.0.{n}.0/24" for n in range(65)], "at most 64"),
    ],
)
def test_odd_networks_are_refused(alan: User, networks: Any, text: str) -> None:
    with pytest.raises(Invalid, match=text):
        issue_token(alan, by=BY, networks=networks)

    assert not APIToken.objects.exists()


@pytest.mark.parametrize(
    ("address", "is_within"),
    [
        ("192.0.2.1", True),
        ("::ffff:192.0.2.1", True),
        ("2001:db8::7", True),
        ("198.51.100.1", False),
        ("2001:db9::7", False),
        ("", False),
        ("odd", False),
    ],
)
def test_a_token_is_used_from_its_networks_only(
    alan: User, address: str, is_within: bool
) -> None:
    _, secret = make_token(alan, networks=["192.0.2.0/24", "2001:db8::/32"])

    if is_within:
        assert verify(secret, address) is not None
    else:
        with pytest.raises(WrongNetwork, match=r"from 192\.0\.2\.0/24, 2001:db8::/32"):
            verify(secret, address)


def test_networks_count_at_once(alan: User) -> None:
    token, secret = make_token(alan)
    assert verify(secret, "198.51.100.1") is not None

    set_limits(token, networks=["192.0.2.0/24"], rate_limit=None, by=BY)

    with pytest.raises(WrongNetwork):
        verify(secret, "198.51.100.1")


def test_the_holder_of_the_secret_is_told_and_nobody_else(alan: User) -> None:
    _, secret = make_token(alan, networks=["192.0.2.0/24"])

    told = BearerClient(secret).get(f"{API}/user", REMOTE_ADDR="198.51.100.1")
    wrong = BearerClient(secret[:-1] + "x").get(f"{API}/user")
    right = BearerClient(secret).get(f"{API}/user", REMOTE_ADDR="192.0.2.1")

    assert told.status_code == 403
    assert "from 192.0.2.0/24 only" in told.json()["message"]
    assert wrong.status_code == 403
    assert "192.0.2" not in wrong.json()["message"]
    assert right.status_code == 200


@pytest.mark.parametrize(
    ("stop", "go_on", "state"),
    [
        (disable_tokens, enable_tokens, "disabled_at"),
        (partial(freeze_tokens, reason="odd"), unfreeze_tokens, "frozen_at"),
    ],
    ids=["disable", "freeze"],
)
def test_owners_do_not_undo_what_somebody_else_did(
    alan: User, stop: Any, go_on: Any, state: str
) -> None:
    owner, grace = (Actor("user", name) for name in ("alan", "grace"))
    token, _ = make_token(alan)
    of_service, _ = make_token(make_service("ci"))
    row = APIToken.objects.filter(pk=token.pk)

    stop(row, by=grace)
    with pytest.raises(Forbidden, match="Somebody else"):
        go_on(row, by=owner)
    assert not row.filter(**{state: None}).exists()
    assert go_on(row, by=grace) == 1

    stop(APIToken.objects.all(), by=owner)
    assert go_on(APIToken.objects.all(), by=owner) == 2
    stop(APIToken.objects.filter(pk=of_service.pk), by=grace)
    with pytest.raises(Forbidden, match="Somebody else"):
        go_on(APIToken.objects.all(), by=Actor("service", "ci"))


def test_owners_look_into_alarms_themselves(alan: User) -> None:
    token, _ = make_token(alan)
    freeze_tokens(APIToken.objects.all(), by=Actor.system("alarm"), reason="odd")

    assert unfreeze_tokens(APIToken.objects.all(), by=Actor("user", "alan")) == 1
    token.refresh_from_db()
    assert token.frozen_at is None
