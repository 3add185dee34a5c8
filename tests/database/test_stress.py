"""All actions at once from eight threads, without deadlocks or invalid rows."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Q
from django.test import Client
from django.utils import timezone

from accounts import actions as accounts
from accounts import group_actions
from accounts.administrators import keep_administrator
from accounts.answer_actions import apply_answer
from accounts.answers import Answer
from accounts.models import Group, Role, User
from audit.models import Actor, Event
from controller import cleanup, culler
from controller.records import Records, take_over
from controller.spawners.failures import SpawnFailed
from database.failures import is_conflict
from hubsite.config.reconcile import reconcile
from oauth.actions import find_code, issue_code, redeem_code
from oauth.models import OAuthClient, OAuthCode
from scopes.refusals import Refusal
from servers import actions
from servers.activity import note_activity
from servers.credentials import Requested
from servers.models import Server, Share
from sharing import actions as sharing
from tests.database.sessions import Crowd
from tests.factories import make_default_roles, make_user
from tokens import activity
from tokens.actions.issuing import issue_token
from tokens.actions.pausing import disable_tokens, enable_tokens
from tokens.actions.revocation import remove_tokens, revoke_tokens
from tokens.models import APIToken

# How often each thread does all that it does. Deadlocks show soon where there are any:
# before there was an order, one deactivator and two starters had nineteen in fifteen
# seconds. So a few rounds are enough each time, and half a minute now and then.
ROUNDS = 3
SECONDS = 30.0
USERS = 12
BY = Actor.system("test")
ADA = Actor("user", "ada")
PAGES = (
    *("/hub/home", "/hub/token", "/hub/admin/", "/hub/admin/accounts/user/"),
    *("/hub/admin/tokens/apitoken/", "/hub/admin/servers/server/"),
)
CLIENT = Requested(client=("read:users:name!user",))

pytestmark = pytest.mark.django_db(transaction=True)
numbers = count(1)


class Stress:
    """One thread's choice of what to do, by chance but the same in every run."""

    def __init__(self, seed: int, records: Records, hub: Any, browser: Client) -> None:
        self.random = random.Random(seed)
        self.records, self.hub = records, hub
        self.browser = browser
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []

    def run(self, names: list[str], rounds: int, end: float) -> None:
        turn: list[str] = []
        while turn or rounds > 0 or time.monotonic() < end:
            # Each in its turn, so that nothing is left out where time is short.
            if not turn:
                turn = self.random.sample(names, len(names))
                rounds -= 1
            name = turn.pop()
            act: Callable[[], object] = getattr(self, name)
            try:
                act()
            except Refusal:
                # Somebody else was faster.
                pass
            except IntegrityError:
                # What a row was to point to is gone; callers are told to try again.
                pass
            except Exception as error:
                if name == "reconcile" and is_conflict(error):
                    continue
                self.failures.append(f"{name}: {error!r}")
            self.done[name] += 1

    # Choices

    def user(self) -> User:
        return self.random.choice(list(User.objects.filter(admin=False)))

    def some(self, queryset: Any, number: int = 4) -> Any:
        ids = list(queryset.order_by().values_list("pk", flat=True))
        chosen = self.random.sample(ids, min(number, len(ids)))
        return queryset.model.objects.filter(pk__in=chosen)

    def one(self, queryset: Any) -> Any:
        found = list(self.some(queryset, 1))
        if not found:
            raise Refusal("There is none.")
        return found[0]

    # People and programs

    def start(self) -> None:
        name = self.random.choice(("", "lab"))
        actions.start_server(self.user(), name, by=BY)

    def start_many(self) -> None:
        actions.start_servers(self.some(Server.objects.all()), by=BY)

    def stop(self) -> None:
        server = self.one(Server.objects.all())
        remove = bool(server.name) and self.random.random() < 0.5
        actions.stop_server(server.user, server.name, remove=remove, by=BY)

    def stop_many(self) -> None:
        actions.stop_servers(self.some(Server.objects.all()), by=BY)

    def deactivate(self) -> None:
        chosen = self.some(User.objects.filter(admin=False))
        accounts.deactivate_users(chosen, by=BY)
        accounts.activate_users(chosen, by=BY)

    def rename(self) -> None:
        accounts.update_user(self.user(), name=f"n{next(numbers)}", by=BY)

    def promote(self) -> None:
        user = self.user()
        accounts.update_user(user, admin=True, by=BY)
        accounts.update_user(user, admin=False, by=BY)

    def delete(self) -> None:
        try:
            accounts.delete_user(self.user(), by=BY)
        finally:
            accounts.create_users([f"n{next(numbers)}", f"n{next(numbers)}"], by=BY)
            for user in self.some(User.objects.filter(admin=False), 1):
                if User.objects.count() > USERS:
                    accounts.delete_user(user, by=BY)

    def membership(self) -> None:
        names = [user.name for user in self.some(User.objects.all())]
        self.random.shuffle(names)
        group = self.one(Group.objects.all())
        change = self.random.choice(
            (group_actions.add_members, group_actions.remove_members)
        )
        change(group, names, by=BY)

    def sign_in(self) -> None:
        """Apply an answer of an authenticator that manages groups and roles."""
        groups = [f"g{self.random.randrange(6)}" for _ in range(3)]
        roles: list[dict[str, Any]] = [
            {"name": f"role-{self.random.randrange(6)}", "scopes": ["list:users"]}
            for _ in range(3)
        ]
        roles[0]["users"] = [user.name for user in self.some(User.objects.all())]
        roles.append({"name": "user"})
        data = {"groups": groups, "roles": roles, "auth_state": {"a": groups}}
        answer = Answer.read({"name": self.user().name, **data})
        apply_answer(answer, by=BY)

    def regroup(self) -> None:
        group_actions.create_group(f"g{next(numbers)}", by=BY)
        group_actions.delete_group(self.one(Group.objects.exclude(name="math")), by=BY)

    def share(self) -> None:
        server = self.one(Server.objects.select_related("user"))
        recipient = self.one(self.random.choice((User, Group)).objects.all())
        access = User.objects.get(name="ada").access
        if self.random.random() < 0.3:
            invitation, _ = sharing.issue_share_code(server, by=BY, access=access)
            sharing.accept_share_code(invitation, self.user(), by=BY)
        else:
            sharing.grant_share(server, recipient, by=BY, access=access)

    def unshare(self) -> None:
        if self.random.random() < 0.5:
            sharing.revoke_share(self.one(Share.objects.all()), by=BY)
        else:
            server = self.one(Server.objects.all())
            sharing.revoke_shares(server, by=BY)
            sharing.revoke_share_codes(server, None, by=BY)

    def issue(self) -> None:
        issue_token(self.user(), by=BY)

    def revoke(self) -> None:
        end = self.random.choice((revoke_tokens, remove_tokens))
        end(self.some(APIToken.objects.filter(revoked_at=None)), by=BY)

    def redeem(self) -> None:
        client = self.one(OAuthClient.objects.all())
        code = issue_code(client, self.user(), redirect_uri="/x", scopes=[], by=BY)
        promise = find_code(code, client, timezone.now())
        if promise is not None:
            redeem_code(promise, by=BY)

    def report(self) -> None:
        server = self.one(Server.objects.select_related("user"))
        user, now = server.user, timezone.now()
        note_activity(user.pk, user.name, now, {server.name: now, "": now})
        for token in self.some(APIToken.objects.all()):
            activity.tokens.note(token.pk, time.time())
        activity.users.note(user.pk, time.time())
        activity.flush()

    def delete_many(self) -> None:
        accounts.create_users([f"n{next(numbers)}" for _ in range(3)], by=BY)
        chosen = self.some(User.objects.filter(admin=False), 3)
        accounts.delete_users(chosen, by=ADA, within=keep_administrator)

    def disable(self) -> None:
        chosen = self.some(APIToken.objects.filter(revoked_at=None))
        disable_tokens(chosen, by=BY)
        enable_tokens(chosen, by=BY)

    def ask(self) -> None:
        """Ask as a browser and as a program does: nothing is answered 500."""
        user = self.user()
        method, path = self.random.choice(
            (
                *(("get", page) for page in PAGES),
                *(("get", f"/hub/api{path}") for path in ("/users", "/groups")),
                ("post", f"/hub/api/users/n{next(numbers)}"),
                ("post", f"/hub/api/users/{user.name}/tokens"),
                ("delete", f"/hub/api/users/{user.name}"),
                ("delete", f"/hub/api/users/{user.name}/server"),
            )
        )
        status = getattr(self.browser, method)(path).status_code
        if status >= 500:
            self.failures.append(f"{method} {path}: {status}")

    # The controller and a start

    def settle(self) -> None:
        signs, _ = self.records.look(everywhere=False)
        if not signs:
            return
        row = self.records.read(self.random.choice(signs).id)
        if row is None or row.generation == row.settled:
            return
        if row.wanted == Server.Wanted.STOPPED:
            self.records.settle_stopped(
                row, {}, resumes=False, forgotten=True, cancelled={}
            )
        elif self.records.begin(row, f"{next(numbers)}", CLIENT) is not None:
            if self.random.random() < 0.3:
                self.records.settle_failed(row, {}, SpawnFailed("It fell."), [])
            else:
                self.records.settle_ready(row, {}, "http://127.0.0.1:1", [])

    def cull(self) -> None:
        now = timezone.now()
        servers = [server.pk for server in self.some(Server.objects.all())]
        self.records.write(culler.stop_idle, servers, now)

    def tidy(self) -> None:
        for remove in cleanup.REMOVALS.values():
            self.records.write(remove, timezone.now())

    def routes(self) -> None:
        servers = self.some(Server.objects.select_related("user"))
        now = timezone.now()
        uses = [(each.user.name, each.name, now) for each in servers]
        self.records.write(cleanup.raise_activity, uses)

    def reconcile(self) -> None:
        blocked = {user.name for user in self.some(User.objects.filter(admin=False), 2)}
        reconcile(replace(self.hub, blocked_users=frozenset(blocked)))


