"""Actions on the pages of a user and of a token, and in a user's row."""

from __future__ import annotations

import re
from html import unescape

import pytest

from accounts.models import User
from audit.actions import record
from servers.models import Server
from tests.admin.conftest import text
from tests.factories import (
    BY,
    make_client,
    make_group,
    make_role,
    make_server,
    make_service,
    make_share,
    make_token,
    make_user,
)
from tokens.models import APIToken

pytestmark = pytest.mark.django_db


def buttons(reply):
    """Return what the buttons beside users are called, with their addresses."""
    found = re.findall(
        r'formaction="([^"]+)">(.*?)</button>', reply.content.decode(), re.S
    )
    return {
        re.sub("<[^>]+>", "", words).strip(): unescape(where) for where, words in found
    }


def test_somebody_who_never_started_a_server_gets_one(as_, ada, alan, pages):
    client = as_(ada)
    shown = client.get(pages.list("accounts_user", "?q=alan"))
    assert "never started" in text(shown)

    reply = client.post(buttons(shown)["Start the server alan/"])

    server = Server.objects.get()
    assert (server.user, server.name, server.pending) == (alan, "", "spawn")
    assert reply["Location"] == pages.list("accounts_user", "?q=alan")
    assert "Starting alan/" in text(client.get(reply["Location"]))


def test_a_running_server_is_opened_and_stopped_from_the_row(as_, ada, alan, pages):
    server = make_server(alan, "lab", ready=True, wanted="running")
    make_server(alan, "old")
    client = as_(ada)
    shown = client.get(pages.list("accounts_user"))
    assert f'href="{server.path}" target="_blank"' in shown.content.decode()
    assert "and 1 more" in text(shown)
    where = buttons(shown)["Stop… the server alan/lab"]

    asked = client.post(where)
    server.refresh_from_db()
    assert server.ready
    assert "unsaved work is lost" in text(asked)
    done = client.post(where, {"confirmed": "yes"}, follow=True)

    server.refresh_from_db()
    assert server.pending == "stop"
    assert "Stopping alan/lab." in text(done)


def test_a_page_shows_all_servers_of_its_user(as_, ada, alan, pages):
    for name in ("", "one", "two"):
        make_server(alan, name)

    found = buttons(as_(ada).get(pages.of(alan)))

    assert list(found) == [
        f"Start the server alan/{name}" for name in ("", "one", "two")
    ]


def test_reading_starts_and_stops_nothing(as_, ada, alan, pages):
    server = make_server(alan, ready=True, wanted="running")
    client = as_(ada)
    base = pages.list("servers_server") + f"of/{alan.pk}/"

    client.get(f"{base}start/")
    client.get(f"{base}stop/?confirmed=yes")

    server.refresh_from_db()
    assert server.ready


def test_acts_take_their_scopes(as_, grace, alan, mallory, pages):
    reader = make_user(
        "reader", scopes=["admin-ui", "list:users", "read:servers"], roles=[]
    )
    make_server(alan, ready=True, wanted="running")
    make_server(mallory)
    start = pages.list("servers_server") + f"of/{mallory.pk}/start/"
    stop = pages.list("servers_server") + f"of/{alan.pk}/stop/"

    seen = as_(reader).get(pages.list("accounts_user"))
    assert "ready" in text(seen)
    assert buttons(seen) == {}
    for client, where in (
        (as_(reader), start),
        (as_(reader), stop),
        (as_(grace), start),
    ):
        assert client.post(where, {"confirmed": "yes"}).status_code == 403
    assert Server.objects.filter(pending=None).count() == 2
    assert as_(grace).post(stop, {"confirmed": "yes"}).status_code == 302


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example", "/hub/admin\\x"]
)
def test_the_way_back_stays_in_the_admin(as_, ada, alan, pages, back):
    where = pages.list("servers_server") + f"of/{alan.pk}/start/"

    reply = as_(ada).post(f"{where}?back={back}")

    assert reply["Location"] == pages.of(alan)


def test_a_name_that_is_no_server_is_not_found(as_, ada, alan, pages):
    base = pages.list("servers_server")
    client = as_(ada)

    assert client.post(f"{base}of/{alan.pk}/start/?name=nothing").status_code == 404
    assert client.post(f"{base}of/{alan.pk}/start/?name=%00").status_code == 404
    assert client.post(f"{base}of/999999/start/").status_code == 404
    assert not Server.objects.exists()


# Counts


