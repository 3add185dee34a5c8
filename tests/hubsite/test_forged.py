"""Forged tokens are refused before any view, and get the same response as there."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hubsite.asgi import handler, is_forged, refuse_forged
from tests.api.test_scope_matrix import IDENTIFIED, PROTECTED, PUBLIC
from tests.factories import make_token, make_user
from tokens import digests, format, verification
from web.asgi import caller_of
from web.environ import make_environ

pytestmark = pytest.mark.django_db

CALLS = sorted(
    {
        (each.method, each.path.format(token="a1", request="1", notice="1"))
        for each in PROTECTED
    }
    | {(method, path) for method, _, path, _ in (*IDENTIFIED, *PUBLIC)}
)


def forged(public_id: str = "") -> str:
    return format.generate("hub", [b"another hub's"], public_id=public_id)[0]


def environ_of(method: str, path: str, secret: str, **more: str) -> dict[str, Any]:
    headers = {"authorization": f"token {secret}", "host": "127.0.0.1", **more}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(key.encode(), value.encode()) for key, value in headers.items()],
        "client": ("192.0.2.1", 1),
        "http_version": "1.1",
        "scheme": "http",
    }
    environ = make_environ(scope, b"/hub/api/")
    environ["wsgi.input"] = BytesIO(b"")
    return environ


def answer(environ: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    response = handler(environ, lambda status, headers, *problem: lambda data: None)
    return parts(response)


def parts(response: Any) -> tuple[int, dict[str, str], bytes]:
    return response.status_code, dict(response.items()), response.content


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_the_response_is_the_one_of_the_view(method: str, path: str) -> None:
    secret = forged(make_token()[0].public_id)
    environ = environ_of(method, f"/hub/api/{path}", secret)
    assert is_forged(environ)

    with CaptureQueriesContext(connection) as queries:
        early = refuse_forged(environ)

    if early is not None:
        assert not queries
        assert parts(early) == answer(environ_of(method, f"/hub/api/{path}", secret))
        assert early.status_code == 403


def test_most_addresses_refuse_early() -> None:
    early = {
        (method, path)
        for method, path in CALLS
        if refuse_forged(environ_of(method, f"/hub/api/{path}", forged()))
    }

    protected = {
        (each.method, each.path.format(token="a1", request="1", notice="1"))
        for each in PROTECTED
    }
    # A password in the body may identify the caller, and metrics are a page.
    assert len(protected - early) <= 6, protected - early
    assert not early & {(method, path) for method, _, path, _ in PUBLIC}


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/hub/api/user", {"cookie": "jupyterhub-session-id=x"}),
        ("/hub/api/user", {"origin": "https://example.org"}),
        ("/hub/api/users/a%ff", {}),
        ("/hub/api/nothing", {}),
        ("/hub/home", {}),
    ],
)
def test_requests_that_need_more_than_a_token_reach_their_view(
    path: str, more: dict[str, str]
) -> None:
    assert refuse_forged(environ_of("GET", path, forged(), **more)) is None


def test_only_forged_tokens_of_the_format_count() -> None:
    _, secret = make_token(make_user())
    assert not is_forged(environ_of("GET", "/hub/api/user", secret))
    assert not is_forged(environ_of("GET", "/hub/api/user", "a-token-of-the-operator"))
    assert (
        is_forged(environ_of("GET", "/hub/api/user", f"{secret[:-1]}-"[:77])) is False
    )
    verification.verify(secret)
    assert not is_forged(environ_of("GET", "/hub/api/user", secret))


def test_with_lost_keys_the_digest_decides(settings: Any, monkeypatch: Any) -> None:
    _, secret = make_token(make_user())
    settings.TOKEN_TAG_KEYS = [b"a new key"]
    verification.look_for_lost_keys()

    assert not is_forged(environ_of("GET", "/hub/api/user", forged()))
    assert verification.verify(secret) is not None
    assert verification.verify(forged()) is None


def test_a_flood_costs_neither_queries_nor_argon2(monkeypatch: Any) -> None:
    token, _ = make_token()
    hashed: list[Any] = []
    monkeypatch.setattr(digests, "matches", lambda *words: hashed.append(words))

    with CaptureQueriesContext(connection) as queries:
        found = [verification.verify(forged(token.public_id)) for _ in range(300)]

    assert not any(found)
    assert not queries
    assert not hashed
    assert len(verification._proved) == 0


def test_invented_tokens_of_one_client_are_one_caller() -> None:
    callers = {
        caller_of(environ_of("GET", "/hub/api/user", forged()), by_credential=False)
        for _ in range(3)
    }

    assert len(callers) == 1
