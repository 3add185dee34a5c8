"""Issue, store, revoke and purge tokens."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core.management import call_command
from django.utils import timezone

from accounts.models import Group, User
from audit.models import Actor, Event
from scopes.refusals import Invalid
from services.models import Service
from tests import factories
from tests.factories import BY
from tokens import digests, format
from tokens.actions.importing import import_token
from tokens.actions.issuing import issue_token
from tokens.actions.pausing import disable_tokens, enable_tokens
from tokens.actions.revocation import (
    purge_expired,
    remove_tokens,
    revoke_token,
    revoke_tokens,
)
from tokens.actions.values import MAX_EXPIRES_IN
from tokens.models import ENDED_KEPT, APIToken
from tokens.verification import verify

BROUGHT = "0123456789abcdef" * 4


@pytest.fixture
def cap(settings: Any) -> None:
    """Limit tokens to two hours."""
    settings.HUB = replace(settings.HUB, token_expires_in_max_seconds=7200)


# Issuing


def test_everything_has_a_default(alan: User) -> None:
    token, secret = issue_token(alan, by=BY)

    token.refresh_from_db()
    assert token.owner == alan
    assert token.scopes == ["inherit"]
    assert token.note == ""
    assert token.expires_at is None
    assert token.origin == "minted"
    assert token.access == alan.access
    assert token.public_id == format.public_id(secret)
    assert digests.matches(secret, token.digest)


def test_services_own_tokens_too(ci: Service) -> None:
    token, _ = issue_token(ci, by=BY)

    assert token.owner == ci
    assert token.owner_kind == "service"
    assert token.access == ci.access


def test_expires_after_as_many_seconds(alan: User) -> None:
    now = timezone.now()

    token, _ = issue_token(alan, by=BY, expires_in=60, now=now)

    assert token.created == now
    assert token.expires_at == now + timedelta(seconds=60)


@pytest.mark.parametrize(
    ("expires_in", "message"),
    [
        (0, "expires_in must be a positive integer or null, not 0"),
        (-1, "expires_in must be a positive integer or null, not -1"),
        ("60", "token expires_in must be null or integer, not '60'"),
        (1.5, "token expires_in must be null or integer, not 1.5"),
        (True, "token expires_in must be null or integer, not True"),
        ([60], "token expires_in must be null or integer, not [60]"),
        (
            10**30,
            f"token expires_in: {10**30} must not exceed {MAX_EXPIRES_IN}",
        ),
    ],
)
def test_refuses_lifetimes_that_are_none(
    alan: User, expires_in: Any, message: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        issue_token(alan, by=BY, expires_in=expires_in)

    assert refusal.value.message == message
    assert not APIToken.objects.exists()


def test_a_maximum_is_the_default_and_the_limit(alan: User, cap: None) -> None:
    token, _ = issue_token(alan, by=BY)
    assert token.expires_at == token.created + timedelta(hours=2)
    issue_token(alan, by=BY, expires_in=7200)

    with pytest.raises(Invalid, match=r"^token expires_in: 7201 must not exceed 7200$"):
        issue_token(alan, by=BY, expires_in=7201)


def test_a_maximum_spares_what_ends_with_something_else(alan: User, cap: None) -> None:
    token, _ = issue_token(alan, by=BY, capped=False)

    assert token.expires_at is None


@pytest.mark.parametrize(
    "scopes",
    [
        [],
        ["self"],
        ["inherit"],
        ["read:users!user"],
        ["read:users!user=alan"],
        ["servers!server=alan/lab"],
        ["(no_scope)"],
    ],
)
def test_gives_what_the_owner_holds(alan: User, scopes: list[str]) -> None:
    token, _ = issue_token(alan, by=BY, scopes=scopes)

    assert token.scopes == scopes
    assert token.access.scopes <= alan.access.scopes | {
        scope for scope in token.access.scopes if "!server=alan/" in scope
    }


@pytest.mark.parametrize(
    ("scopes", "beyond"),
    [
        (["shutdown"], "shutdown"),
        (["list:users"], "list:users,read:users:name"),
        (["read:users:name!user=grace"], "read:users:name!user=grace"),
        (["self", "shutdown"], "shutdown"),
        (["inherit", "shutdown"], "shutdown"),
        (["read:users:name!group=data301"], "read:users:name!group=data301"),
    ],
)
def test_refuses_scopes_beyond_the_owner(
    alan: User, scopes: list[str], beyond: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        issue_token(alan, by=BY, scopes=scopes)

    assert refusal.value.message == (
        f"Not assigning requested scopes {beyond} not held by User alan"
    )
    assert not APIToken.objects.exists()
    assert not Event.objects.exists()


def test_names_services_in_refusals(ci: Service) -> None:
    with pytest.raises(Invalid, match="scopes shutdown not held by Service ci"):
        issue_token(ci, by=BY, scopes=["shutdown"])


def test_gives_scopes_over_members_of_a_group(grace: User, alan: User) -> None:
    token, _ = issue_token(grace, by=BY, scopes=["read:users!user=alan"])

    assert token.access.allows("read:users", obj=alan)


@pytest.mark.parametrize(
    "scopes",
    [["no:such"], ["all"], ["self!colour=red"], ["read:users!user="], "self", [1], {}],
)
def test_refuses_what_are_no_scopes(alan: User, scopes: Any) -> None:
    with pytest.raises(Invalid):
        issue_token(alan, by=BY, scopes=scopes)

    assert not APIToken.objects.exists()


@pytest.mark.parametrize("note", [1, None, ["x"], "x" * 1024, "a\0b"])
def test_refuses_what_can_be_no_note(alan: User, note: Any) -> None:
    with pytest.raises(Invalid):
        issue_token(alan, by=BY, note=note)

    assert not APIToken.objects.exists()


def test_a_token_gains_nothing_when_its_owner_does(alan: User) -> None:
    _, secret = issue_token(alan, by=BY, scopes=["read:users!user"])
    factories.make_role("admin", users=[alan])

    bearer = verify(secret)

    assert bearer is not None
    assert not bearer.access.has("admin:users")


def test_issuing_is_recorded(alan: User) -> None:
    token, _ = issue_token(alan, by=Actor("user", "ada", 7, "::1"), note="for CI")

    [event] = Event.objects.all()
    assert (event.action, event.target_name) == ("token.issue", f"a{token.pk}")
    assert (event.actor_name, event.token_id) == ("ada", 7)
    assert event.detail["owner"] == "alan"
    assert event.detail["note"] == "for CI"
    assert event.detail["scopes"] == ["inherit"]


# Brought secrets


def test_a_brought_secret_inherits_for_ever(alan: User) -> None:
    token = import_token(alan, BROUGHT, note="from config", by=BY)

    assert (token.owner, token.origin, token.note) == (alan, "brought", "from config")
    assert (token.scopes, token.expires_at) == (["inherit"], None)
    assert token.digest.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_storing_again_changes_nothing(alan: User, grace: User) -> None:
    first = import_token(alan, BROUGHT, by=BY)

    again = import_token(grace, BROUGHT, note="mine now", by=BY)

    assert again == first
    again.refresh_from_db()
    assert (again.owner, again.note) == (alan, "")
    assert Event.objects.filter(action="token.issue").count() == 1


def test_a_revoked_secret_does_not_come_back(alan: User) -> None:
    token = import_token(alan, BROUGHT, by=BY)
    revoke_token(token, by=BY)

    import_token(alan, BROUGHT, by=BY)

    assert verify(BROUGHT) is None
    assert APIToken.objects.count() == 1


def test_an_expired_secret_does_not_come_back(alan: User) -> None:
    import_token(alan, BROUGHT, by=BY)
    APIToken.objects.update(expires_at=timezone.now())
    purge_expired()

    import_token(alan, BROUGHT, by=BY)

    assert verify(BROUGHT) is None


@pytest.mark.parametrize(
    "secret",
    ["", "seven77", "x" * 129, "with blank", "ümlaut-secret", "nul\0secret", 8],
)
def test_refuses_what_can_be_no_token(
    alan: User, secret: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Invalid) as refusal:
        import_token(alan, secret, by=BY)

    assert "openssl rand -hex 32" in refusal.value.message
    assert not secret or str(secret) not in refusal.value.message or secret == 8
    assert not APIToken.objects.exists()


def test_takes_eight_characters(alan: User) -> None:
    import_token(alan, "eight888", by=BY)

    assert verify("eight888") is not None


def test_a_token_of_this_hub_may_stand_in_the_configuration(alan: User) -> None:
    token, secret = issue_token(alan, by=BY, scopes=["read:users!user"])

    assert import_token(alan, secret, by=BY) == token
    token.refresh_from_db()
    assert token.scopes == ["read:users!user"]


def test_refuses_a_token_of_another_hub(alan: User) -> None:
    foreign, _ = format.generate("hub", [b"another hub's"])

    with pytest.raises(Invalid, match="this hub has not generated it"):
        import_token(alan, foreign, by=BY)


# Revoking


def test_revoking_ends_a_token_for_ever(alan: User) -> None:
    token, secret = issue_token(alan, by=BY)
    _, other_secret = issue_token(alan, by=BY)

    assert revoke_token(token, by=BY) == 1

    assert verify(secret) is None
    assert verify(other_secret) is not None
    token.refresh_from_db()
    first = token.revoked_at
    assert revoke_token(token, by=BY) == 0
    token.refresh_from_db()
    assert token.revoked_at == first
    [event] = Event.objects.filter(action="token.revoke")
    assert event.target_name == f"a{token.pk}"


@pytest.mark.parametrize(("end", "queries"), [(revoke_tokens, 6), (remove_tokens, 7)])
def test_revoking_many_takes_the_same_few_queries(
    alan: User, django_assert_num_queries: Any, end: Any, queries: int
) -> None:
    for number in (2, 20):
        for _ in range(number):
            issue_token(alan, by=BY)
        with django_assert_num_queries(queries):
            assert end(APIToken.objects.owned_by(alan), by=BY) == number
    assert not APIToken.objects.active(timezone.now()).exists()
    event = Event.objects.first()
    assert event is not None
    assert re.fullmatch(r"20 tokens: a\d+, a\d+, a\d+ …", event.target)
    assert len(event.detail["names"]) == 20


def test_revoking_nothing_records_nothing(alan: User) -> None:
    assert revoke_tokens(APIToken.objects.none(), by=BY) == 0
    assert revoke_tokens(APIToken.objects.all(), by=BY) == 0
    assert not Event.objects.exists()


def test_revoking_takes_any_queryset(grace: User, alan: User, data301: Group) -> None:
    factories.make_group("other", users=[alan])
    of_alan, _ = issue_token(alan, by=BY)
    of_mallory, _ = issue_token(factories.make_user("mallory"), by=BY)
    joined = APIToken.objects.filter(user__groups__name__in=["data301", "other"])

    assert revoke_tokens(joined.distinct().order_by("user__name"), by=BY) == 1

    of_alan.refresh_from_db()
    of_mallory.refresh_from_db()
    assert of_alan.revoked_at is not None
    assert of_mallory.revoked_at is None


@pytest.mark.parametrize(
    "revoke",
    [
        lambda token: revoke_token(token, by=BY),
        lambda token: remove_tokens(APIToken.objects.filter(pk=token.pk), by=BY),
    ],
    ids=["one", "many"],
)
def test_revoking_ends_all_that_a_client_holds_for_the_owner(
    alan: User, grace: User, revoke: Callable[[APIToken], int]
) -> None:
    first, _ = issue_token(alan, by=BY, client_id="service-lab")
    issue_token(alan, by=BY, client_id="service-lab")
    kept = [
        issue_token(alan, by=BY, client_id="service-other")[0],
        issue_token(alan, by=BY)[0],
        issue_token(grace, by=BY, client_id="service-lab")[0],
    ]

    assert revoke(first) == 2

    assert list(APIToken.objects.active(timezone.now())) == kept


def test_disabling_is_a_pause(alan: User) -> None:
    token, secret = issue_token(alan, by=BY)
    own = APIToken.objects.owned_by(alan)

    assert disable_tokens(own, by=BY) == 1
    assert verify(secret) is None
    assert disable_tokens(own, by=BY) == 0
    assert enable_tokens(own, by=BY) == 1
    assert verify(secret) is not None
    assert enable_tokens(own, by=BY) == 0

    actions = Event.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["token.issue", "token.disable", "token.enable"]
    token.refresh_from_db()
    assert token.disabled_at is None


def test_enabling_brings_no_revoked_token_back(alan: User) -> None:
    token, secret = issue_token(alan, by=BY)
    disable_tokens(APIToken.objects.all(), by=BY)
    revoke_token(token, by=BY)

    assert enable_tokens(APIToken.objects.all(), by=BY) == 0
    assert verify(secret) is None


# Purging


def test_purges_at_once_what_an_application_held(alan: User) -> None:
    expired, _ = issue_token(alan, by=BY, expires_in=60, client_id="service-portal")
    kept, _ = issue_token(alan, by=BY, expires_in=3600, client_id="service-portal")

    later = timezone.now() + timedelta(minutes=2)
    assert purge_expired(later) == 1
    assert purge_expired(later) == 0

    assert list(APIToken.objects.all()) == [kept]
    [event] = Event.objects.filter(action="token.expire")
    assert event.target_name == f"a{expired.pk}"


def test_purges_what_a_person_asked_for_when_no_page_shows_it(alan: User) -> None:
    expired, _ = issue_token(alan, by=BY, expires_in=60)
    revoked, _ = issue_token(alan, by=BY)
    kept, _ = issue_token(alan, by=BY)
    now = timezone.now()
    revoke_token(revoked, by=BY, now=now)

    assert purge_expired(now + timedelta(minutes=2)) == 0
    assert purge_expired(now + ENDED_KEPT + timedelta(minutes=2)) == 2

    assert list(APIToken.objects.all()) == [kept]
    [event] = Event.objects.filter(action="token.expire")
    assert set(event.detail["names"]) == {f"a{expired.pk}", f"a{revoked.pk}"}


def test_a_purge_keeps_secrets_of_the_configuration(alan: User) -> None:
    """The next start would store a secret anew whose row is gone."""
    brought = import_token(alan, BROUGHT, by=BY)
    now = timezone.now()
    revoke_token(brought, by=BY, now=now)

    assert purge_expired(now + 2 * ENDED_KEPT) == 0


@pytest.mark.parametrize("end", [revoke_token, revoke_tokens, disable_tokens])
def test_a_row_names_who_ended_or_disabled_it(alan: User, end: Any) -> None:
    token, _ = issue_token(alan, by=BY)
    ops = Actor("user", "ops")

    end(token if end is revoke_token else APIToken.objects.all(), by=ops)

    token.refresh_from_db()
    assert "ops" in (token.revoked_by, token.disabled_by)
    assert bool(token.revoked_by) == bool(token.revoked_at)
    assert bool(token.disabled_by) == bool(token.disabled_at)


def test_an_enabled_token_does_not_say_who_disabled_it(alan: User) -> None:
    token, _ = issue_token(alan, by=BY)
    disable_tokens(APIToken.objects.all(), by=BY)

    enable_tokens(APIToken.objects.all(), by=BY)

    token.refresh_from_db()
    assert token.disabled_by == ""


# No secret anywhere


def pieces(secret: str) -> set[str]:
    """Cut the part of a secret that must stay unknown into runs of eight."""
    tail = secret[-format.TAIL_LENGTH :]
    return {tail[i : i + 8] for i in range(len(tail) - 7)}


def test_no_piece_of_a_secret_is_stored_or_logged(
    alan: User, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        token, minted = issue_token(alan, by=BY, note="x")
        import_token(alan, BROUGHT, by=BY)
        verify(minted)
        verify(BROUGHT)
        verify(minted[:-1] + "-")
        revoke_token(token, by=BY)
        verify(minted)
        purge_expired()

    dump = io.StringIO()
    call_command("dumpdata", stdout=dump)
    everything = dump.getvalue() + caplog.text
    assert "$argon2id$" in everything
    assert not [piece for piece in pieces(minted) if piece in everything]
    assert not [piece for piece in pieces(BROUGHT) if piece in everything]


def test_a_token_is_not_shown_by_its_row(alan: User) -> None:
    with time_machine.travel(timezone.now()):
        token, secret = issue_token(alan, by=BY)

    shown = f"{token} {token!r} {vars(token)}"
    assert not [piece for piece in pieces(secret) if piece in shown]
