"""Forged requests: pages, admin, and the API by cookie."""

from __future__ import annotations

import pytest
import time_machine

from tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db

FETCH = {"sec-fetch-mode": "cors", "sec-fetch-site": "same-origin"}


@pytest.fixture
def signed_in(browser):
    make_user("ada", admin=True, password=PASSWORD)
    browser.sign_in("ada")
    return browser


@pytest.fixture
def xsrf(signed_in):
    return signed_in.cookies["_xsrf"].value


def test_forms_carry_the_wires_name(signed_in):
    page = signed_in.get("/hub/token/new").content.decode()

    assert 'name="_xsrf"' in page
    assert "csrfmiddlewaretoken" not in page


def test_the_admins_forms_carry_it_as_well(signed_in):
    page = signed_in.get("/hub/admin/accounts/user/").content.decode()

    assert 'name="_xsrf"' in page
    assert "csrfmiddlewaretoken" not in page


def test_pages_refuse_a_post_without_it(signed_in):
    response = signed_in.post("/hub/token/new", {"note": "forged"})

    assert response.status_code == 403
    assert "expired" in response.content.decode()


def test_the_admin_refuses_a_post_without_it(signed_in):
    response = signed_in.post("/hub/admin/accounts/user/", {"action": "x"})

    assert response.status_code == 403


def test_pages_are_read_by_scripts_of_the_hubs_pages_only(signed_in, xsrf):
    proven = {**FETCH, "x-xsrftoken": xsrf}

    assert signed_in.get("/hub/home", headers=FETCH).status_code == 403
    assert signed_in.get("/hub/home", headers=proven).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-mode": "websocket"}, 200),
        ({"sec-fetch-mode": "no-cors", "sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-mode": "no-cors", "sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-mode": "same-origin", "sec-fetch-site": "same-origin"}, 403),
        ({"sec-fetch-mode": "cors", "sec-fetch-site": "same-origin"}, 403),
        ({"sec-fetch-mode": "cors", "sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-mode": ""}, 403),
    ],
)
def test_scripts_must_prove_themselves_even_to_read(signed_in, headers, status):
    response = signed_in.get("/hub/api/user", headers=headers)

    assert response.status_code == status
    if status == 403:
        assert response.json()["message"] == "'_xsrf' argument missing from GET"


@pytest.mark.parametrize("header", ["x-xsrftoken", "x-csrftoken"])
def test_headers_prove_it(signed_in, xsrf, header):
    response = signed_in.get("/hub/api/user", headers={**FETCH, header: xsrf})

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("good", ("bad", "bad"), 200),
        ("bad", ("good", "good"), 403),
        ("", ("good", "bad"), 200),
        ("", ("bad", "good"), 403),
    ],
)
def test_the_first_value_counts(signed_in, xsrf, query, headers, status):
    sent = {"good": xsrf, "bad": "bad", "": ""}
    both = zip(("x-xsrftoken", "x-csrftoken"), headers, strict=True)

    response = signed_in.get(
        f"/hub/api/user?_xsrf={sent[query]}",
        headers={**FETCH, **{name: sent[value] for name, value in both}},
    )

    assert response.status_code == status


def test_metrics_are_a_page(signed_in):
    assert signed_in.get("/hub/metrics", headers=FETCH).status_code == 200


def test_methods_that_there_are_not_need_it_as_well(signed_in, xsrf):
    put = {"path": "/hub/api/users", "content_type": "application/json"}

    assert signed_in.put(**put).status_code == 403
    assert signed_in.put(**put, headers={"x-xsrftoken": xsrf}).status_code == 405


def test_the_query_proves_it(signed_in, xsrf):
    response = signed_in.get(f"/hub/api/user?_xsrf={xsrf}", headers=FETCH)

    assert response.status_code == 200


@pytest.mark.parametrize("value", ["wrong", "a.b.c", "ünfit"])
def test_another_value_does_not(signed_in, value):
    response = signed_in.get(
        "/hub/api/user", headers=FETCH, query_params={"_xsrf": value}
    )

    assert response.status_code == 403
    assert "does not match" in response.json()["message"]


def test_a_value_of_another_session_does_not(signed_in, xsrf, another_browser):
    make_user("mallory", password=PASSWORD)
    another_browser.sign_in("mallory")
    foreign = another_browser.cookies["_xsrf"].value

    # Even where the cookie could be planted.
    signed_in.cookies["_xsrf"] = foreign
    response = signed_in.get("/hub/api/user", headers={**FETCH, "x-xsrftoken": foreign})

    assert response.status_code == 403


def test_a_value_from_before_signing_in_does_not(browser):
    make_user("ada", password=PASSWORD)
    early = browser.xsrf_of(browser.get("/hub/login"))
    browser.sign_in("ada")

    browser.cookies["_xsrf"] = early
    response = browser.get("/hub/api/user", headers={**FETCH, "x-xsrftoken": early})

    assert response.status_code == 403


def test_a_value_of_another_browser_does_not_sign_in(browser, another_browser):
    make_user("ada", password=PASSWORD)
    foreign = another_browser.xsrf_of(
        another_browser.get("/hub/login", headers={"user-agent": "theirs"})
    )

    browser.cookies["_xsrf"] = foreign
    response = browser.post(
        "/hub/login",
        {"username": "ada", "password": PASSWORD, "_xsrf": foreign},
        headers={"user-agent": "mine"},
    )

    assert response.status_code == 403


def test_a_value_of_nobody_lasts_an_hour(browser):
    make_user("ada", password=PASSWORD)
    fields = {"username": "ada", "password": PASSWORD}
    with time_machine.travel("2026-11-23 10:00:00Z", tick=False) as clock:
        fields["_xsrf"] = browser.xsrf_of(browser.get("/hub/login"))
        clock.shift(3601)
        assert browser.post("/hub/login", fields).status_code == 403


def test_a_form_opened_late_lasts_long_enough_to_fill_in(browser):
    make_user("ada", password=PASSWORD)
    with time_machine.travel("2026-11-23 10:00:00Z", tick=False) as clock:
        browser.get("/hub/login")
        clock.shift(3500)
        value = browser.xsrf_of(browser.get("/hub/login"))
        clock.shift(1500)
        response = browser.post(
            "/hub/login", {"username": "ada", "password": PASSWORD, "_xsrf": value}
        )

    assert response.status_code == 302


def test_signing_in_brings_a_new_value(browser):
    make_user("ada", password=PASSWORD)
    early = browser.xsrf_of(browser.get("/hub/login"))

    browser.sign_in("ada")

    assert browser.cookies["_xsrf"].value != early


def test_changing_calls_by_cookie_need_it(signed_in, xsrf):
    path = "/hub/api/users/ada/tokens"

    refused = signed_in.post(path, {}, content_type="application/json")
    accepted = signed_in.post(
        path, {}, content_type="application/json", headers={"x-xsrftoken": xsrf}
    )

    assert (refused.status_code, accepted.status_code) == (403, 201)


def test_anonymous_callers_with_an_origin_get_a_reason(browser):
    response = browser.get(
        "/hub/api/user", headers={**FETCH, "origin": "http://elsewhere.example"}
    )

    assert response.status_code == 403
    assert "_xsrf" in response.json()["message"]


def test_a_password_change_brings_a_new_value(signed_in, xsrf):
    response = signed_in.submit(
        "/hub/accounts/password/change/",
        oldpassword=PASSWORD,
        password1="another horse 77 battery",
        password2="another horse 77 battery",
    )

    assert response.status_code == 302
    assert signed_in.cookies["_xsrf"].value != xsrf
    assert signed_in.get("/hub/home").status_code == 200
