"""The API of a hosted class of proxies, which is that of configurable-http-proxy.

So the rest of the hub changes the routes of all proxies in one way. The API listens at
a Unix socket that only this user can open.
"""

from __future__ import annotations

import hmac
import json
import logging
import socket
import socketserver
import sys
from http.server import BaseHTTPRequestHandler
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from controller.proxy.client import MARK
from controller.proxy.hosted_proxy import ClassFailed, HostedProxy

logger = logging.getLogger(__name__)

ROUTES: Final = "/api/routes"
# Most bytes of one route.
BODY_LIMIT: Final = 1 << 16
READ_TIMEOUT: Final = 5.0


class HostAPI(socketserver.ThreadingUnixStreamServer):
    """Answers requests for the routes of one hosted proxy, each in a thread."""

    daemon_threads = True

    def __init__(
        self, listener: socket.socket, proxy: HostedProxy, auth_token: str
    ) -> None:
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.proxy = proxy
        self.auth_token = auth_token

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log an error, unless the client has gone away."""
        if not isinstance(sys.exception(), OSError):
            logger.exception("A request for routes failed")


class Handler(BaseHTTPRequestHandler):
    """One request for the routes."""

    server: HostAPI
    timeout = READ_TIMEOUT

    def do_GET(self) -> None:
        self.answer(lambda path: (200, self.listed(path)))

    def do_POST(self) -> None:
        self.answer(self.add)

    def do_DELETE(self) -> None:
        self.answer(self.delete)

    def answer(self, act: Any) -> None:
        """Check the request, act, and send the outcome as JSON."""
        status, found = self.outcome(act)
        body = json.dumps(found).encode() if found is not None else b""
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def outcome(self, act: Any) -> tuple[int, Any]:
        given = self.headers.get("Authorization", "")
        expected = f"token {self.server.auth_token}"
        if not hmac.compare_digest(given.encode(), expected.encode()):
            return 403, None
        path = unquote(urlsplit(self.path).path)
        if not f"{path}/".startswith(f"{ROUTES}/"):
            return 404, None
        try:
            found: tuple[int, Any] = act(f"/{path.removeprefix(ROUTES).strip('/')}")
        except ClassFailed as problem:
            return 503, {"message": str(problem)}
        return found

    def listed(self, path: str) -> dict[str, Any]:
        return {
            key: {**route, MARK: True}
            for key, route in self.server.proxy.routes().items()
            if path in ("/", key)
        }

    def add(self, path: str) -> tuple[int, Any]:
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_LIMIT:
            return 413, {"message": "The route is too long"}
        try:
            route = json.loads(self.rfile.read(length))
            target = route.pop("target")
        except (ValueError, AttributeError, LookupError, TypeError):
            return 400, {"message": "A route is a JSON object with a `target`"}
        route.pop(MARK, None)
        self.server.proxy.add_route(path, target, route)
        return 201, None

    def delete(self, path: str) -> tuple[int, Any]:
        self.server.proxy.delete_route(path)
        return 204, None

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing, because the hub logs what fails."""
