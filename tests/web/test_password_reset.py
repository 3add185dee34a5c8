"""A new password through a link in a mail."""

from __future__ import annotations

import re
import socket

import pytest
from django.core import mail

from tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db

NEW = "another horse, another battery"


@pytest.fixture(autouse=True)
def mailing(settings):
    settings.ROOT_URLCONF = "tests.web.mail_urls"
    settings.MAILS_LINKS = True
    settings.PUBLIC_URL = "https://hub.example.org"


@pytest.fixture
def person():
    return make_user("ada", password=PASSWORD, email="ada@example.org")


def ask(browser, email, **extra):
    path = "/hub/accounts/password/reset/"
    page = browser.get(path)
    return browser.post(path, {"_xsrf": browser.xsrf_of(page), "email": email}, **extra)


def test_leads_to_a_new_password(person, browser):
    browser.sign_in("ada", "wrong")
    reply = ask(browser, "ada@example.org")

    assert reply["Location"] == "/hub/accounts/password/reset/done/"
    (message,) = mail.outbox
    assert message.subject.endswith("A new password for hub.example.org")
    assert "account ada of the hub at hub.example.org" in message.body
    (link,) = re.findall(r"https?://[^\s]+", message.body)
    assert link.startswith("https://hub.example.org/hub/accounts/password/reset/key/")
    path = link.removeprefix("https://hub.example.org")
    form = browser.get(path, follow=True)
    place = form.redirect_chain[-1][0]
    fields = {"_xsrf": browser.xsrf_of(form), "password1": NEW, "password2": NEW}
    assert browser.post(place, fields).status_code == 302
    assert browser.sign_in("ada", NEW).status_code == 302


def test_mails_name_no_host_that_the_request_made_up(person, browser):
    ask(browser, "ada@example.org", headers={"host": "evil.example"})

    (message,) = mail.outbox
    assert "evil.example" not in str(message.message())


def test_strangers_learn_nothing_of_who_has_an_account(person, browser):
    known, unknown = ask(browser, "ada@example.org"), ask(browser, "eve@example.org")

    assert known.status_code == unknown.status_code == 302
    assert known["Location"] == unknown["Location"]
    assert [message.to for message in mail.outbox] == [["ada@example.org"]]


@pytest.fixture
def silent_server(settings):
    """Be a mail server that takes a connection and says nothing, until the end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.getsockname()[:2]
        settings.EMAIL_TIMEOUT = 1
        yield server


def test_the_page_does_not_wait_for_the_mail_server(person, browser, silent_server):
    """Or the wait would tell that there is an account."""
    silent_server.settimeout(30)

    assert ask(browser, "ada@example.org").status_code == 302

    connection, _ = silent_server.accept()
    connection.close()
