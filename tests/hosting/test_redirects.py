"""People whom a class signs in by a redirect, and what stays the hub's then."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from allauth.core.context import request_context
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.test import RequestFactory

from accounts import auth_state
from accounts.models import User
from accounts.proof import PROVEN_AT
from audit.models import Event
from tests.factories import make_user
from tests.web.test_profile import code_for

pytestmark = pytest.mark.django_db

# A provider that vouches for whoever is named in its redirect back to the hub.
CLASS = """
from jupyterhub.auth import Authenticator
from jupyterhub.handlers.base import BaseHandler
c = get_config()

class Back(BaseHandler):
    async def get(self):
        name = self.get_argument("name")
        user = await self.login_user({"username": name, "password": ""})
        self.redirect(self.get_argument("to", "/hub/home"))

class Trusting(Authenticator):
    auto_login = True

    def get_handlers(self, app):
        return [("/login", Back)]

    async def authenticate(self, handler, data):
        return data["username"]

c.JupyterHub.authenticator_class = Trusting
c.Authenticator.allow_all = True
"""


def comes_back(browser: Any, name: str, to: str = "/hub/token") -> Any:
    return browser.get(f"/hub/login?{urlencode({'name': name, 'to': to})}")


def signed_in(browser: Any) -> str:
    found = browser.get("/hub/api/user")
    return found.json()["name"] if found.status_code == 200 else ""


def with_second_factor(name: str) -> str:
    secret: str = generate_totp_secret()
    with request_context(RequestFactory().get("/")):
        TOTP.activate(make_user(name), secret)
    return secret


def test_a_second_factor_comes_after_a_redirect(host, browser):
    host(CLASS)
    secret = with_second_factor("grace")

    reply = comes_back(browser, "grace")

    assert reply.status_code == 302 and "/2fa/authenticate" in reply["Location"]
    assert signed_in(browser) == ""
    # Another redirect skips nothing.
    assert "/2fa/authenticate" in comes_back(browser, "grace")["Location"]
    assert browser.get("/hub/home").status_code == 302
    assert signed_in(browser) == ""

    wrong = browser.submit(reply["Location"], code="000000")
    assert wrong.status_code != 302 and signed_in(browser) == ""
    done = browser.submit(reply["Location"], code=code_for(secret))
    assert done["Location"] == "/hub/token"
    assert signed_in(browser) == "grace"


def test_a_second_factor_that_is_awaited_belongs_to_one_person(host, browser):
    host(CLASS)
    secret = with_second_factor("grace")
    page = comes_back(browser, "grace")["Location"]

    assert comes_back(browser, "ada").status_code == 302
    assert signed_in(browser) == "ada"
    reply = browser.get(page)

    assert reply.status_code == 302
    assert signed_in(browser) == "ada"
    value = browser.cookies["_xsrf"].value
    browser.post(page, {"_xsrf": value, "code": code_for(secret)})
    assert signed_in(browser) == "ada"


def test_a_redirect_is_no_proof_of_a_person_with_a_second_factor(host, browser):
    host(CLASS)
    secret = with_second_factor("grace")
    page = comes_back(browser, "grace")["Location"]
    browser.submit(page, code=code_for(secret))
    session = browser.session
    session[PROVEN_AT] = 1.0
    session.save()

    assert comes_back(browser, "grace")["Location"] == "/hub/token"

    assert browser.session[PROVEN_AT] == 1.0
    comes_back(browser, "ada")
    session = browser.session
    session[PROVEN_AT] = 1.0
    session.save()
    comes_back(browser, "ada")
    assert browser.session[PROVEN_AT] > 1.0


def test_a_new_session_begins_with_a_redirect(host, browser):
    host(CLASS)
    session = browser.session
    session["planted"] = "x"
    session.save()
    before = session.session_key

    comes_back(browser, "ada")
    of_ada = browser.session.session_key
    comes_back(browser, "grace")

    assert len({before, of_ada, browser.session.session_key}) == 3
    assert signed_in(browser) == "grace"


@pytest.mark.parametrize(
    "to",
    [
        *("https://evil.example/", "//evil.example/", "/\\evil.example"),
        *("https:evil.example", "javascript:alert(1)", "\thttps://evil.example"),
        "http://testserver@evil.example/",
    ],
)
def test_a_sign_in_leads_to_no_other_site(host, browser, to):
    host(CLASS)
    with_second_factor("grace")

    assert comes_back(browser, "ada", to)["Location"] == "/hub/home"


@pytest.mark.parametrize(
    "name", ["a/b", "..", "%2e%2e", "x" * 300, " ", "mallory", "MALLORY"]
)
def test_names_that_get_no_account(host, browser, name):
    host(f"{CLASS}c.Authenticator.blocked_users = {{'mallory'}}\n")

    comes_back(browser, name)

    assert signed_in(browser) == ""
    assert not User.objects.exists()


# What a class's own handlers do besides


HEADER = """
from jupyterhub.auth import Authenticator, LocalAuthenticator
from jupyterhub.handlers import BaseHandler
from jupyterhub.handlers.login import LogoutHandler
c = get_config()

