"""`manage.py check_config`: what a start would say about a configuration."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from hubsite.process.check_config import add_options
from hubsite.process.command_line import add_place_options


class Command(BaseCommand):
    """Stands for the check among Django's commands.

    From a shell `command_line.run` begins it before Django is loaded, because loading
    would create the secrets of the site.
    """

    help = "Say of each setting of a configuration what happens here, and what to do."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_place_options(parser)
        add_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        raise RuntimeError("Call `manage.py check_config` from a shell")
