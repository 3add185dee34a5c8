"""The page Home: the account and the person's servers."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape

from audit.actions import record
from audit.models import Actor
from servers.named_server_actions import create_server
from tests.factories import (
    BY,
    make_group,
    make_role,
    make_server,
    make_service,
    make_share,
    make_token,
    make_user,
)

pytestmark = pytest.mark.django_db


def page_of(client, path="/hub/home"):
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def test_shows_who_is_signed_in(as_, mallory):
    assert '<h1 class="name">mallory</h1>' in page_of(as_(mallory))


def test_an_empty_list_of_tokens_explains_itself(as_, mallory):
    assert "You have no active token" in page_of(as_(mallory))


def test_counts_tokens_that_still_count(as_, mallory, ada):
    make_token(mallory, note="for the weekly report")
    make_token(ada, note="somebody else's")
    revoked, _ = make_token(mallory, note="long gone")
    type(revoked).objects.filter(pk=revoked.pk).update(revoked_at=revoked.created)

    page = page_of(as_(mallory))

    assert "for the weekly report" in page
    assert "somebody else" not in page
    assert "long gone" not in page


def test_counts_only_what_can_act_for_its_owner(as_, mallory):
    make_token(mallory, note="for the weekly report")
    disabled, _ = make_token(mallory, note="asleep")
    type(disabled).objects.filter(pk=disabled.pk).update(disabled_at=disabled.created)
    of_server, _ = make_token(mallory, note="Server at /user/mallory/")
    make_server(mallory, ready=True, token=of_server)

    page = page_of(as_(mallory))

    assert '<strong class="figure">1</strong>' in page
    assert "asleep" not in page
    assert "Server at" not in page


def test_describes_roles_and_their_origin(as_, mallory):
    group = make_group("staff", users=[mallory])
    role = make_role("helper", "read:hub", groups=[group])
    role.description = "Looks after the printers"
    role.save()

    page = page_of(as_(mallory))

    assert "Looks after the printers" in page
    assert "through the group staff" in page


def test_built_in_roles_need_no_card(as_, ada, mallory):
    assert "Roles and groups" not in page_of(as_(ada))
    make_group("physics", users=[mallory])
    assert "physics" in page_of(as_(mallory))


def test_names_are_text(as_):
    user = make_user("<script>alert(1)</script>")

    page = page_of(as_(user))

    assert "<script>alert" not in page
    assert escape(user.name) in page


def test_asks_the_same_number_of_queries_whatever_there_is(
    as_, mallory, django_assert_max_num_queries
):
    for number in range(20):
        group = make_group(f"group-{number}", users=[mallory])
        make_role(f"role-{number}", "read:hub", groups=[group])
        make_token(mallory)
    client = as_(mallory)

    with django_assert_max_num_queries(14):
        page_of(client)


class TestMyServer:
    @pytest.mark.parametrize(
        ("state", "offered", "missing"),
        [
            ({}, ["Start my server"], ["Stop my", "Open my"]),
            ({"ready": True}, ["Open my server", "Stop my server"], ["Start my"]),
            ({"pending": "spawn"}, ["Show progress", "Cancel"], ["Start my"]),
            ({"pending": "check"}, ["Show progress", "Cancel"], ["Start my"]),
            ({"pending": "stop"}, ["Show progress"], ["Start my", "Cancel"]),
            ({"failure": "No <room>"}, ["Start my server", "No &lt;room&gt;"], []),
        ],
    )
    def test_offers_what_can_be_done(
        self, as_, mallory, controller, state, offered, missing
    ):
        make_server(mallory, **state)

        page = page_of(as_(mallory))

        assert [words for words in offered if words not in page] == []
        assert [words for words in missing if words in page] == []

    def test_is_there_before_it_was_ever_started(self, as_, mallory):
        page = page_of(as_(mallory))

        assert "never started" in page
        assert "Start my server" in page

    def test_a_named_one_that_was_only_added_was_never_active(
        self, as_, mallory, configure
    ):
        configure(allow_named_servers=True)
        create_server(mallory, "second", display_name="Second", by=BY)

        page = page_of(as_(mallory))

        assert page.count("never started") == 2
        assert "ago" not in page
        assert "last active" not in page

    def test_one_that_died_is_not_shown_as_running(self, as_, mallory, controller):
        controller.dead.add(make_server(mallory, ready=True).pk)

        assert "Start my server" in page_of(as_(mallory))

    def test_is_shown_as_known_where_nobody_answers(self, as_, mallory, controller):
        controller.is_silent = True
        make_server(mallory, ready=True)

        assert "Open my server" in page_of(as_(mallory))

    def test_messages_are_shown_once_all_the_same(
        self, as_, mallory, controller, configure
    ):
        configure(allow_named_servers=True)
        make_server(mallory, ready=True)
        client = as_(mallory)
        client.post("/hub/home", {"display_name": "Lab"})

        assert "Added the server" in page_of(client)
        assert "Added the server" not in page_of(client)

    def test_is_closed_without_the_scope(self, as_):
        person = make_user("visitor", roles=[])

        page = page_of(as_(person))

        assert "may not start servers" in page
        assert "Start my server" not in page

    def test_looks_again_without_scripts_while_something_moves(self, as_, mallory):
        assert 'http-equiv="refresh"' not in page_of(as_(mallory))

        make_server(mallory, pending="spawn")

        assert 'http-equiv="refresh"' in page_of(as_(mallory))


class TestNamedServers:
    @pytest.fixture(autouse=True)
    def named(self, configure, controller):
        configure(allow_named_servers=True, named_server_limit_per_user=3)

    def test_are_listed_by_the_name_that_people_read(self, as_, mallory):
        make_server(mallory, "lab-2", display_name="My <Läb>")

        page = page_of(as_(mallory))

        assert "My &lt;Läb&gt;" in page
        assert "lab-2" in page
        assert "You have 1 of 3." in page

    @pytest.mark.parametrize(
        ("typed", "name"),
        [
            ("analysis", "analysis"),
            ("  My  Läb ", "my-lab"),
            ("2nd Server!", "x-2nd-server"),
            ("数据", "x"),
            ("a--b_c", "a-b-c"),
            ("w" * 60, "w" * 30),
            (f"{'w' * 29} end", "w" * 29),
        ],
    )
    def test_adding_one_makes_a_name_for_addresses(
        self, as_, mallory, browser, typed, name
    ):
        browser.force_login(mallory)

        reply = browser.submit("/hub/home", display_name=typed)

        assert (reply.status_code, reply["Location"]) == (302, "/hub/home")
        server = mallory.servers.get()
        assert (server.name, server.display_name) == (name, " ".join(typed.split()))
        assert not server.is_active

    def test_adding_a_server_needs_the_scope_to_start(self, as_):
        person = make_user("rolf", roles=[])

        page = as_(person).get("/hub/home").content.decode()
        reply = as_(person).post("/hub/home", {"display_name": "Lab"})

        assert 'name="display_name"' not in page
        assert reply.status_code == 403
        assert not person.servers.exists()

    @pytest.mark.parametrize(
        ("typed", "words"),
        [
            ("", "This field is required"),
            ("a\x00b", "can"),
            ("\u200b", "can&#x27;t be shown"),
            ("w" * 256, "at most 255"),
            ("Taken", "You already have a server “taken”."),
        ],
    )
    def test_what_is_wrong_with_a_name_is_said_beside_it(
        self, as_, mallory, typed, words
    ):
        make_server(mallory, "taken")

        reply = as_(mallory).post("/hub/home", {"display_name": typed})

        assert reply.status_code == 400
        assert words in reply.content.decode()
        assert 'aria-invalid="true"' in reply.content.decode()
        assert mallory.servers.count() == 1

    def test_there_is_no_form_where_there_is_no_room(self, as_, mallory):
        for number in range(3):
            make_server(mallory, f"lab-{number}")

        page = page_of(as_(mallory))
        reply = as_(mallory).post("/hub/home", {"display_name": "Fourth"})

        assert "You have reached the limit" in page
        assert 'name="display_name"' not in page
        assert reply.status_code == 400
        assert mallory.servers.count() == 3

    def test_are_not_offered_where_nobody_may_have_them(self, as_, mallory, configure):
        configure(allow_named_servers=False)

        assert "Named servers" not in page_of(as_(mallory))
        reply = as_(mallory).post("/hub/home", {"display_name": "Lab"})
        assert reply.status_code == 400
        assert not mallory.servers.exists()

    def test_fifty_cost_as_many_queries_as_one(self, as_, mallory, ada):
        client = as_(mallory)

        def asked() -> int:
            with CaptureQueriesContext(connection) as queries:
                page_of(client)
            return len(queries)

        make_server(mallory, "lab-00")
        make_share(make_server(ada, "lab"), user=mallory)
        record(Actor("user", "ada"), "server.open", "server", "mallory/lab-00")
        few = asked()
        for number in range(1, 50):
            make_server(mallory, f"lab-{number:02}", ready=number % 2 == 0)
            record(Actor("user", "ada"), "server.open", "server", "mallory/lab-00")
            make_share(make_server(ada, f"lab-{number:02}"), user=mallory)

        assert asked() == few


class TestOthers:
    def test_who_opened_a_server_of_mine(self, as_, mallory, ada):
        make_server(mallory, "lab", display_name="My Läb")
        for path in ("mallory/", "mallory/lab", "mallory/gone"):
            record(Actor("user", "ada"), "server.open", "server", path)

        page = page_of(as_(mallory))

        assert "Visitors of your servers" in page
        assert "<strong>ada</strong> opened your server" in page
        assert "“My Läb”" in page
        assert "“gone”" in page
        assert "Visitors of your servers" not in page_of(as_(ada))

    def test_what_is_shared_with_me(self, as_, mallory, alan, ada):
        group = make_group("team", users=[mallory])
        make_share(make_server(ada, "lab", ready=True), user=mallory)
        make_share(make_server(ada), group=group)
        make_server(alan, "private")

        page = page_of(as_(mallory))

        assert '<a href="/user/ada/lab/">lab of ada</a>' in page
        assert "Server of ada" in page
        assert "private" not in page
        assert "Shared with you" not in page_of(as_(ada))


class TestNavigation:
    def test_offers_the_admin_to_users_who_may_open_it(self, as_, ada, mallory):
        assert 'href="/hub/admin/"' in page_of(as_(ada))
        assert 'href="/hub/admin/"' not in page_of(as_(mallory))

    def test_lists_services_that_one_may_open(self, as_, mallory):
        for name in ("grades", "hidden", "forbidden", "no-page"):
            make_service(
                name,
                url=None if name == "no-page" else "http://127.0.0.1:9",
                display=name != "hidden",
            )
        make_role(
            "reader",
            *(
                f"access:services!service={name}"
                for name in ("grades", "hidden", "no-page")
            ),
            users=[mallory],
        )

        page = page_of(as_(mallory))

        assert 'href="/services/grades/"' in page
        for name in ("hidden", "forbidden", "no-page"):
            assert f"/services/{name}/" not in page

    def test_marks_the_page_one_is_on(self, as_, mallory):
        page = page_of(as_(mallory))

        assert 'href="/hub/home" aria-current="page"' in page
