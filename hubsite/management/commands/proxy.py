"""`manage.py proxy`: the process of a hosted class of proxies."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import suppress
from threading import Event, Thread
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from controller.proxy.classes import OWN
from controller.proxy.routes import lasting_routes
from controller.shutdown import SUPERVISOR
from hubsite.config.environment import forget_secrets
from hubsite.config.file import ConfigError
from hubsite.process.command_line import add_place_options
from hubsite.process.proxy_process import find_proxy
from hubsite.process.proxy_socket import open_proxy_socket

logger = logging.getLogger("hub.proxy")

# The signal after which the proxy outlives the hub.
OUTLIVE = signal.SIGUSR1


class Command(BaseCommand):
    """Hosts the class in `c.JupyterHub.proxy_class` until SIGTERM.

    The supervisor runs this command. Where web processes and controllers are started
    one by one, so is this, with the same data folder.
    """

    help = "Run the proxy of c.JupyterHub.proxy_class, and keep its routes."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_place_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.HUB.is_proxy_hosted:
            raise ConfigError(
                "c.JupyterHub.proxy_class: no class to host; `manage.py hub` starts "
                f"{OWN.rpartition('.')[2]} by itself"
            )
        status = Host().run()
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        # A class that blocks would keep the process from its end.
        os._exit(status)


class Host:
    """The process: the hosted class, its API, and their end."""

    def __init__(self) -> None:
        self.leaving = Event()
        self.outlives = False
        parent = os.getppid()
        self.parent = parent if os.environ.get(SUPERVISOR) == str(parent) else 0

    def run(self) -> int:
        """Host the class until a signal or a failure; return the exit status."""
        from controller.proxy.host_api import HostAPI
        from controller.proxy.hosted_proxy import LOOK, ClassFailed, HostedProxy

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.leaving.set())
        signal.signal(OUTLIVE, lambda *_: setattr(self, "outlives", True))
        forget_secrets()
        # JupyterHub's database library logs what it loads.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        command: list[str] = []
        with suppress(FileNotFoundError):
            command = find_proxy(settings.SITE.proxy_command)
        proxy = HostedProxy(command=command)
        try:
            proxy.start()
            self.add_first_routes(proxy)
        except (ClassFailed, ValueError) as failure:
            logger.critical("The proxy can't start: %s", failure)
            proxy.stop()
            return 1
        listeners = open_proxy_socket(settings.PROXY_HOST_SOCKET)
        if not listeners:
            proxy.stop()
            return 1
        api = HostAPI(listeners[0], proxy, settings.PROXY_AUTH_TOKEN)
        Thread(target=api.serve_forever, daemon=True).start()
        status = 0
        while not self.leaving.wait(LOOK):
            if problem := proxy.problem():
                logger.error("The proxy is started again: %s", problem)
                status = 1
                break
            if self.parent and os.getppid() != self.parent and not self.outlives:
                break
        api.shutdown()
        proxy.stop()
        return status

    def add_first_routes(self, proxy: Any) -> None:
        """Add the routes that do not depend on servers.

        A proxy that somebody else starts may come later; the controller adds the
        routes then.
        """
        from controller.proxy.hosted_proxy import ClassFailed

        routes = lasting_routes()
        connections.close_all()
        try:
            for path, route in routes.items():
                proxy.add_route(path, route.target, route.data)
        except ClassFailed as problem:
            if proxy.has_started:
                raise
            logger.warning("The proxy does not take routes yet: %s", problem)
