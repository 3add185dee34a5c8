"""Drills: commands that try a promise of the running hub, with rows of their own.

A drill runs beside the hub, with the same database. It changes only rows that it has
made, whose names begin with `hub-drill-`, and deletes them in the end.
"""

from __future__ import annotations

import http.client
import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import CommandError
from django.db import transaction

from accounts.actions import create_user, delete_users
from accounts.models import Group, Role, User
from audit.models import Actor
from database.locks import delete_all

BY = Actor.system("drill")
PREFIX = "hub-drill-"
# Names of earlier drills that were interrupted; nobody chooses such a name.
NAME = rf"^{PREFIX}[0-9a-f]{{12}}$"
# Most connections that are opened until each web process has one.
MOST_CONNECTIONS = 200


def hub_url() -> str:
    """Return the address of the API at the hub's own port, without the proxy."""
    hub = settings.HUB
    return f"{hub.hub_connect_url.rstrip('/')}{hub.base_url}hub/api"


class Caller:
    """A connection to the hub that stays open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.path = parts.path.rstrip("/")
        kind = (
            http.client.HTTPSConnection
            if parts.scheme == "https"
            else http.client.HTTPConnection
        )
        self.connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=60)

    def begin(self, path: str, secret: str = "", body: bytes | None = None) -> None:
        """Send a request; GET, or POST if there is a body."""
        headers = {"Authorization": f"token {secret}"} if secret else {}
        method = "GET" if body is None else "POST"
        try:
            self.connection.request(method, f"{self.path}{path}", body, headers)
        except OSError as problem:
            raise CommandError(
                f"The hub does not answer ({problem}): start it first, with the same"
                " --data-dir, or name its address with --url"
            ) from problem

    def finish(self) -> int:
        """Return the status of the response to the last request."""
        response = self.connection.getresponse()
        response.read()
        return response.status

    def call(self, path: str, secret: str = "", body: bytes | None = None) -> int:
        self.begin(path, secret, body)
        return self.finish()

    def close(self) -> None:
        self.connection.close()

    def process(self) -> int | None:
        """Return the id of the process at the other end, if it is on this machine.

        It is read from /proc: the connection's ports lead to a socket, and the socket
        to the process that has it open.
        """
        known: socket.socket | None = self.connection.sock
        if known is None:
            return None
        return holder_of(known.getpeername()[1], known.getsockname()[1])


def holder_of(local: int, remote: int) -> int | None:
    """Return the process with a TCP connection between these ports of this machine."""
    inode = ""
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
                fields = line.split()
                ports = [int(end.rpartition(":")[2], 16) for end in fields[1:3]]
                if ports == [local, remote]:
                    inode = fields[9]
    if not inode:
        return None
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            for handle in os.listdir(f"/proc/{entry}/fd"):
                if os.readlink(f"/proc/{entry}/fd/{handle}") == f"socket:[{inode}]":
                    return int(entry)
    return None


def callers(url: str, processes: int) -> tuple[list[Caller], int]:
    """Return connections to so many web processes, and the number of processes.

    Where processes can't be told apart, as on another machine, there are four
    connections for each, and the number is 0.
    """
    found: dict[int, Caller] = {}
    others: list[Caller] = []
    for _ in range(MOST_CONNECTIONS):
        caller = Caller(url)
        if caller.call("/") != 200:
            raise CommandError(f"There is no hub at {url}")
        pid = caller.process()
        if pid is None:
            others.append(caller)
            if len(others) == 4 * processes:
                return others, 0
        elif pid in found:
            # It stays open until the end of the search, so that its process is busy
            # and another one may take the next.
            others.append(caller)
        else:
            found[pid] = caller
        if len(found) == processes:
            break
    for caller in others:
        caller.close()
    return list(found.values()), len(found)


def together(
    asked: Sequence[Caller], path: str, secret: str, body: bytes | None = None
) -> list[int]:
    """Send the same request on all connections at once; return the statuses."""
    for caller in asked:
        caller.begin(path, secret, body)
    return [caller.finish() for caller in asked]


@contextmanager
def drill_user(email: str = "") -> Iterator[User]:
    """Create a user without roles for a drill, and delete the user afterwards."""
    clean_up()
    user = create_user(drill_name(), by=BY)
    user.roles.clear()
    if email:
        User.objects.filter(pk=user.pk).update(email=email)
    try:
        yield user
    finally:
        clean_up()


def clean_up() -> None:
    """Delete the rows of this drill, and those that an interrupted one has left."""
    delete_users(User.objects.filter(name__regex=NAME), by=BY)
    for model in (Group, Role):
        with transaction.atomic():
            delete_all(model.objects.filter(name__regex=NAME))


def drill_name() -> str:
    """Return a name for a row of a drill."""
    return f"{PREFIX}{secrets.token_hex(6)}"
