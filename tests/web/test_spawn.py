"""Start servers: at once, with options from an address, and with a form."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from scopes.refusals import Busy
from servers.models import Server
from tests.factories import make_server, make_user

pytestmark = pytest.mark.django_db

FORM = '<label>Size <select name="size"><option>big</option></select></label>'


@pytest.fixture(autouse=True)
def answers(controller: Any) -> Any:
    return controller


def only_server() -> Server:
    return Server.objects.get()


# Without a form


@pytest.mark.parametrize("path", ["/hub/spawn", "/hub/spawn/alan"])
def test_opening_the_page_starts_the_server(alan: User, as_: Any, path: str) -> None:
    reply = as_(alan).get(path)

    assert reply.status_code == 302
    assert reply["Location"] == "/hub/spawn-pending/alan"
    server = only_server()
    assert (server.user, server.name, server.wanted) == (alan, "", "running")
    act = Event.objects.get(action="server.start")
    assert (act.actor_name, act.target_name) == ("alan", "alan/")


def test_looking_starts_nothing(alan: User, as_: Any) -> None:
    assert as_(alan).head("/hub/spawn").status_code == 405
    assert not Server.objects.exists()


def test_where_to_go_comes_along(alan: User, as_: Any) -> None:
    reply = as_(alan).get("/hub/spawn?next=/user/alan/lab/tree/x")

    target = "/hub/spawn-pending/alan?next=%2Fuser%2Falan%2Flab%2Ftree%2Fx"
    assert reply["Location"] == target


@pytest.mark.parametrize(
    ("query", "pending", "running"),
    [
        (
            "?opt-a=1&opt-a=2&next=/hub/token",
            "?opt-a=1&opt-a=2&next=%2Fhub%2Ftoken",
            "",
        ),
        ("?opt-a=1&b=%C3%B6", "?opt-a=1&b=%C3%B6", "?opt-a=1&b=%C3%B6"),
        ("?display_name=X&opt-a=", "", "?display_name=X"),
    ],
)
def test_what_was_asked_with_comes_along(
    alan: User, as_: Any, query: str, pending: str, running: str
) -> None:
    client = as_(alan)

    reply = client.get(f"/hub/spawn{query}")

    assert reply["Location"] == f"/hub/spawn-pending/alan{pending}"
    Server.objects.update(pending=None, ready=True)
    target = f"/user/alan/{running}" if "next" not in query else "/hub/token"
    assert client.get(f"/hub/spawn{query}")["Location"] == target
    assert client.get(f"/hub/spawn-pending/alan{query}")["Location"] == target


def test_options_need_names(alan: User, as_: Any) -> None:
    assert as_(alan).get("/hub/spawn?opt-=1").status_code == 422
    assert not Server.objects.exists()


def test_nobody_is_led_elsewhere(alan: User, as_: Any) -> None:
    reply = as_(alan).get("/hub/spawn?next=//evil.example/")

    assert reply["Location"] == "/hub/spawn-pending/alan"


def test_what_starts_already_is_watched(alan: User, as_: Any) -> None:
    make_server(alan, pending="spawn", generation=1)

    reply = as_(alan).get("/hub/spawn/alan?next=/user/alan/lab")

    assert reply["Location"] == "/hub/spawn-pending/alan?next=%2Fuser%2Falan%2Flab"
    assert only_server().generation == 1


@pytest.mark.parametrize(
    ("query", "target"), [("", "/user/alan/"), ("?next=/hub/token", "/hub/token")]
)
def test_what_runs_is_opened(alan: User, as_: Any, query: str, target: str) -> None:
    make_server(alan, ready=True)

    assert as_(alan).get(f"/hub/spawn{query}")["Location"] == target


def test_what_only_seems_to_run_is_started(alan: User, as_: Any, answers: Any) -> None:
    answers.dead.add(make_server(alan, ready=True).pk)

    reply = as_(alan).get("/hub/spawn")

    assert reply["Location"] == "/hub/spawn-pending/alan"
    assert only_server().pending == "spawn"


def test_a_start_that_fails_at_once_shows_the_reason(
    alan: User, as_: Any, monkeypatch: Any
) -> None:
    async def until_settled(server_id: int, generation: int, seconds: float) -> Any:
        failed = Server(pk=server_id, user=alan, failure="No such image: big")
        failed.failure_status = 500
        return failed

    monkeypatch.setattr("servers.views.start.until_settled", until_settled)

    reply = as_(alan).get("/hub/spawn")

    assert reply.status_code == 500
    page = reply.content.decode()
    assert "No such image: big" in page
    assert "Try again" in page


def test_a_full_hub_sends_the_time_of_the_next_try(
    alan: User, as_: Any, monkeypatch: Any
) -> None:
    def full(*args: Any, **options: Any) -> Any:
        raise Busy("Too many servers are starting.", retry_after=40)

    monkeypatch.setattr("servers.views.start.start_server", full)

    reply = as_(alan).get("/hub/spawn")

    assert (reply.status_code, reply["Retry-After"]) == (429, "40")
    assert "Too many servers are starting." in reply.content.decode()
    assert "Try again" in reply.content.decode()


def test_the_server_limit_is_explained(alan: User, as_: Any, configure: Any) -> None:
    configure(active_server_limit=1)
    make_server(ready=True)

    reply = as_(alan).get("/hub/spawn")

    assert reply.status_code == 429
    assert "The server limit is reached; try again later." in reply.content.decode()
    assert not Server.objects.filter(user=alan).exists()


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_form_that_cannot_be_made_starts_nothing(
    alan: User, as_: Any, answers: Any, method: str
) -> None:
    answers.form_error = "KubeSpawner can't be used: <no> cluster"
    client = as_(alan)

    path = "/hub/spawn" if method == "get" else "/hub/servers/start"
    reply = getattr(client, method)(path)

    assert reply.status_code == 500
    page = reply.content.decode()
    assert "KubeSpawner can&#x27;t be used: &lt;no&gt; cluster" in page
    assert not Server.objects.exists()


def test_a_controller_that_is_silent_starts_nothing(
    alan: User, as_: Any, answers: Any
) -> None:
    answers.is_silent = True

    reply = as_(alan).get("/hub/spawn?next=/user/alan/lab")

    assert reply.status_code == 503
    assert "did not answer" in reply.content.decode()
    assert "/hub/servers/start?next=/user/alan/lab" in reply.content.decode().replace(
        "%2F", "/"
    )
    assert not Server.objects.exists()


# Named servers


def test_a_named_server_is_created_with_its_start(
    alan: User, as_: Any, configure: Any
) -> None:
    configure(allow_named_servers=True)

    reply = as_(alan).get("/hub/spawn/alan/lab?display_name=My+L%C3%A4b")

    assert reply["Location"] == "/hub/spawn-pending/alan/lab"
    server = only_server()
    assert (server.name, server.display_name) == ("lab", "My Läb")
    assert server.pending == "spawn"


def test_a_link_gives_no_other_name_to_what_has_one(
    alan: User, as_: Any, configure: Any
) -> None:
    configure(allow_named_servers=True)
    make_server(alan, "lab", display_name="Mine")

    as_(alan).get("/hub/spawn/alan/lab?display_name=Other")

    assert only_server().display_name == "Mine"


@pytest.mark.parametrize(
    ("allowed", "name"), [(False, "lab"), (True, "Not%20a%20name")]
)
def test_names_follow_the_rules(
    alan: User, as_: Any, configure: Any, allowed: bool, name: str
) -> None:
    configure(allow_named_servers=allowed)

    assert as_(alan).get(f"/hub/spawn/alan/{name}").status_code == 400
    assert not Server.objects.exists()


@pytest.mark.parametrize(
    ("site", "path"),
    [
        ({"allow_named_servers": False}, "lab"),
        ({}, "Not%20a%20name"),
        ({}, "lab?display_name=%20"),
        ({"named_server_limit_per_user": 1}, "second"),
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_nobody_fills_in_a_form_for_a_server_that_would_be_refused(
    alan: User,
    as_: Any,
    configure: Any,
    controller: Any,
    site: dict[str, Any],
    path: str,
    method: str,
) -> None:
    configure(**{"allow_named_servers": True, **site})
    make_server(alan, "first")
    controller.form = "<input name=size>"

    reply = getattr(as_(alan), method)(f"/hub/spawn/alan/{path}")

    assert reply.status_code == 400
    assert b"<input name=size>" not in reply.content
    assert not controller.asked


# Whose


def test_starting_needs_the_scope(
    ada: User, alan: User, mallory: User, as_: Any
) -> None:
    assert as_(mallory).get("/hub/spawn/alan").status_code == 404
    assert as_(ada).get("/hub/spawn/nobody").status_code == 404
    assert as_(ada).get("/hub/spawn/al%00an/lab").status_code == 404
    assert Client().get("/hub/spawn/alan").status_code == 302
    assert not Server.objects.exists()

    reply = as_(ada).get("/hub/spawn/alan")

    assert reply["Location"] == "/hub/spawn-pending/alan"
    assert only_server().user == alan
    assert Event.objects.get(action="server.start").actor_name == "ada"


@pytest.mark.parametrize("name", ["a b@c", "ümläut", "50%", "a+b", "<b>x"])
def test_names_may_be_odd(as_: Any, name: str) -> None:
    person = make_user(name)

    reply = as_(person).get("/hub/spawn")

    assert reply["Location"] == f"/hub/spawn-pending/{quote(name, safe='@')}"
    assert as_(person).get(reply["Location"]).status_code == 200


# Options


class TestOptionsInAnAddress:
    def test_those_with_the_prefix_count(
        self, alan: User, as_: Any, answers: Any
    ) -> None:
        as_(alan).get("/hub/spawn?opt-size=big&opt-tag=a&opt-tag=b&size=small&next=/x")

        assert only_server().user_options == {"size": ["big"], "tag": ["a", "b"]}
        assert answers.asked == [
            (
                "options_from_form",
                {
                    "owner": "alan",
                    "server_name": "",
                    "fields": {"size": ["big"], "tag": ["a", "b"]},
                    "files": {},
                },
            )
        ]

    def test_older_links_have_none(self, alan: User, as_: Any) -> None:
        as_(alan).get("/hub/spawn?size=big&display_name=x&next=/user/alan/")

        assert only_server().user_options == {"size": ["big"]}

    def test_what_is_wrong_is_said_in_the_form(
        self, alan: User, as_: Any, answers: Any
    ) -> None:
        answers.form, answers.error = FORM, "There is no size <huge>"

        reply = as_(alan).get("/hub/spawn?opt-size=huge")

        page = reply.content.decode()
        assert reply.status_code == 400
        assert "There is no size &lt;huge&gt;" in page
        assert FORM in page
        assert not Server.objects.exists()

    def test_without_a_form_it_is_said_all_the_same(
        self, alan: User, as_: Any, answers: Any
    ) -> None:
        answers.error = "There is no size huge"

        reply = as_(alan).get("/hub/spawn?opt-size=huge")

        assert reply.status_code == 400
        assert "There is no size huge" in reply.content.decode()


class TestForm:
    @pytest.fixture(autouse=True)
    def form(self, answers: Any) -> None:
        answers.form = FORM

    def test_is_shown_as_its_author_wrote_it(self, alan: User, as_: Any) -> None:
        reply = as_(alan).get("/hub/spawn")

        assert reply.status_code == 200
        assert FORM in reply.content.decode()
        assert not Server.objects.exists()

    def test_its_scripts_run_here_and_nowhere_else(self, alan: User, as_: Any) -> None:
        client = as_(alan)

        here = client.get("/hub/spawn")["Content-Security-Policy"]
        elsewhere = client.get("/hub/home")["Content-Security-Policy"]

        assert "script-src 'self' 'unsafe-inline';" in here
        assert "default-src 'none'" in here
        assert "'unsafe-inline'" not in elsewhere

    def test_what_is_filled_in_starts_the_server(
        self, alan: User, browser: Any
    ) -> None:
        browser.force_login(alan)

        reply = browser.submit("/hub/spawn?next=/user/alan/lab", size="big", tag="a")

        target = "/hub/spawn-pending/alan?next=%2Fuser%2Falan%2Flab"
        assert (reply.status_code, reply["Location"]) == (302, target)
        assert only_server().user_options == {"size": ["big"], "tag": ["a"]}

    def test_files_come_along(self, alan: User, as_: Any, answers: Any) -> None:
        file = BytesIO(b"\x00pip")
        file.name = "requirements.txt"

        as_(alan).post("/hub/spawn", {"size": "big", "packages": file})

        sent = answers.asked[0][1]["files"]["packages"]
        assert [(each["filename"], each["body"]) for each in sent] == [
            ("requirements.txt", "AHBpcA==")
        ]

    def test_errors_come_with_the_form(
        self, alan: User, as_: Any, answers: Any
    ) -> None:
        answers.error = "Choose a size"

        reply = as_(alan).post("/hub/spawn", {})

        assert reply.status_code == 400
        assert "Choose a size" in reply.content.decode()
        assert FORM in reply.content.decode()
        assert not Server.objects.exists()

    @pytest.mark.parametrize("fields", [{"size": "a\0b"}, {"si\0ze": "big"}])
    def test_what_no_database_stores_is_refused(
        self, alan: User, as_: Any, fields: dict[str, str]
    ) -> None:
        client = as_(alan)

        filled_in = client.post("/hub/spawn", fields)
        asked_for = client.get(
            "/hub/spawn", {f"opt-{key}": value for key, value in fields.items()}
        )

        assert (filled_in.status_code, asked_for.status_code) == (400, 400)
        assert not Server.objects.exists()

    @pytest.mark.parametrize("state", [{"ready": True}, {"pending": "spawn"}])
    def test_nothing_is_started_twice(self, alan: User, as_: Any, state: Any) -> None:
        make_server(alan, **state)

        reply = as_(alan).post("/hub/spawn/alan", {"size": "big"})

        assert reply.status_code == 400
        assert only_server().user_options is None

    def test_names_the_users_concerned(self, ada: User, alan: User, as_: Any) -> None:
        page = as_(ada).get("/hub/spawn/alan").content.decode()

        assert "You start this server for" in page
        assert "alan" in page

    def test_needs_proof_of_where_it_is_from(self, alan: User) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(alan)

        assert client.post("/hub/spawn", {"size": "big"}).status_code == 403
        assert not Server.objects.exists()


class TestButton:
    def test_starts(self, alan: User, as_: Any) -> None:
        reply = as_(alan).post("/hub/servers/start?next=/user/alan/lab")

        target = "/hub/spawn-pending/alan?next=%2Fuser%2Falan%2Flab"
        assert reply["Location"] == target
        assert only_server().pending == "spawn"

    def test_leads_to_the_form_where_there_is_one(
        self, alan: User, as_: Any, answers: Any, configure: Any
    ) -> None:
        configure(allow_named_servers=True)
        answers.form = FORM

        reply = as_(alan).post("/hub/servers/start", {"server_name": "lab"})

        assert reply["Location"] == "/hub/spawn/alan/lab"
        assert not Server.objects.exists()

    def test_may_be_pressed_twice(self, alan: User, as_: Any) -> None:
        client = as_(alan)
        client.post("/hub/servers/start")

        reply = client.post("/hub/servers/start")

        assert reply["Location"] == "/hub/spawn-pending/alan"
        assert only_server().generation == 1

    def test_only_for_servers_that_one_may_start(
        self, alan: User, mallory: User, as_: Any
    ) -> None:
        reply = as_(mallory).post("/hub/servers/start", {"owner": "alan"})

        assert reply.status_code == 404
        assert as_(alan).get("/hub/servers/start").status_code == 405
        assert not Server.objects.exists()


def test_the_time_of_a_start_is_known(alan: User, as_: Any) -> None:
    before = timezone.now()

    as_(alan).get("/hub/spawn")

    assert only_server().started >= before