def test_a_user_shows_what_belongs_to_them(as_, ada, alan, mallory, pages):
    for _ in range(2):
        make_token(alan)
    make_share(make_server(alan), user=mallory)
    as_(alan).get("/hub/home")

    page = as_(ada).get(pages.of(alan)).content.decode()

    for view, said in (
        ("tokens_apitoken", "2 tokens"),
        ("servers_server", "1 server"),
        ("accounts_group", "1 group"),
    ):
        assert f'<a href="{pages.list(view)}?user=alan">{said}</a>' in page
    assert "1 share" in page


def test_what_scopes_do_not_reach_is_not_counted(as_, alan, pages):
    make_token(alan)
    make_server(alan)
    reader = make_user("reader", scopes=["admin-ui", "list:users"], roles=[])

    page = text(as_(reader).get(pages.of(alan)))

    assert "1 token" not in page
    assert "1 server" not in page


def test_the_groups_of_a_user_are_listed(as_, ada, alan, pages):
    make_group("physics")

    reply = as_(ada).get(pages.list("accounts_group", "?user=alan"))

    assert "data301" in text(reply)
    assert "physics" not in text(reply)


def test_a_deletion_names_the_deleted_rows(as_, ada, alan, mallory, ci, pages):
    for _ in range(2):
        make_token(alan)
    make_share(make_server(alan), user=mallory)
    make_token(ci)
    client = as_(ada)

    one = text(client.get(pages.of(alan, "delete")))
    both = text(
        client.post(
            pages.list("accounts_user"),
            {"action": "delete_users", "_selected_action": [alan.pk, mallory.pk]},
        )
    )

    assert "This also deletes 2 tokens, 1 server and 1 share ." in one
    assert "This also deletes 2 tokens, 1 server" in both
    assert "This also deletes 1 token" in text(client.get(pages.of(ci, "delete")))
    assert User.objects.filter(name="alan").exists()


# Tokens


def test_a_token_is_disabled_enabled_and_revoked_on_its_page(as_, ada, alan, pages):
    token, _ = make_token(alan)
    client = as_(ada)
    chosen = {"_selected_action": [token.pk], "index": "0", "stay": "yes"}

    def act(name):
        page = client.get(pages.of(token)).content.decode()
        assert f'name="action" value="{name}"' in page
        data = {**chosen, "action": name}
        asked = client.post(pages.list("tokens_apitoken"), data)
        assert 'name="stay" value="yes"' in asked.content.decode()
        done = client.post(pages.list("tokens_apitoken"), {**data, "confirmed": "yes"})
        assert done["Location"] == pages.of(token)
        return APIToken.objects.get()

    assert act("disable").disabled_at is not None
    assert "by" in text(client.get(pages.of(token)))
    assert act("enable").disabled_at is None
    assert act("revoke").revoked_at is not None
    assert 'name="action"' not in client.get(pages.of(token)).content.decode()


def test_a_tokens_owner_is_a_link(as_, ada, alan, ci, pages):
    client = as_(ada)

    for owner in (alan, ci):
        token, _ = make_token(owner)
        link = f'<a href="{pages.of(owner)}">{owner.name}</a>'
        assert link in client.get(pages.of(token)).content.decode()
        assert link in client.get(pages.list("tokens_apitoken")).content.decode()


def test_readers_are_offered_no_act_on_a_token(as_, alan, pages):
    reader = make_user("reader", scopes=["admin-ui", "read:tokens"], roles=[])
    token, _ = make_token(alan)

    page = as_(reader).get(pages.of(token))

    assert page.status_code == 200
    assert 'name="action"' not in page.content.decode()


@pytest.mark.parametrize(
    "make",
    [
        make_server,
        make_service,
        make_group,
        make_client,
        make_role,
        lambda: make_user(roles=[]),
        lambda: make_token()[0],
        lambda: record(BY, "hub.stop", "hub", ""),
    ],
    ids=["server", "service", "group", "client", "role", "user", "token", "event"],
)
def test_a_page_of_one_row_leaves_out_what_is_empty(as_, ada, pages, make):
    page = as_(ada).get(pages.of(make())).content.decode()

    shown = re.findall(r'<div class="readonly">(.*?)</div>', page, re.S)
    assert shown
    assert not {"-", ""} & {value.strip() for value in shown}


def test_a_servers_acts_stand_before_its_facts(as_, ada, alan, pages):
    page = as_(ada).get(pages.of(make_server(alan, "lab"))).content.decode()

    assert page.index('value="start"') < page.index('<div class="readonly">')
