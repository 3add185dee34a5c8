"""Measure all lists of the admin on a large hub: search, filters, order, last page.

Run in the hub's environment on an empty, migrated database: `admin.py [USERS]`, by
default 50,000 with two tokens, a server and an OAuth client each. The script fills the
database if it has no users, and prints for each page the milliseconds, the CPU time of
this process (with SQLite all of it) and the queries, as medians of five requests.
"""

from __future__ import annotations

import logging
import os
import random
import re
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubsite.settings")

import django

django.setup()

from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.urls import reverse  # noqa: E402
from django.utils import timezone  # noqa: E402

from accounts.models import Group, Role, User  # noqa: E402
from audit.models import Actor, Event  # noqa: E402
from oauth.models import OAuthClient  # noqa: E402
from scopes.definitions import DEFAULT_ROLES  # noqa: E402
from servers.models import Server  # noqa: E402
from services.models import Service  # noqa: E402
from tokens import bulk, digests  # noqa: E402
from tokens.models import APIToken, TokenDay, TokenPolicy  # noqa: E402

CHUNK = 5000
GROUPS = 500
SERVICES = 200
# One token among so many is used on each day.
USED_DAILY = 5
ROUNDS = 5
SEARCHES = ("e", "u1", "u04", "u049999", "LIBRARIAN", "nobody-has-this")
WORDS = ("laptop", "cron job", "notebook", "grading", "CI", "backup", "")

PAGES = {
    "accounts_user": (
        *("p=LAST", "rows=200", "state=deactivated", "admin__exact=1", "active=day"),
        *("active=never", "group=group007", "role=user", "o=6", "o=-6", "o=-6&p=LAST"),
    ),
    "accounts_group": ("role=user",),
    "services_service": ("admin__exact=1",),
    "tokens_apitoken": (
        *("p=LAST", "rows=200", "state=active", "state=expiring", "state=expired"),
        *("state=disabled", "state=revoked", "used=month", "used=long_ago"),
        *(
            "used=never",
            "owner_kind=user",
            "owner_kind=service",
            "origin__exact=minted",
        ),
        *("user=u000042", "expires=never", "scope=inherit", "scope=read:users"),
        *("group=group007", "role=user", "scope=read:users!group=group007"),
        *("state=frozen", "used=not_30", "used=not_90", "used=not_180"),
        *("used=not_365", "expires=week", "expires=month", "purpose=person"),
        *("purpose=program", "via=api", "network=10.0.0.0/8", "network=10.7.0.0/20"),
        *("network=10.7.3.9", "network=2001:db8::/32", "network=0.0.0.0/0"),
        *("policy=violated", "policy=in_force"),
        *(f"o={sign}{column}" for column in range(4, 8) for sign in ("", "-")),
        *("o=5&p=LAST", "o=4&p=LAST", "o=-4&p=LAST&q=u1"),
    ),
    "oauth_oauthclient": ("kind=service", "kind=server", "p=LAST"),
    "servers_server": (
        *("p=LAST", "state=on", "state=ready", "state=stopped", "state=failed"),
        *("user=u000042", "group=group007"),
        *(f"o={sign}{column}" for column in range(1, 6) for sign in ("", "-")),
    ),
    "audit_event": (
        *("p=LAST", "action=token.issue", "actor_kind=user", "target=user:u000042"),
    ),
}


