"""`manage.py changepassword NAME`: Django's command, which also ends sessions."""

from __future__ import annotations

import getpass
from typing import Any

from allauth.usersessions.models import UserSession
from django.contrib.auth.management.commands import changepassword
from django.core.management.base import CommandError, CommandParser

from accounts.naming import find_typed_user
from accounts.sessions import UserSessionsAdapter


class Command(changepassword.Command):
    """Sets a password; all sessions of the user end.

    The tokens that were obtained in the sessions are revoked as well, as after a new
    password on the page Profile.
    """

    help = "Set the password of a user, and end the user's sessions."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("-f", "--config", metavar="CONFIG")
        parser.add_argument("--data-dir", metavar="DIR")

    def handle(self, *args: Any, **options: Any) -> str | None:
        name = options["username"] or getpass.getuser()
        user = find_typed_user(name)
        if user is None:
            raise CommandError(f"No such user: {name}")
        said = super().handle(*args, **options | {"username": user.name})
        UserSessionsAdapter().end_sessions(UserSession.objects.filter(user=user))
        return said
