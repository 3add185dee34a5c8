"""Changes of many rows are divided, so that other writers do not wait for long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.conf import settings as django_settings
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import connection, transaction
from django.utils import timezone

from accounts import actions as accounts
from accounts import group_actions
from accounts.models import Group, User
from audit.actions import MOST_NAMES
from audit.models import Actor, Event
from controller import cleanup, retention
from controller.records import Records, take_over
from database.batches import HEAVY_ROWS, ROWS, in_batches
from hubsite.config.hub_config import HubConfig
from hubsite.config.reconcile import reconcile
from oauth import actions as oauth
from oauth.models import OAuthClient, OAuthCode
from scopes.refusals import Invalid
from servers import actions as servers
from servers.models import Server
from tests import factories
from tokens.actions import pausing, revocation
from tokens.models import APIToken

BY = Actor.system("test")
USERS = MOST_NAMES + 100
# What one transaction may change at most, with indexes of texts and all: a quarter of a
# second on a small machine.
MOST = 20 * ROWS

pytestmark = pytest.mark.django_db


class Changes:
    """How many rows each transaction within a block has changed."""

    def __init__(self) -> None:
        self.transactions: list[int] = []
        self.depth = 0
        self.counted = self.total()

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, more: Any
    ) -> Any:
        # SQLite knows what a statement has changed once its rows were read.
        self.count()
        if sql.startswith("SAVEPOINT") and not self.depth:
            self.transactions.append(0)
        result = execute(sql, params, many, more)
        if sql.startswith("SAVEPOINT"):
            self.depth += 1
        elif sql.startswith("RELEASE"):
            self.depth -= 1
        elif connection.vendor == "postgresql" and sql.startswith(
            ("INSERT", "UPDATE", "DELETE")
        ):
            self.add(max(0, more["cursor"].rowcount))
        return result

    def count(self) -> None:
        total = self.total()
        self.add(total - self.counted)
        self.counted = total

    def add(self, number: int) -> None:
        if not number:
            return
        if self.depth:
            self.transactions[-1] += number
        else:
            self.transactions.append(number)

    @staticmethod
    def total() -> int:
        if connection.vendor == "postgresql":
            return 0
        return int(connection.connection.total_changes)


@pytest.fixture
def scene(settings: Any) -> SimpleNamespace:
    """More of everything than one transaction may change."""
    settings.HUB = replace(
        settings.HUB, active_server_limit=0, concurrent_spawn_limit=0
    )
    factories.make_default_roles()
    factories.make_user("ada", admin=True)
    users = factories.make_users(USERS)
    group = factories.make_group("math")
    group.users.add(*users)
    now = timezone.now()
    some = users[: 2 * ROWS + 10]
    APIToken.objects.bulk_create(
        APIToken(
            public_id=f"{kind}{number:011}",
            digest="$argon2id$",
            origin="minted",
            scopes=["inherit"],
            user=user,
            session_id=f"s{number}" if kind else None,
        )
        for number, user in enumerate(some)
        for kind in (0, 1)
    )
    Server.objects.bulk_create(
        Server(
            **{"user": user, "user_options": {}, "wanted": "running", "ready": True},
            **{"generation": 1, "settled": 1, "url": "http://x"},
        )
        for user in some
    )
    client = factories.make_client()
    OAuthClient.objects.bulk_create(
        OAuthClient(identifier=f"c{number}", server=f"{user.name}/x", redirect_uri="/x")
        for number, user in enumerate(some)
    )
    over = now - timedelta(hours=1)
    OAuthCode.objects.bulk_create(
        OAuthCode(
            **{"handle": f"h{number}", "client": client, "user": user},
            **{"redirect_uri": "/x", "scopes": [], "expires_at": over},
        )
        for number, user in enumerate(some)
    )
    Session.objects.bulk_create(
        Session(session_key=f"k{number}", session_data="", expire_date=now)
        for number in range(len(some))
    )
    UserSession.objects.bulk_create(
        UserSession(user=user, session_key=f"k{number}", ip="127.0.0.1")
        for number, user in enumerate(some)
    )
    return SimpleNamespace(
        **{"users": users, "some": some, "group": group},
        names=[user.name for user in users],
    )


def people() -> Any:
    return User.objects.filter(admin=False)


def plain() -> Any:
    return APIToken.objects.filter(session_id=None)


def start(s: SimpleNamespace) -> int:
    Server.objects.update(ready=False)
    return servers.start_servers(Server.objects.all(), by=BY)


def stop_as_controller(s: SimpleNamespace) -> int:
    return Records(take_over("test", {})).stop_all()


def enable(s: SimpleNamespace) -> int:
    plain().update(disabled_at=timezone.now())
    return pausing.enable_tokens(plain(), by=BY)


def activate(s: SimpleNamespace) -> int:
    people().update(is_active=False)
    return accounts.activate_users(people(), by=BY)


def delete_users(s: SimpleNamespace) -> int:
    few = [user.pk for user in s.users[-3 * HEAVY_ROWS :]]
    return accounts.delete_users(User.objects.filter(pk__in=few), by=BY)


def delete_groups(s: SimpleNamespace) -> int:
    for number in range(3 * HEAVY_ROWS):
        factories.make_group(f"g{number}", users=s.users[:10])
    return group_actions.delete_groups(
        Group.objects.filter(name__startswith="g"), by=BY
    )


def configure(**declared: Any) -> None:
    hub = replace(HubConfig(), **declared)
    reconcile(hub)


def remove(kind: str, s: SimpleNamespace) -> int:
    APIToken.objects.update(expires_at=timezone.now() - timedelta(days=400))
    return cleanup.REMOVALS[kind](timezone.now())


def expire_entries(s: SimpleNamespace) -> int:
    with connection.cursor() as cursor:
        table = connection.ops.quote_name(django_settings.CACHES["default"]["LOCATION"])
        cursor.executemany(
            f"INSERT INTO {table} (cache_key, value, expires) VALUES (%s, '', %s)",
            [(f"x{number}", "2001-01-01 00:00:00") for number in range(3 * ROWS)],
        )
    removed = 0
    while some := retention.delete_expired_entries(timezone.now()):
        removed += some
    return removed


# What is done to many rows, and how many transactions that takes at least.
ACTS: dict[str, tuple[Callable[[SimpleNamespace], object], int]] = {
    "deactivate": (lambda s: accounts.deactivate_users(people(), by=BY), 4),
    "activate": (activate, 2),
    "delete users": (delete_users, 3),
    "delete groups": (delete_groups, 3),
    "create users": (
        lambda s: accounts.create_users([f"n{n}" for n in range(USERS)], by=BY),
        2,
    ),
    "remove members": (
        lambda s: group_actions.remove_members(s.group, s.names, by=BY),
        2,
    ),
    "add members": (
        lambda s: group_actions.add_members(
            group_actions.create_group("new", by=BY), s.names, by=BY
        ),
        3,
    ),
    "create a group": (
        lambda s: group_actions.create_group("new", users=s.names, by=BY),
        2,
    ),
    "create groups": (
        lambda s: group_actions.create_groups(
            [f"n{n}" for n in range(100)], users=s.names[:50], by=BY
        ),
        2,
    ),
    "stop servers": (lambda s: servers.stop_servers(Server.objects.all(), by=BY), 3),
    "stop servers at the hub's end": (stop_as_controller, 3),
    "start servers": (start, 3),
    "revoke tokens": (lambda s: revocation.remove_tokens(plain(), by=BY), 3),
    "disable tokens": (lambda s: pausing.disable_tokens(plain(), by=BY), 3),
    "enable tokens": (enable, 3),
    "end clients": (
        lambda s: oauth.delete_clients(OAuthClient.objects.all(), by=BY),
        3,
    ),
    "sweep codes": (lambda s: oauth.sweep_codes(timezone.now()), 1),
    "expired entries of the cache": (expire_entries, 1),
    "a start that creates users": (
        lambda s: configure(
            admin_users=frozenset({"ada"}),
            allowed_users=frozenset(f"n{n}" for n in range(USERS)),
        ),
        2,
    ),
    "a start that fills a group": (
        lambda s: configure(
            load_groups={"new": {"users": s.names, "properties": {}}},
        ),
        3,
    ),
    "a start that gives and takes a role": (
        lambda s: (
            configure(
                load_roles=({"name": "r", "scopes": ["list:users"], "users": s.names},)
            ),
            configure(load_roles=({"name": "r", "scopes": ["list:users"]},)),
        ),
        8,
    ),
    "a start that blocks users": (
        lambda s: configure(blocked_users=frozenset(s.names[: 2 * ROWS + 10])),
        3,
    ),
    **{
        f"remove {kind}": (partial(remove, kind), 1)
        for kind in ("tokens", "codes", "sessions", "entries of sessions")
    },
}


def test_no_transaction_changes_too_many_rows(scene: SimpleNamespace) -> None:
    wrong = {}
    for name, (act, number) in ACTS.items():
        with transaction.atomic():
            before = set(Event.objects.values_list("pk", flat=True))
            with changes() as seen:
                act(scene)
            done = [each for each in seen.transactions if each]
            named = max(
                (
                    len(value)
                    for event in Event.objects.exclude(pk__in=before)
                    for value in event.detail.values()
                    if isinstance(value, list)
                ),
                default=0,
            )
            transaction.set_rollback(True)
        cache.clear()
        if max(done, default=0) > MOST or len(done) < number or named > MOST_NAMES:
            wrong[name] = (max(done, default=0), len(done), named)

    assert not wrong


@contextmanager
def changes() -> Iterator[Changes]:
    seen = Changes()
    with connection.execute_wrapper(seen):
        yield seen
    seen.count()


# What an interruption leaves


def test_an_act_that_is_interrupted_is_complete_as_far_as_it_is_recorded() -> None:
    users = factories.make_users(2 * ROWS + 10)
    begun = 0

    @contextmanager
    def ends_early() -> Iterator[None]:
        nonlocal begun
        begun += 1
        with transaction.atomic():
            yield
            if begun == 2:
                raise Invalid("The lights go out.")

    with pytest.raises(Invalid):
        accounts.deactivate_users(User.objects.all(), by=BY, within=ends_early)

    [event] = Event.objects.all()
    closed = User.objects.filter(is_active=False)
    assert event.detail["names"] == [user.name for user in users[:ROWS]]
    assert {*event.detail["names"]} == {*closed.values_list("name", flat=True)}
    # The same again does the rest, and no more.
    assert accounts.deactivate_users(User.objects.all(), by=BY) == ROWS + 10


def test_what_is_refused_is_refused_before_the_first_batch(
    django_user_model: Any,
) -> None:
    users = factories.make_users(HEAVY_ROWS * 3)
    Server.objects.create(user=users[-1], user_options={}, ready=True)
    factories.make_user("zoe", admin=True)
    asks = Actor("user", users[0].name)

    with pytest.raises(Invalid, match="server is active"):
        accounts.delete_users(User.objects.exclude(name="zoe"), by=BY)
    with pytest.raises(Invalid, match="yourself"):
        accounts.deactivate_users(User.objects.order_by("-pk"), by=asks)

    assert User.objects.filter(is_active=True).count() == len(users) + 1
    assert not Event.objects.exists()


def test_each_batch_is_a_transaction_of_its_own(transactional_db: None) -> None:
    open_at_once = []

    def act(some: list[int]) -> int:
        open_at_once.append(connection.in_atomic_block)
        return sum(some)

    assert in_batches(range(5), act, size=2) == [1, 5, 4]
    assert open_at_once == [True] * 3
    assert not connection.in_atomic_block
