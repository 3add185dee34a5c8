"""Limits of failed sign-ins, which must not reveal who has an account."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.test import RequestFactory

from accounts import attempts
from accounts.adapter import AccountAdapter
from accounts.attempts import (
    COOKIE,
    Attempt,
    TooMany,
    delay_after,
    network_of,
    remember_browser,
)
from accounts.backends import CHECKS
from accounts.hashing import PasswordHasher
from accounts.models import User
from audit.models import Event
from tests.conftest import API, BearerClient
from tests.factories import PASSWORD, make_user
from tests.web.conftest import Browser

pytestmark = pytest.mark.django_db

RIGHT = "open-sesame"
HOME, AWAY = "192.0.2.1", "198.51.100.7"
START = "2026-11-23 10:00:00Z"


@pytest.fixture
def configure(settings: Any) -> Any:
    def change(**changes: Any) -> None:
        settings.HUB = replace(settings.HUB, **changes)

    return change


@pytest.fixture
def dummy(configure: Any) -> None:
    """Check passwords at no cost; the limits are the same for every authenticator."""
    configure(authenticator_class="dummy", dummy_password=RIGHT, allow_all=True)


def request_from(address: str, cookie: str = "") -> Any:
    headers = {"cookie": cookie} if cookie else {}
    return RequestFactory().post("/hub/login", REMOTE_ADDR=address, headers=headers)


def sign_in(
    password: str, name: str = "ada", address: str = HOME, cookie: str = ""
) -> str:
    """Try to sign in, and say what came of it."""
    request = request_from(address, cookie)
    try:
        user = AccountAdapter(request).authenticate(
            request, username=name, password=password
        )
    except ValidationError as problem:
        assert problem.messages[0].startswith("Too many failed attempts. Wait ")
        return "held up"
    return "wrong" if user is None else "in"


def known_cookie(*names: str) -> str:
    """Return the cookie of a browser in which these people have signed in."""
    cookie = ""
    for name in names:
        response = HttpResponse()
        remember_browser(request_from(HOME, cookie), response, name)
        cookie = f"{COOKIE}={response.cookies[COOKIE].value}"
    return cookie


def guess(times: int, **place: str) -> list[str]:
    return [sign_in("wrong", **place) for _ in range(times)]


@pytest.mark.usefixtures("dummy")
class TestPairs:
    """A name and a network: what the first limit counts."""

    def test_five_failures_hold_up_the_same_place_only(self) -> None:
        assert guess(6) == ["wrong"] * 5 + ["held up"]

        assert sign_in(RIGHT) == "held up"
        assert sign_in(RIGHT, address=AWAY) == "in"
        assert sign_in(RIGHT, name="grace") == "in"

    def test_each_further_failure_doubles_the_delay(self) -> None:
        with time_machine.travel(START, tick=False) as clock:
            guess(5)
            for delay in (60, 120, 240, 480, 900, 900):
                clock.shift(delay - 1)
                assert sign_in(RIGHT) == "held up"
                clock.shift(1)
                assert sign_in("wrong") == "wrong"

    def test_a_right_password_takes_its_own_attempt_back_and_no_other(self) -> None:
        for _ in range(20):
            assert sign_in(RIGHT) == "in"
        assert [*guess(4), sign_in(RIGHT), *guess(2)] == [
            *["wrong"] * 4,
            "in",
            *["wrong", "held up"],
        ]

    def test_the_past_is_forgotten(self) -> None:
        with time_machine.travel(START, tick=False) as clock:
            guess(5)
            clock.shift(attempts.MEMORY + 1)
            assert guess(5) == ["wrong"] * 5

    def test_names_without_an_account_are_held_up_alike(self) -> None:
        assert guess(6, name="nobody") == ["wrong"] * 5 + ["held up"]

    def test_ipv6_counts_by_the_network_of_a_customer(self) -> None:
        guess(5, address="2001:db8:1:2::1")

        assert sign_in(RIGHT, address="2001:db8:1:2:ffff::9") == "held up"
        assert sign_in(RIGHT, address="2001:db8:1:3::1") == "in"

    def test_sign_ins_without_a_check_do_not_count_as_failed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(name: str, password: str) -> bool:
            raise OSError("no answer")

        with monkeypatch.context() as patch:
            patch.setitem(CHECKS, "dummy", fail)
            for _ in range(7):
                with pytest.raises(OSError, match="no answer"):
                    sign_in(RIGHT)

        assert sign_in(RIGHT) == "in"


@pytest.mark.usefixtures("dummy")
class TestWide:
    """One name from everywhere, one network with every name."""

    def test_a_name_that_many_places_guess(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(attempts, "MOST_FOR_A_NAME", 10)
        cookie = known_cookie("ada")
        for number in range(10):
            sign_in("wrong", address=f"203.0.113.{number}")

        assert sign_in(RIGHT, address=AWAY) == "held up"
        assert sign_in(RIGHT, address=AWAY, cookie=cookie) == "in"
        assert sign_in(RIGHT, name="grace", address=AWAY) == "in"

    def test_a_network_that_guesses_many_names(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(attempts, "MOST_FOR_A_NETWORK", 10)
        cookie = known_cookie("ada")
        with time_machine.travel(START, tick=False) as clock:
            for number in range(10):
                sign_in("wrong", name=f"student-{number}")

            assert sign_in(RIGHT) == "held up"
            assert sign_in(RIGHT, cookie=cookie) == "in"
            assert sign_in(RIGHT, address=AWAY) == "in"
            clock.shift(attempts.WINDOW + 1)
            assert sign_in(RIGHT) == "in"

    def test_a_class_that_mistypes_is_let_in(self) -> None:
        for number in range(120):
            assert sign_in("wrong", name=f"student-{number}") == "wrong"

        assert sign_in(RIGHT, name="student-7") == "in"


@pytest.mark.usefixtures("dummy")
class TestKnownBrowsers:
    """A signed cookie of an earlier sign-in."""

    def test_a_right_password_gets_in_while_others_guess(self) -> None:
        cookie = known_cookie("ada")
        guess(6)

        assert sign_in(RIGHT) == "held up"
        assert sign_in(RIGHT, cookie=cookie) == "in"

    def test_a_known_browser_that_guesses_is_as_any_other(self) -> None:
        cookie = known_cookie("ada")
        place = {"cookie": cookie, "address": AWAY}

        assert guess(11, **place) == ["wrong"] * 10 + ["held up"]
        assert sign_in(RIGHT, **place) == "held up"
        assert sign_in(RIGHT, cookie=known_cookie("ada"), address=AWAY) == "in"

    def test_it_is_known_for_whom_it_has_seen(self) -> None:
        guess(6)

        assert sign_in(RIGHT, cookie=known_cookie("grace")) == "held up"
        assert sign_in(RIGHT, cookie=known_cookie("ada", "grace")) == "in"

    @pytest.mark.parametrize("value", ["", "x", "a:b:c", '"\\000"', "W10:1:2"])
    def test_a_made_up_cookie_is_none(self, value: str) -> None:
        guess(6)

        assert sign_in(RIGHT, cookie=f"{COOKIE}={value}") == "held up"

    def test_a_foreign_cookie_hides_no_valid_one(self) -> None:
        guess(6)
        own, foreign = known_cookie("ada"), f"{COOKIE}=foreign"

        assert sign_in(RIGHT, cookie=f"{own}; {foreign}") == "in"
        assert sign_in(RIGHT, cookie=f"{foreign}; {own}") == "in"

    def test_it_is_set_at_sign_in_and_stays_at_sign_out(self, configure: Any) -> None:
        configure(redirect_to_server=False)
        browser = Browser()
        cookie = browser.sign_in("ada", RIGHT).cookies[COOKIE]
        browser.get("/hub/logout")

        assert (cookie["path"], cookie["httponly"]) == ("/hub/", True)
        assert "ada" not in cookie.value
        assert browser.cookies[COOKIE].value == cookie.value
        guess(6, address="127.0.0.1")
        assert Browser().sign_in("ada", RIGHT).status_code == 403
        assert browser.sign_in("ada", RIGHT).status_code == 302

    def test_programs_know_no_better(self) -> None:
        make_user("ada")
        guess(6, address="127.0.0.1")
        body = {"auth": {"username": "ada", "password": RIGHT}}

        refused = BearerClient(None).post(f"{API}/users/ada/tokens", body)

        assert refused.status_code == 403
        assert "Wait 60 seconds" in refused.json()["message"]


def test_attempts_at_once_are_counted_one_by_one(settings: Any) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    }

    def begin(_number: int) -> bool:
        try:
            Attempt(request_from(HOME), "ada").begin()
        except TooMany:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(begin, range(40))) == attempts.FREE


# Who exists


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hash cheaply, and note each time that is done."""
    done: list[str] = []
    monkeypatch.setattr(PasswordHasher, "memory_cost", 64)
    monkeypatch.setattr(PasswordHasher, "time_cost", 1)
    encode, verify = PasswordHasher.encode, PasswordHasher.verify

    def note_encode(self: Any, password: str, salt: str) -> str:
        done.append("encode")
        return encode(self, password, salt)

    def note_verify(self: Any, password: str, encoded: str) -> bool:
        done.append("verify")
        return verify(self, password, encoded)

    monkeypatch.setattr(PasswordHasher, "encode", note_encode)
    monkeypatch.setattr(PasswordHasher, "verify", note_verify)
    return done


