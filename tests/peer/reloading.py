"""Makes a running hub use another configuration.

A start takes seconds of CPU time, and hundreds of tests change one setting each. The
configuration of this hub calls `listen`, so that each of its processes opens a Unix
socket; a connection makes the process read its configuration again. Only settings that
are read at each use can be changed in this way, and those that a start stores in rows
for the controller: `hub.py` has their names.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

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
            except Exception:
                connection.sendall(traceback.format_exc()[-3000:].encode())
            else:
                connection.sendall(READ)


def _read_again() -> None:
    from django.apps import apps

    while not apps.ready:
        # The configuration is being read for the first time.
        time.sleep(0.01)
    from django.conf import settings

    from hubsite.config.load import load_config

    before = settings.HUB
    settings.HUB = load_config(
        settings.SITE.config,
        keep_servers=settings.SITE.keep_servers,
        homes=settings.DATA_DIR / "homes",
    )
    if before.custom_scopes != settings.HUB.custom_scopes:
        _define_other_scopes(settings.HUB.custom_scopes)
    if hosting := sys.modules.get("controller.spawners.loading"):
        _make_hosts_anew(hosting.Hosting)
        if before.services != settings.HUB.services:
            _run_other_services()
        if _routes(before) != _routes(settings.HUB):
            os.kill(os.getpid(), sys.modules["controller.routing"].CHECK_ROUTES)


def _define_other_scopes(wanted: Any) -> None:
    from accounts.rights import access_of
    from scopes.definitions import SCOPES, implied, register_custom_scopes

    for name in [name for name in SCOPES if name.startswith("custom:")]:
        del SCOPES[name]
    register_custom_scopes(wanted)
    for remembered in (implied, access_of):
        remembered.cache_clear()


def _routes(hub: Any) -> tuple[Any, ...]:
    return hub.extra_routes, hub.services


def _run_other_services() -> None:
    """Have the controller end its services and run those that are declared now."""
    from controller import service_processes

    for task in _tasks():
        frame = task.get_coro().cr_frame
        values = frame.f_locals if frame else {}
        if values.get("function") is service_processes.run:
            again = _again(values["self"], task)
            asyncio.run_coroutine_threadsafe(again, task.get_loop()).result()


async def _again(leader: Any, task: asyncio.Task) -> None:
    from controller import service_processes

    task.cancel()
    while not task.done():
        await asyncio.sleep(0.01)
    again = asyncio.ensure_future(leader._keep_going(service_processes.run))
    leader._track(again, leader._task_group)


def _tasks() -> list[asyncio.Task]:
    """Return the tasks of all event loops of this process."""
    every = [each for each in gc.get_objects() if isinstance(each, asyncio.Task)]
    return [task for task in every if not task.done()]


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


def have_all_read_again(folder: Path, name: str = "*") -> bool:
    """Have processes read their configuration; return whether all could."""
    for place in folder.glob(f"{name}-*.sock"):
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
                print(f"{place.name}: {answer.decode()}")
                return False
    return True
