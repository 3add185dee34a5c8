"""People whom a server in front has signed in, and other classes without a form.

The server's address is 127.0.0.2, and that of everybody else 127.0.0.1.
"""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
from requests.adapters import HTTPAdapter

from installation.packages import AUTHENTICATORS
from tests.accounts.redirect.conftest import (
    Browser,
    HostingHub,
    path_of,
    text_of,
    web_for_many,
)
from tests.hubsite.conftest import RunningHub

FRONT = "127.0.0.2"


class FromFront(HTTPAdapter):
    """Sends requests from the address of the server in front."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, source_address=(FRONT, 0), **kwargs)


class Fronted(Browser):
    """A browser whose requests pass the server in front, which adds headers."""

    def __init__(self, hub: HostingHub, **headers: str) -> None:
        super().__init__(hub)
        self.session.mount("http://", FromFront())
        self.session.headers.update(
            {name.replace("__", "-"): value for name, value in headers.items()}
        )


@pytest.fixture(scope="module")
def fronted_web(
    tmp_path_factory: pytest.TempPathFactory, worker_number: int
) -> Iterator[HostingHub]:
    with web_for_many(
        tmp_path_factory, f"front_{worker_number}", HUB_TRUSTED_PROXIES=FRONT
    ) as hub:
        yield hub


@pytest.fixture
def host(fronted_web: HostingHub) -> Iterator[Callable[[str], HostingHub]]:
    def begin(text: str) -> HostingHub:
        fronted_web.host_class(text)
        return fronted_web

    yield begin
    fronted_web.stop_host()


class TestRemoteUser:
    CONFIG = """
c.JupyterHub.authenticator_class = (
    "jhub_remote_user_authenticator.remote_user_auth.RemoteUserAuthenticator"
)
c.RemoteUserAuthenticator.header_name = "{name}"
c.Authenticator.allow_all = True
"""

    @pytest.mark.parametrize("name", ["REMOTE_USER", "X-Remote-User"])
    def test_the_servers_word_counts(
        self, host: Callable[[str], HostingHub], name: str
    ) -> None:
        hub = host(self.CONFIG.format(name=name))
        browser = Fronted(hub)

        nobody = browser.get("/hub/home")
        assert nobody.status_code == 401
        assert "Nobody is signed in" in text_of(nobody)

        browser.session.headers[name] = "grace"
        response = browser.get("/hub/token")
        assert path_of(response) == "/hub/token"
        assert browser.name == "grace"

        browser.session.headers[name] = "ada"
        browser.get("/hub/login")
        assert browser.name == "ada"

        # The word of everybody else does not.
        for forged in ({name: "ada"}, {name: "ada", "X-Forwarded-For": FRONT}):
            liar = Browser(hub)
            liar.session.headers.update(forged)
            assert liar.get("/hub/login").status_code == 401
            assert liar.name == ""
        # Nor if it comes through the server from a proxy that is not named.
        chained = Fronted(hub, **{name: "ada"})
        chained.session.headers["X-Forwarded-For"] = "198.51.100.7"
        assert chained.get("/hub/login").status_code == 401

    def test_a_local_class_needs_no_account_of_the_system_for_a_header(
        self, host: Callable[[str], HostingHub]
    ) -> None:
        local = "RemoteUserLocalAuthenticator"
        config = self.CONFIG.replace("RemoteUserAuthenticator", local)
        browser = Fronted(host(config.format(name="REMOTE_USER")))
        browser.session.headers["REMOTE_USER"] = "nobody-of-this-system"

        assert path_of(browser.get("/hub/token")) == "/hub/token"
        assert browser.name == "nobody-of-this-system"

    def test_blocked_and_deactivated_people_stay_out(
        self, host: Callable[[str], HostingHub]
    ) -> None:
        hub = host(self.CONFIG.format(name="REMOTE_USER"))
        strange = Fronted(hub, REMOTE_USER="no/name")

        assert strange.get("/hub/login").status_code == 403
        assert strange.name == ""


class TestShibboleth:
    def test_a_class_without_a_handler(self, host: Callable[[str], HostingHub]) -> None:
        """`auto_login` without a handler: the sign-in page itself asks the class."""
        hub = host("""
from jupyterhub.auth import Authenticator

