"""A bare Django view behind the hub's server: the lowest possible cost with Django.

`floor.py PORT` serves `hub/api/user` (the floor F) and `hub/api/events` (an event
stream).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from django.conf import settings  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import (  # noqa: E402
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path  # noqa: E402

from hubsite.config.load import HubConfig  # noqa: E402

# As long as the response to an ordinary user's `GET /user`.
ANSWER = {
    "kind": "user",
    "name": "u000001",
    "admin": False,
    "groups": ["big"],
    "roles": ["user"],
    "created": "2026-01-01T00:00:00.000000Z",
    "last_activity": "2026-01-01T00:00:00.000000Z",
    "scopes": [f"read:users:activity!user=u{number:06}" for number in range(20)],
    "server": None,
    "pending": None,
    "servers": {},
    "session_id": None,
    "token_id": "a1",
}


def user(request: HttpRequest) -> HttpResponse:
    return JsonResponse(ANSWER)


async def ticks() -> AsyncIterator[bytes]:
    while True:
        yield b'data: {"progress": 50, "message": "still starting"}\n\n'
        await asyncio.sleep(1)


def events(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(ticks(), content_type="text/event-stream")


urlpatterns = [path("hub/api/user", user), path("hub/api/events", events)]


def main() -> None:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        BODY_SECONDS=30,
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        },
        HUB=HubConfig(),
        JUPYTERHUB_VERSION="6.1.1",
        ROOT_URLCONF=__name__,
        DATA_UPLOAD_MAX_MEMORY_SIZE=10_000_000,
        TRUSTED_PROXIES=[],
        WEB_THREADS=8,
    )
    # Imported here, because the application reads the settings at its import.
    from hubsite.process.workers import serve
    from web.asgi import Application

    serve(
        "127.0.0.1",
        int(sys.argv[1]),
        load=lambda: Application(get_wsgi_application()),
    )


if __name__ == "__main__":
    main()
