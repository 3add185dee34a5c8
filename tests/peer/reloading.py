"""Lets a hub that runs follow another configuration.

A start costs seconds of processor time, and hundreds of tests change one setting each.
The configuration that this hub is given calls `listen`, so each of its processes opens
a Unix socket; whoever connects has the process read its configuration once more.
Only settings that are read at each use may change like that: `hub.py` has their names.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from pathlib import Path

READ = b"ok"
PATIENCE = 60.0
_listening: set[int] = set()


def listen(folder: str) -> None:
    """Open the socket of this process, once; its name says what the process is."""
    if os.getpid() in _listening:
        return
    _listening.add(os.getpid())
    name = Path(sys.argv[0]).stem if len(sys.argv) < 2 else sys.argv[1]
    place = Path(folder) / f"{name}-{os.getpid()}.sock"
    place.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place))
    listener.listen()
    threading.Thread(target=_serve, args=(listener,), daemon=True).start()


def _serve(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            try:
                _read_again()
            except Exception as problem:
                connection.sendall(str(problem).encode())
            else:
                connection.sendall(READ)


def _read_again() -> None:
    from django.apps import apps

    while not apps.ready:
        # The configuration is being read for the first time.
        time.sleep(0.01)
    from django.conf import settings

    from hubsite.config.configuration import load_config

    settings.HUB = load_config(
        settings.SITE.config,
        keep_servers=settings.SITE.keep_servers,
        homes=settings.DATA_DIR / "homes",
    )
    if hosting := sys.modules.get("controller.spawners.hosting"):
        _make_hosts_anew(hosting.Hosting)


def _make_hosts_anew(hosting: type) -> None:
    """Have spawners made by the class, and with the traits, of the latest reading."""
    from django.conf import settings

    get = getattr(hosting.get, "before", hosting.get)

    async def get_anew(self):
        host = await get(self)
        if host.config is not settings.HUB.raw:
            self._host = None
            host = await get(self)
        return host

    get_anew.before = get
    hosting.get = get_anew


def have_all_read_again(folder: Path) -> bool:
    """Have every process read its configuration; return whether all could."""
    for place in folder.glob("*.sock"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            try:
                connection.connect(str(place))
                answer = connection.recv(4096)
            except ConnectionRefusedError:
                # Of a process that has ended.
                place.unlink(missing_ok=True)
                continue
            if answer != READ:
                return False
    return True
