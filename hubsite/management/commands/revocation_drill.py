"""`manage.py revocation_drill`: try that changes of tokens count at the next request.

Each trial uses a token in every web process, so that each has it in its cache, changes
one thing in this process, and uses the token in every web process at once again. An
answer from before the change is stale; there must be none.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle, islice
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from accounts.actions import activate_users, create_user, deactivate_users, delete_user
from accounts.group_actions import add_members, remove_members
from accounts.models import Group, Role, User
from hubsite.drills import (
    BY,
    Caller,
    callers,
    drill_name,
    drill_user,
    hub_url,
    together,
)
from hubsite.process.command_line import add_place_options
from tokens.actions.changes import change_scopes, narrow_token, set_limits
from tokens.actions.issuing import issue_token
from tokens.actions.pausing import (
    disable_tokens,
    enable_tokens,
    freeze_tokens,
    unfreeze_tokens,
)
from tokens.actions.revocation import revoke_token
from tokens.actions.rotation import rotate_token
from tokens.models import APIToken, TokenPolicy
from tokens.policy_actions import apply_policies, delete_policy, save_policy

GOOD, REFUSED = 200, 403
# The scope of the rights that the trials give and take.
SCOPE = "list:users"
# Networks from which the drill does not call (RFC 5737).
ELSEWHERE = ["192.0.2.0/24"]


@dataclass
class Kind:
    """A change that ends the use of a token at one address, and its reversal."""

    name: str
    path: str
    change: Callable[[], object]
    undo: Callable[[], object]


class Rows:
    """The rows of the trials: a user with a role, also by a group, and a token."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.users = User.objects.filter(pk=user.pk)
        self.role = Role.objects.create(name=drill_name(), scopes=[SCOPE])
        self.group = Group.objects.create(name=drill_name())
        self.group_role = Role.objects.create(name=drill_name(), scopes=[SCOPE])
        self.group_role.groups.add(self.group)
        self.renew()

    def renew(self) -> None:
        """Issue a token, in the place of one that can't be used again."""
        self.token, self.secret = issue_token(
            self.user, by=BY, note="drill", limited=False
        )
        self.tokens = APIToken.objects.filter(pk=self.token.pk)

    def limit(self, networks: list[str] | None) -> None:
        set_limits(self.token, networks=networks, rate_limit=None, by=BY)

    def limit_by_policy(self) -> None:
        """Let a policy in force limit the token, as the controller does."""
        now = timezone.now()
        rules = TokenPolicy(role=self.role, networks=ELSEWHERE, effective_from=now)
        save_policy(rules, by=BY)
        own = TokenPolicy.objects.filter(pk=rules.pk)
        while apply_policies(now, by=BY, policies=own):
            pass

    def lift_policy(self) -> None:
        for rules in TokenPolicy.objects.filter(role=self.role):
            delete_policy(rules, by=BY)
        self.limit(None)

    def replace_user(self) -> None:
        self.user = create_user(drill_name(), by=BY)
        self.user.roles.clear()
        self.users = User.objects.filter(pk=self.user.pk)
        self.renew()

    def kinds(self) -> list[Kind]:
        """Return all changes; each `undo` makes the token usable again."""
        own, listed = "/user", "/users?limit=1"
        later = timezone.now() + timedelta(days=1)
        return [
            Kind("revoke", own, lambda: revoke_token(self.token, by=BY), self.renew),
            Kind(
                "disable",
                own,
                lambda: disable_tokens(self.tokens, by=BY),
                lambda: enable_tokens(self.tokens, by=BY),
            ),
            Kind(
                "freeze",
                own,
                lambda: freeze_tokens(self.tokens, by=BY, reason="drill"),
                lambda: unfreeze_tokens(self.tokens, by=BY),
            ),
            Kind(
                "expiry",
                own,
                lambda: self.tokens.update(expires_at=timezone.now()),
                lambda: self.tokens.update(expires_at=later),
            ),
            Kind(
                "scopes cut",
                listed,
                lambda: narrow_token(self.token, ["read:users:name!user"], by=BY),
                lambda: change_scopes(self.token, ["inherit"], by=BY),
            ),
            Kind(
                "network rule",
                own,
                lambda: self.limit(ELSEWHERE),
                lambda: self.limit(None),
            ),
            Kind("policy", own, self.limit_by_policy, self.lift_policy),
            # The drill uses the earlier secret, which has no overlap.
            Kind(
                "rotation",
                own,
                lambda: rotate_token(self.token, by=BY, overlap=0),
                self.renew,
            ),
            Kind(
                "role removed",
                listed,
                lambda: self.user.roles.remove(self.role),
                lambda: self.user.roles.add(self.role),
            ),
            Kind(
                "role narrowed",
                listed,
                lambda: Role.objects.filter(pk=self.role.pk).update(scopes=[]),
                lambda: Role.objects.filter(pk=self.role.pk).update(scopes=[SCOPE]),
            ),
            Kind(
                "group removed",
                listed,
                lambda: remove_members(self.group, [self.user.name], by=BY),
                lambda: add_members(self.group, [self.user.name], by=BY),
            ),
            Kind(
                "owner deactivated",
                own,
                lambda: deactivate_users(self.users, by=BY),
                lambda: activate_users(self.users, by=BY),
            ),
            Kind(
                "owner deleted",
                own,
                lambda: delete_user(self.user, by=BY),
                self.replace_user,
            ),
        ]

    def settle(self, kind: Kind) -> None:
        """Give the rights that a change takes, from one source only."""
        by_group = kind.name == "group removed"
        self.user.groups.set([self.group] if by_group else [])
        self.user.roles.set([] if by_group else [self.role])