def main() -> None:
    logging.disable(logging.CRITICAL)
    if User.objects.count() < 1000:
        fill(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
    TokenPolicy.objects.get_or_create(
        role=None,
        group=None,
        defaults={
            "max_expires_in": 365 * 86_400,
            "note_required": True,
            "scope_ceiling": ["read:users", "self"],
            "networks": ["10.0.0.0/8"],
            "max_unused_days": 180,
            "effective_from": timezone.now(),
        },
    )
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(User.objects.get(name="bench-admin"))
    print(f"{connection.vendor}: ", end="")
    for model in (User, APIToken, Server, OAuthClient, Event):
        print(f"{model.objects.count():,} {model._meta.verbose_name_plural} ", end="")
    print()
    slowest = 0.0
    for model, queries in PAGES.items():
        for query in ("", *(f"q={word}" for word in SEARCHES), *queries):
            took, work, number = measure(
                client, reverse(f"admin:{model}_changelist"), query
            )
            slowest = max(slowest, took)
            print(
                f"{took:8.1f} ms, {work:6.1f} of work, {number:3} queries  "
                f"{model}?{query}",
                flush=True,
            )
    print(f"{slowest:8.1f} ms at most")
    took, work, number = measure(client, reverse("admin:index"), "")
    print(f"{took:8.1f} ms, {work:6.1f} of work, {number:3} queries  overview")
    trends = reverse("admin:trends")
    for query in ("", "group=group007"):
        took, work, number = measure(client, trends, query)
        print(
            f"{took:8.1f} ms, {work:6.1f} of work, {number:3} queries  trends?{query}"
        )
    print(f"{preview(client):8.1f} ms to preview the revocation of all tokens")
    print(f"{disable():8.2f} s to disable 10,000 tokens")


def preview(client: Client) -> float:
    """Return the milliseconds until an act on all tokens has its preview."""
    page = reverse("admin:tokens_apitoken_changelist")
    first = APIToken.objects.values_list("pk", flat=True).first()
    act = {"action": "revoke", "select_across": "1", "_selected_action": [first]}
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        reply = client.post(page, {**act, "index": "0"})
        times.append(1000 * (time.perf_counter() - start))
        if reply.status_code != 200:
            sys.exit(f"the preview answered {reply.status_code}")
    return median(times)


def disable() -> float:
    """Disable 10,000 tokens by the admin; return the seconds, and undo it."""
    tokens = APIToken.objects.filter(disabled_at=None, revoked_at=None)
    chosen = list(tokens.order_by("pk").values_list("pk", flat=True)[:10_000])
    change = bulk.begin(
        "disable", APIToken.objects.filter(pk__in=chosen), by=Actor.system("benchmark")
    )
    start = time.perf_counter()
    bulk.proceed(change, 60)
    took = time.perf_counter() - start
    back = bulk.undo(change, bulk.disabled_by(change), by=Actor.system("benchmark"))
    bulk.proceed(back, 60)
    return took


def measure(client: Client, page: str, query: str) -> tuple[float, float, int]:
    """Return a page's milliseconds, those of CPU time, and its number of queries."""
    if "LAST" in query:
        first = client.get(f"{page}?{query.replace('LAST', '1')}").content.decode()
        last = re.search(r'class="end">(\d+)<', first)
        query = query.replace("LAST", last[1] if last else "1")
    times, worked = [], []
    for _ in range(ROUNDS):
        start, work = time.perf_counter(), time.process_time()
        reply = client.get(f"{page}?{query}")
        times.append(1000 * (time.perf_counter() - start))
        worked.append(1000 * (time.process_time() - work))
        if reply.status_code != 200:
            sys.exit(f"{page}?{query} answered {reply.status_code}")
    with CaptureQueriesContext(connection) as captured:
        client.get(f"{page}?{query}")
    return median(times), median(worked), len(captured)


def fill(users: int) -> None:
    chance = random.Random(1)  # noqa: S311 - the same rows each time
    now = timezone.now()
    roles = {
        name: Role.objects.get_or_create(
            name=name, defaults={"scopes": list(role["scopes"])}
        )[0]
        for name, role in DEFAULT_ROLES.items()
    }
    administrator = User.objects.create(name="bench-admin", password="!", admin=True)  # noqa: S106
    administrator.roles.add(roles["admin"], roles["user"])
    groups = Group.objects.bulk_create(
        Group(name=f"group{number:03}") for number in range(GROUPS)
    )
    services = Service.objects.bulk_create(
        Service(name=f"service{number:03}") for number in range(SERVICES)
    )
    digest = digests.digest("x" * 40, APIToken.Origin.GENERATED)

    def ago(days: float) -> Any:
        return now - timedelta(days=chance.random() * days)

    def address() -> str:
        low, high = chance.getrandbits(16), chance.getrandbits(4)
        if not high:
            return f"2001:db8::{low:x}"
        return f"10.{high}.{low >> 8}.{low & 255}"

    def tokens(owners: list[User], low: int) -> Iterator[APIToken]:
        for number, owner in enumerate(owners, low):
            for part in range(2):
                made, limit = ago(900), chance.choice([None, None, 30, 365, 900])
                yield APIToken(
                    user=owner if number % 50 else None,
                    service=None if number % 50 else chance.choice(services),
                    public_id=f"{chance.getrandbits(60):012x}"[:11] + str(part),
                    digest=digest,
                    note=f"{chance.choice(WORDS)} {number}",
                    scopes=chance.choice([["inherit"], ["inherit"], ["read:users"]]),
                    created=made,
                    last_activity=chance.choice([None, ago(120), ago(900)]),
                    expires_at=limit and made + timedelta(days=limit),
                    revoked_at=now if chance.random() < 0.1 else None,
                    disabled_at=now if chance.random() < 0.05 else None,
                    frozen_at=now if chance.random() < 0.01 else None,
                    purpose=chance.choice(["", "person", "program", "server"]),
                    created_via=chance.choice(["page", "api", "admin"]),
                    last_address=address(),
                    networks=["10.0.0.0/8"] if chance.random() < 0.1 else None,
                )

    for low in range(0, users, CHUNK):
        numbers = range(low, min(low + CHUNK, users))
        people = User.objects.bulk_create(
            User(
                name=f"u{number:06}",
                password="!",  # noqa: S106
                is_active=number % 100 != 1,
                last_activity=ago(400) if number % 4 else None,
            )
            for number in numbers
        )
        User.roles.through.objects.bulk_create(
            User.roles.through(user=user, role=roles["user"]) for user in people
        )
        User.groups.through.objects.bulk_create(
            User.groups.through(user=user, group=groups[(low + index + turn) % GROUPS])
            for index, user in enumerate(people)
            for turn in (0, 250)
        )
        created = APIToken.objects.bulk_create(tokens(people, low))
        TokenDay.objects.bulk_create(
            TokenDay(
                token=token,
                day=(now - timedelta(days=day)).date(),
                count=chance.randrange(1, 500),
            )
            for token in created[::USED_DAILY]
            for day in range(30)
        )
        Server.objects.bulk_create(
            Server(
                user=user,
                name="" if index % 5 else f"lab-{index}",
                ready=index % 20 == 0,
                started=ago(30),
                last_activity=ago(200) if index % 3 else None,
                failure="Spawn failed" if index % 50 == 7 else "",
            )
            for index, user in enumerate(people)
        )
        OAuthClient.objects.bulk_create(
            OAuthClient(
                identifier=f"jupyterhub-user-{user.name}",
                redirect_uri=f"/user/{user.name}/oauth_callback",
                server=f"{user.name}/",
            )
            for user in people
        )
        Event.objects.bulk_create(
            Event(
                at=ago(400),
                actor_kind="user",
                actor_name=user.name,
                action=chance.choice(["session.login", "token.issue", "server.start"]),
                target_kind="user",
                target_name=user.name,
                detail={},
            )
            for user in people
            for _ in range(4)
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


if __name__ == "__main__":
    main()
