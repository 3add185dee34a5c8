"""`manage.py tag_keys`: a new key in two steps, and lost ones."""

from __future__ import annotations

import stat
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from hubsite.config import secrets
from tests.factories import BY, make_token, make_user
from tokens import format, keys, verification
from tokens.actions.revocation import revoke_token
from tokens.verification import is_forged, verify

pytestmark = pytest.mark.django_db


@pytest.fixture
def file(settings: Any, tmp_path: Path) -> Path:
    path = tmp_path / "secrets" / "tag_key"
    settings.TAG_KEY_FILE = path
    secrets.keep_several(path)
    restart(settings)
    return path


def restart(settings: Any) -> None:
    """Read the keys as a start of the hub does."""
    kept = secrets.keep_several(settings.TAG_KEY_FILE)
    settings.TOKEN_TAG_KEYS = [key.encode() for key in kept]
    verification.forget()
    verification.look_for_lost_keys()


def tag_keys(*words: str) -> str:
    out = StringIO()
    call_command("tag_keys", *words, stdout=out)
    return out.getvalue()


def test_a_rotation_ends_no_token(file: Path, settings: Any) -> None:
    first = format.key_id(keys.tag_keys()[0])
    token, old = make_token(make_user())
    assert f"{first}        1 tokens  signs and verifies" in tag_keys()

    # The running processes know the old key only, until the restart.
    assert "Restart" in tag_keys("add")
    assert verify(old)
    restart(settings)
    _, between = make_token(token.owner)
    assert "Restart" in tag_keys("use")
    # Processes from before the second restart accept what the new key has signed.
    known = list(keys.tag_keys())
    restart(settings)
    second = format.key_id(keys.tag_keys()[0])
    assert second != first
    renewed, new = make_token(token.owner)
    assert renewed.tag_key == second
    assert format.is_genuine(new, known)

    assert all(verify(secret) for secret in (old, between, new))
    assert "2 tokens have its tag" in tag_keys("drop")
    for secret in (old, between):
        revoke_token(type(token).objects.get(public_id=format.public_id(secret)), by=BY)
    assert f"Dropped {first}" in tag_keys("drop")
    restart(settings)
    assert verify(new)
    assert is_forged(old)
    assert tag_keys().splitlines() == [f"{second}        1 tokens  signs and verifies"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["tag_key"]


def test_a_lost_key_is_named_and_its_tokens_work(file: Path, settings: Any) -> None:
    lost = format.key_id(keys.tag_keys()[0])
    _, secret = make_token(make_user())
    file.unlink()
    restart(settings)

    assert f"{lost}        1 tokens  is lost" in tag_keys()
    assert verify(secret)


def test_keys_are_never_shown(file: Path) -> None:
    said = tag_keys("add") + tag_keys("use") + tag_keys() + tag_keys("drop")

    assert not any(key in said for key in file.read_text().split())


def test_one_key_can_not_be_replaced_by_itself(file: Path) -> None:
    before = file.read_text()

    with pytest.raises(CommandError, match="tag_keys add"):
        tag_keys("use")

    assert "one key only" in tag_keys("drop")
    assert file.read_text() == before


@pytest.mark.parametrize("action", ["add", "use", "drop"])
def test_keys_of_the_environment_are_left_to_the_operator(
    file: Path, settings: Any, action: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(settings.SITE, "tag_keys", ["x" * 64], raising=False)
    before = file.read_text()

    with pytest.raises(CommandError, match="HUB_TAG_KEYS"):
        tag_keys(action)

    assert file.read_text() == before
