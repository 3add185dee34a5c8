"""The hub as a WSGI application, for any server that speaks WSGI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django
from django.core.handlers.wsgi import WSGIHandler
from django.http.response import HttpResponseBase

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubsite.settings")
django.setup(set_prefix=False)

from tokens import activity, verification  # noqa: E402 - models need the setup above


class HubHandler(WSGIHandler):
    """Django's handler, with a shorter way for short calls."""

    def answer_short(self, environ: dict[str, object]) -> HttpResponseBase:
        """Answer a request without the signals that Django sends around it.

        Their receivers look for connections, to the database and the cache, that are
        too old or broken, and cost as much as a query does. Ours have no age, and a
        broken one shows at the query that begins each call.
        """
        chain: Any = self._middleware_chain  # type: ignore[attr-defined]
        response: HttpResponseBase = chain(self.request_class(environ))
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
