"""A minimal HTTP client: it keeps connections open and does not parse bodies."""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Callable, Iterator
from typing import Any

PAGED = "application/jupyterhub-pagination+json"


class Unexpected(Exception):
    """A response that the benchmark can't use."""


def request(
    method: str,
    path: str,
    token: str | None = None,
    body: Any = None,
    accept: str = "*/*",
) -> bytes:
    """Return the bytes of a request, so that they are made before the measurement."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Accept: {accept}"]
    if token:
        lines.append(f"Authorization: token {token}")
    data = b"" if body is None else json.dumps(body).encode()
    if data or method in ("POST", "PUT", "PATCH"):
        lines.append("Content-Type: application/json")
        lines.append(f"Content-Length: {len(data)}")
    return "\r\n".join([*lines, "", ""]).encode() + data


class Connection:
    """A connection that stays open, and is opened again if the server closes it."""

    def __init__(self, port: int, timeout: float = 300) -> None:
        self.port = port
        self.timeout = timeout
        self.socket: socket.socket | None = None
        self.buffer = b""

    def send(self, data: bytes) -> tuple[int, bytes]:
        """Send a request; return status and body of the response."""
        if self.socket is not None:
            try:
                return self._exchange(self.socket, data)
            except ConnectionError:
                pass
        return self._exchange(self._open(), data)

    def expect(self, data: bytes, *statuses: int) -> Any:
        """Send a request; return the response's JSON if its status is expected."""
        status, body = self.send(data)
        if status not in statuses:
            line = data.split(b"\r\n", 1)[0].decode()
            raise Unexpected(f"{line}: {status} {body[:300]!r}")
        return json.loads(body) if body else None

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def _open(self) -> socket.socket:
        self.close()
        opened = socket.create_connection(("127.0.0.1", self.port), self.timeout)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket, self.buffer = opened, b""
        return opened

    def begin(self, data: bytes) -> socket.socket:
        """Send a request, and return the socket on which its response will arrive."""
        server = self.socket or self._open()
        server.sendall(data)
        return server

    def finish(self) -> tuple[int, bytes]:
        """Return status and body of the response to the last request."""
        if self.socket is None:
            raise Unexpected("nothing was sent")
        return self._read(self.socket)

    def _exchange(self, server: socket.socket, data: bytes) -> tuple[int, bytes]:
        server.sendall(data)
        return self._read(server)

    def _read(self, server: socket.socket) -> tuple[int, bytes]:
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            self._receive(server)
        head, self.buffer = self.buffer[:end].lower(), self.buffer[end + 4 :]
        status = int(head[9:12])
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            if status in (204, 304):
                return status, b""
            raise Unexpected(f"an answer without length: {head!r}")
        length = int(head[at + 17 :].split(b"\r\n", 1)[0])
        while len(self.buffer) < length:
            self._receive(server)
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return status, body

    def _receive(self, server: socket.socket) -> None:
        data = server.recv(1 << 20)
        if not data:
            raise ConnectionError("closed by the server")
        self.buffer += data


Exchange = tuple[bytes, int, bytes]


def at_once(
    port: int, count: int, orders: Iterator[bytes], goes_on: Callable[[int], bool]
) -> Iterator[Exchange]:
    """Send requests over `count` connections, the next one on the first free one.

    Yield each request with the status and body of its response. `goes_on` is called
    with the number of requests sent, and returns whether to send another one.
    """
    sent = 0
    with selectors.DefaultSelector() as selector:

        def send(connection: Connection) -> None:
            nonlocal sent
            if not goes_on(sent):
                return
            order = next(orders)
            selector.register(
                connection.begin(order), selectors.EVENT_READ, (connection, order)
            )
            sent += 1

        connections = [Connection(port) for _ in range(count)]
        for connection in connections:
            send(connection)
        while selector.get_map():
            for key, _ in selector.select():
                connection, order = key.data
                selector.unregister(key.fileobj)
                status, body = connection.finish()
                send(connection)
                yield order, status, body
    for connection in connections:
        connection.close()
