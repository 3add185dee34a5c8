"""Client of configurable-http-proxy's REST API, as far as a hub needs that API.

Standard library only and no Django, because the supervisor imports this module too.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from web.hooks import Hook

# The program whose API this is.
NAME = "configurable-http-proxy"

TIMEOUT = 5.0
# A class of proxies that the hub hosts may take that long, see
# `controller.proxy.hosted_proxy`.
HOSTED_TIMEOUT = 35.0

# The scheme of an address whose host is the escaped path of a Unix socket.
UNIX = "http+unix"

# Routes without this mark were made by other programs and are left alone.
MARK = "jupyterhub"


# Called after each request to a proxy with the name of the request, the seconds that it
# took, and whether it succeeded.
request_ended = Hook[[str, float, bool], None]()


@contextmanager
def measured(act: str) -> Iterator[None]:
    """Report the time of a request to the callbacks."""
    began = time.perf_counter()
    succeeded = False
    try:
        yield
        succeeded = True
    finally:
        request_ended(act, time.perf_counter() - began, succeeded)


class ProxyError(Exception):
    """The proxy could not be reached, or refused a request.

    A `passing` error may be gone at the next try.
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class ProxyClient:
    """Reads and changes the routes of one running proxy.

    Paths are unescaped here, as the proxy lists them.
    """

    def __init__(
        self, api_url: str, auth_token: str, *, timeout: float | None = None
    ) -> None:
        self.api_url = api_url.rstrip("/")
        self.auth_token = auth_token
        is_hosted = api_url.startswith(f"{UNIX}:")
        self.timeout = timeout or (HOSTED_TIMEOUT if is_hosted else TIMEOUT)

    @measured("poll")
    def routes(self) -> dict[str, dict[str, Any]]:
        """Return the hub's routes by path, each with `target` and its other data.

        No path except the root's ends in a slash.
        """
        try:
            routes = json.loads(self._call("GET", ""))
            return {
                path: route
                for path, route in routes.items()
                if route.get(MARK) and isinstance(route["target"], str)
            }
        except (ValueError, AttributeError, LookupError):
            raise ProxyError(
                f"What answers at {self.api_url} is no proxy of a hub"
            ) from None

    @measured("add")
    def add_route(self, path: str, target: str, **data: Any) -> None:
        """Route requests below a path to a target, and replace an earlier route.

        The proxy puts the path of the target before the path of each request.
        """
        self._call("POST", path, {"target": target, MARK: True, **data})

    @measured("delete")
    def delete_route(self, path: str) -> None:
        """Delete a route; a path without a route is no error."""
        self._call("DELETE", path, tolerated=(404,))

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        tolerated: tuple[int, ...] = (),
    ) -> bytes:
        url = urlsplit(self.api_url)
        connection = self._connection()
        try:
            connection.request(
                method,
                f"{url.path}/api/routes{path and '/' + quote(path.strip('/'), '/@')}",
                json.dumps(body) if body is not None else None,
                {"Authorization": f"token {self.auth_token}"},
            )
            response = connection.getresponse()
            reply = response.read()
        except ValueError:
            # The error would show the secret that does not fit into a header.
            raise ProxyError(
                f"{self.api_url} is no address, or its secret can't be sent"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise ProxyError(
                f"The proxy does not answer at {self.api_url}: {error}", passing=True
            ) from error
        finally:
            connection.close()
        if response.status == 403:
            raise ProxyError(f"The proxy at {self.api_url} has another secret")
        if response.status >= 400 and response.status not in tolerated:
            raise ProxyError(
                f"The proxy at {self.api_url} answered {response.status} to {method}"
                f"{_reason(reply)}",
                passing=response.status >= 500,
            )
        return reply

    def _connection(self) -> http.client.HTTPConnection:
        url = urlsplit(self.api_url)
        if url.scheme == UNIX:
            return UnixConnection(unquote(url.netloc), timeout=self.timeout)
        secure = url.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        return kind(url.hostname or "", url.port, timeout=self.timeout)


class UnixConnection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: str, *, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def _reason(reply: bytes) -> str:
    """Return the reason in the reply of a hosted class; other proxies say none."""
    try:
        return f": {json.loads(reply)['message']}"
    except (ValueError, LookupError, TypeError):
        return ""


def origin(url: str) -> str:
    """Return scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
