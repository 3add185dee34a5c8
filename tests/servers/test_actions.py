"""Name, edit and remove servers; start and stop one or many."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from accounts.actions import deactivate_users, delete_user, update_user
from accounts.models import Group, User
from audit.models import Actor, Event
from hubsite.config.hub_config import HubConfig
from scopes.refusals import Busy, Conflict, Invalid, NotFound
from servers.actions import (
    AlreadyRunning,
    start_server,
    start_servers,
    stop_server,
    stop_servers,
)
from servers.models import Server, ServerEvent, Share
from servers.named_server_actions import create_server, delete_server, edit_server
from servers.names import check_display_name
from tests.factories import BY, make_role, make_server, make_share, make_user

pytestmark = pytest.mark.django_db


# Servers


def test_a_new_server_is_called_as_it_is_named(named: None, alan: User) -> None:
    server = create_server(alan, "lab", by=BY)

    assert (server.name, server.display_name) == ("lab", "lab")
    assert server.user_options is None
    assert not server.is_active
    event = Event.objects.get(action="server.create")
    assert event.target_name == "alan/lab"


@pytest.mark.parametrize(
    "name",
    ["Lab", "my_lab", "my lab", "a--b", "1lab", "lab-", "-lab", "a" * 31, "läb", "a/b"],
)
def test_names_are_short_slugs(named: None, alan: User, name: str) -> None:
    with pytest.raises(Invalid, match="Invalid server_name"):
        create_server(alan, name, by=BY)
    assert not Server.objects.exists()


@pytest.mark.parametrize("name", ["a", "ab", "a-b", "l4b", "a" * 30])
def test_slugs_are_names(named: None, alan: User, name: str) -> None:
    assert create_server(alan, name, by=BY).name == name


def test_everyone_has_a_default_server_already(named: None, alan: User) -> None:
    with pytest.raises(Conflict, match="already has a default server"):
        create_server(alan, "", by=BY)


def test_a_name_is_given_once_per_user(named: None, alan: User, grace: User) -> None:
    create_server(alan, "lab", by=BY)
    create_server(grace, "lab", by=BY)

    with pytest.raises(Conflict, match="already has server lab"):
        create_server(alan, "lab", by=BY)


def test_named_servers_are_limited(named: None, alan: User) -> None:
    make_server(alan)
    create_server(alan, "one", by=BY)
    create_server(alan, "two", by=BY)

    with pytest.raises(Invalid, match=r"maximum of 2 named servers\.  One must"):
        create_server(alan, "three", by=BY)
    assert alan.servers.count() == 3


@pytest.mark.parametrize("limit", [0, 50])
def test_named_servers_have_a_ceiling(settings: Any, alan: User, limit: int) -> None:
    settings.HUB = replace(
        settings.HUB,
        **{"allow_named_servers": True, "named_server_limit_per_user": limit},
        server_limit_per_user=2,
    )
    create_server(alan, "one", by=BY)
    create_server(alan, "two", by=BY)

    with pytest.raises(Invalid, match="maximum of 2 named servers"):
        create_server(alan, "three", by=BY)

    settings.HUB = replace(settings.HUB, server_limit_per_user=0)
    create_server(alan, "three", by=BY)


def test_the_ceiling_of_named_servers_is_500() -> None:
    assert HubConfig().server_limit_per_user == 500


@pytest.mark.parametrize("waits", [True, False])
def test_a_function_may_set_the_limit_of_each_caller(
    settings: Any, ada: User, alan: User, data301: Group, waits: bool
) -> None:
    async def later(limit: int) -> int:
        return limit

    def limit_for(asking: Any) -> Any:
        user = asking.current_user
        groups = [group.name for group in user.groups]
        limit = 0 if user.admin else len(groups)
        return later(limit) if waits else limit

    settings.HUB = replace(
        settings.HUB, allow_named_servers=True, named_server_limit_per_user=limit_for
    )

    create_server(alan, "one", by=Actor("user", "alan"))
    with pytest.raises(Invalid, match="maximum of 1"):
        create_server(alan, "two", by=Actor("user", "alan"))
    create_server(alan, "two", by=Actor("user", "ada"))
    assert Server.objects.count() == 2


def test_named_servers_can_be_switched_off(alan: User) -> None:
    make_server(alan, "lab")

    with pytest.raises(Invalid, match="not enabled"):
        create_server(alan, "den", by=BY)
    with pytest.raises(Invalid, match="not enabled"):
        edit_server(alan, "lab", new_name="den", by=BY)
    with pytest.raises(Invalid, match="not enabled"):
        edit_server(alan, "lab", display_name="Den", by=BY)
    assert [server.name for server in alan.servers.all()] == ["lab"]


@pytest.mark.parametrize("choice", ["allow-delete", "autorename"])
def test_a_server_with_an_older_name_starts_only_where_that_is_allowed(
    settings: Any, named: None, alan: User, choice: str
) -> None:
    make_server(alan, "My_Lab")
    settings.HUB = replace(settings.HUB, allow_existing_invalid_named_servers=choice)

    with pytest.raises(Invalid, match="invalid server_name 'My_Lab' is disabled"):
        start_server(alan, "My_Lab", by=BY)
    assert not Server.objects.get().is_active
    delete_server(alan, "My_Lab", by=BY)

    make_server(alan, "My_Lab")
    settings.HUB = replace(
        settings.HUB, allow_existing_invalid_named_servers="allow-start"
    )
    assert start_server(alan, "My_Lab", by=BY)[1]


@pytest.mark.parametrize("filtered", ["ada", "/", "/lab"])
def test_a_filter_that_names_no_owner_reaches_no_server(
    ada: User, filtered: str
) -> None:
    make_server(ada)
    make_server(ada, "lab")
    role = make_role("tutor", f"servers!server={filtered}")
    mallory = make_user("mallory")
    role.users.add(mallory)

    access = mallory.access
    assert not access.limit("servers", queryset=Server.objects.all()).exists()
    assert not any(access.allows("servers", each) for each in Server.objects.all())


@pytest.mark.parametrize("text", ["My Lab", "Cafe\u0301", "実験室 №1 ✓"])
def test_display_names_are_kept_as_they_are_written(
    named: None, alan: User, text: str
) -> None:
    assert create_server(alan, "lab", display_name=text, by=BY).display_name == text


def test_no_display_name_is_the_name(named: None, alan: User) -> None:
    assert create_server(alan, "lab", display_name="", by=BY).display_name == "lab"


@pytest.mark.parametrize(
    "text",
    ["", " ", " lab", "lab ", "a  b", "a\nb", "a\u00a0b", "\u202elab", "x" * 256],
)
def test_other_display_names_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="Invalid display_name"):
        check_display_name(text)


def test_renaming_keeps_the_rest(named: None, alan: User) -> None:
    create_server(alan, "lab", display_name="My Lab", user_options={"n": 1}, by=BY)

    server = edit_server(alan, "lab", new_name="den", by=BY)

    server.refresh_from_db()
    assert (server.name, server.display_name) == ("den", "My Lab")
    assert server.user_options == {"n": 1}


def test_renaming_to_a_name_in_use_changes_nothing(named: None, alan: User) -> None:
    create_server(alan, "lab", by=BY)
    create_server(alan, "den", by=BY)

    with pytest.raises(Conflict, match="already has server 'den'"):
        edit_server(alan, "lab", new_name="den", display_name="Den", by=BY)
    assert Server.objects.get(name="lab").display_name == "lab"


def test_the_default_server_can_be_given_a_name(named: None, alan: User) -> None:
    server = edit_server(alan, "", new_name="lab", by=BY)

    assert server.pk
    assert [server.name for server in alan.servers.all()] == ["lab"]


def test_naming_the_default_server_counts_to_the_limit(named: None, alan: User) -> None:
    create_server(alan, "one", by=BY)
    create_server(alan, "two", by=BY)

    with pytest.raises(Invalid, match="maximum of 2"):
        edit_server(alan, "", new_name="three", by=BY)


@pytest.mark.parametrize("state", [{"ready": True}, {"pending": "spawn"}])
def test_active_servers_are_not_touched(
    named: None, alan: User, state: dict[str, Any]
) -> None:
    make_server(alan, "lab", **state)

    with pytest.raises(Invalid, match="is active"):
        edit_server(alan, "lab", user_options={"n": 1}, by=BY)
    with pytest.raises(Invalid, match="is active"):
        delete_server(alan, "lab", by=BY)
    assert Server.objects.get().user_options is None


def test_users_with_active_servers_stay_as_they_are(ada: User, alan: User) -> None:
    make_server(alan, "lab", ready=True)

    with pytest.raises(Invalid, match="Please stop it first"):
        delete_user(alan, by=BY)
    with pytest.raises(Invalid, match="Please stop it first"):
        update_user(alan, name="turing", by=BY, by_admin=True)
    assert User.objects.filter(name="alan").exists()


def test_removing_a_server_ends_its_shares(alan: User, mallory: User) -> None:
    make_share(make_server(alan, "lab"), user=mallory)

    delete_server(alan, "lab", by=BY)

    assert not Share.objects.exists()
    assert Event.objects.filter(action="server.delete").count() == 1


def test_what_is_missing_is_not_removed(alan: User) -> None:
    with pytest.raises(NotFound, match="alan has no server named 'lab'"):
        delete_server(alan, "lab", by=BY)
    with pytest.raises(Invalid, match="Cannot delete the default server"):
        delete_server(alan, "", by=BY)


# Starting and stopping


def test_a_start_is_a_wish(alan: User) -> None:
    server, is_new = start_server(alan, "", user_options={"n": 1}, by=BY)

    assert is_new
    server.refresh_from_db()
    assert (server.wanted, server.pending, server.ready) == ("running", "spawn", False)
    assert (server.generation, server.settled) == (1, 0)
    assert server.user_options == {"n": 1}
    assert server.started == server.last_activity
    assert User.objects.get(pk=alan.pk).last_activity == server.started
    event = ServerEvent.objects.get()
    assert (event.generation, event.data) == (
        1,
        {"progress": 0, "message": "Server requested"},
    )


def test_a_start_forgets_how_the_last_one_went(alan: User) -> None:
    server = make_server(
        alan,
        failure="It fell.",
        failure_status=503,
        generation=3,
        settled=3,
        announced_port=8000,
        remove_when_stopped=True,
    )
    server.events.create(generation=3, data={"progress": 100, "failed": True})

    start_server(alan, "", by=BY)

    server.refresh_from_db()
    assert (server.failure, server.failure_status, server.generation) == ("", None, 4)
    assert (server.announced_port, server.remove_when_stopped) == (None, False)
    assert [event.generation for event in server.events.all()] == [4]


def test_a_start_under_way_is_joined(alan: User) -> None:
    first, _ = start_server(alan, "", user_options={"n": 1}, by=BY)

    second, is_new = start_server(alan, "", user_options={"n": 2}, by=BY)

    assert (second.pk, second.generation, is_new) == (first.pk, first.generation, False)
    assert second.user_options == {"n": 1}
    assert Event.objects.filter(action="server.start").count() == 1


@pytest.mark.parametrize("pending", ["stop", "check"])
def test_what_is_in_between_is_not_started(alan: User, pending: str) -> None:
    make_server(alan, pending=pending)

    with pytest.raises(Invalid, match=f"alan is pending {pending}"):
        start_server(alan, "", by=BY)
    assert not Event.objects.exists()


def test_what_runs_is_not_started(alan: User, named: None) -> None:
    make_server(alan, "lab", ready=True)

    with pytest.raises(AlreadyRunning, match="alan:lab is already running"):
        start_server(alan, "lab", by=BY)


def test_named_servers_start_under_the_rules_for_names(alan: User, named: None) -> None:
    make_server(alan, "Legacy Name")

    assert start_server(alan, "Legacy Name", by=BY)[1]
    with pytest.raises(Invalid, match="Invalid server_name"):
        start_server(alan, "Not_Valid", by=BY)
    assert start_server(alan, "second", display_name="Second", by=BY)[1]
    with pytest.raises(Invalid, match="maximum of 2"):
        start_server(alan, "third", by=BY)
    assert Server.objects.get(name="second").display_name == "Second"


def test_unnamed_hubs_start_no_named_servers(alan: User) -> None:
    make_server(alan, "lab")

    with pytest.raises(Invalid, match="not enabled"):
        start_server(alan, "lab", by=BY)
    with pytest.raises(Invalid, match="not enabled"):
        stop_server(alan, "lab", by=BY)


def test_a_display_name_may_change_with_a_start(alan: User, named: None) -> None:
    make_server(alan, "lab", display_name="Old")

    with pytest.raises(Invalid, match="display_name"):
        start_server(alan, "lab", display_name=" bad ", by=BY)
    start_server(alan, "lab", display_name="New", by=BY)

    assert Server.objects.get().display_name == "New"


def test_who_is_gone_starts_nothing(alan: User) -> None:
    User.objects.filter(pk=alan.pk).delete()

    with pytest.raises(NotFound):
        start_server(alan, "", by=BY)


@pytest.mark.parametrize("state", [{"ready": True}, {"pending": "spawn"}])
def test_a_stop_is_a_wish(alan: User, state: dict[str, Any]) -> None:
    make_server(alan, generation=1, settled=1, wanted="running", **state)

    assert stop_server(alan, "", by=BY) is not None

    server = Server.objects.get()
    assert (server.wanted, server.pending, server.ready) == ("stopped", "stop", False)
    assert (server.generation, server.settled) == (2, 1)


def test_stopping_servers_are_not_stopped_again(alan: User, named: None) -> None:
    make_server(alan, "lab", ready=True)

    first = stop_server(alan, "lab", by=BY)
    again = stop_server(alan, "lab", remove=True, by=BY)

    assert first is not None and again is not None
    assert first.generation == again.generation
    assert Server.objects.get().remove_when_stopped
    acts = Event.objects.order_by("pk").values_list("action", flat=True)
    assert list(acts) == ["server.stop", "server.delete"]


def test_what_is_stopped_needs_no_stopping(alan: User, named: None) -> None:
    make_server(alan, "lab")

    assert stop_server(alan, "", by=BY) is None
    assert stop_server(alan, "lab", by=BY) is None
    assert [server.generation for server in Server.objects.all()] == [0, 0]
    with pytest.raises(NotFound):
        stop_server(alan, "none", by=BY)


def test_a_default_server_is_known_once_it_is_stopped(alan: User) -> None:
    assert stop_server(alan, "", by=BY) is None

    server = Server.objects.get()
    assert (server.name, server.generation, server.is_active) == ("", 0, False)


def test_many_are_stopped_in_few_queries(
    alan: User, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        make_server(make_user(), ready=True, generation=number, settled=number)
    make_server(alan)
    make_server(alan, "end", pending="stop", generation=7)

    # On PostgreSQL one of them is the lock of capacities.
    with django_assert_max_num_queries(8):
        assert stop_servers(Server.objects.all(), by=BY) == 30

    stopping = Server.objects.filter(pending="stop", wanted="stopped", ready=False)
    assert stopping.filter(settled__lt=100).count() == 31
    assert len(Event.objects.get().detail["names"]) == 30
    assert stop_servers(Server.objects.all(), by=BY) == 0


def test_many_are_started_in_few_queries(
    alan: User, django_assert_max_num_queries: Any
) -> None:
    for _ in range(30):
        make_server(make_user(), failure="It fell.")
    make_server(alan, ready=True)
    make_server(make_user(is_active=False))
    make_server(alan, "named")

    # On PostgreSQL three of them are locks.
    with django_assert_max_num_queries(17):
        assert start_servers(Server.objects.all(), by=BY) == 30

    starting = Server.objects.filter(pending="spawn", generation=1, failure="")
    assert starting.count() == 30
    assert ServerEvent.objects.filter(generation=1).count() == 30
    assert User.objects.filter(last_activity__isnull=False).count() == 30


def test_no_more_are_started_than_there_is_room_for(alan: User, settings: Any) -> None:
    settings.HUB = replace(settings.HUB, active_server_limit=5)
    make_server(alan, ready=True)
    for _ in range(6):
        make_server(make_user())

    assert start_servers(Server.objects.all(), by=BY) == 4
    with pytest.raises(Busy, match="Active user limit exceeded"):
        start_servers(Server.objects.all(), by=BY)
    assert Server.objects.filter(pending="spawn").count() == 4


def test_deactivated_accounts_lose_their_servers(ada: User, alan: User) -> None:
    make_server(alan, ready=True)
    make_server(ada, ready=True)

    deactivate_users(User.objects.filter(pk=alan.pk), by=BY)

    assert Server.objects.get(user=alan).pending == "stop"
    assert Server.objects.get(user=ada).ready


@pytest.mark.parametrize("configured", [True, False])
def test_signing_out_may_stop_what_is_left_behind(
    alan: User, as_: Any, settings: Any, configured: bool
) -> None:
    settings.HUB = replace(settings.HUB, shutdown_on_logout=configured)
    make_server(alan, ready=True)

    as_(alan).get("/hub/logout")

    assert Server.objects.get().pending == ("stop" if configured else None)
