"""Sign up in a browser, without and with an operator, and with what a plugin knew."""

from __future__ import annotations

import bcrypt
import pytest
from allauth.mfa.totp.internal.auth import generate_totp_secret

from accounts import sign_up_actions
from accounts.imported_passwords import import_passwords, native_passwords
from accounts.models import SignUp, User
from tests.browser.test_sign_in import code_for
from tests.factories import BY, PASSWORD, make_user


@pytest.fixture
def hub(transactional_db, configure):
    configure(
        redirect_to_server=False,
        signup="approval",
        signup_ask_email=True,
        signup_terms='I have read <a href="/hub/terms">the terms of use</a>.',
    )


def sign_in(page, name, password=PASSWORD):
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def test_an_operator_lets_a_person_in(window, hub):
    visit = window()
    page = visit.open("/hub/login")
    visit.survey()
    page.get_by_role("link", name="Sign up").click()
    page.get_by_role("heading", name="Sign up").wait_for()
    visit.survey()
    page.get_by_label("Username").fill("Grace")
    page.get_by_label("E-mail address").fill("grace@example.org")
    page.get_by_label("Password", exact=True).fill("short")
    page.get_by_label("Repeat the password").fill("long")
    page.get_by_label("I agree").check()
    page.get_by_role("button", name="Sign up").click()
    page.get_by_text("This password is too short").wait_for()
    page.get_by_text("This is another password").wait_for()
    visit.survey()
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Repeat the password").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    page.get_by_role("heading", name="Your sign-up was received").wait_for()
    visit.survey()
    page.get_by_role("link", name="Sign in").click()
    sign_in(page, "grace")
    alert = page.get_by_role("alert").inner_text()
    assert alert.endswith("nobody has decided about it yet.")
    visit.survey()

    operator = window(make_user("ada", admin=True))
    desk = operator.open("/hub/authorize")
    desk.get_by_role("link", name="grace").wait_for()
    operator.survey()
    desk.get_by_role("link", name="grace").click()
    operator.survey()
    desk.get_by_label("Approve").check()
    desk.get_by_role("button", name="Save", exact=True).click()
    desk.wait_for_url("**/accounts/signup/**")
    assert User.objects.get(name="grace").email == "grace@example.org"

    sign_in(page, "grace")
    page.wait_for_url("**/hub/home")


def test_works_without_scripts(window, hub, configure):
    configure(signup="open", signup_terms="", signup_ask_email=False)
    page = window(java_script_enabled=False).open("/hub/signup")
    page.get_by_label("Username").fill("grace")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Repeat the password").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()

    page.wait_for_url("**/hub/home")


def test_the_pages_of_a_link_in_a_mail(window, hub):
    visit = window()
    row = SignUp.objects.create(name="grace", email="g@example.org", password="x")
    page = visit.open(sign_up_actions.link_for(row))
    page.get_by_role("button", name="This was me").wait_for()
    visit.survey()

    visit.open("/hub/confirm/something-else")
    page.get_by_role("heading", name="This link is no longer valid").wait_for()
    visit.survey()


def test_a_person_of_the_plugin_signs_in_with_both_factors(window, hub):
    secret = generate_totp_secret()
    old = "a password of the old hub"
    row = {
        "username": "grace",
        "password": bcrypt.hashpw(old.encode(), bcrypt.gensalt(4)),
        "is_authorized": 1,
        "has_2fa": 1,
        "otp_secret": secret,
    }
    import_passwords(native_passwords([row]), by=BY)
    page = window().open("/hub/login")
    sign_in(page, "grace", old)
    page.get_by_label("Code").fill(code_for(secret))
    page.get_by_role("button", name="Sign in").click()

    page.wait_for_url("**/hub/home")
    assert User.objects.get(name="grace").password.startswith("argon2$argon2id$")