PEOPLE = [
    *("start", "start_many", "stop", "stop_many", "deactivate", "rename", "promote"),
    *("delete", "membership", "regroup", "share", "unshare", "issue", "revoke"),
    *("sign_in", "redeem", "report", "delete_many", "disable", "ask", "ask"),
]
CONTROLLER = [*["settle"] * 6, "cull", "tidy", "routes"]


@pytest.mark.parametrize(
    ("rounds", "seconds"),
    [(ROUNDS, 0.0), pytest.param(0, SECONDS, marks=pytest.mark.slow)],
)
def test_nothing_breaks_under_stress(
    settings: Any, rounds: int, seconds: float
) -> None:
    settings.HUB = replace(
        settings.HUB,
        allow_named_servers=True,
        cull_idle_timeout=1,
        cull_concurrency=3,
        crypt_keys=(b"k" * 32,),
    )
    make_default_roles()
    make_user("ada", admin=True)
    accounts.create_users([f"n{next(numbers)}" for _ in range(USERS)], by=BY)
    group_actions.create_group("math", by=BY)
    hub = replace(
        settings.HUB,
        admin_users=frozenset({"ada"}),
        load_groups={"math": {"users": [], "properties": {"term": 1}}},
    )
    records = Records(take_over("stress", {}))
    before = deadlocks()
    workers = [Stress(seed, records, hub, signed_in()) for seed in range(8)]
    plans = [*[PEOPLE] * 5, CONTROLLER, CONTROLLER, ["reconcile"]]
    end = time.monotonic() + seconds

    with Crowd(len(workers)) as crowd:
        for worker, plan in zip(workers, plans, strict=True):
            crowd.do(worker.run, plan, rounds, end)

    assert not [failure for worker in workers for failure in worker.failures]
    assert deadlocks() == before
    done = sum((worker.done for worker in workers), Counter[str]())
    assert set(done) == {*PEOPLE, *CONTROLLER, "reconcile"}
    check_invariants()


