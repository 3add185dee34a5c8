"""End sessions, with their tokens."""

from __future__ import annotations

import pytest
from django.utils import timezone

from accounts.actions import invite_user
from accounts.models import User
from audit.models import Event
from tests.factories import BY, PASSWORD, make_token, make_user
from tokens.actions.revocation import purge_expired
from tokens.models import APIToken

pytestmark = pytest.mark.django_db


@pytest.fixture
def person():
    return make_user("ada", password=PASSWORD)


@pytest.mark.parametrize("method", ["get", "post"])
def test_leads_to_sign_in_and_takes_the_cookies_back(person, browser, method):
    browser.sign_in("ada")
    page = browser.get("/hub/token/new")

    fields = {"_xsrf": browser.xsrf_of(page)} if method == "post" else {}
    response = getattr(browser, method)("/hub/logout", fields)

    assert (response.status_code, response["Location"]) == (302, "/hub/login")
    for name, path in (
        ("jupyterhub-session-id", "/"),
        ("jupyterhub-services", "/services"),
        ("jupyterhub-hub-login", "/hub/"),
        ("_xsrf", "/hub/"),
    ):
        cookie = response.cookies[name]
        assert (cookie.value, cookie["path"], cookie["max-age"]) == ("", path, 0)
    assert browser.get("/hub/home").status_code == 302


def test_a_browser_without_the_id_of_its_session_gets_it_again(person, browser):
    """The cookie ends with the browser, the session does not."""
    browser.sign_in("ada")
    told = browser.cookies.pop("jupyterhub-session-id").value

    response = browser.get("/hub/token")

    cookie = response.cookies["jupyterhub-session-id"]
    assert (cookie.value, cookie["path"], cookie["max-age"]) == (told, "/", "")
    # As JupyterHub does, together with the XSRF cookie.
    assert response.cookies["_xsrf"].value == browser.cookies["_xsrf"].value
    assert not browser.get("/hub/token").cookies


@pytest.mark.parametrize("value", ["foreign", "", '"odd', "0" * 32])
def test_the_id_of_a_session_replaces_another_value(person, browser, value):
    browser.sign_in("ada")
    told = browser.cookies["jupyterhub-session-id"].value
    browser.cookies["jupyterhub-session-id"] = value

    response = browser.get("/hub/token")

    assert response.cookies["jupyterhub-session-id"].value == told
    assert "jupyterhub-session-id" not in browser.get("/hub/token").cookies


def test_looking_at_the_link_ends_nothing(person, browser):
    browser.sign_in("ada")

    assert browser.head("/hub/logout").status_code == 405
    assert browser.get("/hub/home").status_code == 200


def test_strangers_are_led_to_sign_in_as_well(browser):
    assert browser.get("/hub/logout")["Location"] == "/hub/login"


def test_ends_the_tokens_of_this_session_only(person, browser, another_browser):
    browser.sign_in("ada")
    another_browser.sign_in("ada")
    here = browser.cookies["jupyterhub-session-id"].value
    there = another_browser.cookies["jupyterhub-session-id"].value
    make_token(person, note="here", session_id=here, client_id="service-x")
    make_token(person, note="there", session_id=there, client_id="service-y")
    make_token(person, note="requested")

    browser.get("/hub/logout")

    alive = APIToken.objects.filter(revoked_at=None).values_list("note", flat=True)
    assert set(alive) == {"there", "requested"}


NEW_PASSWORD = "another horse 77 battery"


def end_here(browser, elsewhere):
    browser.get("/hub/logout")


def end_elsewhere(browser, elsewhere):
    elsewhere.submit("/hub/accounts/sessions/")


def change_password(browser, elsewhere):
    fields = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    elsewhere.submit("/hub/accounts/password/change/", oldpassword=PASSWORD, **fields)


def expire(browser, elsewhere):
    APIToken.objects.filter(note="here").update(expires_at=timezone.now())
    purge_expired()


@pytest.mark.parametrize(
    "end", [end_here, end_elsewhere, change_password, expire], ids=lambda f: f.__name__
)
def test_tokens_of_one_client_end_with_their_own_session(
    person, browser, another_browser, end
):
    """One client, two browsers: what ends one session leaves the other's tokens."""
    browser.sign_in("ada")
    another_browser.sign_in("ada")
    for note, one in (("here", browser), ("there", another_browser)):
        session_id = one.cookies["jupyterhub-session-id"].value
        make_token(person, note=note, session_id=session_id, client_id="service-x")

    end(browser, another_browser)

    left = APIToken.objects.active(timezone.now()).values_list("note", flat=True)
    assert list(left) == ["there"]


def test_a_new_first_password_ends_the_sessions_before_it(person, browser, client):
    browser.sign_in("ada")
    session_id = browser.cookies["jupyterhub-session-id"].value
    make_token(person, session_id=session_id, client_id="service-x")

    link = invite_user(User.objects.get(name="ada"), by=BY)
    client.post(link, {"new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD})

    assert browser.get("/hub/home").status_code == 302
    assert not APIToken.objects.filter(revoked_at=None).exists()


def test_the_session_decides_not_the_cookie(person, browser, another_browser):
    browser.sign_in("ada")
    another_browser.sign_in("ada")
    there = another_browser.cookies["jupyterhub-session-id"].value
    make_token(person, session_id=there, client_id="service-y")

    browser.cookies["jupyterhub-session-id"] = there
    browser.get("/hub/logout")

    assert APIToken.objects.filter(revoked_at=None).count() == 1


def test_everywhere_else_means_everywhere_else(person, browser, another_browser):
    browser.sign_in("ada")
    another_browser.sign_in("ada")
    there = another_browser.cookies["jupyterhub-session-id"].value
    make_token(person, session_id=there, client_id="service-y")

    response = browser.submit("/hub/accounts/sessions/")

    assert response.status_code == 302
    assert browser.get("/hub/home").status_code == 200
    assert another_browser.get("/hub/home").status_code == 302
    assert not APIToken.objects.filter(revoked_at=None).exists()
    event = Event.objects.get(action="session.logout")
    assert event.detail == {"elsewhere": True}
