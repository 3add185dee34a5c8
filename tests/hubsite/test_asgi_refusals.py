"""Pages of requests refused before a view, and limits of deferred parts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from accounts.models import User
from hubsite import urls
from hubsite.asgi import refused_page
from scopes.refusals import Unavailable
from tests.web.test_asgi import Call, echo
from web.bodies import RefusedError
from web.deferred import Deferred

PAGE = {"accept": "text/html,*/*;q=0.8"}

# Refused before the view


@pytest.fixture
def call(settings: Any) -> Call:
    """Send requests whose bodies are too long."""
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    return Call(echo, refused_page=refused_page)


def post(call: Call, path: str, headers: dict[str, str]) -> Call:
    length = {"content-length": "11"}
    return call(path, "POST", headers | length, body=(b"12345678901",))


@pytest.mark.parametrize("path", ["/hub/login", "/hub/api/oauth2/authorize"])
def test_a_browser_is_shown_a_page(call: Call, path: str) -> None:
    post(call, path, PAGE)

    assert call.status == 413
    assert call.headers["content-type"].startswith("text/html")
    assert "frame-ancestors" in call.headers["content-security-policy"]
    assert call.headers["connection"] == "close"
    assert "The request is too large" in call.body.decode()
    assert "larger than 10 bytes" in call.body.decode()
    assert not call.environ


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/hub/api/users", PAGE),
        ("/hub/api/users", {}),
        ("/hub/login", {"accept": "application/json"}),
        ("/hub/login", {}),
    ],
)
def test_a_program_gets_json(call: Call, path: str, headers: dict[str, str]) -> None:
    post(call, path, headers)

    assert call.status == 413
    assert call.headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", [403, 408, 413, 503])
def test_each_refusal_has_a_page_with_the_reason(status: int) -> None:
    response = refused_page(RefusedError(status, "Because <of> this."))

    assert response.status_code == status
    assert "Because &lt;of&gt; this." in response.content.decode()


def test_a_page_has_the_time_of_the_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(environ: Any) -> bool:
        raise RefusedError(503, "Too many at once.")

    monkeypatch.setattr("web.asgi.may_wait", refuse)
    call = Call(echo, refused_page=refused_page)("/hub/login", headers=PAGE)

    assert call.status == 503
    assert call.headers["retry-after"].isdigit()
    assert "The hub is busy" in call.body.decode()


# The awaited part


def awaited(part: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Make a page that does something in its awaited part."""

    def view(request: HttpRequest) -> HttpResponse:
        # So that both are there, as on pages.
        request.session["seen"] = True
        messages.success(request, "Seen.")

        async def wait() -> HttpResponse:
            await asyncio.to_thread(part, request)
            return HttpResponse("fine")

        waiting: Callable[[], Awaitable[HttpResponse]] = wait
        return Deferred(waiting)

    return view


def fail(error: Exception) -> Callable[[HttpRequest], None]:
    def part(request: HttpRequest) -> None:
        raise error

    return part


PARTS: dict[str, Callable[[HttpRequest], Any]] = {
    "key": lambda request: request.session.session_key,
    "get": lambda request: request.session.get("seen"),
    "item": lambda request: request.session["seen"],
    "set": lambda request: request.session.update({"seen": False}),
    "flush": lambda request: request.session.flush(),
    "say": lambda request: messages.success(request, "Done."),
    "read": lambda request: list(messages.get_messages(request)),
    "missing": fail(Http404()),
    "denied": fail(PermissionDenied("You may not.")),
    "locked": fail(OperationalError("database is locked")),
    "crowd": fail(Unavailable("Come back later.", 7)),
}
urlpatterns = [
    *(path(f"hub/awaited/{name}", awaited(part)) for name, part in PARTS.items()),
    *urls.urlpatterns,
]
handler500 = urls.handler500


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("key", 200, "fine"),
        *((name, 500, "went wrong") for name in ("get", "item", "set", "flush")),
        *((name, 500, "went wrong") for name in ("say", "read")),
        ("missing", 404, "Page not found"),
        ("denied", 403, "You may not."),
        ("locked", 503, "The hub is busy"),
        ("crowd", 503, "Come back later."),
    ],
)
def test_an_awaited_part_fails_as_a_view_does_and_uses_no_session(
    ada: User, as_: Any, settings: Any, name: str, status: int, words: str, caplog: Any
) -> None:
    browser: Client = as_(ada)
    settings.ROOT_URLCONF = __name__

    response = browser.get(f"/hub/awaited/{name}")

    assert response.status_code == status
    assert words in response.content.decode()
    assert "X-JupyterHub-Version" in response
    assert (status == 503) == response.has_header("Retry-After")
    if status == 500:
        assert "before the view returns its Deferred" in caplog.text
