"""`manage.py token NAME`: print a new token of a user, and nothing else."""

from __future__ import annotations

import getpass
import sys
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError

from accounts.models import User
from audit.models import Actor
from scopes.refusals import Refusal
from tokens.actions import issue_token


class Command(BaseCommand):
    """Prints a token that has all the user's rights and never expires.

    It touches nothing else: whatever configuration it is given, roles and users
    stay as they are. The hub may run meanwhile or not.
    """

    help = "Print a new token of a user (yourself, if no name is given)."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME")
        parser.add_argument("-f", "--config", metavar="CONFIG")
        parser.add_argument("--data-dir", metavar="DIR")

    def handle(self, *args: Any, **options: Any) -> None:
        names = options["names"] or [getpass.getuser()]
        if len(names) != 1:
            self.refuse("Must specify exactly one username")
        try:
            user = User.objects.filter(name=names[0]).first()
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
                note="command-line generated",
                capped=False,
            )
        except Refusal as refusal:
            self.refuse(refusal.message)
        self.stdout.write(secret)

    def refuse(self, message: str) -> NoReturn:
        """End with the bare message: scripts compare it with JupyterHub's."""
        self.stderr.write(message)
        sys.exit(1)
