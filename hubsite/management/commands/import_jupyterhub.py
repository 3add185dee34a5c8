"""`manage.py import_jupyterhub DATABASE`: move in from JupyterHub's database."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hubsite.process.command_line import add_place_options
from hubsite.process.moving_in import import_from
from hubsite.process.prepare import migrate
from scopes.refusals import Refusal


class Command(BaseCommand):
    """Imports people, groups, roles, services, servers and tokens.

    The old database is opened for reading only. The command may be repeated: rows that
    were imported before stay as they are here.
    """

    help = "Import the database of a JupyterHub, with all tokens and servers."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "database",
            metavar="DATABASE",
            help="jupyterhub.sqlite, or the db_url of the old hub",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="report what would come, and change nothing",
        )
        add_place_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        migrate()
        try:
            import_from(options["database"], is_dry_run=options["dry_run"])
        except Refusal as refusal:
            raise CommandError(refusal.for_people) from None
