"""The verification of tokens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from argon2 import PasswordHasher
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Group, User
from scopes.access import EMPTY
from services.models import Service
from tests import factories
from tests.factories import BY, make_token
from tokens import bearer_query, digests, format, keys, verification
from tokens.actions.importing import import_token
from tokens.actions.revocation import revoke_token
from tokens.models import APIToken
from tokens.verification import verify

BROUGHT = "0123456789abcdef" * 4


@pytest.fixture
def argon2(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count the verifications by Argon2."""
    calls: list[str] = []
    matches = digests.matches

    def counted(secret: str, stored: str) -> bool:
        calls.append(stored)
        return matches(secret, stored)

    monkeypatch.setattr(digests, "matches", counted)
    return calls


@pytest.fixture
def queries(db: None) -> Iterator[CaptureQueriesContext]:
    with CaptureQueriesContext(connection) as captured:
        yield captured


# Who is let in


def test_returns_the_bearer_of_a_token(alan: User) -> None:
    token, secret = make_token(alan)

    bearer = verify(secret)

    assert bearer is not None
    assert bearer.token_id == token.pk
    assert (bearer.owner_kind, bearer.owner_id) == ("user", alan.pk)
    assert bearer.owner_name == "alan"
    assert bearer.owner == alan
    assert bearer.access == alan.access
    assert bearer.session_id is None
    actor = bearer.actor("192.0.2.1")
    assert (actor.kind, actor.name, actor.token_id) == ("user", "alan", token.pk)


def test_distinguishes_services_and_users(ci: Service, alan: User) -> None:
    _, secret = make_token(ci)

    bearer = verify(secret)

    assert bearer is not None
    assert (bearer.owner_kind, bearer.owner) == ("service", ci)
    assert bearer.access == ci.access


def test_accepts_a_brought_secret(alan: User) -> None:
    token = import_token(alan, BROUGHT, by=BY)

    bearer = verify(BROUGHT)

    assert bearer is not None
    assert bearer.token_id == token.pk
    assert bearer.access == alan.access


def test_costs_one_query_and_argon2_once(
    alan: User, argon2: list[str], django_assert_num_queries: Any
) -> None:
    _, secret = make_token(alan)

    for _ in range(3):
        with django_assert_num_queries(1):
            assert verify(secret) is not None

    assert len(argon2) == 1


def test_an_unchanged_row_gives_the_same_bearer(alan: User) -> None:
    _, secret = make_token(alan)

    assert verify(secret) is verify(secret)


def test_a_changed_note_costs_no_argon2(alan: User, argon2: list[str]) -> None:
    token, secret = make_token(alan)
    verify(secret)

    APIToken.objects.filter(pk=token.pk).update(scopes=["read:users!user"])
    bearer = verify(secret)

    assert bearer is not None
    assert not bearer.access.has("tokens")
    assert len(argon2) == 1


# Who is not


def forgeries(secret: str) -> dict[str, str]:
    public_id = format.public_id(secret)
    body = f"hub_{public_id}_{'a' * 54}"
    other, _ = format.generate("hub", [b"of another hub"])
    return {
        "wrong crc": secret[:-1] + ("a" if secret[-1] != "a" else "b"),
        "right crc, known public id": body + format._crc(body),
        "minted by another hub": other,
        "other prefix": "x" + secret,
        "too long": secret + "a" * 100,
        "too long, no form": "a" * (format.MAX_LENGTH + 1),
        "not ASCII": "ä" * 20,
    }


@pytest.mark.parametrize("kind", forgeries(format.generate("hub", [b"k"])[0]))
def test_forgeries_cost_neither_a_query_nor_argon2(
    alan: User, argon2: list[str], kind: str, django_assert_num_queries: Any
) -> None:
    _, secret = make_token(alan)

    with django_assert_num_queries(0):
        assert verify(forgeries(secret)[kind]) is None

    assert not argon2


@pytest.mark.parametrize("secret", ["f" * 32, "a", "", "hub_short", "~abc"])
def test_strangers_do_not_reach_argon2(
    alan: User, argon2: list[str], secret: str
) -> None:
    make_token(alan)
    import_token(alan, BROUGHT, by=BY)

    assert verify(secret) is None
    assert not argon2


