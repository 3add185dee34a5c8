"""No GET writes, at each address of the hub, from a browser and from a program."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.core.signals import request_finished
from django.db import close_old_connections, connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RegexPattern, RoutePattern

from accounts.models import SignUp, User
from audit.models import Actor, Event
from servers.models import Server, ServerEvent
from sharing import actions as sharing
from tests import factories
from tests.conftest import BearerClient
from tokens.models import TokenPolicy, TokenRequest

WRITES = re.compile(
    r"\s*(INSERT|UPDATE|DELETE|REPLACE)|.*\bFOR (NO KEY )?UPDATE|.*pg_advisory",
    re.I | re.S,
)
ADMIN = re.compile(r"/hub/admin/(\w+)/(\w+)/<path:object_id>")
PLACE = re.compile(r"<(?:\w+:)?(\w+)>")
BY = Actor.system("test")

# Addresses that change something by a GET, and why.
REASONS = {
    "/hub/logout": "as in JupyterHub, opening the address signs out",
    "/hub/spawn": "the form of options is asked of the controller, by a row",
}
# Pages that keep in the session what a person has begun there: a challenge for a key,
# the secret of an app that is set up, where to go after the proof of who it is.
KEPT_IN_SESSION = ("/hub/login", "/hub/accounts/")
SESSION = re.compile(r'\S+( INTO)? "django_session"')
# When a token or a user was last used, and where, is written by a thread of a running
# hub; a test has none, so that the next reader does.
ACTIVITY = re.compile(
    r"UPDATE \S+ SET last_(activity|address) = %s"
    r'|(INSERT INTO|SELECT) "tokens_token(use|day|operation)"'
    r"|SELECT id FROM \S+ WHERE id = ANY\(%s\) FOR NO KEY UPDATE SKIP LOCKED"
)

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


def addresses(patterns: list[Any], before: str = "/") -> Iterator[str]:
    """Yield each route as text, with the placeholders of Django in it."""
    for pattern in patterns:
        if isinstance(pattern.pattern, RoutePattern):
            route = before + str(pattern.pattern)
        elif isinstance(pattern.pattern, RegexPattern):
            route = before + re.sub(r"[\^$]|\\Z", "", str(pattern.pattern))
        else:
            route = before
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route


def filled(route: str, known: dict[str, Any]) -> str:
    """Put names of rows that exist in the place of placeholders."""
    route = re.sub(r"\(\?P<(\w+)>.*?\)\+?(?=/|$)", r"<\1>", route).replace("\\", "")
    if model := ADMIN.match(route):
        # The admin stores a message about a row that does not exist in the session.
        rows = apps.get_model(*model.groups())._default_manager.order_by("pk")
        known = {**known, "object_id": getattr(rows.first(), "pk", "x")}
    return PLACE.sub(lambda match: str(known.get(match[1], "x")), route)


class Writes:
    """The statements within a block that write or lock."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, more: Any
    ) -> Any:
        if WRITES.match(sql) and not ACTIVITY.match(sql):
            self.statements.append(sql)
        return execute(sql, params, many, more)


@pytest.fixture
def known(settings: Any) -> dict[str, Any]:
    """Rows of every kind, and what addresses call them."""
    factories.make_default_roles()
    ada = factories.make_user("ada", admin=True)
    alan = factories.make_user("alan")
    group = factories.make_group("math", users=[ada, alan])
    factories.make_service("svc", admin=True)
    factories.make_client()
    server = Server.objects.create(user=ada, user_options={}, generation=1)
    ServerEvent.objects.create(server=server, generation=1, data={"progress": 1})
    sharing.grant_share(server, alan, by=BY, access=ada.access)
    _, code = sharing.issue_share_code(server, by=BY, access=ada.access)
    token, _ = factories.make_token(ada)
    TokenPolicy.objects.create()
    TokenRequest.objects.create(user=ada)
    SignUp.objects.create(name="grace", password="!")
    return {
        **{"name": "ada", "user_name": "ada", "owner": "ada", "group": group.name},
        **{
            "group_name": "math",
            "server_name": "",
            "code": code,
            "app_label": "tokens",
        },
        **{
            "pk": ada.pk,
            "object_id": ada.pk,
            "id": f"a{token.pk}",
            "token_id": token.pk,
        },
    }


def test_no_address_writes_when_it_is_read(known: dict[str, Any]) -> None:
    ada = User.objects.get(name="ada")
    browser = Client(raise_request_exception=False)
    browser.force_login(ada)
    program = BearerClient(factories.make_token(ada)[1])
    stranger = Client(raise_request_exception=False)
    program.raise_request_exception = False
    wrong: dict[str, list[str]] = {}
    asked = 0
    for route in addresses(get_resolver().url_patterns):
        path = filled(route, known)
        if "(" in path or "[" in path or route.startswith(tuple(REASONS)):
            continue
        for who in (program, browser, stranger):
            seen = Writes()
            events = Event.objects.count()
            with connection.execute_wrapper(seen):
                answer = who.get(path)
                if answer.streaming:
                    # The end of a request would close the test's own connection.
                    request_finished.disconnect(close_old_connections)
                    answer.close()
                    request_finished.connect(close_old_connections)
            asked += 1
            assert answer.status_code not in (500, 501), path
            if route.startswith(KEPT_IN_SESSION):
                seen.statements = [
                    text for text in seen.statements if not SESSION.match(text)
                ]
            if seen.statements or Event.objects.count() != events:
                wrong.setdefault(route, []).extend(
                    f"{answer.status_code} {text[:110]}" for text in seen.statements
                )
    assert asked > 200
    assert not wrong
