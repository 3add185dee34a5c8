"""What a real class does at the hub's start, for accounts, and around servers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from accounts import auth_state
from accounts.hosting import refresh
from accounts.hosting.description import description
from accounts.models import Group, Role, User
from controller import authenticator
from controller.records import Records
from controller.spawners.failures import SpawnFailed
from controller.spawners.hosted_spawner import Host
from controller.spawners.spawn_context import SpawnContext
from controller.term import AuthStates, Preparation
from servers.models import Server
from tests.conftest import API, BearerClient
from tests.controller.spawners import configuration, environment
from tests.factories import make_server, make_token, make_user
from tests.hosting.sites import WITH_STATE
from tests.web.conftest import Browser
from web.deferred import loop_beside

pytestmark = pytest.mark.django_db

KEY = "6b" * 32
CLASS = """
    import json, os
    from jupyterhub.auth import Authenticator
    HERE = os.path.dirname(os.path.abspath(__file__))

    def note(*call):
        with open(os.path.join(HERE, "calls"), "a") as calls:
            calls.write(json.dumps(call) + "\\n")

    class OwnAuthenticator(Authenticator):
        async def authenticate(self, handler, data):
            return {"name": data["username"], "auth_state": {"n": 0}}

        async def add_user(self, user):
            note("add_user", user.name)
            if user.name.startswith("bad"):
                raise ValueError(f"no account of the system for {user.name}")

        def delete_user(self, user):
            note("delete_user", user.name)

        async def load_managed_roles(self):
            return [{"name": "tutor", "scopes": ["list:users"], "users": ["ada"]}]

        async def refresh_user(self, user, handler=None):
            note("refresh_user", user.name)
            with open(os.path.join(HERE, "word")) as word:
                return json.load(word)

    c.JupyterHub.authenticator_class = OwnAuthenticator
    c.JupyterHub.spawner_class = "simple"
    c.Authenticator.allow_all = True