class Named(BaseHandler):
    async def get(self):
        user = self.user_from_username(self.get_argument("name"))
        self.set_login_cookie(user)
        self.redirect("/hub/token")

class Checked(BaseHandler):
    async def get(self):
        await self.login_user({"username": self.get_argument("name")})
        self.redirect("/hub/token")

class Header(LocalAuthenticator):
    def get_handlers(self, app):
        return [("/login", Named), ("/checked", Checked)]

    async def authenticate(self, handler, data):
        return data["username"]

c.JupyterHub.authenticator_class = Header
c.Authenticator.allow_all = True
"""
UNKNOWN = "nobody-of-this-system"


def test_a_name_alone_needs_no_account_of_the_system(host, browser):
    host(HEADER)

    assert browser.get(f"/hub/login?name={UNKNOWN}").status_code == 302
    assert signed_in(browser) == UNKNOWN


def test_a_person_whom_the_class_has_checked_needs_one(host, browser, own_paths):
    host(HEADER)

    assert browser.get(f"/hub/checked?name={UNKNOWN}").status_code == 500
    assert not User.objects.exists()


def test_an_account_is_prepared_by_the_class_whose_handler_signs_in(
    host, browser, own_paths
):
    joined = """
class First(Authenticator):
    def add_user(self, user):
        raise KeyError("not mine")

class Second(Authenticator):
    def add_user(self, user):
        if user.name != "grace":
            raise KeyError(user.name)

    async def authenticate(self, handler, data):
        return data["username"]

class Joined(Authenticator):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.both = First(parent=self), Second(parent=self)

    def get_handlers(self, app):
        return [
            (f"/{number}", type("Own", (Checked,), {"authenticator": each}))
            for number, each in enumerate(self.both)
        ]

c.JupyterHub.authenticator_class = Joined
"""
    host(HEADER + joined)

    assert browser.get("/hub/1?name=ada").status_code == 500
    assert browser.get("/hub/1?name=grace").status_code == 302
    assert signed_in(browser) == "grace"


SAVING = """
class Note(BaseHandler):
    async def get(self):
        user = self.find_user("grace")
        state = await user.get_auth_state() or {}
        state["notes"] = state.get("notes", 0) + 1
        await user.save_auth_state(state)
        self.finish(state)

class Signs(BaseHandler):
    async def get(self):
        user = await self.login_user({"username": "grace"})
        await user.save_auth_state({"from": "handler"})
        self.redirect("/hub/token")

class Forgets(LogoutHandler):
    async def handle_logout(self):
        user = self.current_user or self.find_user("grace")
        if user is None:
            return
        state = await user.get_auth_state()
        state["notes"] = 0
        await user.save_auth_state(state)

class Saving(Authenticator):
    def get_handlers(self, app):
        return [("/note", Note), ("/signs", Signs), ("/logout", Forgets)]

    async def authenticate(self, handler, data):
        return {"name": data["username"], "auth_state": {"from": "class"}}

c.JupyterHub.authenticator_class = Saving
c.Authenticator.enable_auth_state = True
"""


def test_what_handlers_save_about_a_person_is_stored(
    host, browser, own_paths, monkeypatch
):
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", "6b" * 32)
    host(HEADER + SAVING)

    assert browser.get("/hub/signs").status_code == 302
    grace = User.objects.get()
    assert auth_state.read(grace.pk, "grace") == {"from": "handler"}

    for number in (1, 2):
        assert browser.get("/hub/note").json()["notes"] == number
    assert auth_state.read(grace.pk, "grace") == {"from": "handler", "notes": 2}

    browser.get("/hub/logout")
    assert signed_in(browser) == ""
    assert auth_state.read(grace.pk, "grace") == {"from": "handler", "notes": 0}


def test_what_can_not_be_kept_does_not_prevent_signing_out(
    host, browser, own_paths, caplog
):
    config = HEADER + SAVING
    host(config.replace("enable_auth_state = True", "enable_auth_state = False"))
    make_user("grace")
    browser.force_login(User.objects.get())

    page = browser.get("/hub/note")

    assert page.json() == {"notes": 1}
    assert any("can't be stored" in each for each in caplog.messages)
    browser.get("/hub/logout")
    assert signed_in(browser) == ""


REFUSING = CLASS.replace(
    "async def get(self):",
    """async def get(self):
        if self.get_argument("error", ""):
            raise HTTPError(400, "OAuth error: %s" % self.get_argument("error"))
        if self.get_argument("state", "") == "not-the-one-of-the-cookie":
            raise HTTPError(400, "state %s mismatch" % self.get_argument("state"))
        if self.get_argument("broken", ""):
            raise KeyError("a secret of the class")
        if self.get_argument("name") == "grace":
            raise HTTPError(403, "Sorry, you are not authorized")""",
).replace(
    "from jupyterhub.auth", "from tornado.web import HTTPError\nfrom jupyterhub.auth"
)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"error": "access_denied"}, "OAuth error: access_denied"),
        ({"state": "not-the-one-of-the-cookie"}, "state … mismatch"),
        ({"name": "grace"}, "Sorry, you are not authorized"),
        ({"name": "mallory"}, "You may not sign in to this hub"),
        ({"name": "no/name"}, "You may not sign in to this hub"),
        ({"name": "x" * 300}, "blocked or can't be a username"),
        ({"broken": "x"}, "error in the program that checks who signs in"),
    ],
)
def test_refused_redirects_are_recorded_with_the_reason(host, browser, query, reason):
    host(f"{REFUSING}c.Authenticator.blocked_users = {{'mallory'}}\n")

    browser.get(f"/hub/login?{urlencode(query)}")

    assert signed_in(browser) == ""
    event = Event.objects.get(action="session.refuse")
    assert event.detail["authenticator"] == "Trusting"
    assert reason in event.detail["reason"]
    assert "secret" not in str(event.detail)
    assert event.address == "127.0.0.1"


def test_the_record_of_refusals_is_limited(host, browser, monkeypatch):
    monkeypatch.setattr("accounts.hosting.views.MOST_NOTED", 3)
    host(REFUSING)

    for _ in range(5):
        assert browser.get("/hub/login?name=grace").status_code == 403

    assert Event.objects.filter(action="session.refuse").count() == 3


def test_errors_of_a_classs_page_are_no_refusals_of_a_person_with_a_session(
    host, browser
):
    host(REFUSING)
    comes_back(browser, "ada")

    assert browser.get("/hub/login?broken=x").status_code == 500
    assert not Event.objects.filter(action="session.refuse").exists()
    assert browser.get("/hub/login?error=access_denied").status_code == 400
    assert Event.objects.filter(action="session.refuse").count() == 1


PROGRAMS = """
import json

