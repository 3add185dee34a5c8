"""A tiny site behind the real server: `python -m tests.web.site PORT WORKERS`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

from hubsite.config.hub_config import HubConfig
from web.asgi import Application
from web.deferred import Deferred

open_streams = 0
waiting = 0
released = False


def fast(request: HttpRequest) -> HttpResponse:
    found = {"pid": os.getpid(), "streams": open_streams, "waiting": waiting}
    return JsonResponse({**found, "body": len(request.body)})


def slow(request: HttpRequest) -> HttpResponse:
    """Compute for a while, as a bulk call does."""
    end = time.monotonic() + float(request.GET["seconds"])
    while time.monotonic() < end:
        sum(range(1000))
    return HttpResponse()


def release(request: HttpRequest) -> HttpResponse:
    """Let all who wait have their answers; uses a thread of the pool."""
    global released
    released = True
    return HttpResponse()


async def ticks() -> AsyncIterator[bytes]:
    global open_streams
    open_streams += 1
    try:
        while True:
            yield b"data: tick\n\n"
            await asyncio.sleep(0.2)
    finally:
        open_streams -= 1


def events(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(ticks(), content_type="text/event-stream")


def deferred(request: HttpRequest) -> Deferred:
    """Answer once somebody asks for the `release` of all who wait."""

    async def wait() -> HttpResponse:
        global waiting
        waiting += 1
        try:
            while not released:
                await asyncio.sleep(0.01)
        finally:
            waiting -= 1
        return HttpResponse(b"waited")

    return Deferred(wait)


urlpatterns = [
    path("hub/api/deferred", deferred),
    path("hub/api/release", release),
    path("hub/api/user", fast),
    path("hub/api/slow", slow),
    path("hub/api/events", events),
]


def make_application() -> Application:
    """Return this site as an ASGI application, for any server."""
    configure()
    return load()


def load() -> Application:
    return Application(get_wsgi_application())


def configure() -> None:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        BODY_SECONDS=2,
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        },
        DATA_UPLOAD_MAX_MEMORY_SIZE=1_000_000,
        HUB=HubConfig(),
        JUPYTERHUB_VERSION="6.1.1",
        SITE_HEADERS={},
        ROOT_URLCONF=__name__,
        TRUSTED_PROXIES=[],
        WEB_THREADS=8,
    )


def main() -> None:
    configure()
    from hubsite.process import workers
    from web import connection

    # Nobody's work is lost here, and several tests wait for these.
    workers.KILL_TIMEOUT = 2
    connection.HEADER_SECONDS = 2
    workers.serve("127.0.0.1", int(sys.argv[1]), int(sys.argv[2]), load)


if __name__ == "__main__":
    main()
