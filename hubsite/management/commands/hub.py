"""`manage.py hub`: everything, under one supervisor."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from hubsite.process.command_line import add_place_options
from hubsite.process.supervisor import supervise


class Command(BaseCommand):
    """Stands for the supervisor among Django's commands.

    From a shell `commandline.run` starts the supervisor without loading Django.
    """

    help = "Run the hub: web processes, proxy, and what keeps them running."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_place_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(supervise())
