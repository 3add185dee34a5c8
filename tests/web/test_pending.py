"""Pages that show the progress of a start or stop."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from audit.models import Event
from servers.models import Server, ServerEvent
from tests.factories import make_server

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def answers(controller: Any) -> Any:
    return controller


def test_a_start_is_shown_as_far_as_it_has_come(alan: User, as_: Any) -> None:
    server = make_server(alan, pending="spawn", generation=1)
    for progress, message in ((0, "Server requested"), (30, "Pulling <image>")):
        ServerEvent.objects.create(
            server=server,
            generation=1,
            data={"progress": progress, "message": message},
        )

    reply = as_(alan).get("/hub/spawn-pending/alan?next=/user/alan/lab")

    page = reply.content.decode()
    assert reply.status_code == 200
    assert 'max="100" value="30"' in page
    assert "Pulling &lt;image&gt;" in page
    assert 'data-start="/hub/api/users/alan/server/progress"' in page
    assert '<noscript><meta http-equiv="refresh"' in page
    assert "Cancel" in page


MARKUP = 'Pulling <b>big</b><script>alert(1)</script> <a href="javascript:x">x</a>'


@pytest.mark.parametrize("state", [{"pending": "spawn"}, {"failure": "No room"}])
def test_markup_of_events_is_shown_and_cleaned(
    alan: User, as_: Any, state: dict[str, Any]
) -> None:
    server = make_server(alan, generation=1, **state)
    ServerEvent.objects.create(
        server=server,
        generation=1,
        data={"progress": 30, "message": "plain", "html_message": MARKUP},
    )

    page = as_(alan).get("/hub/spawn-pending/alan").content.decode()

    assert "Pulling <b>big</b>" in page
    assert "plain" not in page
    assert "alert(1)" not in page and "javascript:x" not in page


def fail(owner: User, told: str, **more: Any) -> Server:
    server = make_server(
        owner, generation=1, failure="Ask Grace.", failure_status=418, **more
    )
    data = {"progress": 100, "failed": True, "message": f"Spawn failed: {told}"}
    ServerEvent.objects.create(server=server, generation=1, data=data)
    return server


def test_a_failure_is_shown_with_the_markup_of_its_exception(
    alan: User, as_: Any
) -> None:
    server = fail(alan, "Ask Grace.")
    event = ServerEvent.objects.get(server=server)
    event.data["html_message"] = "Ask <b>Grace</b>.<img src=x onerror=alert(1)>"
    event.save()

    reply = as_(alan).get("/hub/spawn-pending/alan")

    page = reply.content.decode()
    assert reply.status_code == 418
    assert "Ask <b>Grace</b>." in page
    assert "Spawn failed: Ask <b>Grace</b>." in page
    assert "onerror" not in page


def test_the_page_hides_exceptions_of_the_stream(alan: User, as_: Any) -> None:
    fail(alan, "the secret is 42", failure_detail="RuntimeError: the secret is 42")

    for path in ("/hub/spawn-pending/alan", "/hub/home"):
        page = as_(alan).get(path).content.decode()
        assert "Ask Grace." in page and "the secret is 42" not in page


def test_named_servers_have_a_stream_of_their_own(alan: User, as_: Any) -> None:
    make_server(alan, "lab", pending="spawn", display_name="My <Lab>")

    page = as_(alan).get("/hub/spawn-pending/alan/lab").content.decode()

    assert 'data-start="/hub/api/users/alan/servers/lab/progress"' in page
    assert "My &lt;Lab&gt;" in page


def test_a_server_that_is_being_verified(alan: User, as_: Any) -> None:
    make_server(alan, pending="check")

    page = as_(alan).get("/hub/spawn-pending/alan").content.decode()

    assert "Checking" in page


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("", "/user/alan/"),
        ("?next=/user/alan/lab", "/user/alan/lab"),
        ("?next=https://evil.example", "/user/alan/"),
    ],
)
def test_what_is_ready_is_opened(alan: User, as_: Any, query: str, target: str) -> None:
    make_server(alan, ready=True)

    reply = as_(alan).get(f"/hub/spawn-pending/alan{query}")

    assert (reply.status_code, reply["Location"]) == (302, target)


def test_a_server_that_stops(alan: User, as_: Any) -> None:
    make_server(alan, pending="stop")

    reply = as_(alan).get("/hub/spawn-pending/alan")

    assert reply.status_code == 200
    assert "Stopping" in reply.content.decode()


@pytest.mark.parametrize(("status", "shown"), [(None, 500), (403, 403)])
def test_a_start_that_failed(
    alan: User, as_: Any, status: int | None, shown: int
) -> None:
    server = make_server(alan, failure="Out of <memory>", failure_status=status)
    ServerEvent.objects.create(
        server=server, generation=0, data={"progress": 5, "message": "Asked for room"}
    )

    reply = as_(alan).get("/hub/spawn-pending/alan?next=/user/alan/lab")

    page = reply.content.decode()
    assert reply.status_code == shown
    assert "Out of &lt;memory&gt;" in page
    assert "Asked for room" in page
    assert "/hub/servers/start?next=%2Fuser%2Falan%2Flab" in page


def test_a_server_that_is_stopped(alan: User, as_: Any) -> None:
    reply = as_(alan).get("/hub/spawn-pending/alan?next=/user/alan/lab")

    assert reply.status_code == 200
    assert "/hub/spawn/alan?next=%2Fuser%2Falan%2Flab" in reply.content.decode()


def test_is_closed_without_the_scope_to_start(
    ada: User, alan: User, mallory: User, as_: Any
) -> None:
    make_server(alan, pending="spawn")

    assert as_(mallory).get("/hub/spawn-pending/alan").status_code == 404
    assert as_(alan).get("/hub/spawn-pending/alan/nothing").status_code == 404
    assert Client().get("/hub/spawn-pending/alan").status_code == 302
    assert "the server of alan" in (
        as_(ada).get("/hub/spawn-pending/alan").content.decode()
    )


def test_looking_changes_nothing(alan: User, as_: Any) -> None:
    server = make_server(alan, failure="No room", generation=3)

    as_(alan).get("/hub/spawn-pending/alan")

    server.refresh_from_db()
    assert (server.generation, server.failure) == (3, "No room")


class TestStop:
    @pytest.mark.parametrize("state", [{"ready": True}, {"pending": "spawn"}])
    def test_wants_it_to_stop(self, alan: User, as_: Any, state: Any) -> None:
        server = make_server(alan, **state)

        reply = as_(alan).post("/hub/servers/stop")

        assert (reply.status_code, reply["Location"]) == (303, "/hub/home")
        server.refresh_from_db()
        assert (server.wanted, server.pending) == ("stopped", "stop")
        assert Event.objects.get(action="server.stop").target_name == "alan/"

    def test_may_be_pressed_when_it_has_stopped(self, alan: User, as_: Any) -> None:
        make_server(alan)

        assert as_(alan).post("/hub/servers/stop")["Location"] == "/hub/home"

    def test_those_of_others_are_shown_where_they_stop(
        self, ada: User, alan: User, as_: Any, configure: Any
    ) -> None:
        configure(allow_named_servers=True)
        make_server(alan, "lab", ready=True)

        reply = as_(ada).post(
            "/hub/servers/stop", {"owner": "alan", "server_name": "lab"}
        )

        assert reply["Location"] == "/hub/spawn-pending/alan/lab"

    def test_only_what_one_may_stop(self, alan: User, mallory: User, as_: Any) -> None:
        server = make_server(alan, ready=True)

        reply = as_(mallory).post("/hub/servers/stop", {"owner": "alan"})

        assert reply.status_code == 404
        server.refresh_from_db()
        assert server.ready

    def test_what_is_not_there(self, alan: User, as_: Any, configure: Any) -> None:
        configure(allow_named_servers=True)

        reply = as_(alan).post("/hub/servers/stop", {"server_name": "lab"})

        assert reply.status_code == 404

    def test_needs_proof_of_where_it_is_from(self, alan: User) -> None:
        make_server(alan, ready=True)
        client = Client(enforce_csrf_checks=True)
        client.force_login(alan)

        assert client.post("/hub/servers/stop").status_code == 403
        assert Server.objects.get().ready


class TestDelete:
    @pytest.fixture(autouse=True)
    def named(self, configure: Any) -> None:
        configure(allow_named_servers=True)

    def test_asks_first(self, alan: User, as_: Any) -> None:
        make_server(alan, "lab", display_name="My Läb")

        page = as_(alan).get("/hub/servers/delete?server_name=lab").content.decode()

        assert "My Läb" in page
        assert Server.objects.exists()

    def test_gives_up_what_is_stopped(self, alan: User, as_: Any) -> None:
        make_server(alan, "lab")

        reply = as_(alan).post(
            "/hub/servers/delete", {"server_name": "lab"}, follow=True
        )

        assert reply.redirect_chain == [("/hub/home", 303)]
        assert "Deleted the server “lab”." in reply.content.decode()
        assert not Server.objects.exists()

    def test_stops_what_runs_first(self, alan: User, as_: Any) -> None:
        make_server(alan, "lab", ready=True)

        reply = as_(alan).post(
            "/hub/servers/delete", {"server_name": "lab"}, follow=True
        )

        assert "is being stopped" in reply.content.decode()
        server = Server.objects.get()
        assert (server.pending, server.remove_when_stopped) == ("stop", True)

    @pytest.mark.parametrize("name", ["", "nothing", "l\0b"])
    def test_only_named_ones_of_mine(
        self, alan: User, mallory: User, as_: Any, name: str
    ) -> None:
        make_server(alan)
        make_server(mallory, "nothing")

        reply = as_(alan).post("/hub/servers/delete", {"server_name": name})

        assert reply.status_code == 404
        assert Server.objects.count() == 2
