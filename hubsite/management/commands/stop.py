"""`manage.py stop`: the end of a hub, and of what runs on without it."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from audit.models import Actor
from controller.process import serve
from controller.proxy import routes
from controller.shutdown import write_shutdown
from hubsite.config.environment import forget_secrets
from hubsite.process import proxy_process
from hubsite.process.children import open_log
from hubsite.process.command_line import add_place_options
from hubsite.process.prepare import is_current
from servers.actions import stop_servers
from servers.models import ACTIVE, Server

# Longer than the supervisor takes at most, with servers that do not stop.
PATIENCE = 100.0
LOOK = 0.2


class Command(BaseCommand):
    """Ends the hub of a data folder; servers and proxy as well, unless they are kept.

    After the hub has ended, or if none runs, servers that run on are stopped by a
    controller that leads for that alone.
    """

    help = "End the hub, its servers and its proxy, also those that it has left."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_place_options(parser)
        parser.add_argument(
            "--keep-servers", action="store_true", help="let notebook servers run on"
        )
        parser.add_argument(
            "--keep-proxy", action="store_true", help="let the proxy run on"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        servers, proxy = not options["keep_servers"], not options["keep_proxy"]
        left = self.end_hub(settings.DATA_DIR, servers, proxy)
        if servers and is_current():
            left = self.end_servers() or left
        if proxy and (survivor := proxy_process.find_survivor(settings.DATA_DIR)):
            survivor.end()
            proxy_process.forget(settings.DATA_DIR)
            self.stdout.write(f"The proxy has ended (process {survivor.pid})")
        if left:
            self.stderr.write(left)
            sys.exit(1)

    def end_hub(self, data_dir: Path, servers: bool, proxy: bool) -> str:
        """End the supervisor, if one runs; return what went wrong."""
        pid = running_hub(data_dir)
        if not pid:
            self.stdout.write(f"No hub runs with {data_dir}")
            return ""
        write_shutdown(data_dir, servers=servers, proxy=proxy)
        os.kill(pid, signal.SIGTERM)
        self.stdout.write(f"The hub is told to end (process {pid})")
        if not wait(lambda: running_hub(data_dir) != pid):
            return f"The hub still runs (process {pid})"
        self.stdout.write("The hub has ended")
        return ""

    def end_servers(self) -> str:
        """Stop the servers that run on; return what went wrong."""
        active = Server.objects.filter(ACTIVE)
        number = active.count()
        if not number:
            return ""
        self.stdout.write(f"Servers that run on: {number}")
        ours = settings.HUB.proxy_should_start or settings.HUB.is_proxy_hosted
        if ours and not proxy_process.find_survivor(settings.DATA_DIR):
            # Nobody is there who could be told of routes.
            routes.PATIENCE = 0.0
        # The wish is stored, so it is fulfilled even if this command is interrupted.
        stop_servers(active, by=Actor.system("stop"))
        done = lead_until(lambda: not active.exists())
        if not done:
            return f"Servers that did not stop: {active.count()}"
        self.stdout.write("All servers have stopped")
        return ""


def lead_until(condition: Callable[[], bool]) -> bool:
    """Be the controller, of servers alone, until something is true; say if it is.

    If another one leads, that one acts and this one stands by.
    """
    outcome: list[bool] = []

    def watch() -> None:
        outcome.append(wait(condition))
        connections.close_all()
        os.kill(os.getpid(), signal.SIGTERM)

    # Its lines go where those of controllers go.
    shown, log = os.dup(2), open_log(settings.DATA_DIR / "logs" / "controller.log")
    os.dup2(log, 2)
    try:
        Thread(target=watch, daemon=True).start()
        forget_secrets()
        serve()
    finally:
        os.dup2(shown, 2)
        os.close(shown)
        os.close(log)
    return outcome == [True]


def running_hub(data_dir: Path) -> int:
    """Return the process that supervises this data folder, or 0."""
    try:
        with (data_dir / "hub.pid").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return int(file.read().strip() or 0)
    except (FileNotFoundError, ValueError):
        pass
    return 0


def wait(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK)
    return True
