"""The hub as a WSGI application, for any server that speaks WSGI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.db import connection
from django.http.response import HttpResponseBase

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubsite.settings")
django.setup(set_prefix=False)

from tokens import activity, verification  # noqa: E402 - models need the setup above


class ShortRequest(WSGIRequest):
    """A request whose environ the bridge made, so that nothing has to be looked for.

    Django asks what several servers could have meant by its path, which takes as long
    as to find the view.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        path: str = environ["PATH_INFO"]
        if not path.isascii():
            super().__init__(environ)
            return
        self.environ = self.META = environ
        self.path = self.path_info = path
        self.method = environ["REQUEST_METHOD"]
        self._set_content_type_params(environ)  # type: ignore[attr-defined]
        self._stream = environ["wsgi.input"]
        self._read_started = False
        self.resolver_match = None


class HubHandler(WSGIHandler):
    """Django's handler, with a shorter way for short calls."""

    def answer_short(self, environ: dict[str, Any]) -> HttpResponseBase:
        """Answer a request without the signals that Django sends around it.

        Their receivers look for connections, to the database and the cache, that are
        too old or broken, and cost as much as a query does. Ours have no age. A broken
        one shows at the query that begins a call with a token; where that was not the
        first, the call has failed, and this thread had better not keep it.
        """
        chain: Any = self._middleware_chain  # type: ignore[attr-defined]
        response: HttpResponseBase = chain(ShortRequest(environ))
        if response.status_code >= 500:
            connection.close_if_unusable_or_obsolete()
        return response

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Do beside the requests what has to be done while there are any."""
        activity.start()
        verification.look_for_lost_keys()
        try:
            yield
        finally:
            activity.stop()


application = HubHandler()