def signed_in() -> Client:
    """Return a browser of the administrator, who has a token as well."""
    browser = Client(raise_request_exception=False)
    browser.force_login(User.objects.get(name="ada"))
    page = browser.get("/hub/token")
    browser.defaults["HTTP_X_XSRFTOKEN"] = page.cookies["_xsrf"].value
    return browser


def deadlocks() -> int:
    """Return how many the database has resolved so far, in this database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        return int(cursor.fetchone()[0])


def check_invariants() -> None:
    """What is true of the rows after whatever was done to them."""
    with transaction.atomic(), connection.cursor() as cursor:
        # Foreign keys, which are checked at the end of each transaction.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    admin = Role.objects.get(name="admin")
    # The flag and the role say the same.
    assert not User.objects.filter(admin=True).exclude(roles=admin).exists()
    assert not User.objects.filter(admin=False, roles=admin).exists()
    # Somebody administers.
    assert User.objects.filter(admin=True, is_active=True).exists()
    # Who was deleted is gone with all that was theirs, and nobody came out of nowhere:
    # no name is given twice here.
    names = set(User.objects.values_list("name", flat=True))
    assert not names & set(named("user.delete"))
    assert names - {"ada"} <= {*named("user.create"), *named("user.rename")}
    # No wish is settled before it was made, and what is settled is not under way.
    for server in Server.objects.select_related("user", "token"):
        assert server.settled <= server.generation
        assert not (server.ready and server.pending)
        if server.generation == server.settled:
            assert server.pending is None
        if not server.is_active:
            # What is stopped holds no token that counts, and nobody signs in to it.
            assert server.token is None or server.token.revoked_at
            assert not OAuthClient.objects.filter(server=str(server)).exists()
    # What is ended counts for nobody.
    identifiers = OAuthClient.objects.values("identifier")
    orphans = APIToken.objects.filter(~Q(client_id=""), revoked_at=None).exclude(
        client_id__in=identifiers
    )
    assert not orphans.exists()
    assert not OAuthCode.objects.exclude(client__identifier__in=identifiers).exists()
    # Every act left its line: as many revocations as ended tokens are named.
    told = set(named("token.revoke"))
    ended = APIToken.objects.filter(revoked_at__isnull=False)
    assert {f"a{pk}" for pk in ended.values_list("pk", flat=True)} <= told
    # A pause of a token is recorded as often as its end.
    assert not APIToken.objects.filter(disabled_at__isnull=False).exclude(
        pk__in=[int(name[1:]) for name in named("token.disable")]
    )
    # A share is with one who exists, on a server that exists.
    for share in Share.objects.select_related("server__user", "user", "group"):
        assert share.server.user_id
        assert (share.user is None) != (share.group is None)
        assert share.user_id != share.server.user_id


def named(action: str) -> Iterator[str]:
    """Yield what the audit log names as the objects of an act."""
    for name, detail in Event.objects.filter(action=action).values_list(
        "target_name", "detail"
    ):
        yield from [name] if name else detail.get("names", ())