def make_people(configure: Any) -> list[str]:
    """Make one person of each kind; the last one is nobody."""
    make_user("known", password=PASSWORD)
    make_user("administrator", admin=True, password=PASSWORD)
    make_user("closed", password=PASSWORD, is_active=False)
    make_user("blocked", password=PASSWORD)
    make_user("passwordless")
    configure(blocked_users=frozenset({"blocked"}))
    return ["known", "administrator", "closed", "blocked", "passwordless", "unknown"]


def by_page(name: str, password: str) -> tuple[int, str]:
    page = Browser().sign_in(name, password)
    alert = page.content.decode().partition('role="alert"')[2].partition("</")[0]
    return page.status_code, alert.partition(">")[2].strip()


def by_program(name: str, password: str) -> tuple[int, str]:
    body = {"auth": {"username": name, "password": password}}
    reply = BearerClient(None).post(f"{API}/users/{name}/tokens", body)
    return reply.status_code, reply.json()["message"]


@pytest.mark.parametrize("way", [by_page, by_program])
def test_no_caller_learns_which_names_exist(
    hashes: list[str], configure: Any, way: Any
) -> None:
    found = {}
    for name in make_people(configure):
        hashes.clear()
        answers = [way(name, "wrong")]
        work = len(hashes)
        answers += [way(name, "wrong") for _ in range(5)]
        found[name] = (answers, work, len(hashes), Event.objects.count())

    (answers, work, all_work, _) = found["unknown"]
    assert answers[0] == (403, "Invalid username or password")
    assert answers[4] == answers[0]
    assert answers[5] != answers[0]
    assert (work, all_work) == (1, 5)
    for name, (others, each, total, _) in found.items():
        assert (others, each, total) == (answers, work, all_work), name


