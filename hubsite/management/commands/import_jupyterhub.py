"""`manage.py import_jupyterhub DATABASE`: move in from JupyterHub's database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hubsite.config.values import crypt_keys
from hubsite.process.command_line import add_place_options
from hubsite.process.moving_console import import_from
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
        parser.add_argument(
            "--crypt-key-file",
            type=Path,
            metavar="FILE",
            help="keys of the old hub's auth state, if this hub has others: as in "
            "JUPYTERHUB_CRYPT_KEY",
        )
        parser.add_argument(
            "--firstuse",
            type=Path,
            metavar="FILE",
            help="the file of FirstUseAuthenticator's passwords (its dbm_path)",
        )
        add_place_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        migrate()
        try:
            import_from(
                options["database"],
                is_dry_run=options["dry_run"],
                old_keys=read_keys(options["crypt_key_file"]),
                firstuse=options["firstuse"],
            )
        except Refusal as refusal:
            raise CommandError(refusal.for_people) from None


def read_keys(path: Path | None) -> tuple[bytes, ...]:
    """Return the keys in a file, separated by semicolons or lines."""
    if path is None:
        return ()
    try:
        text = path.read_text("ascii").replace("\n", ";")
        return crypt_keys([each.strip() for each in text.split(";") if each.strip()])
    except (OSError, ValueError) as error:
        raise CommandError(f"--crypt-key-file {path}: {error}") from None
