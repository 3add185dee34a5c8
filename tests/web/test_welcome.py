"""The link with which the first administrator chooses a password."""

from __future__ import annotations

import pytest
import time_machine
from django.contrib.auth.tokens import default_token_generator
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from accounts.forms import WelcomeForm
from accounts.models import User
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db


def link_for(user: User) -> str:
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    token = default_token_generator.make_token(user)
    return reverse("accounts:welcome", args=[uid, token])


def choose(browser, link, password=PASSWORD):
    return browser.submit(link, new_password1=password, new_password2=password)


def test_sets_the_password_and_signs_in(ada, browser):
    response = choose(browser, link_for(ada))

    assert (response.status_code, response["Location"]) == (302, "/hub/home")
    assert "jupyterhub-session-id" in response.cookies
    assert browser.get("/hub/home").status_code == 200
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)
    assert ada.password.startswith("argon2$argon2id$")


def test_works_once(ada, browser, another_browser):
    link = link_for(ada)
    choose(browser, link)

    response = another_browser.get(link)

    assert response.status_code == 404
    assert "no longer valid" in response.content.decode()
    assert another_browser.get("/hub/home").status_code == 302


def test_works_for_three_days(ada, browser):
    link = link_for(ada)

    with time_machine.travel("2099-01-01"):
        assert browser.get(link).status_code == 404


@pytest.mark.parametrize("link", ["/hub/welcome/MQ/abc-def/", "/hub/welcome/!/x/"])
def test_a_made_up_link_opens_nothing(ada, browser, link):
    assert browser.get(link).status_code == 404


def test_a_weak_password_is_refused_with_advice(ada, browser):
    link = link_for(ada)

    response = choose(browser, link, "12345")

    assert response.status_code == 200
    page = response.content.decode()
    assert "This password is too short." in page
    assert 'id="id_new_password1_error"' in page
    assert 'id="id_new_password2_error"' not in page
    assert choose(browser, link).status_code == 302


def test_a_forged_form_sets_nothing(ada, browser):
    link = link_for(ada)

    response = browser.post(
        link, {"new_password1": PASSWORD, "new_password2": PASSWORD}
    )

    assert response.status_code == 403
    ada.refresh_from_db()
    assert not ada.has_usable_password()


def test_a_password_brings_back_nothing_else_of_the_account(ada):
    form = WelcomeForm(ada, {"new_password1": PASSWORD, "new_password2": PASSWORD})
    assert form.is_valid()
    User.objects.filter(pk=ada.pk).update(admin=False, name="countess")

    form.save()

    ada.refresh_from_db()
    assert (ada.name, ada.admin) == ("countess", False)
    assert ada.check_password(PASSWORD)
