"""The security of an account: password, second factor, sessions."""

from __future__ import annotations

import json
import re
import time

import pytest
from allauth.core.context import request_context
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import (
    format_hotp_value,
    yield_hotp_counters_from_time,
)
from allauth.mfa.totp.internal.auth import hotp_value as code_at

from accounts.actions import activate_users, deactivate_users
from accounts.models import User
from accounts.second_factor import MFAAdapter
from tests.factories import BY, PASSWORD, make_user

pytestmark = pytest.mark.django_db
TOTP = "/hub/accounts/2fa/totp/activate/"
KEYS = "/hub/accounts/2fa/webauthn/"
CODES = "/hub/accounts/2fa/recovery-codes/"


@pytest.fixture
def person():
    return make_user("ada", password=PASSWORD)


@pytest.fixture
def signed_in(person, browser):
    browser.sign_in("ada")
    return browser


def let_time_pass(browser):
    """Make it longer ago that somebody showed who they are than counts."""
    session = browser.session
    session["proven_at"] -= 301
    session.save()


def code_for(secret):
    # A code that ends in this moment would be refused in the next.
    left = 30 - time.time() % 30
    if left < 2:
        time.sleep(left)
    counter = next(iter(yield_hotp_counters_from_time()))
    return format_hotp_value(code_at(secret, counter))


def set_up_app(browser):
    page = browser.get(TOTP)
    secret = re.search(r'id="totp-secret">(\w+)<', page.content.decode()).group(1)
    response = browser.post(
        TOTP, {"_xsrf": browser.xsrf_of(page), "code": code_for(secret)}
    )
    assert response.status_code == 302, response.content.decode()
    return secret


def test_offers_what_there_is_to_change(signed_in):
    page = signed_in.get("/hub/profile").content.decode()

    for words in ("Change password", "Set up second factor", "Add a passkey"):
        assert words in page
    assert "in this browser only" in page
    assert "Single sign-on" not in page


def test_a_password_kept_elsewhere_is_changed_elsewhere(as_, mallory):
    client = as_(mallory)

    assert "does not store your password" in client.get("/hub/profile").content.decode()
    response = client.get("/hub/accounts/password/change/")
    assert response["Location"] == "/hub/profile"


def test_the_password_changes(signed_in, another_browser):
    new = "another horse 77 battery"
    response = signed_in.submit(
        "/hub/accounts/password/change/",
        oldpassword=PASSWORD,
        password1=new,
        password2=new,
    )

    assert response["Location"] == "/hub/profile"
    assert "has been changed" in signed_in.get("/hub/profile").content.decode()
    assert another_browser.sign_in("ada", PASSWORD).status_code == 403
    assert another_browser.sign_in("ada", new).status_code == 302


def test_a_password_change_ends_other_sessions(signed_in, another_browser):
    another_browser.sign_in("ada")
    new = "another horse 77 battery"

    signed_in.submit(
        "/hub/accounts/password/change/",
        oldpassword=PASSWORD,
        password1=new,
        password2=new,
    )

    assert another_browser.get("/hub/home").status_code == 302


def test_a_recent_sign_in_is_sufficient(signed_in):
    assert signed_in.get(TOTP).status_code == 200
    assert signed_in.get(f"{KEYS}add/").status_code == 200


def test_later_the_password_is_asked_for_once(signed_in):
    let_time_pass(signed_in)

    asked = signed_in.get(TOTP)
    assert asked["Location"].startswith("/hub/accounts/reauthenticate/")
    response = signed_in.submit(asked["Location"], password="wrong")
    assert response.status_code == 200
    response = signed_in.submit(asked["Location"], password=PASSWORD)

    assert response["Location"] == TOTP
    assert signed_in.get(TOTP).status_code == 200


def test_a_second_factor_and_a_recovery_code_show_who_it_is(signed_in, another_browser):
    set_up_app(signed_in)
    page = signed_in.get(CODES).content.decode()
    code = re.search(r"readonly>(\w+)", page).group(1)

    asked = another_browser.sign_in("ada")["Location"]
    assert another_browser.get(CODES).status_code == 302
    another_browser.submit(asked, code=code)

    assert another_browser.get(CODES).status_code == 200


def test_a_first_app_leads_to_its_recovery_codes(browser, configure):
    """Whoever has neither password nor factor here was not asked before, either."""
    configure(authenticator_class="dummy", allow_all=True)
    browser.sign_in("grace", "anything")
    let_time_pass(browser)
    set_up_app(browser)

    assert browser.get(CODES).status_code == 200
    let_time_pass(browser)
    asked = browser.get(CODES)["Location"]
    assert asked.startswith("/hub/accounts/2fa/reauthenticate/")


def test_who_has_only_keys_is_asked_for_a_key(person, browser):
    for kind in ("webauthn", "recovery_codes"):
        Authenticator.objects.create(
            user=person, type=kind, data={"seed": "", "used_mask": 0}
        )
    person.set_unusable_password()
    person.save()
    browser.force_login(person)

    asked = browser.get(CODES)["Location"]

    assert asked.startswith(f"{KEYS}reauthenticate/")


@pytest.mark.parametrize(
    "path", ["reauthenticate/", "2fa/reauthenticate/", "2fa/webauthn/reauthenticate/"]
)
def test_nobody_is_asked_for_what_they_do_not_have(as_, mallory, path):
    client = as_(mallory)

    response = client.get(f"/hub/accounts/{path}")

    assert response["Location"] == "/hub/profile"
    assert (
        "can&#x27;t confirm your identity"
        in client.get("/hub/profile").content.decode()
    )


