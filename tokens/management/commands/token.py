"""`manage.py token NAME`: print a new token of a user, and nothing else."""

from __future__ import annotations

import getpass
import re
import sys
from argparse import ArgumentTypeError
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError

from accounts.naming import find_typed_user
from audit.models import Actor
from scopes.refusals import Refusal
from tokens.actions.issuing import issue_token
from tokens.models import CreatedVia

# Seconds of each unit of a lifetime.
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def lifetime(text: str) -> int:
    """Return the seconds of a text like `3600` or `90d`."""
    match = re.fullmatch(r"([1-9][0-9]{0,9})([smhdw]?)", text)
    if match is None:
        raise ArgumentTypeError(
            f"{text!r} is no time: give seconds, or a number with s, m, h, d or w "
            "behind it, as 90d"
        )
    return int(match[1]) * UNITS[match[2] or "s"]


class Command(BaseCommand):
    """Prints a token, by default with all the user's rights and without an end.

    The command changes nothing else: roles and users stay as they are, whatever the
    configuration. The hub may run meanwhile or not.
    """

    help = "Print a new token of a user (yourself, if no name is given)."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME")
        parser.add_argument(
            "--note",
            default="command-line generated",
            help="what the token is for, as its owner reads it on the page Token",
        )
        parser.add_argument(
            "--expires-in",
            type=lifetime,
            metavar="TIME",
            help="seconds, or a number with s, m, h, d or w behind it, as 90d; "
            "without it the token never expires",
        )
        parser.add_argument(
            "--scopes",
            nargs="+",
            metavar="SCOPE",
            help="what the token may do, as read:users list:groups; without it, "
            "everything that its owner may do",
        )
        parser.add_argument("-f", "--config", metavar="CONFIG")
        parser.add_argument("--data-dir", metavar="DIR")

    def handle(self, *args: Any, **options: Any) -> None:
        names = options["names"] or [getpass.getuser()]
        if len(names) != 1:
            self.refuse("Must specify exactly one username")
        try:
            user = find_typed_user(names[0])
        except DatabaseError:
            self.refuse(
                "There is no database yet: start the hub once, with the same --data-dir"
            )
        if user is None:
            self.refuse(f"No such user: {names[0]}")
        try:
            _token, secret = issue_token(
                user,
                by=Actor.system("command line"),
                note=options["note"],
                expires_in=options["expires_in"],
                scopes=options["scopes"],
                via=CreatedVia.COMMAND,
                capped=False,
            )
        except Refusal as refusal:
            self.refuse(refusal.for_people)
        self.stdout.write(secret)

    def refuse(self, message: str) -> NoReturn:
        """End with the bare message, because scripts compare it with JupyterHub's."""
        self.stderr.write(message)
        sys.exit(1)
