"""Sessions of PostgreSQL while another session holds a lock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from threading import Barrier
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test import Client
from django.utils import timezone

from accounts.actions import activate_users, deactivate_users, delete_user, update_user
from accounts.administrators import administrators
from accounts.models import User
from audit.models import Actor
from database.locks import Advisory, wait_for
from hubsite.config.reconcile import reconcile
from oauth.actions import find_code, issue_code, redeem_code
from scopes.refusals import Forbidden, NotFound, Refusal
from servers.actions import start_server
from servers.models import Server
from sharing.actions import accept_share_code, issue_share_code
from tests.database.recorder import Recorder
from tests.database.sessions import Crowd, held, waits_for_a_lock
from tests.factories import make_client, make_default_roles, make_token, make_user
from tokens import activity

BY = Actor.system("test")
# Far below the time for which a statement waits for a lock, far above what a busy
# machine takes for a request.
SOON = 8.0

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def roles(transactional_db: None) -> None:
    make_default_roles()


@pytest.fixture
def ada() -> User:
    return make_user("ada", admin=True)


@pytest.fixture
def background() -> Iterator[None]:
    """Have activity written where a running hub does it."""
    activity.start(interval=0.05)
    yield
    activity.stop()


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# Reading

READS = (
    *("/hub/api/user", "/hub/api/users", "/hub/api/users/ada", "/hub/api/groups"),
    *("/hub/api/users/ada/tokens", "/hub/api/services", "/hub/api/info"),
    *("/hub/api/users/ada/shared", "/hub/api/shares/ada", "/hub/health"),
)
PAGES = (
    *("/hub/home", "/hub/token", "/hub/profile", "/hub/accounts/sessions/"),
    *(
        "/hub/admin/",
        "/hub/admin/accounts/user/",
        "/hub/admin/accounts/user/{pk}/change/",
    ),
    *("/hub/admin/accounts/group/", "/hub/admin/tokens/apitoken/", "/hub/login"),
    *("/hub/admin/servers/server/", "/hub/admin/audit/event/", "/hub/metrics"),
    *("/hub/api/oauth2/authorize?client_id=x&response_type=code", "/hub/api/docs/"),
    *("/hub/spawn-pending/ada", "/hub/user/ada/", "/hub/admin/oauth/oauthclient/"),
)


def test_reading_waits_for_nobody_and_writes_nothing(
    ada: User, background: None
) -> None:
    token, secret = make_token(ada)
    browser = Client()
    browser.force_login(ada)
    program = Client(headers={"authorization": f"token {secret}"})
    recorder = Recorder()
    with connection.execute_wrapper(recorder), held(ada, token):
        for client, paths in ((program, READS), (browser, (*PAGES, *READS))):
            for path in paths:
                began = time.monotonic()
                answer = client.get(path.format(pk=ada.pk))
                assert answer.status_code < 500, path
                assert time.monotonic() - began < SOON, path
    changes = ("INSERT", "UPDATE", "DELETE")
    assert not [text for text in recorder.statements if text.startswith(changes)]


def test_activity_of_a_locked_row_is_written_later(ada: User, background: None) -> None:
    alan = make_user("alan")
    with held(ada):
        activity.users.note(ada.pk, time.time())
        activity.users.note(alan.pk, time.time())
        until(lambda: bool(User.objects.get(pk=alan.pk).last_activity))
        assert User.objects.get(pk=ada.pk).last_activity is None
    until(lambda: bool(User.objects.get(pk=ada.pk).last_activity))


# Waiting


@pytest.fixture
def impatient() -> Iterator[None]:
    """Have this thread wait a moment for locks, not for seconds."""
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    yield
    connection.close()


def test_the_time_for_a_lock_ends() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("10s",)


def test_a_change_that_waits_in_vain_may_be_tried_again(
    ada: User, impatient: None
) -> None:
    secret = make_token(ada)[1]
    browser = Client()
    browser.force_login(ada)
    bearer = {"headers": {"authorization": f"token {secret}"}}
    json = {"content_type": "application/json"}
    other = make_user("alan")
    with held(ada, other):
        refused = [
            Client().patch("/hub/api/users/alan", {"name": "x"}, **json, **bearer),
            Client().delete("/hub/api/users/alan", **bearer),
            Client().post("/hub/api/users/alan/server", {}, **json, **bearer),
            browser.post(f"/hub/admin/accounts/user/{other.pk}/deactivate/"),
            browser.post(
                f"/hub/admin/accounts/user/{other.pk}/change/",
                {"name": "new", "groups": ""},
            ),
        ]

    for number, answer in enumerate(refused):
        assert answer.status_code == 503, (number, answer.content)
        assert int(answer["Retry-After"]) > 0
        if number < 3:
            assert answer.json()["status"] == 503
            assert "try again" in answer.json()["message"]
        else:
            assert "The hub is busy" in answer.content.decode()
    assert User.objects.get(pk=other.pk).name == "alan"


def test_who_waits_for_an_advisory_lock_may_try_again(
    ada: User, impatient: None
) -> None:
    with held() as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [int(Advisory.CAPACITIES)])

        with pytest.raises(OperationalError), transaction.atomic():
            wait_for(Advisory.CAPACITIES)


def test_existing_names_are_reported_without_a_lock(ada: User) -> None:
    """The index of names is locked by somebody who has just created another one."""
    secret = make_token(ada)[1]
    bearer = {"headers": {"authorization": f"token {secret}"}}
    json = {"content_type": "application/json"}
    calls = {
        "/hub/api/users/ada": {},
        "/hub/api/users": {"usernames": ["ada"]},
        "/hub/api/groups/math": {},
        "/hub/api/services/svc": {"display": True},
    }
    for path in list(calls)[2:]:
        assert Client().post(path, calls[path], **json, **bearer).status_code == 201
    recorder = Recorder()
    with connection.execute_wrapper(recorder):
        for path, body in calls.items():
            answer = Client().post(path, body, **json, **bearer)
            assert answer.status_code == 409, path

    assert not [text for text in recorder.statements if not text.startswith("SELECT")]


# Two who want the same


def both(first: Callable[[], Any], second: Callable[[], Any]) -> list[Any]:
    """Do two things at the same moment; return what they returned or raised."""
    barrier = Barrier(2)

    def act(do: Callable[[], Any]) -> Any:
        barrier.wait(30)
        try:
            return do()
        except Refusal as refusal:
            return refusal

    with Crowd(2) as crowd:
        futures = [crowd.do(act, first), crowd.do(act, second)]
        wait(futures, 60)
        return [future.result() for future in futures]


@pytest.mark.parametrize("act", ["demote", "delete"])
def test_of_two_administrators_one_stays(act: str) -> None:
    def withdraw(who: User, by: User) -> Any:
        actor = Actor("user", by.name)
        if act == "delete":
            return delete_user(who, by=actor)
        return update_user(who, admin=False, by=actor, by_admin=True)

    for number in range(10):
        one = make_user(f"one{number}", admin=True)
        two = make_user(f"two{number}", admin=True)

        outcomes = both(lambda: withdraw(one, two), lambda: withdraw(two, one))  # noqa: B023

        left = User.objects.filter(pk__in=[one.pk, two.pk], admin=True)
        assert left.count() == 1
        assert sum(isinstance(each, Forbidden | NotFound) for each in outcomes) == 1


def test_of_two_who_withdraw_their_own_right_on_pages_one_stays() -> None:
    users = [make_user(f"admin{number}", admin=True) for number in range(2)]
    browsers = [Client() for _ in users]
    for user, browser in zip(users, browsers, strict=True):
        browser.force_login(user)

    def resign(number: int) -> Any:
        path = f"/hub/admin/accounts/user/{users[number].pk}/change/"
        form = browsers[number].get(path).context["adminform"].form
        data = {name: form[name].value() or "" for name in form.fields}
        data |= {f"initial-{name}": data[name] for name in data}
        data["groups"] = ""
        data.pop("admin", None)
        return browsers[number].post(path, data).status_code

    outcomes = both(lambda: resign(0), lambda: resign(1))

    assert administrators().count() == 1
    assert sorted(outcomes) == [200, 302]


def test_whose_server_is_started_and_who_is_deactivated() -> None:
    """Users before capacities on one side, capacities before users on the other."""
    users = [make_user() for _ in range(4)]
    chosen = User.objects.filter(pk__in=[user.pk for user in users])
    end = time.monotonic() + 2

    def deactivate() -> None:
        while time.monotonic() < end:
            deactivate_users(chosen, by=BY)
            activate_users(chosen, by=BY)

    def start(mine: list[User]) -> None:
        while time.monotonic() < end:
            for user in mine:
                try:
                    start_server(user, "", by=BY)
                except Refusal:
                    Server.objects.filter(user=user).update(pending=None, settled=1)

    with Crowd(3) as crowd:
        futures = [crowd.do(deactivate), crowd.do(start, users[:2])]
        futures.append(crowd.do(start, users[2:]))
    for future in futures:
        future.result()


def test_a_code_is_redeemed_while_its_user_is_deleted(ada: User) -> None:
    client = make_client()
    for _ in range(5):
        user = make_user()
        code = issue_code(client, user, redirect_uri="/x", scopes=[], by=BY)
        promise = find_code(code, client, timezone.now())
        assert promise is not None

        both(
            lambda: redeem_code(promise, by=BY),  # noqa: B023
            lambda: delete_user(user, by=BY),  # noqa: B023
        )


def test_an_invitation_is_accepted_while_its_owner_is_deleted(ada: User) -> None:
    for _ in range(5):
        owner, guest = make_user(), make_user()
        server = Server.objects.create(user=owner, name="", user_options={})
        invitation, _ = issue_share_code(server, by=BY, access=ada.access)
        invitation.server.user = owner

        def accept() -> Any:
            try:
                return accept_share_code(invitation, guest, by=BY)  # noqa: B023
            except Exception as error:
                assert not isinstance(error, OperationalError)
                return error

        both(accept, lambda: delete_user(owner, by=BY))  # noqa: B023


def test_reconciliation_gives_way_and_begins_anew(ada: User, settings: Any) -> None:
    from dataclasses import replace

    blocked = make_user("alan", admin=True)
    hub = replace(settings.HUB, blocked_users=frozenset({"alan"}))
    with Crowd(1) as crowd:
        with held(blocked):
            reconciling = crowd.do(reconcile, hub)
            until(waits_for_a_lock)
            # It lets go of all it has, so that what it waits for can come to its end.
            until(lambda: not waits_for_a_lock())
        reconciling.result(60)

    assert not User.objects.get(pk=blocked.pk).admin
