"""`manage.py leak_drill`: leak a token, and measure until it is refused and mailed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email

from hubsite.drills import BY, Caller, drill_user, hub_url
from hubsite.process.command_line import add_place_options
from tokens import format
from tokens.actions.issuing import issue_token
from tokens.leaks import recipients
from tokens.models import Leak

# Seconds between two looks.
LOOK = 0.02


class Command(BaseCommand):
    """Makes a token of a user made for the drill, and deletes both afterwards."""

    help = (
        "Leak a token to the running hub, and measure until it is revoked and mailed."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--mail-to",
            metavar="ADDRESS",
            default="",
            help="address of the token's owner, who gets the mail; without it no mail"
            " is sent",
        )
        parser.add_argument(
            "--patience",
            type=float,
            default=60.0,
            metavar="SECONDS",
            help="longest wait for the revocation, and again for the mail",
        )
        parser.add_argument("--url", help="address of the hub's API, if not here")
        add_place_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        self.patience: float = options["patience"]
        address: str = options["mail_to"]
        try:
            if address:
                validate_email(address)
        except ValidationError:
            raise CommandError(f"{address!r} is no mail address") from None
        hub = Caller(options["url"] or hub_url())
        hub.call("/")
        with drill_user(address) as user:
            token, secret = issue_token(
                user, by=BY, note="leak drill", scopes=[], limited=False
            )
            if address and not recipients(token):
                raise CommandError(
                    "This hub sends no mail: set HUB_EMAIL_HOST, or leave out --mail-to"
                )
            self.expect(hub.call("/user", secret) == 200, "the new token is refused")
            invented = format.generate("hub", [b"drill"])[0]
            unknown = self.post(hub, invented)
            began = time.monotonic()
            known = self.post(hub, secret)
            self.say("response to an invented token", unknown)
            self.say("response to the leaked token", known)
            self.wait(lambda: hub.call("/user", secret) == 403, "the token is accepted")
            self.say("from the leak to the first refusal", time.monotonic() - began)
            leaks = Leak.objects.filter(token=token)
            self.wait(leaks.exists, "there is no notice to the owner")
            if address:
                self.wait(
                    leaks.filter(mailed_at__isnull=False).exists, "no mail was sent"
                )
                self.say("from the leak to the owner's mail", time.monotonic() - began)
            else:
                self.stdout.write(
                    "No mail was sent, because --mail-to names no address"
                )

    def post(self, hub: Caller, secret: str) -> float:
        """Report a token as anybody can, and return the seconds of the response."""
        began = time.monotonic()
        body = json.dumps({"credentials": [secret]}).encode()
        status = hub.call("/tokens/leaked", body=body)
        if status == 429:
            raise CommandError(
                "This machine has sent as many reports as are accepted within an hour:"
                " try again later"
            )
        self.expect(status == 202, f"the report was answered with status {status}")
        return time.monotonic() - began

    def wait(self, condition: Callable[[], bool], problem: str) -> None:
        end = time.monotonic() + self.patience
        while not condition():
            self.expect(
                time.monotonic() < end,
                f"after {self.patience:g} seconds {problem}: does a controller run?",
            )
            time.sleep(LOOK)

    def say(self, what: str, seconds: float) -> None:
        self.stdout.write(f"{seconds:8.3f} s  {what}")

    @staticmethod
    def expect(is_met: bool, problem: str) -> None:
        if not is_met:
            raise CommandError(f"The drill failed: {problem}")