@dataclass
class Result:
    """The number of trials of a kind, and of stale and unexpected answers."""

    trials: int = 0
    stale: int = 0
    late: int = 0
    odd: int = 0


class Command(BaseCommand):
    """Runs beside a hub, whose web processes it finds by its connections to them."""

    help = "Try that a change of a token counts at the next request in every process."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--trials", type=int, default=200, help="in total")
        parser.add_argument(
            "--processes",
            type=int,
            default=4,
            help="web processes to use (HUB_WORKERS)",
        )
        parser.add_argument("--url", help="address of the hub's API, if not here")
        add_place_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        url = options["url"] or hub_url()
        asked, processes = callers(url, options["processes"])
        began = time.monotonic()
        results: dict[str, Result] = {}
        with drill_user() as user:
            rows = Rows(user)
            for kind in self.in_turn(rows, options["trials"]):
                found = results.setdefault(kind.name, Result())
                self.one(rows, kind, asked, found)
        for caller in asked:
            caller.close()
        self.show(results, processes or len(asked), bool(processes))
        self.stdout.write(f"{time.monotonic() - began:.1f} s")
        if any(found.stale or found.late or found.odd for found in results.values()):
            sys.exit(1)
        if processes and processes < options["processes"]:
            self.stderr.write(
                f"Only {processes} web processes were found: start the hub with"
                f" HUB_WORKERS={options['processes']}, or say --processes {processes}"
            )
            sys.exit(1)

    @staticmethod
    def in_turn(rows: Rows, trials: int) -> Iterator[Kind]:
        return islice(cycle(rows.kinds()), trials)

    @staticmethod
    def one(rows: Rows, kind: Kind, asked: list[Caller], found: Result) -> None:
        """Make one trial: use, change, use, undo, use."""
        rows.settle(kind)
        found.trials += 1
        before = together(asked, kind.path, rows.secret)
        found.odd += sum(status != GOOD for status in before)
        kind.change()
        after = together(asked, kind.path, rows.secret)
        found.stale += sum(status == GOOD for status in after)
        found.odd += sum(status not in (GOOD, REFUSED) for status in after)
        kind.undo()
        rows.settle(kind)
        again = together(asked, kind.path, rows.secret)
        found.late += sum(status == REFUSED for status in again)
        found.odd += sum(status not in (GOOD, REFUSED) for status in again)

    def show(self, results: dict[str, Result], processes: int, are_known: bool) -> None:
        what = "web processes" if are_known else "connections"
        self.stdout.write(
            f"{'change':<18} trials  stale  late  others ({processes} {what})"
        )
        for name, found in results.items():
            self.stdout.write(
                f"{name:<18} {found.trials:>6}  {found.stale:>5}  {found.late:>4}"
                f"  {found.odd:>6}"
            )
        total = sum(found.trials for found in results.values())
        stale = sum(found.stale for found in results.values())
        self.stdout.write(f"{total} trials, {stale} stale answers")
