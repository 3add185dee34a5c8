"""Rotation: a new secret, an overlap, and the tripwire of the earlier secret."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from scopes.refusals import Conflict, Forbidden, Invalid
from tests.factories import BY, make_token
from tokens import digests, format, tripwire, verification
from tokens.actions.importing import import_token
from tokens.actions.pausing import freeze_tokens, unfreeze_tokens
from tokens.actions.revocation import revoke_token
from tokens.actions.rotation import rotate_token
from tokens.models import APIToken, PreviousSecret, Purpose
from tokens.verification import verify

BROUGHT = "0123456789abcdef" * 4


@pytest.fixture
def tripped() -> Any:
    calls: list[tuple[int, str]] = []

    def note(secret: PreviousSecret, address: str) -> None:
        calls.append((secret.token_id, address))

    tripwire.token_tripped.connect(note)
    yield calls
    tripwire.token_tripped.disconnect(note)


def test_both_secrets_are_valid_for_a_while(alan: User) -> None:
    token, first = make_token(alan, note="mine", scopes=["read:users!user"])
    verify(first)

    rotated, second = rotate_token(token, by=BY, overlap=60)

    assert rotated.pk == token.pk
    assert (rotated.note, rotated.scopes) == ("mine", ["read:users!user"])
    for secret in (first, second):
        bearer = verify(secret)
        assert bearer is not None
        assert bearer.token_id == token.pk
    with time_machine.travel(timezone.now() + timedelta(seconds=61)):
        assert verify(second) is not None
        assert verify(first) is None


def test_a_secret_in_use_costs_no_argon2_after_a_rotation(
    alan: User, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    token, first = make_token(alan)
    verify(first)
    _, second = rotate_token(token, by=BY)
    calls = []
    matches = digests.matches
    monkeypatch.setattr(
        digests, "matches", lambda *both: calls.append(1) or matches(*both)
    )

    verify(first)
    verify(second)

    assert len(calls) == 1
    for secret in (first, second):
        with django_assert_num_queries(1):
            assert verify(secret) is not None


@pytest.mark.parametrize("is_warm", [False, True])
@pytest.mark.parametrize(
    "end",
    [
        {"revoked_at": timezone.now()},
        {"disabled_at": timezone.now()},
        {"frozen_at": timezone.now()},
        {"expires_at": timezone.now()},
    ],
    ids=lambda end: next(iter(end)),
)
def test_what_ends_a_token_ends_both_secrets(
    alan: User, end: dict[str, Any], is_warm: bool
) -> None:
    token, first = make_token(alan)
    _, second = rotate_token(token, by=BY)
    if is_warm:
        assert verify(first)
        assert verify(second)

    APIToken.objects.filter(pk=token.pk).update(**end)

    assert verify(first) is None
    assert verify(second) is None


def test_no_overlap_ends_the_earlier_secrets_at_once(alan: User) -> None:
    token, first = make_token(alan)
    _, second = rotate_token(token, by=BY, overlap=3600)
    _, third = rotate_token(token, by=BY, overlap=0)

    assert verify(first) is None
    assert verify(second) is None
    assert verify(third) is not None


def test_an_imported_secret_is_rotated_and_not_imported_again(alan: User) -> None:
    token = import_token(alan, BROUGHT, by=BY)

    _, second = rotate_token(token, by=BY)

    assert verify(BROUGHT) is not None
    assert import_token(alan, BROUGHT, by=BY) == token
    assert import_token(alan, second, by=BY) == token
    assert APIToken.objects.count() == 1
    with time_machine.travel(timezone.now() + timedelta(days=2)):
        assert verify(BROUGHT) is None
        assert verify(second) is not None


def test_a_repeated_rotation_returns_the_same_secret(alan: User) -> None:
    token, first = make_token(alan)

    _, second = rotate_token(token, by=BY, key="5a2f")
    _, again = rotate_token(token, by=BY, key="5a2f")

    assert second == again != first
    assert verify(second) is not None
    assert Event.objects.filter(action="token.rotate").count() == 1
    assert PreviousSecret.objects.count() == 1


def test_a_repetition_after_another_rotation_is_refused(alan: User) -> None:
    token, _ = make_token(alan)
    rotate_token(token, by=BY, key="5a2f")
    _, third = rotate_token(token, by=BY, key="77")

    with pytest.raises(Conflict, match="rotated again since"):
        rotate_token(token, by=BY, key="5a2f")

    assert verify(third) is not None


def test_the_same_key_gives_other_tokens_other_secrets(alan: User) -> None:
    one, _ = make_token(alan)
    other, _ = make_token(alan)

    secrets = {rotate_token(token, by=BY, key="1")[1] for token in (one, other)}

    assert len({secret.split("_")[2][:43] for secret in secrets}) == 2


def test_nothing_of_a_secret_is_stored(alan: User) -> None:
    token, first = make_token(alan)
    _, second = rotate_token(token, by=BY, key="a-key-of-mine")

    rows = [*APIToken.objects.values(), *PreviousSecret.objects.values()]
    text = str(rows) + str(list(Event.objects.values()))
    for secret in (first, second):
        assert secret.split("_")[2][:8] not in text
    assert "a-key-of-mine" not in text


@pytest.mark.parametrize("purpose", [Purpose.SERVER, Purpose.CLIENT])
def test_tokens_of_servers_and_clients_are_not_rotated(
    alan: User, purpose: Purpose
) -> None:
    token, secret = make_token(alan, purpose=purpose)

    with pytest.raises(Conflict, match="can't be rotated"):
        rotate_token(token, by=BY)

    assert verify(secret) is not None


@pytest.mark.parametrize(
    "options",
    [
        {"overlap": -1},
        {"overlap": 31 * 86_400},
        {"overlap": True},
        {"overlap": "1"},
        {"key": "x" * 256},
        {"key": 7},
    ],
)
def test_refuses_odd_options(alan: User, options: dict[str, Any]) -> None:
    token, secret = make_token(alan)

    with pytest.raises(Invalid):
        rotate_token(token, by=BY, **options)

    assert verify(secret) is not None
    assert not PreviousSecret.objects.exists()


def test_an_ended_token_is_not_rotated(alan: User) -> None:
    token, _ = make_token(alan)
    revoke_token(token, by=BY)

    with pytest.raises(Conflict, match="revoked or has expired"):
        rotate_token(token, by=BY)


# The tripwire


def test_an_earlier_secret_raises_an_alarm(alan: User, tripped: Any) -> None:
    token, first = make_token(alan)
    _, second = rotate_token(token, by=BY, overlap=0)

    assert verify(first, "192.0.2.9") is None
    assert verify(first, "192.0.2.9") is None

    assert tripped == [(token.pk, "192.0.2.9")]
    event = Event.objects.get(action="token.trip")
    assert (event.target_name, event.address) == (str(token), "192.0.2.9")
    secret = PreviousSecret.objects.get()
    assert secret.tripped_address == "192.0.2.9"
    assert verify(second) is not None


def test_another_process_raises_no_second_alarm(alan: User, tripped: Any) -> None:
    token, first = make_token(alan)
    rotate_token(token, by=BY, overlap=0)
    verify(first)
    verification.forget()

    verify(first)

    assert len(tripped) == 1


def test_the_alarm_freezes_the_token_if_so_wished(alan: User) -> None:
    token, first = make_token(alan)
    _, second = rotate_token(token, by=BY, overlap=0, freezes=True)
    verify(second)

    verify(first)

    assert verify(second) is None
    token.refresh_from_db()
    assert token.frozen_reason == tripwire.REASON
    unfreeze_tokens(APIToken.objects.filter(pk=token.pk), by=BY)
    assert verify(second) is not None


def test_a_wrong_secret_with_an_earlier_public_id_raises_none(
    alan: User, tripped: Any, settings: Any
) -> None:
    settings.TOKEN_TAG_KEYS = []
    token, first = make_token(alan)
    rotate_token(token, by=BY, overlap=0)
    forged, _ = format.generate("hub", (), public_id=format.public_id(first))

    assert verify(forged) is None
    assert not tripped


# Freezing


def test_a_frozen_token_is_refused_until_it_is_unfrozen(alan: User) -> None:
    token, secret = make_token(alan)
    verify(secret)
    chosen = APIToken.objects.filter(pk=token.pk)

    assert freeze_tokens(chosen, by=BY, reason="odd") == 1
    assert freeze_tokens(chosen, by=BY, reason="odd") == 0
    assert verify(secret) is None
    with pytest.raises(Forbidden, match="can't unfreeze itself"):
        unfreeze_tokens(chosen, by=type(BY)("user", "alan", token.pk))
    assert unfreeze_tokens(chosen, by=BY) == 1

    assert verify(secret) is not None
    actions = Event.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["token.issue", "token.freeze", "token.unfreeze"]


def test_both_secrets_find_the_token_until_the_overlap_ends(alan: User) -> None:
    token, first = make_token(alan)
    _, second = rotate_token(token, by=BY, overlap=60)

    assert verification.find_secret(first) == token.previous_secrets.get()
    assert verification.find_secret(second) == token
    with time_machine.travel(timezone.now() + timedelta(seconds=61)):
        assert verification.find_secret(first) is None
        assert verification.find_secret(second) == token


def test_the_number_of_earlier_secrets_is_limited(
    alan: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokens.actions.rotation.MOST_EARLIER", 3)
    token, first = make_token(alan)
    secrets = [first]
    for _ in range(4):
        secrets.append(rotate_token(token, by=BY, overlap=0)[1])
    assert token.previous_secrets.count() == 3
    for _ in range(3):
        secrets.append(rotate_token(token, by=BY, overlap=600)[1])

    with pytest.raises(Conflict, match="3 earlier secrets"):
        rotate_token(token, by=BY, overlap=600)

    assert all(verify(secret) for secret in secrets[-4:])
    assert token.previous_secrets.count() == 3
