"""Auth state: encryption, keys, and who may see it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.fernet import Fernet

from accounts import auth_state
from accounts.answer_actions import apply_answer
from accounts.answers import Answer
from accounts.models import AuthState, User
from audit.models import Actor, Event
from scopes.refusals import Invalid
from tests.conftest import API, BearerClient
from tests.factories import make_token, make_user

pytestmark = pytest.mark.django_db

OLD, NEW = b"o" * 32, b"n" * 32
STATE = {"access_token": "ey-clear-text", "n": 2**70, "ö": [None, 1.5, True]}


@pytest.fixture
def keys(settings: Any) -> Callable[..., None]:
    def use(*keys: bytes) -> None:
        settings.HUB = replace(settings.HUB, crypt_keys=keys)

    return use


@pytest.fixture
def jupyterhub_encrypts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    """Return a function that encrypts with JupyterHub's own code."""
    from jupyterhub.crypto import CryptKeeper

    def encrypt(value: Any, keys: Iterable[Any]) -> bytes:
        keeper = CryptKeeper(keys=list(keys))
        return keeper._encrypt(value)

    return encrypt


def test_a_value_is_read_as_it_was_saved(keys: Callable[..., None]) -> None:
    keys(NEW)
    ada = make_user("ada")

    assert auth_state.read(ada.pk, "ada") is None
    auth_state.save(ada.pk, STATE)
    assert auth_state.read(ada.pk, "ada") == STATE
    auth_state.save(ada.pk, {})
    assert auth_state.read(ada.pk, "ada") == {}
    auth_state.save(ada.pk, None)
    assert not AuthState.objects.exists()


def test_jupyterhub_and_this_hub_read_each_other(
    keys: Callable[..., None], jupyterhub_encrypts: Callable[..., bytes]
) -> None:
    keys(NEW)
    ada = make_user("ada")
    AuthState.objects.create(user=ada, encrypted=jupyterhub_encrypts(STATE, [NEW]))
    assert auth_state.read(ada.pk, "ada") == STATE

    auth_state.save(ada.pk, STATE)

    from jupyterhub.crypto import CryptKeeper

    stored = bytes(AuthState.objects.get().encrypted)
    assert CryptKeeper(keys=[NEW])._decrypt(stored) == STATE


def test_a_new_key_replaces_the_old_one(keys: Callable[..., None]) -> None:
    keys(OLD)
    ada = make_user("ada")
    auth_state.save(ada.pk, STATE)

    keys(NEW, OLD)
    assert auth_state.read(ada.pk, "ada") == STATE
    keys(NEW)
    assert auth_state.read(ada.pk, "ada") == STATE


def test_what_can_not_be_decrypted_is_none_with_a_warning(
    keys: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    keys(OLD)
    ada = make_user("ada")
    auth_state.save(ada.pk, STATE)
    before = bytes(AuthState.objects.get().encrypted)

    for some in ((NEW,), ()):
        keys(*some)
        caplog.clear()
        assert auth_state.read(ada.pk, "ada") is None
        assert "auth_state can't be read" in caplog.text
    assert bytes(AuthState.objects.get().encrypted) == before


def test_without_a_key_nothing_is_kept(keys: Callable[..., None]) -> None:
    keys()
    ada = make_user("ada")

    with pytest.raises(Invalid, match="JUPYTERHUB_CRYPT_KEY"):
        auth_state.save(ada.pk, STATE)
    apply_answer(
        Answer.read({"name": "ada", "auth_state": STATE}), by=Actor.system("sign-in")
    )

    assert not AuthState.objects.exists()


def test_a_refresh_without_auth_state_keeps_it(keys: Callable[..., None]) -> None:
    keys(NEW)
    by = Actor.system("sign-in")

    user = apply_answer(Answer.read({"name": "ada", "auth_state": STATE}), by=by)
    apply_answer(Answer.read({"name": "ada"}), by=by)
    assert auth_state.read(user.pk, "ada") == STATE

    apply_answer(Answer.read({"name": "ada", "auth_state": None}), by=by)
    assert auth_state.read(user.pk, "ada") is None


def test_a_value_that_is_too_long_is_refused(keys: Callable[..., None]) -> None:
    keys(NEW)
    ada = make_user("ada")
    auth_state.save(ada.pk, STATE)

    with pytest.raises(Invalid, match="characters"):
        auth_state.save(ada.pk, {"a": "x" * auth_state.LONGEST})

    assert auth_state.read(ada.pk, "ada") == STATE


# The API


def caller(name: str, *scopes: str, admin: bool = False) -> BearerClient:
    user = make_user(name, scopes=scopes, admin=admin)
    return BearerClient(make_token(user)[1])


def test_the_api_shows_auth_state_with_its_scope_only(
    keys: Callable[..., None],
) -> None:
    keys(NEW)
    alan = make_user("alan")
    auth_state.save(alan.pk, STATE)

    shown = caller("root", admin=True).get(f"{API}/users/alan").json()
    assert shown["auth_state"] == STATE
    hidden = caller("reader", "read:users").get(f"{API}/users/alan").json()
    assert "auth_state" not in hidden
    narrow = caller("narrow", "admin:auth_state!user=ada", "read:users")
    assert "auth_state" not in narrow.get(f"{API}/users/alan").json()
    # As in JupyterHub, lists contain none.
    listed = caller("lister", admin=True).get(f"{API}/users").json()
    assert {user["auth_state"] for user in listed} == {None}


def test_a_request_costs_no_query_more(
    keys: Callable[..., None], django_assert_max_num_queries: Any
) -> None:
    keys(NEW)
    alan = make_user("alan")
    root = caller("root", admin=True)
    root.get(f"{API}/users/alan")
    auth_state.save(alan.pk, STATE)

    with django_assert_max_num_queries(2):
        assert root.get(f"{API}/users/alan").json()["auth_state"] == STATE


def test_the_api_changes_auth_state(keys: Callable[..., None]) -> None:
    keys(NEW)
    alan = make_user("alan")
    root = caller("root", admin=True)

    reply = root.patch(
        f"{API}/users/alan",
        {"auth_state": {"a": "clear-text"}},
        content_type="application/json",
    )

    assert reply.json()["auth_state"] == {"a": "clear-text"}
    assert auth_state.read(alan.pk, "alan") == {"a": "clear-text"}
    event = Event.objects.get(action="user.set_auth_state")
    assert "clear-text" not in json.dumps(event.detail)


def test_only_admins_change_the_auth_state_of_admins(
    keys: Callable[..., None],
) -> None:
    keys(NEW)
    ada = make_user("ada", admin=True)
    manager = caller("manager", "admin:users")

    reply = manager.patch(
        f"{API}/users/ada", {"auth_state": {"a": 1}}, content_type="application/json"
    )

    assert reply.status_code == 403
    assert auth_state.read(ada.pk, "ada") is None


def test_auth_state_goes_with_its_user(keys: Callable[..., None]) -> None:
    keys(NEW)
    alan = make_user("alan")
    auth_state.save(alan.pk, STATE)

    assert caller("root", admin=True).delete(f"{API}/users/alan").status_code == 204

    assert not AuthState.objects.exists()
    assert not User.objects.filter(name="alan").exists()


def test_the_format_is_a_fernet_token_of_the_key(keys: Callable[..., None]) -> None:
    keys(NEW)
    box = Fernet(base64.urlsafe_b64encode(NEW))

    assert json.loads(box.decrypt(auth_state.encrypt(STATE))) == STATE
