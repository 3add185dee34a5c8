"""The principals of the tests, and two clients: `as_(principal)` and `bearer(secret)`.

Ada administers, Grace leads a group, Alan is in it, Mallory has an account and nothing
more, CI is a service.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.test import Client
from django.urls import get_resolver
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from accounts.hashing import forget_imported_digests
from accounts.hosting import description
from accounts.models import Group, User
from accounts.rights import access_of
from audit import uses
from database.notifications import Watcher
from scopes.definitions import SCOPES, implied
from services.models import Service
from tests import factories
from tests.servers.settler import Settler
from tokens import activity, rates, verification

API = "/hub/api"
BUILT_IN = frozenset(SCOPES) - {name for name in SCOPES if name.startswith("custom:")}

# The comparison with JupyterHub has tests of its own, without Django.
collect_ignore = ["oracle"]
append_only = import_module("audit.migrations.0002_append_only")

# Without a deadline, because the time of an example depends on the machine's load.
hypothesis_settings.register_profile(
    "busy", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("busy")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "oracle: compares with a recorded JupyterHub")
    config.addinivalue_line("markers", "fuzz: calls the API as schemas allow it")
    # Every client of a test sets up the middleware again; reading all static files
    # each time would take longer than the tests.
    settings.WHITENOISE_AUTOREFRESH = True
    # A hub without a file has friendlier defaults; tests use JupyterHub's.
    settings.HUB = replace(
        settings.HUB, redirect_to_server=True, allow_named_servers=False
    )


class BearerClient(Client):
    """A client that sends its secret, and sends and reads JSON."""

    def __init__(self, secret: str | None, scheme: str = "token") -> None:
        headers = {} if secret is None else {"authorization": f"{scheme} {secret}"}
        super().__init__(headers=headers)

    def post(self, path: str, data: Any = None, **extra: Any) -> Any:
        return super().post(path, data, **{"content_type": "application/json", **extra})


@pytest.fixture(scope="session")
def worker_number(request: pytest.FixtureRequest) -> int:
    """Return the number of this parallel worker, so that each has ports of its own."""
    worker = getattr(request.config, "workerinput", {"workerid": "gw0"})["workerid"]
    return int(worker.removeprefix("gw"))


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Allow transactional tests to empty the tables, also the append-only ones."""
    with django_db_blocker.unblock(), connection.schema_editor() as editor:
        append_only.unguard(apps, editor)


@pytest.fixture(autouse=True, scope="session")
def addresses() -> None:
    """Load the addresses before a test changes the configuration they depend on."""
    len(get_resolver().url_patterns)


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """Clear this process's caches, and the variables of the hub that a test has set."""
    forget()
    variables = dict(os.environ)
    yield
    # Code that starts programs may set variables for them.
    for name in os.environ.keys() - variables.keys():
        if name.startswith("HUB_"):
            del os.environ[name]
    forget()


def forget() -> None:
    """Clear all caches that the process keeps between requests.

    Caches of scopes alone are the same for every test, unless a test defines scopes of
    its own.
    """
    verification.forget()
    forget_imported_digests()
    description.forget()
    activity.forget()
    rates.forget()
    uses.forget()
    if SCOPES.keys() != BUILT_IN:
        for name in SCOPES.keys() - BUILT_IN:
            del SCOPES[name]
        for remembered in (implied, access_of):
            remembered.cache_clear()


@pytest.fixture(autouse=True)
def default_roles(request: pytest.FixtureRequest) -> None:
    """Create the default roles in each test that uses the database."""
    databases = {"db", "transactional_db", "live_server"}
    marked = request.node.get_closest_marker("django_db")
    if marked or databases.intersection(request.fixturenames):
        request.getfixturevalue("db")
        factories.make_default_roles()


@pytest.fixture
def settler(db: None, monkeypatch: pytest.MonkeyPatch) -> Settler:
    """Replace the controller: starts and stops succeed or fail as the test sets."""
    settler = Settler()
    monkeypatch.setattr(Watcher, "_watch", lambda watcher: settler.watch(watcher))
    return settler


@pytest.fixture
def ada(db: None) -> User:
    return factories.make_user("ada", admin=True)


@pytest.fixture
def data301(db: None) -> Group:
    """Return the group that Grace leads and Alan is in."""
    return factories.make_group("data301")


@pytest.fixture
def grace(data301: Group) -> User:
    """Return a user with rights over one group: its members, servers and tokens."""
    scopes = ("admin-ui", "list:users", "read:users", "servers", "tokens", "groups")
    return factories.make_user(
        "grace",
        groups=[data301],
        scopes=[
            scope if scope == "admin-ui" else f"{scope}!group=data301"
            for scope in scopes
        ],
    )


@pytest.fixture
def alan(data301: Group) -> User:
    return factories.make_user("alan", groups=[data301])


@pytest.fixture
def mallory(db: None) -> User:
    return factories.make_user("mallory")


@pytest.fixture
def ci(db: None) -> Service:
    return factories.make_service("ci", scopes=["list:users", "read:users:name"])


@pytest.fixture
def as_() -> Callable[[User | None], Client]:
    """Return a browser in which this user is signed in; `as_(None)` is anonymous."""

    def sign_in(user: User | None) -> Client:
        client = Client()
        if user is not None:
            client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def bearer() -> Callable[..., BearerClient]:
    """Return a client that sends this secret; `bearer(None)` sends none."""
    return BearerClient
