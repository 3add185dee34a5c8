"""Refresh by a real class: sessions that are confirmed, changed and suspended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import auth_state
from accounts.hosting import refresh as refreshing
from accounts.models import Group, User
from audit.models import Event
from servers.models import Server
from tests.conftest import BearerClient
from tests.factories import make_token, make_user
from tests.servers.settler import Settler
from tests.web.conftest import Browser
from tokens import bearer_query
from tokens.models import APIToken

pytestmark = pytest.mark.django_db

KEY = "6b" * 32
# A class whose word about a person is in a file beside its configuration.
CLASS = """
    import json, os
    from jupyterhub.auth import Authenticator
    HERE = os.path.dirname(os.path.abspath(__file__))

    class OwnAuthenticator(Authenticator):
        async def authenticate(self, handler, data):
            return {"name": data["username"], "auth_state": {"n": 0},
                    "groups": ["first"]}

        async def refresh_user(self, user, handler=None):
            with open(os.path.join(HERE, "calls"), "a") as calls:
                state = await user.get_auth_state()
                agent = handler and handler.request.headers.get("User-Agent")
                calls.write(json.dumps([user.name, state, agent]) + "\\n")
            with open(os.path.join(HERE, "word")) as word:
                said = json.load(word)
            if said == "raise":
                raise RuntimeError("the secret is 42")
            return said

    c.JupyterHub.authenticator_class = OwnAuthenticator
    c.JupyterHub.spawner_class = "simple"
    c.Authenticator.allow_all = True
