"""`manage.py tag_keys`: list the keys of tags in tokens, and change to a new one.

A rotation has two steps with a restart after each, so that every process has a new
key before the first token is signed with it. Tokens keep the tag of their issue, so the
old key stays until the last of them has ended.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Count
from django.utils import timezone

from hubsite.config import secrets
from hubsite.process.command_line import add_place_options
from tokens import format
from tokens.models import APIToken, PreviousSecret


class Command(BaseCommand):
    """Reads and writes the file of the keys; keys are shown by their ids only."""

    help = "List the tag keys of tokens, or change to a new one."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "action",
            nargs="?",
            choices=("list", "add", "use", "drop"),
            default="list",
            help="list: the keys and their tokens; add: a new key that verifies; use:"
            " let the newest key sign; drop: keys without tokens",
        )
        add_place_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        action = options["action"]
        if action == "list":
            self.show()
            return
        if settings.SITE.tag_keys:
            raise CommandError(
                "HUB_TAG_KEYS has the keys of this hub, so change that: put a new key"
                f" at its end ({secrets.new_key()} is one) and restart every process,"
                " then move it to the front and restart again"
            )
        getattr(self, action)(secrets.keep_several(settings.TAG_KEY_FILE))

    def show(self) -> None:
        """List the keys: those of the hub, then those that are lost."""
        tokens = tokens_by_key()
        for number, key in enumerate(settings.TOKEN_TAG_KEYS):
            name = format.key_id(key)
            does = "verifies" if number else "signs and verifies"
            self.stdout.write(f"{name}  {tokens.pop(name, 0):>7} tokens  {does}")
        for name, number in sorted(tokens.items()):
            self.stdout.write(f"{name or '(none)':<8}  {number:>7} tokens  is lost")
        if tokens:
            self.stdout.write(
                "Tokens of lost keys stay valid. Until they have ended, forged tokens"
                " cost a query and an Argon2 verification: put the keys back, or rotate"
                " or revoke these tokens."
            )

    def add(self, keys: list[str]) -> None:
        """Add a key at the end, which verifies tags and signs none yet."""
        made = secrets.new_key()
        secrets.replace(settings.TAG_KEY_FILE, [*keys, made])
        self.stdout.write(
            f"Added {format.key_id(made.encode())}, which signs no tokens yet. Restart"
            " the hub, then run `manage.py tag_keys use`."
        )

    def use(self, keys: list[str]) -> None:
        """Move the last key to the front, so that it signs."""
        if len(keys) < 2:
            raise CommandError(
                "There is no other key: run `manage.py tag_keys add`, and restart the"
                " hub"
            )
        secrets.replace(settings.TAG_KEY_FILE, [keys[-1], *keys[:-1]])
        self.stdout.write(
            f"{format.key_id(keys[-1].encode())} signs new tokens from the next start"
            " of the hub on. Restart the hub. When `manage.py tag_keys` shows no more"
            " tokens of the other keys, run `manage.py tag_keys drop`."
        )

    def drop(self, keys: list[str]) -> None:
        """Remove the keys that sign nothing and have no tokens."""
        tokens = tokens_by_key()
        kept = keys[:1]
        dropped: list[str] = []
        for key in keys[1:]:
            name = format.key_id(key.encode())
            (kept if tokens[name] else dropped).append(key)
        if dropped:
            secrets.replace(settings.TAG_KEY_FILE, kept)
        for key in keys[1:]:
            name = format.key_id(key.encode())
            self.stdout.write(
                f"Dropped {name}"
                if key in dropped
                else f"Kept {name}, because {tokens[name]} tokens have its tag"
            )
        if not keys[1:]:
            self.stdout.write("There is one key only, which signs new tokens")


def tokens_by_key() -> Counter[str]:
    """Return the number of valid secrets with the tag of each key, by the key's id."""
    now = timezone.now()
    generated = APIToken.Origin.GENERATED
    found: Counter[str] = Counter()
    for rows in (
        APIToken.objects.active(now).filter(origin=generated),
        PreviousSecret.objects.filter(origin=generated, ends_at__gt=now),
    ):
        counted = rows.order_by().values_list("tag_key").annotate(Count("pk"))
        for name, number in counted:
            found[name] += number
    return found