"""


class Term:
    """The part of a term that the tasks of these tests use."""

    def __init__(self) -> None:
        self.records = Records(0)
        self.preparation = Preparation()

    async def ask(self, do: Callable[..., Any], *args: Any, **more: Any) -> Any:
        return await asyncio.to_thread(do, *args, **more)

    write = ask


@pytest.fixture
def calls(hosting: Any) -> Callable[[], list[list[str]]]:
    def read() -> list[list[str]]:
        path: Path = hosting.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    return read


@pytest.fixture
def runs(
    hosting: Any, host: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", KEY)

    def run(*lines: str) -> None:
        host("\n".join([CLASS, *(f"    {line}" for line in lines)]))
        refresh.forget()

    return run


def do(work: Any) -> Any:
    with loop_beside() as run:
        return run(work)


def begin() -> None:
    """Do what the controller does when the process of the class has started."""
    do(authenticator.start(Term(), description()))  # type: ignore[arg-type]


# Starts


def test_add_user_is_called_for_everybody_at_a_start(
    runs: Callable[..., None], calls: Any, settings: Any
) -> None:
    for name in ("ada", "bad", "alan", "mallory"):
        make_user(name)
    runs("c.Authenticator.blocked_users = {'mallory'}")

    begin()

    assert calls() == [["add_user", "ada"], ["add_user", "bad"], ["add_user", "alan"]]
    assert User.objects.count() == 4


def test_an_owner_is_prepared_before_a_start_that_comes_before_their_turn(
    runs: Callable[..., None], calls: Any
) -> None:
    contexts = [
        SpawnContext.of(make_server(make_user(name))) for name in ("ada", "alan", "bad")
    ]
    runs("")
    term: Any = Term()

    for context in (contexts[1], contexts[1], contexts[2]):
        do(authenticator.prepare_owner(term, context))
    assert calls() == [["add_user", "alan"], ["add_user", "bad"]]

    do(authenticator.start(term, description()))
    for context in contexts:
        do(authenticator.prepare_owner(term, context))
    late = SpawnContext.of(make_server(make_user("late")))
    do(authenticator.prepare_owner(term, late))

    assert calls()[2:] == [["add_user", "ada"]]


def test_users_whom_the_class_refuses_are_deleted_if_that_is_configured(
    runs: Callable[..., None],
) -> None:
    for name in ("ada", "bad"):
        make_user(name)
    runs("c.Authenticator.delete_invalid_users = True")

    begin()

    assert [user.name for user in User.objects.all()] == ["ada"]


def test_managed_roles_are_loaded_at_a_start(runs: Callable[..., None]) -> None:
    make_user("ada")
    runs("c.Authenticator.manage_roles = True")

    begin()

    role = Role.objects.get(name="tutor")
    assert role.managed_by_auth
    assert [user.name for user in role.users.all()] == ["ada"]


def test_many_users_are_seen_in_a_few_calls(
    runs: Callable[..., None], calls: Any
) -> None:
    User.objects.bulk_create(User(name=f"n{number}") for number in range(450))
    runs()

    begin()

    names = [name for _, name in calls()]
    assert names == [f"n{number}" for number in range(450)]


# Accounts


def admin() -> BearerClient:
    return BearerClient(make_token(make_user("root", admin=True))[1])


def test_the_api_has_the_class_prepare_new_accounts(
    runs: Callable[..., None], calls: Any
) -> None:
    runs()
    client = admin()

    assert client.post(f"{API}/users/new").status_code == 201
    many = client.post(f"{API}/users", {"usernames": ["One", "two", "root"]})
    assert many.status_code == 201
    assert calls() == [["add_user", "new"], ["add_user", "one"], ["add_user", "two"]]


def test_the_api_creates_nobody_whom_the_class_refuses(
    runs: Callable[..., None],
) -> None:
    runs()
    client = admin()

    one = client.post(f"{API}/users/bad")
    assert (one.status_code, one.json()["message"]) == (
        400,
        "Failed to create user bad: no account of the system for bad",
    )
    many = client.post(f"{API}/users", {"usernames": ["good", "bad2"]})
    assert many.status_code == 400
    assert "Failed to create user bad2" in many.json()["message"]
    assert [user.name for user in User.objects.all()] == ["root"]


@pytest.mark.django_db(transaction=True)
def test_the_class_forgets_deleted_accounts(
    runs: Callable[..., None], calls: Any
) -> None:
    runs()
    client = admin()
    make_user("alan")

    assert client.delete(f"{API}/users/alan").status_code == 204

    deadline = time.monotonic() + 30
    while not calls() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert calls() == [["delete_user", "alan"]]


# Servers


def say(hosting: Any, word: Any) -> None:
    (hosting.folder / "word").write_text(json.dumps(word))


def refreshed(server: Server) -> SpawnContext:
    found: SpawnContext = do(
        authenticator.refresh_owner(Term(), SpawnContext.of(server))  # type: ignore[arg-type]
    )
    return found


def stale(name: str) -> User:
    old = timezone.now() - timedelta(seconds=60)
    return make_user(name, auth_refreshed_at=old)


def test_a_start_by_a_program_refreshes_the_owner(
    runs: Callable[..., None], hosting: Any, calls: Any
) -> None:
    runs(
        "c.Authenticator.refresh_pre_spawn = True",
        "c.Authenticator.enable_auth_state = True",
        "c.Authenticator.manage_groups = True",
    )
    ada = stale("ada")
    server = make_server(ada)
    answer = {"groups": ["lab"], "auth_state": {"n": 1}}
    say(hosting, answer)

    assert refreshed(server).groups == ("lab",)
    assert auth_state.read(ada.pk, "ada") == {"n": 1}
    assert Group.objects.get(name="lab").users.get() == ada
    # Not twice for one start.
    server.refresh_from_db()
    refreshed(Server.objects.select_related("user").get(pk=server.pk))
    assert len(calls()) == 1


def test_a_stale_owner_prevents_a_start_only_if_that_is_strict(
    runs: Callable[..., None], hosting: Any
) -> None:
    runs(
        "c.Authenticator.refresh_pre_spawn = True",
        "c.Authenticator.auth_refresh_strict = True",
    )
    say(hosting, False)
    server = make_server(stale("ada"))

    with pytest.raises(SpawnFailed, match="authentication has expired") as caught:
        refreshed(server)
    assert caught.value.status == 403

    runs("c.Authenticator.refresh_pre_spawn = True")
    assert refreshed(server).user_name == "ada"


def test_no_start_waits_for_a_class_without_refreshes_before_starts(
    runs: Callable[..., None], calls: Any
) -> None:
    runs()

    refreshed(make_server(stale("ada")))

    assert calls() == []


def test_auth_state_of_a_sign_in_reaches_the_server(
    host: Callable[[str], Any],
    settings: Any,
    browser: Browser,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", KEY)
    host(WITH_STATE)
    assert browser.sign_in("ada", "any").status_code == 302
    ada = User.objects.get(name="ada")
    settings.DATA_DIR = tmp_path
    config = configuration(tmp_path)
    config.merge(settings.HUB.raw)
    context = SpawnContext.of(Server.objects.select_related("user").get(user=ada))
    term: Any = Term()

    async def start() -> dict[str, str]:
        spawner = Host(config, "simple").spawner(context, keeper=AuthStates(term))
        return await environment(spawner)

    assert do(start())["PROJECT"] == "physics"

    auth_state.save(ada.pk, None)
    with pytest.raises(SpawnFailed) as caught:
        do(start())
    assert caught.value.detail.startswith("c.Spawner.auth_state_hook: TypeError")
