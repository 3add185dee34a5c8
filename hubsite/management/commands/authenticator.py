"""`manage.py authenticator`: the class that signs people in, in its own process."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from hubsite.process.authenticator import add_options, run_host
from hubsite.process.command_line import add_place_options


class Command(BaseCommand):
    """Stands for the process among Django's commands.

    From a shell `command_line.run` starts the process without loading Django.
    """

    help = "Run the authenticator class of the configuration, which hubs ask."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_place_options(parser)
        add_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(run_host(["--check"] if options["check"] else []))
