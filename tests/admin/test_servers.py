"""Servers in the admin: searched, started, stopped and opened in bulk."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from audit.actions import record
from audit.models import Actor, Event
from hubsite.config.hub_config import HubConfig
from servers.models import Server, ServerEvent
from tests.admin.conftest import rows, text
from tests.factories import make_server, make_share, make_user, make_users

pytestmark = pytest.mark.django_db
LIST = "servers_server"


def choose(action, *servers, every=False, confirmed=False):
    return {
        "action": action,
        "index": "0",
        "select_across": "1" if every else "0",
        "_selected_action": [server.pk for server in servers],
        **({"confirmed": "yes"} if confirmed else {}),
    }


def running(user, name="", **fields):
    return make_server(
        user, name, wanted="running", ready=True, started=timezone.now(), **fields
    )


@pytest.fixture(autouse=True)
def named_servers(settings):
    settings.HUB = HubConfig(allow_named_servers=True)


def test_lists_owner_condition_and_times(as_, ada, alan, pages):
    now = timezone.now()
    running(alan, "lab", last_activity=now - timedelta(days=1))
    make_server(alan, "old", failure="Spawn failed: no disk", failure_status=500)
    make_server(alan, "new", wanted="running", generation=1, pending="spawn")
    make_server(alan, "late", generation=1, pending="stop")
    make_server(alan)

    page = text(as_(ada).get(pages.list(LIST)))

    for said in ("alan/lab", "ready", "failed", "starting", "stopping", "stopped"):
        assert said in page
    assert "/user/alan/lab/" in page
    assert "never" in page


def test_narrower_scopes_see_just_their_rows(as_, ada, grace, alan, mallory, pages):
    mine = make_server(alan, "lab")
    other = make_server(mallory, "lab")

    assert len(rows(as_(ada).get(pages.list(LIST)))) == 2
    assert rows(as_(grace).get(pages.list(LIST))) == ["alan/lab"]
    assert as_(grace).get(pages.of(other)).status_code == 302
    assert as_(ada).post(pages.of(mine), {}).status_code == 403
    assert as_(mallory).get(pages.list(LIST)).status_code == 403


@pytest.mark.parametrize(
    "term",
    [
        *("alan", "an", "lab", "ab", "b", "alan/", "alan/l", "Genomes", "enom", "GE"),
        *("Alan", "ALAN/LAB", "an/la"),
    ],
)
def test_finds_by_owner_and_name(as_, ada, alan, mallory, pages, term):
    make_server(alan, "lab", display_name="Genomes")
    make_server(mallory, "desk")

    assert rows(as_(ada).get(pages.list(LIST), {"q": term})) == ["alan/lab"]


def test_filters_by_condition(as_, ada, alan, pages):
    running(alan, "ready")
    make_server(alan, "starting", generation=1, pending="spawn")
    make_server(alan, "checked", generation=1, pending="check")
    make_server(alan, "stopping", generation=1, pending="stop")
    make_server(alan, "stopped")
    make_server(alan, "failed", failure="no disk")
    client = as_(ada)

    def listed(state):
        found = rows(client.get(pages.list(LIST), {"state": state}))
        return {name.partition("/")[2] for name in found}

    assert listed("ready") == {"ready"}
    assert listed("starting") == {"starting", "checked"}
    assert listed("stopping") == {"stopping"}
    assert listed("stopped") == {"stopped", "failed"}
    assert listed("failed") == {"failed"}
    assert listed("on") == {"ready", "starting", "checked", "stopping"}


# Bulk acts


def test_stops_all_that_match_after_saying_how_many(as_, ada, alan, pages):
    for user in make_users(60):
        running(user)
    kept = running(alan)
    client = as_(ada)
    matching = pages.list(LIST, "?q=student")

    asked = client.post(matching, choose("stop", kept, every=True))
    assert "Stop 60 servers ?" in text(asked)
    assert Server.objects.filter(ready=True).count() == 61

    done = client.post(
        matching, choose("stop", kept, every=True, confirmed=True), follow=True
    )
    assert "Stopping 60 servers." in text(done)
    assert Server.objects.filter(wanted="stopped", pending="stop").count() == 60
    kept.refresh_from_db()
    assert kept.ready
    act = Event.objects.get(action="server.stop")
    assert (act.actor_name, len(act.detail["names"])) == ("ada", 60)


def test_starts_what_is_stopped(as_, ada, alan, mallory, pages):
    stopped = make_server(alan, "lab", failure="no disk", failure_status=500)
    other = running(mallory)

    done = as_(ada).post(
        pages.list(LIST), choose("start", stopped, other, confirmed=True), follow=True
    )

    assert "Starting 1 server." in text(done)
    stopped.refresh_from_db()
    other.refresh_from_db()
    assert (stopped.wanted, stopped.pending) == ("running", "spawn")
    assert stopped.failure == ""
    assert other.generation == 0
    assert Event.objects.get().target_name == "alan/lab"


def test_shows_the_number_of_rows_left_out(as_, ada, pages, settings):
    settings.HUB = HubConfig(active_server_limit=2)
    servers = [make_server(user) for user in make_users(3)]
    client = as_(ada)

    done = client.post(
        pages.list(LIST), choose("start", *servers, confirmed=True), follow=True
    )
    assert "Starting 2 of 3 servers." in text(done)

    refused = client.post(
        pages.list(LIST), choose("start", *servers, confirmed=True), follow=True
    )
    assert Server.objects.filter(pending="spawn").count() == 2
    assert "Starting" not in text(refused).partition("Servers")[0]


def test_acts_only_within_reach(as_, alan, mallory, pages):
    mine, other = running(alan), running(mallory)
    helper = make_user(
        "helper",
        scopes=["admin-ui", "read:servers", "delete:servers!group=data301"],
        roles=[],
    )
    client = as_(helper)

    client.post(pages.list(LIST), choose("stop", mine, other, confirmed=True))
    client.post(pages.list(LIST), choose("start", mine, other, confirmed=True))

    mine.refresh_from_db()
    other.refresh_from_db()
    assert (mine.pending, other.pending) == ("stop", None)
    assert "You can't stop any" in text(
        client.post(pages.list(LIST), choose("stop", other), follow=True)
    )


def test_readers_are_offered_nothing(as_, alan, pages):
    server = running(alan)
    reader = make_user("reader", scopes=["admin-ui", "read:servers"], roles=[])
    client = as_(reader)

    assert 'value="stop"' not in client.get(pages.list(LIST)).content.decode()
    assert 'value="stop"' not in client.get(pages.of(server)).content.decode()
    client.post(pages.list(LIST), choose("stop", server, confirmed=True))
    client.post(pages.list(LIST), choose("open", server))

    server.refresh_from_db()
    assert server.ready


def test_opens_all_that_match_by_links(as_, ada, alan, grace, mallory, pages):
    for user in make_users(60):
        last = running(user)
    make_server(mallory)
    running(alan, "lab")

    page = as_(ada).post(pages.list(LIST), choose("open", last, every=True))

    links = re.findall(
        r'<a href="(/user/[^"]*)" target="_blank"', page.content.decode()
    )
    assert len(links) == 61
    assert "/user/alan/lab/" in links
    assert "/user/mallory/" not in links
    assert "1 of the selected ones is not running" in text(page)


def test_links_only_to_what_may_be_opened(as_, alan, mallory, pages):
    mine, other = running(alan), running(mallory)
    helper = make_user(
        "helper", scopes=["admin-ui", "read:servers", "access:servers!group=data301"]
    )

    page = as_(helper).post(pages.list(LIST), choose("open", mine, other))

    assert "/user/alan/" in page.content.decode()
    assert "/user/mallory/" not in page.content.decode()


# One server


def test_one_server_shows_its_history(as_, ada, alan, mallory, pages):
    server = make_server(
        alan,
        "lab",
        user_options={"profile": "gpu"},
        state={"pid": 4711},
        failure="Spawn failed: the disk is full",
    )
    for message in ("Server requested", "Spawn failed: the disk is full"):
        ServerEvent.objects.create(
            server=server, generation=1, data={"progress": 0, "message": message}
        )
    make_share(server, user=mallory)
    record(Actor("user", "ada"), "server.open", "server", "alan/lab")

    page = text(as_(ada).get(pages.of(server)))

    for said in ("gpu", "4711", "the disk is full", "Server requested"):
        assert said in page
    assert "failed" in page
    assert "user mallory" in page
    assert re.search(r"Opened by others ?: .*: ada", page)


def test_an_exception_is_read_by_those_who_may_see_inside(as_, ada, alan, pages):
    server = make_server(
        alan,
        "lab",
        failure="Unhandled error starting server alan:lab",
        failure_detail="RuntimeError: the <secret> is 42",
        failure_status=500,
    )
    ServerEvent.objects.create(
        server=server,
        generation=0,
        data={"message": "x", "html_message": "Pulling <b>big</b><script>1</script>"},
    )
    reader = make_user("reader", scopes=["admin-ui", "read:servers"], roles=[])

    for_ada = as_(ada).get(pages.of(server)).content.decode()
    for_reader = as_(reader).get(pages.of(server)).content.decode()

    assert "RuntimeError: the &lt;secret&gt; is 42" in for_ada
    assert "is 42" not in for_reader
    for page in (for_ada, for_reader):
        assert "Unhandled error starting server" in page
        assert "Pulling <b>big</b>" in page and "<script>1" not in page


def test_inner_state_and_shares_need_their_scopes(as_, alan, mallory, pages):
    server = make_server(alan, "lab", state={"pid": 4711})
    make_share(server, user=mallory)
    reader = make_user("reader", scopes=["admin-ui", "read:servers"], roles=[])

    page = text(as_(reader).get(pages.of(server)))

    assert "4711" not in page
    assert "mallory" not in page


def test_one_server_is_stopped_from_its_page(as_, ada, alan, pages):
    server = running(alan)
    client = as_(ada)
    page = client.get(pages.of(server)).content.decode()
    assert 'value="stop"' in page
    assert 'value="start"' not in page
    assert 'href="/user/alan/"' in page

    asked = client.post(pages.list(LIST), choose("stop", server))
    assert "alan/" in text(asked)
    client.post(pages.list(LIST), choose("stop", server, confirmed=True))

    server.refresh_from_db()
    assert server.pending == "stop"


# The record


def test_record_shows_what_was_done_to_servers_within_reach(
    as_, grace, alan, mallory, pages
):
    make_server(alan, "lab")
    make_server(mallory, "lab")
    ada = Actor("user", "ada")
    for owner in ("alan", "mallory"):
        record(ada, "server.open", "server", f"{owner}/lab")
        record(ada, "share.grant", "server", f"{owner}/lab")

    reply = as_(grace).get(pages.list("audit_event"))

    shown = {
        (event.action, event.target_name) for event in reply.context["cl"].result_list
    }
    # Grace may see servers of her group, but not with whom they are shared.
    assert shown == {("server.open", "alan/lab")}
