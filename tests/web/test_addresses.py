"""Redirects, error pages and reports of browsers."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/", 302, "/hub/"),
        ("/hub", 301, "/hub/"),
        ("/hub?a=b", 301, "/hub/?a=b"),
        ("/foo", 302, "/hub/foo"),
        ("/foo/bar?x=1&y=2", 302, "/hub/foo/bar?x=1&y=2"),
        ("/user/a/lab", 302, "/hub/user/a/lab"),
        ("/user/a", 301, "/user/a/"),
        ("/services/x", 301, "/services/x/"),
        ("/services/x/", 302, "/hub/services/x/"),
        ("/hub/", 302, "/hub/login?next=%2Fhub%2F"),
        ("/hub/home", 302, "/hub/login?next=%2Fhub%2Fhome"),
        ("/hub/home?a=b&c", 302, "/hub/login?next=%2Fhub%2Fhome%3Fa%3Db%26c"),
        ("/hub/token", 302, "/hub/login?next=%2Fhub%2Ftoken"),
        ("/hub/spawn", 302, "/hub/login?next=%2Fhub%2Fspawn"),
        ("/hub/profile", 302, "/hub/login?next=%2Fhub%2Fprofile"),
        ("/hub/signup", 404, None),
        ("/hub/signup/received", 404, None),
        ("/hub/confirm/x", 404, None),
        ("/hub/authorize", 302, "/hub/admin/accounts/signup/?state=pending"),
        ("/hub/change-password", 302, "/hub/login?next=%2Fhub%2Fchange-password"),
        ("/hub/auth/change-password", 404, None),
        ("/hub/admin", 302, "/hub/login?next=%2Fhub%2Fadmin"),
        ("/hub/admin/", 302, "/hub/login?next=%2Fhub%2Fadmin%2F"),
        ("/hub/login", 200, None),
        ("/hub/logo", 200, None),
        ("/hub/error/503", 200, None),
        ("/hub/error/999", 200, None),
        ("/hub/nothing", 404, None),
        ("/hub/home/", 404, None),
        ("/hub/foo%0d%0aX-Evil: 1", 404, None),
    ],
)
def test_for_strangers(path, status, location):
    response = Client().get(path)

    assert response.status_code == status
    assert response.get("Location") == location


def test_the_logo_is_made_of_pixels():
    response = Client().get("/hub/logo")

    assert response["Content-Type"] == "image/png"
    assert b"".join(response.streaming_content).startswith(b"\x89PNG")


@pytest.mark.parametrize("path", ["//evil.example", "//evil.example/..", "/%0aevil"])
def test_no_address_leads_elsewhere(path):
    response = Client().get("/", PATH_INFO=path)

    assert response.get("Location", "/hub/").startswith("/hub/")


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/hub/", 302, "/hub/spawn"),
        ("/hub/home", 200, None),
        ("/hub/profile", 200, None),
        ("/hub/change-password", 302, "/hub/accounts/password/change/"),
        ("/hub/change-password/ada", 404, None),
        ("/hub/admin", 403, None),
        ("/hub/admin/", 403, None),
    ],
)
def test_for_people_with_an_account(path, status, location, as_, mallory):
    response = as_(mallory).get(path)

    assert response.status_code == status
    assert response.get("Location") == location


def test_for_administrators(as_, ada):
    assert as_(ada).get("/hub/admin").status_code == 200
    assert as_(ada).get("/hub/admin/").status_code == 200


def test_tokens_open_no_page(bearer, ada):
    from tests.factories import make_token

    _, secret = make_token(ada)

    assert bearer(secret).get("/hub/home").status_code == 302


def test_errors_are_pages_with_their_status(as_, mallory):
    response = as_(mallory).get("/hub/nothing")

    assert response.status_code == 404
    assert "Page not found" in response.content.decode()


def test_anonymous_users_are_asked_to_sign_in(as_, mallory):
    stranger = Client().get("/hub/error/403").content.decode()
    person = as_(mallory).get("/hub/error/403").content.decode()

    assert "sign in first" in stranger
    assert "does not have the rights" not in stranger
    assert "does not have the rights" in person


def test_nobody_signed_in_is_needed_for_an_error_page():
    page = Client().get("/hub/error/404").content.decode()

    assert "Page not found" in page


@pytest.mark.parametrize(
    ("path", "title", "way"),
    [
        ("/user/ada/lab%3Freset", "This server does not answer", "/hub/home"),
        ("/services/portal/", "This service does not answer", "/hub/"),
        ("/hub/home", "Temporarily unavailable", "/hub/"),
        ("", "Temporarily unavailable", "/hub/"),
    ],
)
def test_an_unreachable_proxy_is_named(path, title, way):
    page = Client().get(f"/hub/error/503?url={path}").content.decode()

    assert f"<h1>{title}</h1>" in page
    assert f'<a class="button" href="{way}">' in page


@pytest.mark.parametrize("path", ["shares/invite", "servers/stop"])
def test_the_address_of_a_form_is_a_page_too(as_, mallory, path):
    response = as_(mallory).get(f"/hub/{path}", headers={"Accept": "text/html"})

    assert response.status_code == 405
    assert response.headers["Allow"] == "POST, OPTIONS"
    assert "Method not allowed" in response.content.decode()


def test_a_failure_is_a_page_too(monkeypatch, as_, mallory):
    from hubsite.pages import home

    def fail(*args, **kwargs):
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(home, "roles_of", fail)
    client = as_(mallory)
    client.raise_request_exception = False

    response = client.get("/hub/home")

    assert response.status_code == 500
    assert "Something went wrong" in response.content.decode()
    assert "secret detail" not in response.content.decode()


def test_being_here_is_activity(browser, mallory):
    from tokens import activity

    make_user("ada", password=PASSWORD)
    browser.sign_in("ada")
    activity.forget()

    browser.get("/hub/home")

    assert activity.users.pending


def test_being_nobody_is_not(browser):
    from tokens import activity

    browser.get("/hub/login")

    assert not activity.users.pending


def test_reports_of_what_browsers_refused_are_logged(as_, mallory, caplog):
    client = as_(mallory)

    response = client.post(
        "/hub/security/csp-report",
        b'{"csp-report": {"blocked-uri": "inline"}} \xff',
        content_type="application/csp-report",
    )

    assert response.status_code == 204
    assert "blocked-uri" in caplog.text


def test_reports_of_strangers_are_not(browser, caplog):
    browser.post("/hub/security/csp-report", b"{}", content_type="text/plain")

    assert "Content-Security-Policy" not in caplog.text
