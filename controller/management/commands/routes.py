"""`manage.py routes`: restore the proxy's routes."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from controller.proxy.client import ProxyError
from controller.proxy.routes import check_routes, proxy


class Command(BaseCommand):
    """Adds missing routes and removes outdated ones, as `POST /proxy` does.

    A restarted proxy has no routes.
    """

    help = "Give the proxy the routes that it should have."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("-f", "--config", metavar="CONFIG")
        parser.add_argument("--data-dir", metavar="DIR")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            check_routes(proxy())
        except ProxyError as problem:
            self.stderr.write(str(problem))
            sys.exit(1)