"""


class Site:
    """A hub with the class, whose word the test changes."""

    def __init__(self, hosting: Any, host: Callable[[str], Any]) -> None:
        self.folder = hosting.folder
        self.host = host
        self.says(True)

    def runs(self, *lines: str) -> None:
        self.host("\n".join([CLASS, *(f"    {line}" for line in lines)]))
        refreshing.forget()

    def says(self, word: Any) -> None:
        (self.folder / "word").write_text(json.dumps(word))

    @property
    def calls(self) -> list[Any]:
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]


@pytest.fixture
def site(hosting: Any, host: Callable[[str], Any], monkeypatch: Any) -> Site:
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", KEY)
    return Site(hosting, host)


def sign_in(browser: Browser, name: str = "ada") -> User:
    page = browser.get("/hub/login")
    reply = browser.post(
        "/hub/login",
        {"username": name, "password": "x", "_xsrf": page.cookies["_xsrf"].value},
    )
    assert reply.status_code == 302, reply.content
    return User.objects.get(name=name)


def grow_old(name: str = "ada", seconds: float = 400) -> None:
    old = timezone.now() - timedelta(seconds=seconds)
    User.objects.filter(name=name).update(auth_refreshed_at=old)


def test_a_person_is_refreshed_when_the_age_is_reached_and_not_before(
    site: Site, browser: Browser
) -> None:
    site.runs()
    sign_in(browser)

    assert browser.get("/hub/home").status_code == 200
    assert site.calls == []
    grow_old()
    assert browser.get("/hub/home").status_code == 200
    assert browser.get("/hub/home").status_code == 200
    assert [call[0] for call in site.calls] == ["ada"]


def test_a_refresh_that_is_not_due_costs_nothing(site: Site, browser: Browser) -> None:
    site.runs()
    sign_in(browser)
    browser.get("/hub/api/user")

    with CaptureQueriesContext(connection) as with_class:
        browser.get("/hub/api/user")
    statements = [query["sql"] for query in with_class.captured_queries]
    # The session, and its user; the rights of the user; nothing about the refresh.
    assert len(statements) <= 4
    assert not any("UPDATE" in text for text in statements)
    assert site.calls == []


def test_false_suspends_the_session_until_the_class_says_true(
    site: Site, browser: Browser
) -> None:
    site.runs()
    sign_in(browser)
    grow_old()
    site.says(False)

    page = browser.get("/hub/home")
    assert page.status_code == 302
    assert page["Location"].startswith("/hub/login?next=")
    assert browser.get("/hub/api/user").status_code == 403
    assert browser.get("/hub/login").status_code == 200
    # The cookies stay.
    name = "jupyterhub-session-id"
    assert browser.cookies[name].value and not page.cookies.get(name)

    site.says(True)
    assert browser.get("/hub/home").status_code == 200
    assert browser.get("/hub/api/user").json()["name"] == "ada"


def test_a_suspended_person_can_sign_in_again(site: Site, browser: Browser) -> None:
    site.runs()
    sign_in(browser)
    grow_old()
    site.says(False)
    assert browser.get("/hub/home").status_code == 302

    sign_in(browser)

    assert browser.get("/hub/home").status_code == 200


@pytest.mark.parametrize("name", ["ada", "grace"])
def test_what_a_suspended_session_began_ends_with_the_browsers_session(
    site: Site, browser: Browser, name: str
) -> None:
    site.runs()
    ada = sign_in(browser)
    began = browser.cookies["jupyterhub-session-id"].value
    token, _ = make_token(ada, session_id=began)
    grow_old()
    site.says(False)
    assert browser.get("/hub/home").status_code == 302

    sign_in(browser, name)
    # The session of the same person goes on; that of another one has ended.
    assert APIToken.objects.filter(pk=token.pk, revoked_at=None).exists() == (
        name == "ada"
    )
    browser.get("/hub/logout")

    assert not APIToken.objects.filter(pk=token.pk, revoked_at=None).exists()


def test_a_suspended_person_can_sign_out(site: Site, browser: Browser) -> None:
    site.runs()
    sign_in(browser)
    grow_old()
    site.says(False)

    browser.get("/hub/logout")

    assert Event.objects.filter(action="session.logout").exists()


def test_an_answer_changes_the_account_and_counts_at_once(
    site: Site, browser: Browser, another_browser: Browser
) -> None:
    site.runs(
        "c.Authenticator.manage_groups = True",
        "c.Authenticator.enable_auth_state = True",
    )
    user = sign_in(browser)
    sign_in(another_browser)
    assert auth_state.read(user.pk, "ada") == {"n": 0}
    grow_old()
    site.says({"name": "ada", "groups": ["second"], "admin": True})

    assert browser.get("/hub/api/user").json()["groups"] == ["second"]

    assert another_browser.get("/hub/api/user").json()["groups"] == ["second"]
    assert set(Group.objects.values_list("name", flat=True)) == {"first", "second"}
    assert User.objects.get(name="ada").admin
    # The class got the auth state, and did not change it.
    assert site.calls[0][1] == {"n": 0}
    assert auth_state.read(user.pk, "ada") == {"n": 0}


def test_new_auth_state_is_kept(site: Site, browser: Browser) -> None:
    site.runs("c.Authenticator.enable_auth_state = True")
    user = sign_in(browser)
    grow_old()
    site.says({"name": "ada", "auth_state": {"n": 1}})

    browser.get("/hub/home")

    assert auth_state.read(user.pk, "ada") == {"n": 1}


def test_an_age_of_zero_switches_refreshes_off(site: Site, browser: Browser) -> None:
    site.runs(
        "c.Authenticator.auth_refresh_age = 0",
        "c.Authenticator.refresh_pre_spawn = True",
    )
    sign_in(browser)
    grow_old()
    site.says(False)

    assert browser.get("/hub/home").status_code == 200
    browser.get("/hub/spawn")
    assert site.calls == []


def test_a_class_that_fails_leaves_the_session(
    site: Site, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    site.runs()
    sign_in(browser)
    grow_old()
    site.says("raise")

    assert browser.get("/hub/home").status_code == 200
    # No call with each request, while the class fails.
    assert browser.get("/hub/home").status_code == 200
    assert len(site.calls) == 1


def test_while_the_host_is_away_sessions_go_on(
    settings: Any, site: Site, browser: Browser
) -> None:
    site.runs()
    sign_in(browser)
    grow_old()
    settings.AUTHENTICATOR_ADDRESS = "/nonexistent/host.sock"

    assert browser.get("/hub/home").status_code == 200


def test_an_account_that_is_gone_is_not_made_again(
    site: Site, browser: Browser
) -> None:
    site.runs()
    user = sign_in(browser)
    stale = User.objects.get(pk=user.pk)
    stale.auth_refreshed_at = None
    user.delete()
    site.says({"name": "ada", "groups": []})

    assert refreshing.refresh(stale)
    assert not User.objects.exists()


@pytest.mark.parametrize("path", ["/hub/spawn", "/hub/spawn/ada"])
def test_a_start_refreshes_whoever_is_fresh_otherwise(
    site: Site, browser: Browser, path: str
) -> None:
    site.runs("c.Authenticator.refresh_pre_spawn = True")
    sign_in(browser)
    site.says(False)
    assert browser.get("/hub/home").status_code == 200

    page = browser.get(path)

    assert page.status_code == 302
    assert page["Location"].startswith("/hub/login?next=")
    assert not Server.objects.exclude(pending=None).exists()


def test_a_start_by_the_api_needs_a_fresh_session(
    site: Site, browser: Browser, settler: Settler
) -> None:
    site.runs("c.Authenticator.refresh_pre_spawn = True")
    sign_in(browser)
    site.says(False)
    browser.get("/hub/home")
    xsrf = browser.cookies["_xsrf"].value

    reply = browser.post("/hub/api/users/ada/server", headers={"X-XSRFToken": xsrf})

    assert reply.status_code == 403
    assert not Server.objects.exclude(pending=None).exists()


def test_a_start_for_somebody_else_refreshes_nobody_here(
    site: Site, browser: Browser
) -> None:
    site.runs("c.Authenticator.refresh_pre_spawn = True")
    make_user("alan")
    site_admin = sign_in(browser)
    User.objects.filter(pk=site_admin.pk).update(admin=True)
    site.says(False)

    browser.get("/hub/spawn/alan")

    assert site.calls == []


# Tokens


@pytest.fixture
def token_facts() -> Iterator[None]:
    """Have verifications read what a hub with a hosted class reads."""
    bearer_query.register_facts(refreshing.facts_of_owner)
    yield
    bearer_query._facts.remove(refreshing.facts_of_owner)
    bearer_query.bearer_statement.cache_clear()
    bearer_query.fact_columns.cache_clear()


def wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


@pytest.mark.django_db(transaction=True)
def test_calls_by_tokens_have_their_owner_refreshed_in_the_background(
    site: Site, token_facts: None
) -> None:
    site.runs("c.Authenticator.manage_groups = True")
    ada = make_user("ada")
    client = BearerClient(make_token(ada)[1])
    grow_old()
    site.says({"groups": ["second"]})

    assert client.get("/hub/api/user").json()["groups"] == []

    # A database in memory may be locked for a moment.
    wait(lambda: client.get("/hub/api/user").json().get("groups") == ["second"])
    assert [call[0] for call in site.calls] == ["ada"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_strict", [True, False])
def test_tokens_of_stale_owners_are_refused_only_if_that_is_strict(
    site: Site, token_facts: None, is_strict: bool
) -> None:
    site.runs(f"c.Authenticator.auth_refresh_strict = {is_strict}")
    client = BearerClient(make_token(make_user("ada"))[1])
    grow_old()
    site.says(False)
    client.get("/hub/api/user")
    wait(lambda: client.get("/hub/api/user").content and len(site.calls) > 2)

    assert client.get("/hub/api/user").status_code == (403 if is_strict else 200)

    site.says(True)
    wait(lambda: client.get("/hub/api/user").status_code == 200)
