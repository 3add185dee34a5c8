"""Start and stop servers over the API, with progress and intermediate states."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from accounts.models import User
from audit.models import Event
from servers.actions import start_server, stop_server
from servers.models import Server, ServerEvent
from tests.conftest import API, BearerClient
from tests.factories import BY, make_server, make_token, make_user, make_users
from tests.servers.settler import Settler

pytestmark = pytest.mark.django_db

OWN = f"{API}/users/alan/server"
LAB = f"{API}/users/alan/servers/lab"


@pytest.fixture(autouse=True)
def hub(settings: Any) -> None:
    settings.HUB = replace(
        settings.HUB,
        allow_named_servers=True,
        tornado_settings={"slow_spawn_timeout": 0.5, "slow_stop_timeout": 0.5},
    )


@pytest.fixture
def admin(ada: User) -> BearerClient:
    return BearerClient(make_token(ada)[1])


@pytest.fixture
def delete(admin: BearerClient) -> Callable[..., Any]:
    def send(path: str, body: Any = "") -> Any:
        return admin.delete(path, body, content_type="application/json")

    return send


def the_server() -> Server:
    return Server.objects.get()


def frames(reply: Any) -> list[dict[str, Any]]:
    """Read the events of a stream, and see that it is written as one."""
    assert reply.status_code == 200
    assert reply["Content-Type"] == "text/event-stream"
    assert reply["Cache-Control"] == "no-cache"
    text = b"".join(reply.streaming_content).decode()
    events = [part for part in text.split("\n\n") if part]
    assert text.endswith("\n\n")
    assert all(part.startswith("data: ") for part in events)
    return [json.loads(part.removeprefix("data: ")) for part in events]


# Starting


@pytest.mark.parametrize("path", ["server", "servers/"])
def test_a_start_that_succeeds_in_time(
    admin: BearerClient, alan: User, settler: Settler, path: str
) -> None:
    reply = admin.post(f"{API}/users/alan/{path}")

    assert (reply.status_code, reply.content) == (201, b"")
    assert reply["Content-Type"] == "text/plain"
    told = admin.get(f"{API}/users/alan").json()
    assert told["server"] == "/user/alan/"
    assert told["servers"][""]["ready"] is True
    assert told["last_activity"] == told["servers"][""]["started"]
    event = Event.objects.get(action="server.start")
    assert (event.actor_name, event.target_name) == ("ada", "alan/")
    assert event.address == "127.0.0.1"


def test_a_start_that_takes_longer(
    admin: BearerClient, alan: User, settler: Settler
) -> None:
    settler.starts = "hang"

    first, second = admin.post(OWN), admin.post(OWN)

    assert (first.status_code, first.content) == (202, b"")
    assert first["Content-Type"] == "text/plain"
    assert second.status_code == 202
    assert the_server().generation == 1
    told = admin.get(f"{API}/users/alan").json()
    assert (told["pending"], told["server"]) == ("spawn", None)
    assert told["servers"][""]["pending"] == "spawn"


def test_nobody_waits_if_nobody_shall(
    admin: BearerClient, alan: User, settings: Any
) -> None:
    settings.HUB = replace(settings.HUB, tornado_settings={"slow_spawn_timeout": 0})

    assert admin.post(OWN).status_code == 202
    assert the_server().wanted == Server.Wanted.RUNNING


@pytest.mark.parametrize("status", [None, 403, 503])
def test_a_start_that_fails_is_answered_as_soon_as_it_does(
    admin: BearerClient, alan: User, settler: Settler, status: int | None
) -> None:
    settler.starts, settler.failure_status = "fail", status

    reply = admin.post(LAB)

    assert reply.status_code == (status or 500)
    assert reply.json()["message"] == "The process ended with status 1."
    assert admin.get(LAB).json()["stopped"] is True
    assert admin.post(LAB).status_code == (status or 500)


def test_the_text_of_an_unexpected_exception_is_not_the_answer(
    admin: BearerClient, alan: User, settler: Settler
) -> None:
    settler.starts = "fail"
    settler.failure = "Unhandled error starting server alan"
    settler.failure_detail = "RuntimeError: the secret is 42"

    reply = admin.post(OWN)

    assert reply.status_code == 500
    assert reply.json() == {"status": 500, "message": "Internal Server Error"}


def test_a_start_that_is_cancelled(
    admin: BearerClient, alan: User, settler: Settler
) -> None:
    settler.starts = "hang"
    settler.before.append(lambda: stop_server(alan, "", by=BY))

    reply = admin.post(OWN)

    assert reply.status_code == 409
    assert not the_server().is_active


@pytest.mark.parametrize(
    ("state", "why"),
    [("stop", "alan is pending stop"), ("check", "alan is pending check")],
)
def test_what_is_in_between_is_not_started(
    admin: BearerClient, alan: User, state: str, why: str
) -> None:
    make_server(alan, pending=state)

    reply = admin.post(OWN)

    assert (reply.status_code, reply.json()["message"]) == (400, why)


def test_what_runs_is_not_started(
    admin: BearerClient, alan: User, settler: Settler
) -> None:
    server = make_server(alan, "lab", ready=True)

    reply = admin.post(LAB)

    assert reply.status_code == 400
    assert reply.json()["message"] == "alan:lab is already running"
    assert settler.asked == [{"server_id": server.pk}]
    assert the_server().ready


def test_what_has_died_is_started_at_once(
    admin: BearerClient, alan: User, settler: Settler
) -> None:
    settler.alive = False
    make_server(alan, "lab", ready=True)

    assert admin.post(LAB).status_code == 201
    assert the_server().generation == 1


def test_what_nobody_can_look_at_counts_as_running(
    admin: BearerClient, alan: User, settler: Settler, monkeypatch: Any
) -> None:
    monkeypatch.setattr("servers.controller_calls.PATIENCE", 0.1)
    settler.answers = False
    make_server(alan, "lab", ready=True)

    assert admin.post(LAB).status_code == 400
    assert the_server().ready


@pytest.mark.parametrize(
    ("body", "options"),
    [
        (None, {"n": 1}),
        ({}, {"n": 1}),
        ({"user_options": None}, {"n": 1}),
        ({"display_name": "Lab"}, {"n": 1}),
        ({"user_options": {}}, {}),
        ({"user_options": {"n": 2}}, {"n": 2}),
        ({"image": "x", "token": "y"}, {"image": "x", "token": "y"}),
    ],
)
def test_options_are_those_given_or_those_of_the_last_time(
    admin: BearerClient, alan: User, settler: Settler, body: Any, options: Any
) -> None:
    make_server(alan, "lab", user_options={"n": 1})

    assert admin.post(LAB, body).status_code == 201
    assert the_server().user_options == options


def test_a_named_server_is_created_by_its_start(
    admin: BearerClient, alan: User, settler: Settler
) -> None:
    assert admin.post(LAB, {"display_name": "My Lab"}).status_code == 201

    told = admin.get(LAB).json()
    assert (told["display_name"], told["user_options"]) == ("My Lab", {})
    assert admin.get(f"{API}/users/alan").json()["server"] is None
    acts = Event.objects.filter(action__startswith="server.").order_by("pk")
    assert [event.action for event in acts] == ["server.create", "server.start"]


@pytest.mark.parametrize(
    "body", [["x"], {"display_name": 3}, {"display_name": None}, {"user_options": []}]
)
def test_bodies_that_are_none(admin: BearerClient, alan: User, body: Any) -> None:
    assert admin.post(LAB, body).status_code == 400
    assert admin.post(f"{API}/users/alan/servers/Not_Valid").status_code == 400
    assert not Server.objects.exists()


def test_who_is_kept_out_has_no_servers(
    admin: BearerClient, alan: User, mallory: User, settings: Any
) -> None:
    settings.HUB = replace(settings.HUB, blocked_users=frozenset({"mallory"}))
    User.objects.filter(pk=alan.pk).update(is_active=False)

    assert admin.post(OWN).status_code == 403
    assert admin.post(f"{API}/users/mallory/server").status_code == 403
    assert not Server.objects.exists()


# Limits


def test_only_so_many_start_at_a_time(
    admin: BearerClient, alan: User, settings: Any
) -> None:
    settings.HUB = replace(
        settings.HUB, concurrent_spawn_limit=2, spawn_throttle_retry_range=(31.0, 39.9)
    )
    make_server(pending="spawn")
    make_server(pending="stop")
    make_server(ready=True)
    start_server(make_user(), "", by=BY)

    reply = admin.post(OWN)

    assert reply.status_code == 429
    assert 31 <= int(reply["Retry-After"]) < 40
    assert reply.json()["message"] == (
        "Too many users trying to log in right now. Try again in 40 seconds."
    )
    assert not Server.objects.filter(user=alan).exists()


def test_only_so_many_are_active(
    admin: BearerClient, alan: User, settings: Any
) -> None:
    settings.HUB = replace(settings.HUB, active_server_limit=3)
    for state in ({"pending": "spawn"}, {"pending": "stop"}, {"ready": True}):
        make_server(**state)

    reply = admin.post(OWN)

    assert reply.status_code == 429
    assert "Retry-After" not in reply
    assert reply.json()["message"] == (
        "Active user limit exceeded. Try again in a few minutes."
    )


def test_no_limit_is_none(
    admin: BearerClient, alan: User, settings: Any, settler: Settler
) -> None:
    settings.HUB = replace(
        settings.HUB, concurrent_spawn_limit=0, active_server_limit=0
    )
    for user in make_users(3):
        make_server(user, ready=True)

    assert admin.post(OWN).status_code == 201


# Stopping


def test_a_stop_in_time(
    delete: Callable[..., Any], alan: User, settler: Settler
) -> None:
    make_server(alan, ready=True)

    reply = delete(OWN)

    assert (reply.status_code, reply.content) == (204, b"")
    assert "Content-Type" not in reply
    assert not the_server().is_active
    event = Event.objects.get(action="server.stop")
    assert (event.actor_name, event.target_name) == ("ada", "alan/")
    assert delete(OWN).status_code == 204


def test_a_stop_that_takes_longer(
    delete: Callable[..., Any], alan: User, settler: Settler
) -> None:
    settler.stops = "hang"
    make_server(alan, "lab", ready=True)

    first = delete(LAB)
    second = delete(LAB, {"remove": True})

    assert (first.status_code, first.content) == (202, b"")
    assert first["Content-Type"] == "text/plain"
    assert second.status_code == 202
    assert the_server().generation == 1
    assert the_server().remove_when_stopped


@pytest.mark.parametrize("state", [{"pending": "spawn"}, {"ready": True}, {}])
def test_a_server_is_removed_once_it_is_stopped(
    delete: Callable[..., Any], alan: User, settler: Settler, state: dict[str, Any]
) -> None:
    make_server(alan, "lab", **state)

    assert delete(LAB, {"remove": True}).status_code == 204
    assert not Server.objects.exists()
    assert Event.objects.filter(action="server.delete").count() == 1


def test_the_default_server_is_never_removed(
    delete: Callable[..., Any], alan: User
) -> None:
    make_server(alan, ready=True)

    assert delete(OWN, {"remove": True}).status_code == 400
    assert the_server().ready


def test_what_is_active_is_neither_edited_nor_renamed(
    admin: BearerClient, alan: User
) -> None:
    make_server(alan, "lab", pending="spawn")
    json_ = {"content_type": "application/json"}

    assert admin.patch(LAB, {"display_name": "x"}, **json_).status_code == 400
    renamed = admin.patch(f"{API}/users/alan", {"name": "turing"}, **json_)
    assert renamed.status_code == 400
    assert User.objects.filter(name="alan").exists()


# Users


def test_users_go_when_their_servers_are_stopped(
    delete: Callable[..., Any], alan: User, settler: Settler
) -> None:
    make_server(alan, ready=True)
    make_server(alan, "lab", pending="spawn")
    make_server(alan, "old")

    assert delete(f"{API}/users/alan").status_code == 204
    assert not User.objects.filter(name="alan").exists()
    stopped = Event.objects.get(action="server.stop").detail["names"]
    assert stopped == ["alan/", "alan/lab"]


def test_users_stay_while_their_servers_do(
    delete: Callable[..., Any], alan: User, settler: Settler
) -> None:
    settler.stops = "hang"
    make_server(alan, ready=True)

    reply = delete(f"{API}/users/alan")

    assert reply.status_code == 400
    assert "please wait" in reply.json()["message"]
    assert the_server().pending == "stop"


def test_nobody_stops_their_servers_by_deleting_themselves(
    delete: Callable[..., Any], ada: User
) -> None:
    make_server(ada, ready=True)

    assert delete(f"{API}/users/ada").status_code == 400
    assert the_server().ready


def test_users_are_listed_by_what_their_servers_do(
    admin: BearerClient, ada: User
) -> None:
    for name, state in (
        ("ready", {"ready": True}),
        ("starting", {"pending": "spawn"}),
        ("stopped", {}),
    ):
        make_server(make_user(name), **state)

    def listed(state: str) -> set[str]:
        return {user["name"] for user in admin.get(f"{API}/users?state={state}").json()}

    assert listed("ready") == {"ready"}
    assert listed("active") == {"ready", "starting"}
    assert listed("inactive") == {"ada", "stopped"}


# Progress


def test_progress_of_a_start(admin: BearerClient, alan: User, settler: Settler) -> None:
    start_server(alan, "", by=BY)

    events = frames(admin.get(f"{OWN}/progress"))

    assert events == [
        {"progress": 0, "message": "Server requested"},
        {"progress": 50, "message": "Spawning server..."},
        {
            "progress": 100,
            "ready": True,
            "message": "Server ready at /user/alan/",
            "html_message": 'Server ready at <a href="/user/alan/">/user/alan/</a>',
            "url": "/user/alan/",
        },
    ]
    assert frames(admin.get(f"{OWN}/progress")) == events[-1:]


def test_progress_of_a_start_that_fails(
    admin: BearerClient, alan: User, settler: Settler
) -> None:
    settler.starts = "fail"
    start_server(alan, "lab", by=BY)

    events = frames(admin.get(f"{LAB}/progress"))

    failed = {
        "progress": 100,
        "failed": True,
        "message": "Spawn failed: The process ended with status 1.",
    }
    assert events[-1] == failed
    assert len(events) == 3
    assert frames(admin.get(f"{LAB}/progress")) == [failed]


def test_progress_of_a_start_that_is_cancelled(
    admin: BearerClient, alan: User, settler: Settler
) -> None:
    settler.starts = "hang"
    start_server(alan, "", by=BY)
    settler.before.append(lambda: settler.turns > 3 and stop_server(alan, "", by=BY))

    events = frames(admin.get(f"{OWN}/progress"))

    assert events[-1] == {
        "progress": 100,
        "failed": True,
        "message": "Spawn cancelled",
    }


def test_signs_of_life_come_at_the_start_and_at_intervals(
    admin: BearerClient, alan: User, settler: Settler, monkeypatch: Any
) -> None:
    monkeypatch.setattr("api.servers.BEAT", 0.05)
    settler.starts = "hang"
    settler.before.append(
        lambda: setattr(settler, "starts", "ready") if settler.turns > 20 else None
    )
    start_server(alan, "", by=BY)

    text = b"".join(admin.get(f"{OWN}/progress").streaming_content)

    assert text.startswith(b"\n\ndata: ")
    assert text.count(b"\n\n\n\n") >= 2


def test_the_last_event_is_made_up_if_the_controller_left_none(
    admin: BearerClient, alan: User
) -> None:
    make_server(alan, ready=True)
    make_server(alan, "lab", failure="It <b>fell</b>.")

    assert frames(admin.get(f"{OWN}/progress"))[0]["ready"] is True
    assert frames(admin.get(f"{LAB}/progress")) == [
        {"progress": 100, "failed": True, "message": "Spawn failed: It <b>fell</b>."}
    ]


def test_a_server_that_is_verified_is_not_ready_before_it_is(
    admin: BearerClient, alan: User, settler: Settler
) -> None:
    assert admin.post(OWN).status_code == 201
    server = the_server()
    settler.tell(server, progress=100, ready=True, message="Server ready")
    checked = Server.objects.filter(pk=server.pk)
    checked.update(ready=False, pending="check")

    def find_it_gone() -> None:
        if settler.turns > checking:
            checked.update(pending=None, wanted="stopped")

    checking = settler.turns + 3
    settler.before.append(find_it_gone)

    events = frames(admin.get(f"{OWN}/progress"))

    assert [event.get("ready") for event in events] == [None]
    assert events[0]["failed"]


def test_events_of_earlier_starts_are_forgotten(
    admin: BearerClient, alan: User, settler: Settler
) -> None:
    settler.starts = "fail"
    assert admin.post(OWN).status_code == 500
    settler.starts = "ready"
    assert admin.post(OWN).status_code == 201

    assert {event.generation for event in ServerEvent.objects.all()} == {2}
    assert len(frames(admin.get(f"{OWN}/progress"))) == 1


def test_nothing_to_follow(admin: BearerClient, alan: User) -> None:
    make_server(alan, "lab")
    make_server(alan, "end", pending="stop", generation=2)
    make_server(alan, "was", generation=2, settled=2)

    assert admin.get(f"{OWN}/progress").status_code == 404
    assert admin.get(f"{LAB}/progress").status_code == 400
    assert admin.get(f"{API}/users/alan/servers/end/progress").status_code == 400
    assert admin.get(f"{API}/users/alan/servers/was/progress").status_code == 404
    assert admin.get(f"{API}/users/alan/servers/none/progress").status_code == 404
    assert admin.get(f"{API}/users/nobody/server/progress").status_code == 404