class Json(BaseHandler):
    async def post(self):
        sent = json.loads(self.request.body)
        user = await self.login_user(sent)
        self.set_status(201)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"name": user.name}))

    def check_xsrf_cookie(self):
        pass

class Form(BaseHandler):
    async def post(self):
        form = {key: self.get_argument(key) for key in ("username", "password")}
        await self.login_user(form)
        self.redirect(self.get_argument("next", "/hub/token"))

class Programs(Authenticator):
    def get_handlers(self, app):
        return [("/json", Json), ("/enter", Form)]

    def login_url(self, base_url):
        return base_url + "enter"

    async def authenticate(self, handler, data):
        return data["username"]

c.JupyterHub.authenticator_class = Programs
"""


def test_a_handler_that_answers_a_program_signs_in_with_its_own_response(
    host, browser, another_browser, own_paths
):
    host(HEADER + PROGRAMS)
    with_second_factor("ada")

    def post(browser: Any, name: str) -> Any:
        sent = json.dumps({"username": name})
        return browser.post("/hub/json", sent, content_type="application/json")

    found = post(browser, "grace")
    assert (found.status_code, found.json()) == (201, {"name": "grace"})
    assert signed_in(browser) == "grace"
    # A second factor is asked for first.
    assert "/2fa/authenticate" in post(another_browser, "ada")["Location"]
    assert signed_in(another_browser) == ""


def test_the_form_is_sent_to_the_classs_own_address(host, browser, own_paths):
    host(HEADER + PROGRAMS)

    page = browser.get("/hub/login?next=%2Fhub%2Fhome").content.decode()

    assert 'action="/hub/enter?next=%2Fhub%2Fhome"' in page
    fields = {"username": "grace", "password": "x"}
    reply = browser.post(
        "/hub/enter?next=%2Fhub%2Fhome",
        {**fields, "_xsrf": browser.cookies["_xsrf"].value},
    )
    assert reply["Location"] == "/hub/home"
    assert signed_in(browser) == "grace"


LEAVING = """
class Leaves(LogoutHandler):
    async def handle_logout(self):
        assert self.current_user is None or self.current_user.name == "grace"
        self.set_cookie("left", getattr(self.current_user, "name", "nobody"))

    async def render_logout_page(self):
        self.redirect("/hub/login?left=1")

class Leaving(Header):
    def get_handlers(self, app):
        return [*super().get_handlers(app), ("/leave", Leaves)]

    def logout_url(self, base_url):
        return WHERE

c.JupyterHub.authenticator_class = Leaving
"""


@pytest.mark.parametrize(
    ("where", "address", "leads_to", "left"),
    [
        ("/hub/leave", "/hub/logout", "/hub/login?left=1", "grace"),
        ("/hub/leave", "/hub/leave", "/hub/login?left=1", "grace"),
        ("https://sso.example/out", "/hub/logout", "https://sso.example/out", ""),
        ("/hub/logout", "/hub/logout", "/hub/login", ""),
    ],
)
def test_signing_out_goes_through_the_address_of_the_class(
    host, browser, own_paths, where, address, leads_to, left
):
    host(HEADER + LEAVING.replace("WHERE", repr(where)))
    make_user("grace")
    browser.force_login(User.objects.get())
    assert signed_in(browser) == "grace"

    reply = browser.get(address)

    assert reply["Location"] == leads_to
    assert signed_in(browser) == ""
    assert getattr(browser.cookies.get("left"), "value", "") == left
