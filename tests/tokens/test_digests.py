"""The digests of secrets."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher

from tokens import digests

SECRET = "correct-horse-battery-staple"


@pytest.mark.parametrize(
    ("origin", "parameters"),
    [("minted", "m=1024,t=1,p=1"), ("brought", "m=19456,t=2,p=1")],
)
def test_digests_are_argon2id_and_name_their_parameters(
    origin: str, parameters: str
) -> None:
    stored = digests.digest(SECRET, origin)

    assert stored.startswith(f"$argon2id$v=19${parameters}$")
    assert SECRET not in stored
    assert digests.matches(SECRET, stored)
    assert not digests.matches(SECRET + "!", stored)
    assert not digests.is_outdated(stored, origin)


def test_equal_secrets_have_different_digests() -> None:
    assert digests.digest(SECRET, "minted") != digests.digest(SECRET, "minted")


def test_digests_with_other_parameters_match_and_are_outdated() -> None:
    stored = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(SECRET)

    assert digests.matches(SECRET, stored)
    assert digests.is_outdated(stored, "minted")
    assert digests.is_outdated(stored, "brought")


@pytest.mark.parametrize("stored", ["", "plain", "$argon2id$", "sha512:1:a:b"])
def test_what_is_no_digest_matches_nothing(stored: str) -> None:
    assert not digests.matches(stored, stored)