def test_an_app_becomes_the_second_factor(signed_in, another_browser):
    secret = set_up_app(signed_in)

    response = another_browser.sign_in("ada")

    assert response["Location"].startswith("/hub/accounts/2fa/authenticate/")
    assert another_browser.get("/hub/home").status_code == 302
    assert "jupyterhub-session-id" not in response.cookies
    Authenticator.objects.get(type="totp")
    from django.core.cache import cache

    cache.clear()  # the same code is not taken twice
    response = another_browser.submit(response["Location"], code=code_for(secret))
    assert response["Location"] == "/hub/spawn"
    assert "jupyterhub-session-id" in response.cookies


def test_a_wrong_code_does_not_sign_in(signed_in, another_browser):
    set_up_app(signed_in)

    response = another_browser.sign_in("ada")
    response = another_browser.submit(response["Location"], code="000000")

    assert response.status_code == 200
    assert "Incorrect code" in response.content.decode()
    assert another_browser.get("/hub/home").status_code == 302


def test_users_who_are_deactivated_meanwhile_are_refused(signed_in, another_browser):
    secret = set_up_app(signed_in)
    from django.core.cache import cache

    cache.clear()
    response = another_browser.sign_in("ada")
    page = another_browser.get(response["Location"])
    deactivate_users(User.objects.filter(name="ada"), by=BY)
    form = {"_xsrf": another_browser.xsrf_of(page), "code": code_for(secret)}
    response = another_browser.post(response["Location"], form)
    assert response["Location"].endswith("/inactive/")
    activate_users(User.objects.filter(name="ada"), by=BY)

    assert another_browser.get("/hub/home").status_code == 302


def test_the_second_factor_leads_on_to_where_one_wanted(signed_in, another_browser):
    secret = set_up_app(signed_in)
    from django.core.cache import cache

    cache.clear()
    response = another_browser.sign_in("ada", path="/hub/login?next=/hub/token")
    response = another_browser.submit(response["Location"], code=code_for(secret))

    assert response["Location"] == "/hub/token"


def test_secrets_of_factors_are_stored_encrypted(signed_in):
    secret = set_up_app(signed_in)

    stored = Authenticator.objects.get(type="totp").data

    assert secret not in json.dumps(stored)


def test_no_code_fits_a_second_factor_whose_key_is_lost(
    signed_in, another_browser, settings
):
    secret = set_up_app(signed_in)
    settings.SECRET_KEY = "another"

    path = another_browser.sign_in("ada")["Location"]
    for code in (code_for(secret), code_for("")):
        response = another_browser.submit(path, code=code)
        assert "Incorrect code" in response.content.decode()


def test_a_recovery_code_signs_in_once(signed_in, another_browser):
    set_up_app(signed_in)
    page = signed_in.get("/hub/accounts/2fa/recovery-codes/").content.decode()
    code = re.search(r"readonly>(\w+)", page).group(1)

    response = another_browser.sign_in("ada")
    response = another_browser.submit(response["Location"], code=code)
    assert response["Location"] == "/hub/spawn"
    another_browser.get("/hub/logout")
    response = another_browser.sign_in("ada")
    response = another_browser.submit(response["Location"], code=code)

    assert "Incorrect code" in response.content.decode()


def test_the_app_can_be_turned_off(signed_in, another_browser):
    set_up_app(signed_in)

    signed_in.submit("/hub/accounts/2fa/totp/deactivate/")

    assert another_browser.sign_in("ada")["Location"] == "/hub/spawn"


FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def test_a_key_is_proposed_that_signs_in_and_is_called_by_its_place(signed_in):
    signed_in.defaults["HTTP_USER_AGENT"] = FIREFOX

    page = signed_in.get(f"{KEYS}add/").content.decode()

    assert 'value="Firefox on Linux"' in page
    assert re.search(r'name="passwordless"[^>]* checked', page)


def test_no_two_keys_are_proposed_the_same_name(person, rf):
    request = rf.get("/", headers={"user-agent": FIREFOX})
    names = []
    with request_context(request):
        for _ in range(3):
            name = MFAAdapter().generate_authenticator_name(person, "webauthn")
            Authenticator.objects.create(
                user=person, type="webauthn", data={"name": name}
            )
            names.append(name)

    assert names == ["Firefox on Linux", "Firefox on Linux 2", "Firefox on Linux 3"]


def test_a_key_that_the_browser_was_not_asked_for_is_missed(signed_in):
    page = signed_in.submit(f"{KEYS}add/", name="Laptop").content.decode()

    assert 'role="alert">No key was added.' in page


def test_passkeys_begin_with_a_question_from_the_hub(browser):
    response = browser.get(
        "/hub/accounts/2fa/webauthn/login/", headers={"accept": "application/json"}
    )

    assert "challenge" in json.dumps(response.json())


def test_sessions_name_their_browsers(signed_in, another_browser, person):
    signed_in.get("/hub/logout")
    signed_in.defaults["HTTP_USER_AGENT"] = FIREFOX
    signed_in.sign_in("ada")

    page = signed_in.get("/hub/accounts/sessions/").content.decode()

    assert "Firefox on Linux" in page
    assert "this one" in page


@pytest.mark.parametrize(
    "path",
    [
        "/hub/profile",
        "/hub/accounts/2fa/",
        "/hub/accounts/sessions/",
        "/hub/accounts/3rdparty/",
        "/hub/accounts/password/change/",
    ],
)
def test_strangers_are_sent_to_sign_in(browser, path):
    response = browser.get(path)

    assert response.status_code == 302
    assert response["Location"].startswith("/hub/login?next=")


@pytest.mark.parametrize(
    "path", ["/hub/accounts/signup/", "/hub/accounts/password/reset/"]
)
def test_there_is_no_signing_up_and_no_mail_without_a_server(browser, path):
    assert browser.get(path).status_code == 404