@pytest.mark.parametrize("way", [by_page, by_program])
def test_right_passwords_of_those_kept_out_are_as_wrong_ones(
    hashes: list[str], configure: Any, way: Any
) -> None:
    make_people(configure)
    found = []
    for name in ("closed", "blocked", "passwordless", "unknown"):
        hashes.clear()
        found.append((way(name, PASSWORD), len(hashes)))

    assert found == [((403, "Invalid username or password"), 1)] * 4


def test_a_program_that_asks_for_a_token_makes_no_account(dummy: None) -> None:
    assert by_program("newcomer", RIGHT) == (403, "Invalid username or password")
    assert not User.objects.filter(name="newcomer").exists()


def test_asking_again_who_one_is_has_the_same_limits(
    hashes: list[str], configure: Any
) -> None:
    configure(redirect_to_server=False)
    make_user("ada", password=PASSWORD)
    browser = Browser()
    with time_machine.travel(START, tick=False) as clock:
        browser.sign_in("ada")
        clock.shift(600)
        for _ in range(5):
            browser.submit("/hub/accounts/reauthenticate/", password="wrong")
        clock.shift(61)
        hashes.clear()
        browser.submit("/hub/accounts/reauthenticate/", password="wrong")
        assert len(hashes) == 1

    assert Event.objects.filter(action="session.refuse").count() == 6


# Parts


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix:", "unix:"),
    ],
)
def test_networks(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("number", "seconds"), [(0, 0), (4, 0), (5, 60), (6, 120), (9, 900), (10**9, 900)]
)
def test_delays(number: int, seconds: int) -> None:
    assert delay_after(number) == seconds
