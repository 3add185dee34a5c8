"""Cookies with the hub's names from another program on the same host name."""

from __future__ import annotations

import pytest
from django.conf import settings

from tests.factories import PASSWORD, make_token, make_user
from tokens.models import APIToken

pytestmark = pytest.mark.django_db

XSRF = "_xsrf"
LOGIN = settings.SESSION_COOKIE_NAME
FETCH = {"sec-fetch-mode": "cors", "sec-fetch-site": "same-origin"}
REQUEST = {"note": "mine", "expires_in": "3600", "permissions": "everything"}
# What a Jupyter server, another hub, or a page on purpose may set.
FOREIGN = (
    "2|1f|abc|1700000000",
    "",
    '"quoted\\073 value"',
    "0" * 32,
    "z" * 32,
    "\\000" * 8,
    "ünfit",
)


class Crowded:
    """A browser whose requests carry foreign cookies, before or after its own."""

    def __init__(self, browser, foreign, first):
        self.browser = browser
        self.foreign = foreign
        self.first = first

    def header(self):
        own = [f"{key}={it.value}" for key, it in self.browser.cookies.items()]
        return "; ".join(self.foreign + own if self.first else own + self.foreign)

    def get(self, path, **headers):
        return self.send("get", path, {}, headers)

    def post(self, path, fields, **headers):
        return self.send("post", path, fields, headers)

    def send(self, method, path, fields, headers):
        headers = {"cookie": self.header(), **headers}
        reply = getattr(self.browser, method)(path, fields, headers=headers)
        for name, cookie in reply.cookies.items():
            if cookie["max-age"] == 0:
                self.browser.cookies.pop(name, None)
        return reply

    def submit(self, path, to="", **fields):
        page = self.get(path)
        return self.post(to or path, {"_xsrf": self.browser.xsrf_of(page), **fields})

    def sign_in(self):
        return self.submit("/hub/login", username="ada", password=PASSWORD)


@pytest.fixture(autouse=True)
def person():
    return make_user("ada", password=PASSWORD)


@pytest.fixture
def foreign():
    names = (XSRF, LOGIN, "jupyterhub-session-id", "csrftoken", "sessionid")
    return [f"{name}={value}" for value in FOREIGN for name in names]


@pytest.fixture(params=[True, False], ids=["before", "after"])
def crowded(browser, foreign, request):
    return Crowded(browser, foreign, request.param)


def test_foreign_cookies_close_nothing(crowded, browser):
    assert crowded.sign_in().status_code == 302
    assert crowded.get("/hub/home").status_code == 200
    reply = crowded.submit("/hub/token/new", "/hub/token/new", **REQUEST)
    assert reply.status_code == 200
    xsrf = browser.cookies[XSRF].value
    headers = {**FETCH, "x-xsrftoken": xsrf}
    assert crowded.get("/hub/api/user", **headers).status_code == 200

    left = crowded.get("/hub/logout")

    assert left["Location"] == "/hub/login"
    assert crowded.get("/hub/home").status_code == 302


def test_foreign_values_never_become_ours(crowded):
    for path in ("/hub/login", "/hub/home", "/hub/api/user"):
        reply = crowded.get(path)
        values = {cookie.value for cookie in reply.cookies.values()} - {""}
        assert values.isdisjoint(one.partition("=")[2] for one in crowded.foreign)


def test_a_value_alone_proves_nothing_where_only_a_foreign_cookie_is(browser, foreign):
    crowded = Crowded(browser, foreign, True)
    crowded.sign_in()
    own = browser.cookies.pop(XSRF).value
    theirs = foreign[0].partition("=")[2]

    for value in (own, theirs):
        reply = crowded.post("/hub/token/new", {"_xsrf": value, "note": "x"})
        assert reply.status_code == 403


@pytest.mark.parametrize("first", [True, False])
def test_the_session_of_somebody_is_chosen_before_one_of_nobody(
    browser, another_browser, first
):
    browser.sign_in("ada")
    session = another_browser.session
    session["begun"] = True
    session.save()

    crowded = Crowded(browser, [f"{LOGIN}={session.session_key}"], first)

    assert crowded.get("/hub/home").status_code == 200


@pytest.mark.parametrize("first", [True, False])
def test_a_session_that_has_ended_hides_no_other(browser, another_browser, first):
    another_browser.sign_in("ada")
    ended = another_browser.cookies[LOGIN].value
    another_browser.get("/hub/logout")
    browser.sign_in("ada")

    crowded = Crowded(browser, [f"{LOGIN}={ended}"], first)

    assert crowded.get("/hub/home").status_code == 200


def test_of_two_sessions_that_of_the_longer_path_counts(browser, another_browser):
    make_user("mallory", password=PASSWORD)
    browser.sign_in("ada")
    another_browser.sign_in("mallory")
    foreign = [f"{LOGIN}={another_browser.cookies[LOGIN].value}"]

    # Browsers send ours, which has the hub's path, before one that is set for `/`.
    page = Crowded(browser, foreign, False).get("/hub/home").content.decode()

    assert "ada" in page
    assert "mallory" not in page


def test_many_foreign_cookies_take_no_more_queries(
    browser, django_assert_max_num_queries
):
    browser.sign_in("ada")
    foreign = [f"{LOGIN}={number:032}" for number in range(150)]
    crowded = Crowded(browser, foreign, True)
    crowded.get("/hub/token")

    with django_assert_max_num_queries(20):
        assert crowded.get("/hub/token").status_code == 200


def test_sign_out_ends_what_the_session_obtained(crowded, browser, person):
    crowded.sign_in()
    session_id = browser.cookies["jupyterhub-session-id"].value
    make_token(person, session_id=session_id, client_id="service-x")

    reply = crowded.get("/hub/logout")

    assert not APIToken.objects.filter(revoked_at=None).exists()
    assert reply.cookies[XSRF]["path"] == reply.cookies[LOGIN]["path"] == "/hub/"
    assert reply.cookies["jupyterhub-session-id"]["path"] == "/"


def test_a_reading_script_whose_cookie_is_gone_is_answered(browser):
    browser.sign_in("ada")
    value = browser.cookies.pop(XSRF).value

    reply = browser.get("/hub/api/user", headers={**FETCH, "x-xsrftoken": value})
    wrong = browser.get("/hub/api/user", headers={**FETCH, "x-xsrftoken": "wrong"})

    assert (reply.status_code, wrong.status_code) == (200, 403)


def test_a_writing_script_whose_cookie_is_gone_is_refused(browser):
    browser.sign_in("ada")
    value = browser.cookies.pop(XSRF).value

    reply = browser.post(
        "/hub/api/users/ada/tokens",
        {},
        content_type="application/json",
        headers={"x-xsrftoken": value},
    )

    assert reply.status_code == 403


def test_a_strangers_value_needs_its_cookie(browser):
    value = browser.xsrf_of(browser.get("/hub/login"))
    browser.cookies.clear()

    reply = browser.get(
        "/hub/api/user",
        headers={**FETCH, "x-xsrftoken": value, "origin": "http://testserver"},
    )

    assert "does not match" in reply.json()["message"]
