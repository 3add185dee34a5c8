"""`manage.py export_jupyterhub FILE`: the way back to JupyterHub."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from hubsite.process.command_line import add_place_options
from hubsite.process.moving_console import show
from moving.exporting import export_database
from moving.jupyterhub_database import OldDatabase
from scopes.refusals import Refusal


class Command(BaseCommand):
    """Writes a database on which JupyterHub 6.1 starts, and changes nothing here."""

    help = "Write a database for JupyterHub 6.1, with all that JupyterHub can use."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "database",
            metavar="DATABASE",
            help="a new SQLite file, or the address of an empty database",
        )
        parser.add_argument(
            "--old",
            metavar="DATABASE",
            help="the database that was imported, for the digests of tokens that were "
            "used here since",
        )
        add_place_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        old = OldDatabase(options["old"]) if options["old"] else nullcontext()
        try:
            with old as reading:
                report = export_database(options["database"], reading)
        except Refusal as refusal:
            raise CommandError(refusal.for_people) from None
        show(report, Console(), title="written")