class Shibboleth(Authenticator):
    auto_login = True

    async def authenticate(self, handler, data):
        assert data is None
        name = handler.request.headers.get("Eppn", "")
        if not name:
            return None
        groups = handler.request.headers.get("X-Member-Of", "").split(";")
        return {"name": name, "groups": groups, "admin": "admins" in groups}

c.JupyterHub.authenticator_class = Shibboleth
c.Shibboleth.manage_groups = True
c.Shibboleth.allow_all = True
c.Shibboleth.blocked_users = {"mallory"}
""")
        browser = Fronted(hub, Eppn="Grace@uni.example", X__Member__Of="staff;admins")

        response = browser.get("/hub/token")
        assert path_of(response) == "/hub/token"
        me = browser.me()
        assert me is not None
        assert (me["name"], me["admin"]) == ("grace@uni.example", True)
        assert sorted(me["groups"]) == ["admins", "staff"]
        out = browser.get("/hub/logout")
        assert "You are signed out of this hub" in text_of(out)
        assert browser.name == ""

        assert Fronted(hub).get("/hub/login").status_code == 403
        assert Fronted(hub, Eppn="mallory").get("/hub/login").status_code == 403
        liar = Browser(hub)
        liar.session.headers["Eppn"] = "ada"
        assert liar.get("/hub/login").status_code == 403
        assert liar.name == ""

    def test_its_plugin(self, host: Callable[[str], HostingHub]) -> None:
        hub = host("""
c.JupyterHub.authenticator_class = (
    "jhub_shibboleth_user_authenticator.shibboleth_user_auth"
    ".ShibbolethUserAuthenticator"
)
c.ShibbolethUserAuthenticator.auth_state_header_names = ["mail"]
c.ShibbolethUserAuthenticator.enable_auth_state = True
c.ShibbolethUserAuthenticator.admin_users = {"grace"}
c.Authenticator.allow_all = True
import os, jhub_shibboleth_user_authenticator as plugin
places = [os.path.dirname(plugin.__file__)]
places.append(os.path.join(os.path.dirname(places[0]), "share", "jhub"))
for place, _, names in os.walk(os.path.dirname(places[0]) + "/share"):
    if any(name.startswith("login_shib") for name in names):
        places.append(place)
c.JupyterHub.template_paths = places
""")
        browser = Fronted(hub, REMOTE_USER="Grace", Mail="grace@uni.example")

        response = browser.get("/hub/login?next=%2Fhub%2Ftoken")

        assert path_of(response) == "/hub/token"
        me = browser.me()
        assert me is not None
        assert (me["name"], me["admin"]) == ("grace", True)
        out = browser.step("/hub/logout")
        assert out.headers["Location"] == "/Shibboleth.sso/Logout?return=/"
        assert browser.name == ""


class TestJWT:
    def test_a_token_of_another_site(self, host: Callable[[str], HostingHub]) -> None:
        secret = "s" * 32
        hub = host(f"""
c.JupyterHub.authenticator_class = (
    "jwtauthenticator.jwtauthenticator.JSONWebTokenAuthenticator"
)
c.JSONWebTokenAuthenticator.secret = {secret!r}
c.JSONWebTokenAuthenticator.cookie_name = "campus"
c.JSONWebTokenAuthenticator.auth_url = "https://login.uni.example/"
c.JSONWebTokenAuthenticator.username_claim_field = "sub"
c.Authenticator.allow_all = True
""")
        browser = Browser(hub)
        begun = browser.step("/hub/login")
        assert begun.headers["Location"] == "https://login.uni.example/"

        claims = {"sub": "grace", "exp": time.time() + 60}
        browser.session.cookies.set(
            "campus", jwt.encode(claims, secret, "HS256"), domain="127.0.0.1"
        )
        browser.get("/hub/login")
        assert browser.name == "grace"

        forged = Browser(hub)
        forged.session.cookies.set(
            "campus", jwt.encode(claims, "x" * 32, "HS256"), domain="127.0.0.1"
        )
        assert "Location" in forged.step("/hub/login").headers
        assert forged.name == ""


class TestTmp:
    CONFIG = "c.JupyterHub.authenticator_class = 'tmp'\n"

    def test_everybody_is_somebody_new(self, host: Callable[[str], HostingHub]) -> None:
        hub = host(f"{self.CONFIG}c.Authenticator.allow_all = True")
        first, second = Browser(hub), Browser(hub)
        first.get("/hub/home")
        second.get("/hub/home")

        assert len({first.name, second.name, ""}) == 3

    def test_nobody_goes_in_circles(self, host: Callable[[str], HostingHub]) -> None:
        browser = Browser(host(self.CONFIG))

        page = browser.get("/hub/home")

        assert page.status_code == 403
        assert "You may not sign in to this hub" in text_of(page)
        assert browser.me() is None


class TestMulti:
    def test_several_classes(self, host: Callable[[str], HostingHub]) -> None:
        hub = host("""
