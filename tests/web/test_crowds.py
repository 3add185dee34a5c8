"""Many sign-ins at once, sign-ins without the cache, and codes that count once."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value
from django.core.cache import cache
from structlog.testing import capture_logs

from accounts import adapter, hashing
from accounts.models import User
from tests.conftest import API, BearerClient
from tests.factories import PASSWORD, make_token, make_user
from tests.ports import free_ports
from web.cache import look_for_cache, redis_cache

pytestmark = pytest.mark.django_db


@pytest.fixture
def person() -> User:
    return make_user("ada", password=PASSWORD)


# A crowd


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> hashing.Ceiling:
    """Have so many people sign in that nobody else may even wait."""
    ceiling = hashing.Ceiling(2, 1024)
    refuse = hashing.Unavailable(hashing.CROWDED, hashing.RETRY_AFTER)

    def enter(*_: object) -> None:
        raise refuse

    monkeypatch.setattr(ceiling, "_enter", enter)
    monkeypatch.setattr(hashing, "ceiling", ceiling)
    monkeypatch.setattr(adapter, "ceiling", ceiling)
    return ceiling


def test_who_comes_to_a_crowd_is_asked_to_come_again(
    person: User, browser: Any, crowded: Any
) -> None:
    reply = browser.sign_in("ada")

    assert reply.status_code == 503
    assert reply["Retry-After"] == "5"
    assert "Many people are signing in" in reply.content.decode()


def test_to_be_sent_away_is_no_failed_attempt(
    person: User, browser: Any, crowded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(8):
        assert browser.sign_in("ada").status_code == 503
    monkeypatch.undo()

    assert browser.sign_in("ada").status_code == 302


def test_a_program_gets_the_same_reason(person: User, crowded: Any) -> None:
    auth = {"auth": {"username": "ada", "password": PASSWORD}}

    reply = BearerClient(None).post(f"{API}/users/ada/tokens", auth)

    assert reply.status_code == 503
    assert reply["Retry-After"] == "5"
    assert reply.json()["status"] == 503


# Codes


def current_counter() -> int:
    """Return the number of this half-minute, which lasts for some seconds more."""
    left = 30 - time.time() % 30
    if left < 10:
        time.sleep(left)
    return int(time.time()) // 30


def offer(browser: Any, secret: str, counter: int) -> Any:
    response = browser.sign_in("ada")
    code = format_hotp_value(hotp_value(secret, counter))
    return browser.submit(response["Location"], code=code)


@pytest.mark.parametrize(("steps", "accepted"), [(-1, True), (0, True), (1, True)])
def test_codes_of_neighbouring_half_minutes_are_taken(
    person: User, browser: Any, steps: int, accepted: bool
) -> None:
    TOTP.activate(person, secret := "JBSWY3DPEHPK3PXP")

    reply = offer(browser, secret, current_counter() + steps)

    assert (reply.status_code == 302) is accepted


@pytest.mark.parametrize("steps", [-3, 3])
def test_codes_of_other_half_minutes_are_refused(
    person: User, browser: Any, steps: int
) -> None:
    TOTP.activate(person, secret := "JBSWY3DPEHPK3PXP")

    reply = offer(browser, secret, current_counter() + steps)

    assert "Incorrect code" in reply.content.decode()


def test_a_code_is_taken_once_for_as_long_as_it_counts(
    person: User, browser: Any, another_browser: Any
) -> None:
    TOTP.activate(person, secret := "JBSWY3DPEHPK3PXP")
    counter = current_counter()
    assert offer(browser, secret, counter).status_code == 302
    # What allauth itself remembers is forgotten after half a minute.
    code = format_hotp_value(hotp_value(secret, counter))
    cache.delete(f"allauth.mfa.totp.used?user={person.pk}&code={code}")

    reply = offer(another_browser, secret, counter)

    assert "Incorrect code" in reply.content.decode()


# Redis


def use_redis(settings: Any, url: str) -> None:
    settings.REDIS_URL = url
    settings.CACHES = {"default": redis_cache(url)}


@pytest.fixture
def redis_away(settings: Any) -> str:
    url = f"redis://:s3cret@127.0.0.1:{free_ports(1)[0]}"
    use_redis(settings, url)
    return url


def test_without_redis_sign_in_is_refused_with_a_reason(
    person: User, browser: Any, redis_away: str
) -> None:
    with capture_logs() as lines:
        reply = browser.sign_in("ada")

    assert reply.status_code == 503
    assert reply["Retry-After"]
    assert "failed attempts" in reply.content.decode()
    errors = [line for line in lines if line["log_level"] == "error"]
    assert len(errors) == 1
    assert "exc_info" not in errors[0]
    assert "s3cret" not in str(lines)


def test_without_redis_programs_and_sessions_go_on(
    person: User, as_: Any, redis_away: str
) -> None:
    assert as_(person).get("/hub/home").status_code == 200
    program = BearerClient(make_token(person)[1])
    assert program.get(f"{API}/user").status_code == 200
    auth = {"auth": {"username": "ada", "password": PASSWORD}}
    reply = BearerClient(None).post(f"{API}/users/ada/tokens", auth)
    assert reply.status_code == 503


def test_the_start_names_a_redis_that_is_away(redis_away: str) -> None:
    [remark] = look_for_cache()

    assert remark.startswith("HUB_REDIS_URL: the Redis server at 127.0.0.1:")
    assert "s3cret" not in remark


def test_a_redis_that_is_silent_is_waited_for_a_moment(
    person: User, browser: Any, settings: Any
) -> None:
    page = browser.get("/hub/login")
    form = {"username": "ada", "password": PASSWORD, "_xsrf": browser.xsrf_of(page)}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_redis(settings, f"redis://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        reply = browser.post("/hub/login", form)

    assert reply.status_code == 503
    assert time.monotonic() - began < 20
