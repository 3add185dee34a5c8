"""Constraints of tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import User
from services.models import Service
from tests.factories import make_token
from tokens import digests
from tokens.models import ENDED_KEPT, APIToken

DIGEST = digests.digest("secret", "minted")


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"user": None}, "token_has_one_owner"),
        ({"service": "ci"}, "token_has_one_owner"),
        ({"digest": "secret"}, "token_is_kept_as_argon2id"),
        ({"digest": ""}, "token_is_kept_as_argon2id"),
        ({"digest": "sha512:1:salt:digest"}, "token_is_kept_as_argon2id"),
        ({"public_id": ""}, "token_has_a_public_id"),
        ({"public_id": "taken"}, "public_id"),
    ],
)
def test_the_database_refuses(
    alan: User, ci: Service, fields: dict[str, Any], constraint: str
) -> None:
    APIToken.objects.create(user=alan, public_id="taken", digest=DIGEST)
    values = {"user": alan, "public_id": "free", "digest": DIGEST, **fields}
    if values.get("service") == "ci":
        values["service"] = ci

    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        APIToken.objects.create(**values)

    assert APIToken.objects.count() == 1


def test_active_leaves_out_what_ended(alan: User) -> None:
    now = timezone.now()
    kept, later, revoked, expired = (make_token(alan)[0] for _ in range(4))
    APIToken.objects.filter(pk=later.pk).update(expires_at=now + timedelta(seconds=1))
    APIToken.objects.filter(pk=revoked.pk).update(revoked_at=now)
    APIToken.objects.filter(pk=expired.pk).update(expires_at=now)

    assert list(APIToken.objects.active(now)) == [kept, later]
    assert set(APIToken.objects.recently_ended(now)) == {revoked, expired}


def test_usable_leaves_out_what_is_disabled(alan: User) -> None:
    now = timezone.now()
    kept, disabled = make_token(alan)[0], make_token(alan)[0]
    APIToken.objects.filter(pk=disabled.pk).update(disabled_at=now)

    assert list(APIToken.objects.usable(now)) == [kept]
    assert list(APIToken.objects.active(now)) == [kept, disabled]


def test_recently_ended_are_those_that_people_asked_for(alan: User) -> None:
    now = timezone.now()
    long_ago = now - ENDED_KEPT - timedelta(seconds=1)
    for columns in (
        {"revoked_at": long_ago},
        {"expires_at": long_ago},
        {"expires_at": now, "client_id": "service-portal"},
        {"expires_at": now, "revoked_at": now},  # with its server
    ):
        token, _ = make_token(alan)
        APIToken.objects.filter(pk=token.pk).update(**columns)

    assert not APIToken.objects.recently_ended(now).exists()


def test_owned_by_distinguishes_users_and_services(alan: User, ci: Service) -> None:
    of_alan, of_ci = make_token(alan)[0], make_token(ci)[0]

    assert list(APIToken.objects.owned_by(alan)) == [of_alan]
    assert list(APIToken.objects.owned_by(ci)) == [of_ci]


def test_recent_first_counts_unused_tokens_from_their_creation(alan: User) -> None:
    now = timezone.now()
    used, unused, latest = (
        make_token(alan, now=now - timedelta(hours=hours))[0] for hours in (9, 5, 8)
    )
    APIToken.objects.filter(pk=used.pk).update(last_activity=now - timedelta(hours=6))
    APIToken.objects.filter(pk=latest.pk).update(last_activity=now)

    assert list(APIToken.objects.recent_first()) == [latest, unused, used]


@pytest.mark.parametrize(
    ("scopes", "words"),
    [
        (["inherit"], ["Everything you may do, now and later"]),
        ([], ["See the owner of the token, and nothing else"]),
        (["servers!user"], ["See, start and stop servers (only your own)"]),
    ],
)
def test_scopes_are_said_in_words(
    alan: User, scopes: list[str], words: list[str]
) -> None:
    assert make_token(alan, scopes=scopes)[0].scopes_in_words == words