from oauthenticator.github import GitHubOAuthenticator

c.JupyterHub.authenticator_class = "multiauthenticator.MultiAuthenticator"
common = {"allow_all": True}
c.MultiAuthenticator.authenticators = [
    {
        "authenticator_class": GitHubOAuthenticator,
        "url_prefix": "/gh",
        "config": {**common, "client_id": "i", "oauth_callback_url": "http://h/cb"},
    },
    {
        "authenticator_class": "dummy",
        "url_prefix": "/people",
        "config": {**common, "password": "a-long-password", "login_service": ""},
    },
]
c.MultiAuthenticator.username_prefix = ""
c.Authenticator.allow_all = True
""")
        browser = Browser(hub)

        page = browser.get("/hub/login?next=%2Fhub%2Ftoken")
        assert "Sign in with GitHub" in text_of(page)
        assert "/hub/gh/oauth_login?next=" in page.text
        begun = browser.step("/hub/gh/oauth_login")
        assert begun.headers["Location"].startswith("https://github.com/login/oauth")

        form = browser.get("/hub/people/login?next=%2Fhub%2Ftoken")
        assert 'type="password"' in form.text
        sent = {
            "username": "Grace",
            "password": "wrong",
            "_xsrf": browser.session.cookies["_xsrf"],
        }
        at = "/hub/people/login?next=%2Fhub%2Ftoken"
        assert browser.post(at, sent).status_code == 403
        assert browser.name == ""
        sent["password"] = "a-long-password"
        # A form from elsewhere has no value of the hub's page.
        assert browser.post(at, {**sent, "_xsrf": ""}).status_code == 403
        assert browser.name == ""
        response = browser.post(at, sent)
        assert path_of(response) == "/hub/token", text_of(response)
        assert browser.name == "grace"


class TestOwnPaths:
    def test_only_the_classs_paths_are_answered(
        self, host: Callable[[str], HostingHub]
    ) -> None:
        hub = host("""
from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler

class Page(BaseHandler):
    def get(self, what):
        for name in ("_xsrf", "jupyterhub-session-id", "of-the-class"):
            self.set_cookie(name, "own-" + what)
        if what == "large":
            return self.finish("x" * 5_000_000)
        self.set_header("X-Hub-Answer", "x")
        self.finish({
            "cookies": {k: m.value for k, m in self.request.cookies.items()},
            "headers": dict(self.request.headers),
            "person": getattr(self.current_user, "name", None),
            "host": self.request.host, "ip": self.request.remote_ip,
        })

    def post(self, what):
        self.finish("changed")

class Redirect(BaseHandler):
    def get(self):
        self.redirect(self.get_argument("next"))

class Fails(BaseHandler):
    async def get(self):
        raise RuntimeError("a secret of the class")

class Own(Authenticator):
    def get_handlers(self, app):
        return [(r"/own/([a-z]+)", Page), (r"/own-redirect", Redirect),
                (r"/own-fails", Fails)]
    async def authenticate(self, handler, data):
        return data["username"]

