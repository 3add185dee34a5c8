"""Required scopes: every address and method, with every kind of caller.

The table is made from JupyterHub's API, not from the views. An address that exists only
in the table or only in the hub fails the test.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from django.db import transaction
from django.urls import URLPattern, URLResolver

from accounts.models import Group, User
from api.base import UnknownView
from hubsite import urls
from scopes.definitions import METASCOPES, SCOPES, implied
from scopes.expansion import Identity, expand
from servers.models import Server, Share, ShareCode
from services.models import Service
from tests.factories import (
    make_group,
    make_role,
    make_server,
    make_service,
    make_share,
    make_token,
    make_user,
)
from tokens.least_privilege import access_without
from tokens.models import APIToken, TokenNotice, TokenPreferences, TokenRequest
from tokens.operations import callable_with

pytestmark = pytest.mark.django_db

READ_USER = (
    "read:users",
    "read:users:name",
    "read:servers",
    "read:users:groups",
    "read:users:activity",
    "read:roles:users",
)
READ_GROUP = ("read:groups", "read:groups:name", "read:roles:groups")
READ_SERVICE = ("read:services", "read:services:name", "read:roles:services")

# Looks like one of ours, with a signature that is not.
FORGED = f"hub_{'0' * 12}_{'0' * 60}"

GENERIC = "No access to resources or resources not found"


@dataclass(frozen=True)
class Place:
    """What an address is about: which filters reach it, and which do not."""

    reached_by: tuple[str, ...] = ()
    missed_by: tuple[str, ...] = ()
    # Where no single object is named, a filter that misses is a scope not held.
    miss: int = 404


# Alan is in the group math and has a default server and one called lab.
ALAN = Place(
    ("!user=alan", "!group=math"),
    ("!user=mallory", "!group=art", "!server=alan/lab", "!service=alan"),
)
NEW_USER = Place(("!user=newton",), ("!user=alan", "!group=math", "!group=newton"))
LAB = Place(
    ("!user=alan", "!group=math", "!server=alan/lab"),
    (
        "!user=mallory",
        "!group=art",
        "!server=alan/",
        "!server=alan/la",
        "!server=mallory/lab",
        "!service=alan",
    ),
)
DEFAULT = Place(
    ("!user=alan", "!group=math", "!server=alan/"),
    ("!user=mallory", "!group=art", "!server=alan/lab", "!server=mallory/"),
)
NEW_SERVER = Place(
    ("!user=alan", "!group=math", "!server=alan/new"),
    ("!user=mallory", "!server=alan/lab"),
)
MATH = Place(("!group=math",), ("!group=art", "!user=alan", "!user=math"))
NEW_GROUP = Place(("!group=club",), ("!group=math", "!user=alan"))
PORTAL = Place(("!service=portal",), ("!service=other", "!user=portal"))
NEW_SERVICE = Place(("!service=fresh",), ("!service=portal", "!user=fresh"))
USERS = Place(
    ("!user=alan", "!group=math", "!user=nobody"),
    ("!server=alan/lab", "!service=alan"),
    miss=403,
)
GROUPS = Place(("!group=math", "!group=none"), ("!user=alan",), miss=403)
SERVICES = Place(("!service=portal", "!service=none"), ("!user=alan",), miss=403)
HUB = Place((), ("!user=alan", "!group=math", "!server=alan/", "!service=ci"), miss=403)

TOKENS = Place(
    ("!user=alan", "!group=math", "!service=none"), ("!server=alan/lab",), miss=403
)
# A token of alan, at an address that does not name the owner.
TOKEN = Place(ALAN.reached_by, ALAN.missed_by)


@dataclass(frozen=True)
class Endpoint:
    """One method of one address, and what it answers to whoever may call it.

    `also` are scopes that the act needs besides the one that lets it in; `page` marks
    what refuses with a page instead of JSON.
    """

    method: str
    route: str
    path: str
    scopes: tuple[str, ...]
    place: Place
    success: int = 200
    body: Any = None
    also: tuple[str, ...] = ()
    page: bool = False

    def __str__(self) -> str:
        return f"{self.method} /{self.route}"


def rows(*lines: tuple[Any, ...], **more: Any) -> list[Endpoint]:
    return [Endpoint(*line, **more) for line in lines]


U = "users/<name:name>"
G = "groups/<name:name>"
T = "tokens/<name:token_id>"
R = "tokens/requests/<name:request_id>"
S = "<name:owner>/<name:server_name>"
SHARE = {"user": "mallory"}
NAME_TOO = ("read:users:name",)

PROTECTED = [
    *rows(
        ("GET", "info", "info", ("read:hub",), HUB),
        # Whoever is let in learns that here is neither a proxy nor a supervisor.
        ("GET", "proxy", "proxy", ("proxy",), HUB, 503),
        ("POST", "proxy", "proxy", ("proxy",), HUB, 503),
        ("PATCH", "proxy", "proxy", ("proxy",), HUB, 503, {}),
        ("POST", "shutdown", "shutdown", ("shutdown",), HUB, 503),
        ("GET", "users", "users", ("list:users",), USERS),
        (
            "POST",
            "users",
            "users",
            ("admin:users",),
            HUB,
            201,
            {"usernames": ["newton"]},
        ),
        ("GET", U, "users/alan", READ_USER, ALAN),
        ("POST", U, "users/newton", ("admin:users",), NEW_USER, 201),
        ("PATCH", U, "users/alan", ("admin:users",), ALAN, 200, {}),
        ("DELETE", U, "users/alan", ("delete:users",), ALAN, 204),
        (
            "POST",
            f"{U}/activity",
            "users/alan/activity",
            ("users:activity",),
            ALAN,
            200,
            {"last_activity": "2026-01-01T00:00:00Z"},
        ),
        ("GET", f"{U}/tokens", "users/alan/tokens", ("read:tokens",), ALAN),
        (
            "GET",
            f"{U}/tokens/<name:token_id>",
            "users/alan/tokens/{token}",
            ("read:tokens",),
            ALAN,
        ),
        (
            "DELETE",
            f"{U}/tokens/<name:token_id>",
            "users/alan/tokens/{token}",
            ("tokens",),
            ALAN,
            204,
        ),
        ("GET", "tokens/requests", "tokens/requests", ("read:tokens",), USERS),
        ("GET", R, "tokens/requests/{request}", ("read:tokens",), ALAN),
        ("DELETE", R, "tokens/requests/{request}", ("tokens",), ALAN, 204),
        # There is nothing to collect before the approval.
        (
            "POST",
            f"{R}/collect",
            "tokens/requests/{request}/collect",
            ("tokens",),
            ALAN,
            409,
        ),
        (
            "POST",
            f"{R}/<name:decision>",
            "tokens/requests/{request}/approve",
            ("admin:users",),
            ALAN,
        ),
        (
            "POST",
            f"{U}/token-requests",
            "users/alan/token-requests",
            ("tokens",),
            ALAN,
            201,
            {"reason": "CI", "note": "ci"},
        ),
        (
            "GET",
            f"{U}/token-notices",
            "users/alan/token-notices",
            ("read:tokens",),
            ALAN,
        ),
        (
            "DELETE",
            f"{U}/token-notices/<name:notice_id>",
            "users/alan/token-notices/{notice}",
            ("tokens",),
            ALAN,
            204,
        ),
        (
            "GET",
            f"{U}/token-preferences",
            "users/alan/token-preferences",
            ("read:tokens",),
            ALAN,
        ),
        (
            "PATCH",
            f"{U}/token-preferences",
            "users/alan/token-preferences",
            ("tokens",),
            ALAN,
            200,
            {"mail_created": False},
        ),
        ("GET", "tokens", "tokens", ("read:tokens",), TOKENS),
        ("GET", T, "tokens/{token}", ("read:tokens",), TOKEN),
        ("PATCH", T, "tokens/{token}", ("tokens",), TOKEN, 200, {"note": "new"}),
        ("DELETE", T, "tokens/{token}", ("tokens",), TOKEN, 204),
        ("POST", f"{T}/rotate", "tokens/{token}/rotate", ("tokens",), TOKEN),
        ("POST", f"{T}/<name:action>", "tokens/{token}/disable", ("tokens",), TOKEN),
        ("GET", f"{U}/server", "users/alan/server", ("read:servers",), DEFAULT),
        ("PUT", f"{U}/server", "users/alan/server", ("start:servers",), DEFAULT, 409),
        (
            "PATCH",
            f"{U}/server",
            "users/alan/server",
            ("start:servers",),
            DEFAULT,
            200,
            {"user_options": {}},
        ),
        (
            "DELETE",
            f"{U}/server",
            "users/alan/server",
            ("delete:servers",),
            DEFAULT,
            204,
        ),
        ("POST", f"{U}/server", "users/alan/server", ("start:servers",), DEFAULT, 202),
        (
            "POST",
            f"{U}/servers/",
            "users/alan/servers/",
            ("start:servers",),
            DEFAULT,
            202,
        ),
        (
            "POST",
            f"{U}/servers/<name:server_name>",
            "users/alan/servers/lab",
            ("start:servers",),
            LAB,
            202,
        ),
        (
            "GET",
            f"{U}/server/progress",
            "users/alan/server/progress",
            ("read:servers",),
            DEFAULT,
            400,
        ),
        (
            "GET",
            f"{U}/servers//progress",
            "users/alan/servers//progress",
            ("read:servers",),
            DEFAULT,
            400,
        ),
        (
            "GET",
            f"{U}/servers/<name:server_name>/progress",
            "users/alan/servers/lab/progress",
            ("read:servers",),
            LAB,
            400,
        ),
        (
            "POST",
            f"{U}/admin-access",
            "users/alan/admin-access",
            ("servers",),
            ALAN,
            403,
        ),
        ("GET", f"{U}/servers/", "users/alan/servers/", ("read:servers",), DEFAULT),
        (
            "PUT",
            f"{U}/servers/",
            "users/alan/servers/",
            ("start:servers",),
            DEFAULT,
            409,
        ),
        (
            "PATCH",
            f"{U}/servers/",
            "users/alan/servers/",
            ("start:servers",),
            DEFAULT,
            200,
            {"user_options": {}},
        ),
        (
            "DELETE",
            f"{U}/servers/",
            "users/alan/servers/",
            ("delete:servers",),
            DEFAULT,
            204,
        ),
        (
            "GET",
            f"{U}/servers/<name:server_name>",
            "users/alan/servers/lab",
            ("read:servers",),
            LAB,
        ),
        (
            "PUT",
            f"{U}/servers/<name:server_name>",
            "users/alan/servers/new",
            ("start:servers",),
            NEW_SERVER,
            201,
        ),
        (
            "PATCH",
            f"{U}/servers/<name:server_name>",
            "users/alan/servers/lab",
            ("start:servers",),
            LAB,
            200,
            {"user_options": {}},
        ),
        (
            "DELETE",
            f"{U}/servers/<name:server_name>",
            "users/alan/servers/lab",
            ("delete:servers",),
            LAB,
            204,
        ),
        ("GET", "groups", "groups", ("list:groups",), GROUPS),
        ("POST", "groups", "groups", ("admin:groups",), HUB, 201, {"groups": ["club"]}),
        ("GET", G, "groups/math", READ_GROUP, MATH),
        ("POST", G, "groups/club", ("admin:groups",), NEW_GROUP, 201),
        ("DELETE", G, "groups/math", ("delete:groups",), MATH, 204),
        (
            "POST",
            f"{G}/users",
            "groups/math/users",
            ("groups",),
            MATH,
            200,
            {"users": ["mallory"]},
        ),
        (
            "DELETE",
            f"{G}/users",
            "groups/math/users",
            ("groups",),
            MATH,
            200,
            {"users": ["alan"]},
        ),
        (
            "PUT",
            f"{G}/properties",
            "groups/math/properties",
            ("groups",),
            MATH,
            200,
            {"floor": 3},
        ),
        ("GET", "services", "services", ("list:services",), SERVICES),
        (
            "GET",
            "services/<name:name>",
            "services/portal",
            READ_SERVICE,
            PORTAL,
        ),
        (
            "POST",
            "services/<name:name>",
            "services/fresh",
            ("admin:services",),
            NEW_SERVICE,
            201,
            {"info": {}},
        ),
        (
            "DELETE",
            "services/<name:name>",
            "services/portal",
            ("admin:services",),
            PORTAL,
            200,
        ),
        ("GET", "shares/<name:owner>", "shares/alan", ("read:shares",), ALAN),
        ("GET", "share-codes/<name:owner>", "share-codes/alan", ("read:shares",), ALAN),
        ("GET", f"{U}/shared", "users/alan/shared", ("read:users:shares",), ALAN),
        ("GET", f"{G}/shared", "groups/math/shared", ("read:groups:shares",), MATH),
    ),
    *rows(
        *(
            (method, f"{noun}/{route}", f"{noun}/{path}", (scope,), place, success)
            for route, path, place in (
                (S, "alan/lab", LAB),
                ("<name:owner>/", "alan/", DEFAULT),
            )
            for noun, method, scope, success in (
                ("shares", "GET", "read:shares", 200),
                ("shares", "DELETE", "shares", 204),
                ("share-codes", "GET", "read:shares", 200),
                ("share-codes", "POST", "shares", 200),
                ("share-codes", "DELETE", "shares", 204),
            )
        ),
    ),
    *rows(
        *(
            (method, f"shares/{route}", f"shares/{path}", ("shares",), place)
            for route, path, place in (
                (S, "alan/lab", LAB),
                ("<name:owner>/", "alan/", DEFAULT),
            )
            for method in ("POST", "PATCH")
        ),
        body=SHARE,
        also=NAME_TOO,
    ),
    *rows(
        *(
            (
                method,
                f"{whose}/shared/{route}",
                f"{path}/shared/{server}",
                (f"{prefix}{kind}:shares",),
                place,
                success,
            )
            for route, server in ((S, "mallory/lab"), ("<name:owner>/", "mallory/"))
            for whose, path, kind, place in (
                (U, "users/alan", "users", ALAN),
                (G, "groups/math", "groups", MATH),
            )
            for method, prefix, success in (("GET", "read:", 200), ("DELETE", "", 204))
        ),
    ),
    Endpoint("GET", "metrics", "metrics", ("read:metrics",), HUB, page=True),
    Endpoint(
        "POST",
        f"{U}/tokens",
        "users/alan/tokens",
        ("tokens",),
        Place(ALAN.reached_by, ALAN.missed_by, miss=403),
        success=201,
    ),
]

# Whoever presents a credential of any kind.
IDENTIFIED = [
    # None but the token of a server that starts, which no caller here has.
    ("POST", "batchspawner", "batchspawner", 403),
    ("GET", "user", "user", 200),
    (
        "GET",
        "authorizations/token/<name:token>",
        "authorizations/token/unknown",
        404,
    ),
    (
        "GET",
        "authorizations/cookie/<name:name>",
        "authorizations/cookie/unknown",
        404,
    ),
    (
        "GET",
        "authorizations/cookie/<name:name>/<name:value>",
        "authorizations/cookie/unknown/value",
        404,
    ),
]

PUBLIC = [
    ("GET", "", "", 200),
    ("GET", "health", "health", 200),
    ("HEAD", "health", "health", 200),
    ("GET", "docs/", "docs/", 200),
    # Only a session counts on this page, and whoever has none signs in first.
    ("GET", "oauth2/authorize", "oauth2/authorize", 302),
    ("POST", "oauth2/authorize", "oauth2/authorize", 302),
    # A client proves itself by its secret, and this one sends none.
    ("POST", "oauth2/token", "oauth2/token", 400),
    # This one names no tokens.
    ("POST", "tokens/leaked", "tokens/leaked", 400),
    ("POST", "oauth2/introspect", "oauth2/introspect", 400),
    ("POST", "oauth2/device_authorization", "oauth2/device_authorization", 400),
    ("POST", "oauth2/revoke", "oauth2/revoke", 400),
    ("GET", "openapi.json", "openapi.json", 200),
    ("GET", "openapi.yaml", "openapi.yaml", 200),
    ("GET", "authorizations/token", "authorizations/token", 404),
    ("POST", "authorizations/token", "authorizations/token", 404),
]

by_name = {"argvalues": PROTECTED, "ids": str}


@pytest.fixture(autouse=True)
def hub(settings: Any) -> None:
    """Allow named servers, wait for none, and have no proxy where one should be."""
    settings.HUB = dataclasses.replace(
        settings.HUB,
        allow_named_servers=True,
        proxy_api_url="http://127.0.0.1:9",
        tornado_settings={"slow_spawn_timeout": 0},
    )


@pytest.fixture
def cast() -> dict[str, str]:
    """Make all that the addresses name; the answer fills in what has no fixed name."""
    alan, mallory = make_user("alan"), make_user("mallory")
    math = make_group("math", users=[alan])
    make_group("art", users=[mallory])
    make_service("portal", url="http://127.0.0.1:9/")
    for owner in (alan, mallory):
        for name in ("", "lab"):
            server = make_server(owner, name)
            if owner == mallory:
                make_share(server, user=alan, scopes=["access:servers"])
                make_share(server, group=math, scopes=["access:servers"])
    token, _ = make_token(alan)
    asked = TokenRequest.objects.create(user=alan, reason="CI")
    notice = TokenNotice.objects.create(token=token, kind=TokenNotice.Kind.DISABLED)
    return {"token": f"a{token.pk}", "request": str(asked), "notice": f"n{notice.pk}"}


def call(endpoint: Endpoint, bearer: Any, secret: str | None, cast: Any) -> Any:
    return bearer(secret).generic(
        endpoint.method,
        f"/hub/api/{endpoint.path.format(**cast)}",
        data="" if endpoint.body is None else json.dumps(endpoint.body),
        content_type="application/json",
    )


@contextmanager
def undone() -> Iterator[None]:
    """Undo all that is done inside."""
    savepoint = transaction.savepoint()
    yield
    transaction.savepoint_rollback(savepoint)


def secret_of_service(*scopes: str) -> str:
    return make_token(make_service("caller", scopes=scopes))[1]


def secret_of_user(*scopes: str) -> str:
    return make_token(make_user("caller", roles=[], scopes=scopes))[1]


def limited_secret_of_admin(*scopes: str) -> str:
    return make_token(make_user("caller", admin=True), scopes=scopes)[1]


CALLERS = (secret_of_service, secret_of_user, limited_secret_of_admin)


def state() -> dict[str, Any]:
    """Tell all that a refused call must have left alone."""
    return {
        "users": list(User.objects.values_list("name", "admin").order_by("name")),
        "groups": list(Group.objects.values_list("name", "users__name", "properties")),
        "services": list(Service.objects.values_list("name")),
        "servers": list(Server.objects.values_list("pk", "name", "user_options")),
        "tokens": list(
            APIToken.objects.values_list(
                "pk", "note", "public_id", "disabled_at", "revoked_at"
            )
        ),
        "requests": list(TokenRequest.objects.values_list("pk", "state")),
        "notices": list(TokenNotice.objects.values_list("pk", "seen_at")),
        "preferences": list(TokenPreferences.objects.values_list()),
        "shares": list(Share.objects.values_list("pk", "scopes")),
        "codes": list(ShareCode.objects.values_list("pk")),
    }


def assert_refused(
    endpoint: Endpoint, reply: Any, status: int, before: dict[str, Any]
) -> None:
    assert reply.status_code == status, reply.content
    if not endpoint.page:
        assert reply["Content-Type"] == "application/json"
        body = reply.json()
        assert set(body) == {"status", "message"}
        assert body["status"] == status
    assert state() == before


# The table is complete


def routes() -> Iterator[tuple[str, str]]:
    """Walk the URL patterns of the API and the methods that their views have."""
    for method, route in _routes("", urls.urlpatterns):
        if route.startswith("hub/api"):
            yield method, route.removeprefix("hub/api").removeprefix("/")


def _routes(
    prefix: str, patterns: list[URLPattern | URLResolver]
) -> Iterator[tuple[str, str]]:
    for pattern in patterns:
        route = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLResolver):
            yield from _routes(route, pattern.url_patterns)
            continue
        view: Any = getattr(pattern.callback, "view_class", None) or getattr(
            pattern.callback, "cls", None
        )
        if view is None:
            assert not route.startswith("hub/api"), f"{route} has no class of its own"
            continue
        if view is UnknownView:
            continue
        for method in ("get", "post", "put", "patch", "delete"):
            if hasattr(view, method):
                yield method.upper(), route


def test_every_method_of_every_address_is_in_the_table() -> None:
    tabled = {(endpoint.method, endpoint.route) for endpoint in PROTECTED}
    tabled |= {(method, route) for method, route, *_ in (*IDENTIFIED, *PUBLIC)}
    tabled.discard(("HEAD", "health"))

    actual = set(routes())

    assert actual - tabled == set()
    assert tabled - actual == set()


# Callers without any right


@pytest.mark.parametrize("endpoint", **by_name)
def test_a_stranger_is_refused(endpoint: Endpoint, bearer: Any, cast: Any) -> None:
    for secret in (None, "no-such-token", FORGED):
        before = state()

        reply = call(endpoint, bearer, secret, cast)

        assert_refused(endpoint, reply, 403, before)


@pytest.mark.parametrize("endpoint", **by_name)
def test_asking_for_options_needs_nothing(
    endpoint: Endpoint, bearer: Any, cast: Any
) -> None:
    path = f"/hub/api/{endpoint.path.format(**cast)}"

    reply = bearer(None).options(path)

    assert reply.status_code == 200
    assert reply.content == b""


@pytest.mark.parametrize("endpoint", **by_name)
def test_users_without_a_scope_are_refused(
    endpoint: Endpoint, bearer: Any, cast: Any
) -> None:
    for secret in (secret_of_service(), secret_of_user()):
        before = state()

        reply = call(endpoint, bearer, secret, cast)

        assert_refused(endpoint, reply, 403, before)


@pytest.mark.parametrize("endpoint", **by_name)
def test_all_other_scopes_together_are_not_enough(
    endpoint: Endpoint, bearer: Any, cast: Any
) -> None:
    others = [
        name
        for name in SCOPES
        if name not in METASCOPES and not implied(name) & set(endpoint.scopes)
    ]
    for caller in (secret_of_service, secret_of_user):
        secret = caller(*others)
        before = state()

        reply = call(endpoint, bearer, secret, cast)

        assert_refused(endpoint, reply, 403, before)


@pytest.mark.parametrize("endpoint", **by_name)
def test_the_refusal_names_the_scopes_that_would_do(
    endpoint: Endpoint, bearer: Any, cast: Any
) -> None:
    reply = call(endpoint, bearer, secret_of_service(), cast)

    message = (
        "Action is not authorized with current scopes;"
        f" requires any of [{', '.join(endpoint.scopes)}]"
    )
    if endpoint.page:
        assert message in reply.content.decode()
    elif (endpoint.method, endpoint.path) != ("POST", "users/alan/tokens"):
        # That one says the same to everybody, whether or not the user exists.
        assert reply.json()["message"] == message


# Callers with a filter


@pytest.mark.parametrize("endpoint", **by_name)
def test_filters_that_reach_elsewhere(
    endpoint: Endpoint, bearer: Any, cast: Any
) -> None:
    secret_owner = make_service("caller")
    _, secret = make_token(secret_owner)
    role = _role_of(secret_owner)
    for scope in endpoint.scopes:
        for filtering in endpoint.place.missed_by:
            raw = f"{scope}{filtering}"
            role.scopes = [raw]
            role.save()
            before = state()

            reply = call(endpoint, bearer, secret, cast)

            # A server filter on scopes about users means nothing from the start.
            held = expand([raw], Identity("service", "caller"))
            status = endpoint.place.miss if held else 403
            assert_refused(endpoint, reply, status, before)
            if status == 404:
                assert reply.json()["message"] == GENERIC


@pytest.mark.parametrize("endpoint", **by_name)
def test_filters_that_reach_the_object(
    endpoint: Endpoint, bearer: Any, cast: Any
) -> None:
    for caller, scope, filtering in product(
        CALLERS, endpoint.scopes, endpoint.place.reached_by
    ):
        with undone():
            secret = caller(f"{scope}{filtering}", *endpoint.also)

            reply = call(endpoint, bearer, secret, cast)

            assert reply.status_code == endpoint.success, (filtering, reply.content)


@pytest.mark.parametrize("endpoint", **by_name)
def test_each_scope_alone_is_enough(endpoint: Endpoint, bearer: Any, cast: Any) -> None:
    for caller, scope in product(CALLERS, endpoint.scopes):
        with undone():
            secret = caller(scope, *endpoint.also)

            reply = call(endpoint, bearer, secret, cast)

            assert reply.status_code == endpoint.success, (scope, reply.content)


@pytest.mark.parametrize("endpoint", **by_name)
def test_the_loss_of_a_group_is_simulated_as_the_api_answers(
    endpoint: Endpoint, bearer: Any, cast: Any
) -> None:
    """A token is simulated as if its owner had left a group, then the owner leaves."""
    for filtering in ("", *endpoint.place.reached_by):
        with undone():
            owner = make_user("caller", roles=[])
            scopes = [f"{endpoint.scopes[0]}{filtering}", *endpoint.also]
            make_group("tutors", users=[owner], scopes=scopes)
            unlike = "shutdown" if "read:metrics" in endpoint.scopes else "read:metrics"
            make_group("others", users=[owner], scopes=[unlike])
            token, secret = make_token(owner)
            with undone():
                reply = call(endpoint, bearer, secret, cast)
                assert reply.status_code == endpoint.success, reply.content
            simulated = {
                name: access_without(APIToken.objects.get(pk=token.pk), name)
                for name in ("tutors", "others")
            }

            owner.groups.remove(Group.objects.get(name="tutors"))
            left = APIToken.objects.get(pk=token.pk).access

            assert simulated["tutors"].scopes == left.scopes
            assert callable_with(simulated["tutors"]) == callable_with(left)
            assert simulated["others"].has(*endpoint.scopes)
            assert not simulated["others"].has(unlike)
            assert not left.has(*endpoint.scopes)
            reply = call(endpoint, bearer, secret, cast)
            assert reply.status_code in (403, 404), filtering


@pytest.mark.parametrize(
    "endpoint", [each for each in PROTECTED if each.method == "GET"], ids=str
)
def test_a_session_reads_what_its_user_may(
    endpoint: Endpoint, as_: Any, cast: Any
) -> None:
    path = f"/hub/api/{endpoint.path.format(**cast)}"
    scope = endpoint.scopes[0]
    expected = [([], 403), ([scope], endpoint.success)]
    if endpoint.place.reached_by:
        reached, missed = endpoint.place.reached_by[0], endpoint.place.missed_by[0]
        expected.append(([f"{scope}{reached}"], endpoint.success))
        expected.append(([f"{scope}{missed}"], endpoint.place.miss))
    for scopes, status in expected:
        user = make_user(roles=[], scopes=scopes)

        reply = as_(user).get(path)

        assert reply.status_code == (
            403 if status == 404 and not user.access.has(scope) else status
        )


def _role_of(service: Service) -> Any:
    return make_role(f"of-service-{service.pk}", "read:hub", services=[service])


NAMED = [
    endpoint
    for endpoint in PROTECTED
    if endpoint.place.miss == 404 and endpoint.place not in (NEW_USER, NEW_GROUP)
]
MISSING = {
    "tokens/{token}": "tokens/a987654321",
    "tokens/requests/{request}": "tokens/requests/r987654321",
    "users/alan": "users/nobody",
    "groups/math": "groups/nothing",
    "services/portal": "services/nothing",
    "shares/alan": "shares/nobody",
    "share-codes/alan": "share-codes/nobody",
}


@pytest.mark.parametrize("endpoint", NAMED, ids=str)
def test_what_is_out_of_reach_looks_like_what_is_not_there(
    endpoint: Endpoint, bearer: Any, cast: Any
) -> None:
    known = next((start for start in MISSING if endpoint.path.startswith(start)), None)
    if known is None:
        assert endpoint.place is NEW_SERVICE
        return
    filtering = {"g": "!group=art", "s": "!service=other"}.get(
        endpoint.path[0] if known[:2] != "sh" else "u", "!user=mallory"
    )
    secret = secret_of_service(f"{endpoint.scopes[0]}{filtering}")
    missing = Endpoint(
        **{**vars(endpoint), "path": endpoint.path.replace(known, MISSING[known])}
    )

    existing = call(endpoint, bearer, secret, cast)
    absent = call(missing, bearer, secret, cast)

    assert existing.status_code == absent.status_code == 404
    assert existing.content == absent.content


# Lists are narrowed


@pytest.mark.parametrize(
    ("scope", "path", "names"),
    [
        ("list:users!user=alan", "users", ["alan"]),
        ("list:users!group=art", "users", ["mallory"]),
        ("list:users!user=nobody", "users", []),
        ("list:groups!group=math", "groups", ["math"]),
        ("list:services!service=portal", "services", ["portal"]),
        ("list:services!service=none", "services", []),
    ],
)
def test_lists_show_what_filters_reach(
    scope: str, path: str, names: list[str], bearer: Any, cast: Any
) -> None:
    reply = bearer(secret_of_service(scope)).get(f"/hub/api/{path}")

    items = reply.json()
    found = items if isinstance(items, dict) else [item["name"] for item in items]
    assert sorted(found) == names


# Callers who need no scope


@pytest.mark.parametrize(("method", "route", "path", "status"), IDENTIFIED)
def test_any_credential_is_enough(
    method: str, route: str, path: str, status: int, bearer: Any, cast: Any
) -> None:
    for secret in (secret_of_service(), secret_of_user()):
        reply = bearer(secret).generic(method, f"/hub/api/{path}")
        assert reply.status_code == status
    for secret in (None, "no-such-token"):
        reply = bearer(secret).generic(method, f"/hub/api/{path}")
        assert reply.status_code == 403


@pytest.mark.parametrize(("method", "route", "path", "status"), PUBLIC)
def test_no_credential_is_needed(
    method: str, route: str, path: str, status: int, bearer: Any
) -> None:
    for secret in (None, "no-such-token"):
        reply = bearer(secret).generic(method, f"/hub/api/{path}")
        assert reply.status_code == status