def test_public_ids_and_handles_are_no_secrets(alan: User, argon2: list[str]) -> None:
    minted, _ = make_token(alan)
    brought = import_token(alan, BROUGHT, by=BY)

    assert verify(minted.public_id) is None
    assert verify(brought.public_id) is None
    assert not argon2


def test_without_tag_keys_argon2_decides(
    alan: User, argon2: list[str], settings: Any
) -> None:
    _, secret = make_token(alan)
    public_id = format.public_id(secret)
    body = f"hub_{public_id}_{'a' * 54}"
    settings.TOKEN_TAG_KEYS = []

    assert verify(secret) is not None
    assert verify(body + format._crc(body)) is None
    assert len(argon2) == 2


def test_tokens_survive_the_loss_of_their_tag_key(
    alan: User, argon2: list[str], settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    token, secret = make_token(alan)
    forged = f"hub_{format.public_id(secret)}_{'a' * 54}"
    forged += format._crc(forged)
    verification.look_for_lost_keys()
    assert not caplog.messages
    settings.TOKEN_TAG_KEYS = [b"made anew"]
    assert verify(secret) is None

    verification.look_for_lost_keys()

    assert "tag key is lost" in caplog.text
    assert verify(secret) is not None
    assert verify(forged) is None
    assert len(argon2) == 2
    revoke_token(token, by=BY)
    verification.look_for_lost_keys()
    assert verify(forged) is None
    assert len(argon2) == 2


def test_tokens_survive_a_new_tag_key(alan: User, settings: Any) -> None:
    _, secret = make_token(alan)
    settings.TOKEN_TAG_KEYS = [b"newer", *keys.tag_keys()]

    assert verify(secret) is not None
    assert verify(make_token(alan)[1]) is not None


Change = Callable[[APIToken], Any]
CHANGES: dict[str, Change] = {
    "revoked": lambda token: revoke_token(token, by=BY),
    "disabled": lambda token: APIToken.objects.update(disabled_at=timezone.now()),
    "expired": lambda token: APIToken.objects.update(expires_at=timezone.now()),
    "inactive owner": lambda token: User.objects.update(is_active=False),
    "owner deleted": lambda token: token.user.delete(),
    "row deleted": lambda token: token.delete(),
    "other digest": lambda token: APIToken.objects.update(
        digest=digests.digest("another", "minted")
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_counts_at_the_next_request(alan: User, change: Change) -> None:
    token, secret = make_token(alan)
    assert verify(secret) is not None

    change(token)

    assert verify(secret) is None


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_counts_for_brought_secrets_too(alan: User, change: Change) -> None:
    token = import_token(alan, BROUGHT, by=BY)
    assert verify(BROUGHT) is not None

    change(token)

    assert verify(BROUGHT) is None


def test_expires_on_the_second(alan: User) -> None:
    start = timezone.now()
    with time_machine.travel(start, tick=False) as clock:
        _, secret = make_token(alan, expires_in=60)
        clock.move_to(start + timedelta(seconds=59, milliseconds=999))
        assert verify(secret) is not None
        clock.move_to(start + timedelta(seconds=60))
        assert verify(secret) is None


def test_a_lost_role_is_lost_at_once(alan: User) -> None:
    _, secret = make_token(alan)
    before = verify(secret)
    assert before is not None
    assert before.access.has("tokens")

    alan.roles.clear()
    after = verify(secret)

    assert after is not None
    assert after.access == EMPTY


def test_a_lost_group_is_lost_at_once(alan: User, data301: Group) -> None:
    factories.make_role("helper", "list:users", groups=[data301])
    _, secret = make_token(alan, scopes=["list:users"])
    before = verify(secret)
    assert before is not None
    assert before.access.has("list:users")

    alan.groups.clear()
    after = verify(secret)

    assert after is not None
    assert not after.access.has("list:users")


@pytest.mark.parametrize("client_id", ["", "service-portal"])
def test_a_share_with_a_group_reaches_tokens_of_clients_alone(
    alan: User, mallory: User, client_id: str
) -> None:
    den, lab = (factories.make_server(alan, name) for name in ("den", "lab"))
    factories.make_share(den, user=mallory)
    factories.make_share(lab, group=factories.make_group("guests", users=[mallory]))
    token, secret = make_token(mallory, client_id=client_id)

    bearer = verify(secret)

    assert bearer is not None
    assert bearer.access == token.access
    assert bearer.access.allows("access:servers", obj=den)
    assert bearer.access.allows("access:servers", obj=lab) is bool(client_id)
    assert mallory.access.allows("access:servers", obj=lab)


def test_memberships_of_others_are_asked_each_time(grace: User, alan: User) -> None:
    _, secret = make_token(grace, scopes=["read:users!user=alan"])
    before = verify(secret)
    assert before is not None
    assert before.access.allows("read:users", obj=alan)

    alan.groups.clear()
    after = verify(secret)

    assert after is not None
    assert not after.access.has("read:users")


@pytest.mark.parametrize("kind", ["unknown", "revoked", "expired", "wrong crc"])
def test_refusals_look_alike_and_are_explained_in_the_debug_log(
    alan: User, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    token, secret = make_token(alan)
    presented = secret
    if kind == "unknown":
        token.delete()
    elif kind == "wrong crc":
        presented, kind = forgeries(secret)[kind], "forged"
    else:
        CHANGES[kind](token)

    with caplog.at_level(logging.DEBUG, "tokens.verification"):
        assert verify(presented) is None

    assert caplog.messages == [f"Refused a token: {kind}"]


# What is remembered


def test_renews_a_digest_with_old_parameters(alan: User, argon2: list[str]) -> None:
    token, secret = make_token(alan)
    old = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(secret)
    APIToken.objects.filter(pk=token.pk).update(digest=old)

    assert verify(secret) is not None
    assert verify(secret) is not None

    token.refresh_from_db()
    assert not digests.is_outdated(token.digest, token.origin)
    assert digests.matches(secret, token.digest)
    assert len(argon2) == 2  # One of them is the assertion's.


def test_memory_is_bounded(alan: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "MEMORY", 3)
    secrets = [make_token(alan)[1] for _ in range(5)]

    for secret in secrets * 2:
        assert verify(secret) is not None

    assert len(verification._proved) == 3


def test_memory_holds_no_secret(alan: User) -> None:
    _, secret = make_token(alan)
    verify(secret)

    [(key, bearer)] = verification._proved.items()

    assert secret.encode() not in key
    held = repr((bearer.row, bearer, bearer.memo))
    tail = secret[-format.TAIL_LENGTH :]
    assert not any(tail[i : i + 8] in held for i in range(len(tail) - 8))


@pytest.mark.django_db(transaction=True)
def test_many_at_once_cost_argon2_once(argon2: list[str]) -> None:
    user = factories.make_user()
    import_token(user, BROUGHT, by=BY)
    barrier = threading.Barrier(8)

    def present() -> bool:
        barrier.wait()
        try:
            return verify(BROUGHT) is not None
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: present(), range(8)))

    assert results == [True] * 8
    assert len(argon2) == 1
    assert not verification._flights


# More about the owner in the same query


def test_rooms_to_the_right_read_facts_in_the_same_query(
    alan: User,
    ci: Service,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: Any,
) -> None:
    def build(kind: str, vendor: str) -> dict[str, str]:
        return {"mail": "u.email"} if kind == "user" else {"address": "s.url"}

    monkeypatch.setattr(bearer_query, "_facts", [])
    bearer_query.register_facts(build)
    User.objects.filter(pk=alan.pk).update(email="alan@example.org")
    _, of_user = make_token(alan)
    _, of_service = make_token(ci)

    try:
        with django_assert_num_queries(2):
            user_facts = verify(of_user).facts
            service_facts = verify(of_service).facts
    finally:
        bearer_query.bearer_statement.cache_clear()
        bearer_query.fact_columns.cache_clear()

    assert user_facts == {"mail": "alan@example.org", "address": None}
    assert service_facts == {"mail": None, "address": None}


def test_a_known_token_that_changes_hands_by_hand_is_refused(
    alan: User, ci: Service
) -> None:
    token, secret = make_token(alan)
    assert verify(secret).owner_kind == "user"
    APIToken.objects.filter(pk=token.pk).update(user=None, service=ci)

    assert verify(secret) is None

    verification.forget()
    assert verify(secret).owner_kind == "service"


def test_settings_name_the_prefix(alan: User, settings: Any) -> None:
    settings.TOKEN_PREFIX = "campus"

    _, secret = make_token(alan)

    assert secret.startswith("campus_")
    assert verify(secret) is not None