c.JupyterHub.authenticator_class = Own
c.Own.allow_all = True
""")
        browser = Browser(hub)
        browser.get("/hub/login")
        before = browser.session.cookies["_xsrf"]

        page = browser.get("/hub/own/page", headers={"X-Anything": "x", "Cookie2": "y"})
        assert page.status_code == 200
        found = page.json()
        # No cookie of the hub goes there, and none of the class's replaces one.
        assert found["cookies"] == {}
        assert browser.session.cookies["_xsrf"] == before
        assert browser.session.cookies["hosted-_xsrf"] == "own-page"
        again = browser.get("/hub/own/page").json()
        assert again["cookies"]["_xsrf"] == "own-page"
        assert again["cookies"]["of-the-class"] == "own-page"
        assert "jupyterhub-hub-login" not in str(again)
        assert "X-Anything" not in found["headers"]
        assert found["ip"] == "127.0.0.1"
        assert found["person"] is None

        assert browser.get("/hub/own/Page").status_code == 404
        assert browser.get("/hub/own/page/more").status_code == 404
        assert browser.get("/hub/api/own/page").status_code == 404
        # Forms of the class need the value of the hub's pages.
        assert browser.post("/hub/own/page", {}).status_code == 403
        good = browser.post("/hub/own/page", {"_xsrf": before})
        assert good.text == "changed"
        assert browser.get("/hub/own/large").status_code == 500
        failed = browser.get("/hub/own-fails")
        assert failed.status_code == 500
        assert "secret of the class" not in failed.text
        away = browser.step(
            "/hub/own-redirect", params={"next": "https://evil.example"}
        )
        assert away.headers["Location"] == "/hub/home"
        # More than any launch has.
        big = {"_xsrf": before, "x": "x" * 300_000}
        assert browser.post("/hub/own/page", big).status_code == 413

        sent = {"username": "Grace", "password": "p", "_xsrf": before}
        browser.post("/hub/login", sent)
        assert browser.name == "grace"
        assert browser.get("/hub/own/page").json()["person"] == "grace"


def test_a_page_that_extends_jupyterhubs_has_its_files(
    host: Callable[[str], HostingHub],
) -> None:
    hub = host("""
from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler

TEXT = '{% extends "page.html" %}{% block main %}own {{ prefix }}{% endblock %}'

class Page(BaseHandler):
    async def get(self):
        template = self.settings["jinja2_env"].from_string(TEXT)
        self.finish(await template.render_async(**self.template_namespace))

class Own(Authenticator):
    def get_handlers(self, app):
        return [("/own", Page)]

c.JupyterHub.authenticator_class = Own
c.Own.allow_all = True
""")
    browser = Browser(hub)

    page = browser.get("/hub/own")

    assert page.status_code == 200
    needed = set(re.findall(r'(?:src|href)="(/hub/(?:static/|logo)[^"]*)"', page.text))
    # And what these load themselves.
    needed |= {
        "/hub/static/js/jhapi.js",
        "/hub/static/js/utils.js",
        "/hub/static/components/@fortawesome/fontawesome-free/css/solid.css",
    }
    assert len(needed) > 8
    assert {browser.get(each).status_code for each in needed} == {200}


def test_a_raw_header_cannot_be_smuggled(host: Callable[[str], HostingHub]) -> None:
    """Spellings that other programs read as the same header are none here."""
    hub = host(TestRemoteUser.CONFIG.format(name="REMOTE_USER"))
    for name in ("Remote-User", "REMOTE_USER", "remote_user", "X-Hub-Answer"):
        parts = urlsplit(hub.own_url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        connection.request("GET", "/hub/login", headers={name: "ada"})
        response = connection.getresponse()
        assert response.status == 401, name
        assert "set-cookie" not in str(response.headers).lower() or (
            "jupyterhub-session-id" not in str(response.headers)
        )
        connection.close()


@pytest.mark.slow
def test_through_the_hubs_own_proxy(hub: RunningHub) -> None:
    """As sites run it: a server in front, the hub's proxy, and the hub behind it."""
    hub.env["HUB_TRUSTED_PROXIES"] = FRONT
    hub.env["PYTHONPATH"] = str(AUTHENTICATORS)
    hub.declare(TestRemoteUser.CONFIG.format(name="REMOTE_USER"))
    hub.declare("c.JupyterHub.redirect_to_server = False")
    hub.start()
    public = hub.url.removesuffix("/hub/")
    browser = Browser(hub, public)
    browser.session.mount("http://", FromFront())
    browser.session.headers["REMOTE_USER"] = "grace"

    assert path_of(browser.get("/hub/token")) == "/hub/token"
    assert browser.name == "grace"

    for forged in (
        {},
        {"X-Forwarded-For": FRONT},
        {"X-Forwarded-For": f"1.1.1.1,{FRONT}"},
    ):
        liar = Browser(hub, public)
        liar.session.headers.update({"REMOTE_USER": "ada", **forged})
        assert liar.get("/hub/login").status_code == 401
        assert liar.name == ""
