"""Sign in and secure an account in a browser."""

from __future__ import annotations

import time

import pytest
from allauth.mfa.totp.internal.auth import (
    format_hotp_value,
    hotp_value,
    yield_hotp_counters_from_time,
)
from django.core.cache import cache
from playwright.sync_api import expect

from tests.factories import PASSWORD, make_user


@pytest.fixture
def person(transactional_db, configure):
    # There is no controller that could start a server at sign-in.
    configure(redirect_to_server=False)
    return make_user("ada", password=PASSWORD)


def sign_in(page, password=PASSWORD):
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def expect_focus(field, description):
    expect(field).to_be_focused()
    expect(field).to_have_accessible_description(description)


def code_for(secret):
    # A code counts for the half minute that it belongs to; one at the very end of
    # its own would be refused when it arrives.
    left = 30 - time.time() % 30
    if left < 5:
        time.sleep(left)
    cache.clear()  # so that the same code is taken twice within its half minute
    counter = next(iter(yield_hotp_counters_from_time()))
    return format_hotp_value(hotp_value(secret, counter))


def test_a_wrong_password_is_announced(window, person):
    visit = window()
    page = visit.open("/hub/login")
    sign_in(page, "wrong")

    assert page.get_by_role("alert").inner_text() == "Invalid username or password"
    assert page.get_by_label("Username").input_value() == "ada"
    visit.survey()


def test_in_and_out(window, person):
    visit = window()
    page = visit.open("/hub/token")
    sign_in(page)

    page.wait_for_url("**/hub/token")
    page.get_by_text("ada", exact=True).click()
    page.get_by_role("link", name="Sign out").click()

    page.wait_for_url("**/hub/login")
    visit.open("/hub/token")
    page.get_by_role("heading", name="Sign in").wait_for()


def test_an_authenticator_app(window, person):
    visit = window()
    page = visit.open("/hub/login?next=/hub/accounts/2fa/")
    sign_in(page)
    page.get_by_role("link", name="Set up an app").click()
    page.get_by_role("heading", name="Set up an authenticator app").wait_for()
    visit.survey()
    secret = page.locator("#totp-secret").inner_text()
    page.get_by_label("Code from the app").fill("000000")
    page.get_by_role("button", name="Turn on").click()
    expect_focus(page.get_by_label("Code from the app"), "Incorrect code.")
    visit.survey()
    page.get_by_label("Code from the app").fill(code_for(secret))
    page.get_by_role("button", name="Turn on").click()
    page.get_by_role("heading", name="Recovery codes").wait_for()
    visit.survey()

    visit.open("/hub/accounts/2fa/recovery-codes/generate/")
    visit.survey()
    visit.open("/hub/accounts/2fa/totp/deactivate/")
    visit.survey()
    visit.open("/hub/accounts/2fa/")
    visit.survey()

    visit.open("/hub/logout")
    sign_in(page)
    page.get_by_role("heading", name="Second factor").wait_for()
    visit.survey()
    assert page.get_by_role("button", name="Use a key").count() == 0
    page.get_by_label("Code").fill("000000")
    page.get_by_role("button", name="Sign in").click()
    expect_focus(page.get_by_label("Code"), "Incorrect code.")
    visit.survey()
    page.get_by_label("Code").fill(code_for(secret))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/hub/home")


def plug_in_a_key(page):
    """Give the browser a key that holds nothing yet."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    devtools.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
            }
        },
    )


def test_a_passkey(window, person):
    visit = window()
    page = visit.open("/hub/login?next=/hub/accounts/2fa/")
    plug_in_a_key(page)
    sign_in(page)
    page.get_by_role("link", name="Add a key").click()
    page.get_by_role("heading", name="Add a passkey").wait_for()
    visit.survey()
    page.get_by_label("Name of the key").fill("Laptop")
    page.get_by_role("button", name="Add").click()
    page.wait_for_url(lambda url: "/add/" not in url)

    visit.open("/hub/accounts/2fa/webauthn/")
    page.get_by_role("cell", name="Key Laptop").wait_for()
    visit.survey()
    page.get_by_role("link", name="Rename").click()
    visit.survey()
    visit.open("/hub/accounts/2fa/webauthn/")
    page.get_by_role("link", name="Remove").click()
    visit.survey()

    visit.open("/hub/logout")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url("**/hub/home")
    visit.open("/hub/accounts/2fa/webauthn/add/")
    page.get_by_role("heading", name="Add a passkey").wait_for()
    visit.open("/hub/logout")
    sign_in(page)
    visit.survey()
    page.get_by_role("button", name="Use a key").click()
    page.wait_for_url("**/hub/home")


def test_where_browsers_take_no_key_none_is_offered(window, person):
    visit = window()
    visit.base = visit.base.replace("localhost", "127.0.0.1")
    page = visit.open("/hub/login?next=/hub/profile")
    assert not page.get_by_role("button", name="Sign in with a passkey").is_visible()
    sign_in(page)
    page.get_by_text("can't be added at this address").wait_for()
    assert not page.get_by_role("link", name="Add a passkey").is_visible()
    visit.survey()

    visit = window()
    page = visit.open("/hub/login?next=/hub/profile")
    sign_in(page)
    page.get_by_role("link", name="Add a passkey").wait_for()
    assert not page.get_by_text("can't be added at this address").is_visible()


def test_a_key_that_fails_shows_an_error(window, person):
    visit = window()
    page = visit.open("/hub/login")
    plug_in_a_key(page)
    page.get_by_role("button", name="Sign in with a passkey").click()

    assert page.get_by_role("alert").inner_text().startswith("No key was used")
    visit.survey()


def test_a_passkey_without_scripts(window, person):
    visit = window(person, java_script_enabled=False)
    page = visit.open("/hub/accounts/2fa/webauthn/add/")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()

    expect(page.locator(".card noscript p")).to_be_visible()
    expect(page.get_by_role("button", name="Add")).to_have_count(0)


def test_signing_out_everywhere_else(window, person):
    elsewhere = window(person)
    elsewhere.open("/hub/home")
    visit = window()
    page = visit.open("/hub/login?next=/hub/accounts/sessions/")
    sign_in(page)
    page.get_by_role("heading", name="Sessions").wait_for()
    visit.survey()


def test_colours_follow_the_system_until_chosen(window, person):
    visit = window(person)
    page = visit.open("/hub/home")
    paper = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(paper)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(paper)
    assert dark != light

    toggle = page.get_by_role("button", name="Colours")
    toggle.click()
    assert page.evaluate(paper) == light
    toggle.click()
    assert page.evaluate(paper) == dark
    page.reload()
    assert page.evaluate(paper) == dark
    assert toggle.inner_text() == "Colours: dark"
    visit.survey()
