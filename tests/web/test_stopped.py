"""The pages in place of a server that does not respond."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from accounts.models import User
from tests.factories import make_server, make_service, make_share, make_token

pytestmark = pytest.mark.django_db


def test_people_get_a_page_with_a_way_to_start(alan: User, as_: Any) -> None:
    reply = as_(alan).get("/hub/user/alan/lab/tree/a%20b.ipynb?x=1")

    assert reply.status_code == 424
    assert reply["Content-Type"].startswith("text/html")
    assert "Server not running" in reply.content.decode()
    target = "/hub/spawn/alan?next=%2Fuser%2Falan%2Flab%2Ftree%2Fa%2520b.ipynb%3Fx%3D1"
    assert target in reply.content.decode()


def test_users_without_the_scope_see_no_start_button(
    alan: User, mallory: User, as_: Any
) -> None:
    make_share(make_server(alan), user=mallory)

    page = as_(mallory).get("/hub/user/alan/").content.decode()

    assert "Server not running" in page
    assert "/hub/spawn/" not in page


def test_programs_get_json(alan: User, as_: Any) -> None:
    client = as_(alan)

    for reply in (
        client.get("/hub/user/alan/api/kernels"),
        client.get("/hub/user/alan/", headers={"accept": "application/json"}),
        client.post("/hub/user/alan/lab"),
    ):
        assert reply.status_code == 424
        assert list(reply.json()) == ["message"]
    assert "no longer running at /user/alan/lab." in reply.json()["message"]
    assert "/hub/spawn/alan" in reply.json()["message"]


def test_a_path_may_begin_with_a_named_server(
    alan: User, as_: Any, configure: Any
) -> None:
    configure(allow_named_servers=True)
    make_server(alan, "lab")
    client = as_(alan)

    named = client.get("/hub/user/alan/lab/tree").content.decode()
    default = client.get("/hub/user/alan/tree").content.decode()

    assert "/hub/spawn/alan/lab?next=" in named
    assert "/hub/spawn/alan?next=" in default


def test_older_clients_get_the_older_status(
    alan: User, as_: Any, configure: Any
) -> None:
    configure(use_legacy_stopped_server_status_code=True)

    assert as_(alan).get("/hub/user/alan/").status_code == 503
    assert as_(alan).get("/hub/user/alan/api").status_code == 503


@pytest.mark.parametrize("path", ["/hub/user/alan/lab", "/hub/user/alan/api/kernels"])
def test_strangers_sign_in_first(alan: User, path: str) -> None:
    reply = Client().get(path)

    assert reply.status_code == 302
    assert reply["Location"].startswith("/hub/login?next=%2Fhub%2Fuser%2Falan")


@pytest.mark.parametrize("owner", ["alan", "nobody"])
def test_users_with_a_server_see_no_hint(
    alan: User, mallory: User, as_: Any, bearer: Any, owner: str
) -> None:
    make_server(alan, "lab")

    assert as_(mallory).get(f"/hub/user/{owner}/lab").status_code == 404
    assert bearer(make_token(mallory)[1]).get(f"/hub/user/{owner}/").status_code == 404


def test_a_guest_at_one_server_learns_nothing_of_the_others(
    alan: User, mallory: User, as_: Any, configure: Any
) -> None:
    configure(allow_named_servers=True)
    make_share(make_server(alan), user=mallory)
    make_server(alan, "lab", display_name="Surprise", ready=True)

    assert as_(mallory).get("/hub/user/alan/tree").status_code == 424
    assert as_(mallory).get("/hub/user/alan/lab/tree").status_code == 404


def test_a_name_that_no_server_has_opens_no_other(
    alan: User, bearer: Any, configure: Any
) -> None:
    configure(allow_named_servers=True)
    make_server(alan, ready=True)
    guest = bearer(make_token(alan, scopes=["access:servers!server=alan/gone"])[1])

    assert guest.get("/hub/user/alan/gone/tree").status_code == 404


def test_names_that_cannot_be_are_not_found(ada: User, as_: Any) -> None:
    client = as_(ada)

    assert client.get("/hub/user/al%00an/lab").status_code == 404
    assert client.get("/hub/user/alan/l%00ab/tree").status_code == 404


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/html, application/json", "text/html"),
        ("application/json, text/html", "application/json"),
        ("application/json;q=0.5, text/html", "text/html"),
        ("*/*", "text/html"),
        ("image/png", "text/html"),
    ],
)
def test_who_asks_gets_what_they_prefer(
    alan: User, as_: Any, accept: str, kind: str
) -> None:
    reply = as_(alan).get("/hub/user/alan/", headers={"accept": accept})

    assert (reply.status_code, reply["Content-Type"].partition(";")[0]) == (424, kind)


def test_actors_are_recorded_with_the_address_only(mallory: User, as_: Any) -> None:
    """The answer is the same whether or not there is such a server."""
    for owner in ("alan", "nobody"):
        assert as_(mallory).post(f"/hub/user/{owner}/lab").status_code == 424


@pytest.mark.parametrize("method", ["put", "options"])
def test_servers_are_not_asked_in_other_ways(alan: User, as_: Any, method: str) -> None:
    assert getattr(as_(alan), method)("/hub/user/alan/lab").status_code == 405


def test_a_token_will_do(alan: User, bearer: Any) -> None:
    client = bearer(make_token(alan)[1])

    assert client.get("/hub/user/alan/api/kernels").status_code == 424
    assert client.post("/hub/user/alan/api/kernels").status_code == 424
    assert client.delete("/hub/user/alan/api/kernels/1").status_code == 424


def test_forged_calls_are_refused(alan: User) -> None:
    client = Client(enforce_csrf_checks=True)
    stranger = client.post("/hub/user/alan/api/kernels")
    client.force_login(alan, "accounts.backends.HubBackend")
    forged = client.post("/hub/user/alan/api/kernels")

    assert stranger.status_code == 403
    assert forged.status_code == 403


@pytest.mark.parametrize("method", ["put", "post", "patch", "delete"])
def test_forged_calls_of_any_kind_are_refused(alan: User, method: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alan, "accounts.backends.HubBackend")

    assert getattr(client, method)("/hub/user/alan/lab").status_code == 403


def test_services_find_no_page(alan: User, bearer: Any) -> None:
    client = bearer(make_token(make_service("reader"))[1])

    reply = client.get("/hub/user/alan/lab")

    assert (reply.status_code, reply.content) == (404, b"")


# To one's own


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("lab/tree/x?a=1&b=2", "%2Fuser%2Falan%2Flab%2Ftree%2Fx%3Fa%3D1%26b%3D2"),
        ("", "%2Fuser%2Falan%2F"),
        ("a%20b", "%2Fuser%2Falan%2Fa%2520b"),
        ("tree/a%2Fb", "%2Fuser%2Falan%2Ftree%2Fa%2Fb"),
        ("tree/a%252Fb", "%2Fuser%2Falan%2Ftree%2Fa%252Fb"),
        ("tree/100%25", "%2Fuser%2Falan%2Ftree%2F100%2525"),
        ("%2Ftree", "%2Fuser%2Falan%2Ftree"),
    ],
)
def test_leads_everybody_to_their_own(
    alan: User, as_: Any, path: str, target: str
) -> None:
    address = f"/hub/user-redirect/{path}"

    reply = as_(alan).get(address, RAW_URI=address)

    assert reply.status_code == 302
    assert reply["Location"] == f"/hub/spawn/alan?next={target}"


def test_the_sign_in_page_leads_back_to_the_address_as_it_was_spelt() -> None:
    address = "/hub/user-redirect/tree/a%2Fb%252F?x=%2F"

    reply = Client().get(address, RAW_URI=address)

    assert reply["Location"] == f"/hub/login?next={quote(address, safe='')}"


def test_leads_to_the_server_that_is_the_default(
    alan: User, as_: Any, configure: Any
) -> None:
    configure(default_server_name="lab")

    reply = as_(alan).get("/hub/user-redirect/tree")

    assert reply["Location"] == ("/hub/spawn/alan/lab?next=%2Fuser%2Falan%2Flab%2Ftree")
    reply = as_(alan).get("/hub/user-redirect/")
    assert reply["Location"] == "/hub/spawn/alan/lab?next=%2Fuser%2Falan%2Flab"


# Servers that are not stopped


def test_a_server_that_runs_is_returned_to_at_once(alan: User, as_: Any) -> None:
    make_server(alan, ready=True)

    for path in ("lab?x=1", "api/kernels?x=1"):
        reply = as_(alan).get(f"/hub/user/alan/{path}")

        assert reply.status_code == 302
        assert reply["Location"] == f"/user/alan/{path}&redirects=1"


def test_the_way_back_is_spelt_as_it_was_asked(alan: User, as_: Any) -> None:
    make_server(alan, ready=True)
    path = "/hub/user/alan/tree/a%2Fb%20c"

    reply = as_(alan).get(path, RAW_URI=path)

    assert reply["Location"] == "/user/alan/tree/a%2Fb%20c?redirects=1"


@pytest.mark.parametrize(("count", "seconds"), [(1, 2), (2, 4), (3, 8)])
def test_each_further_try_waits_longer(
    alan: User, as_: Any, monkeypatch: Any, count: int, seconds: int
) -> None:
    make_server(alan, ready=True)
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)

    reply = as_(alan).get(f"/hub/user/alan/lab?redirects={count}")

    assert reply["Location"] == f"/user/alan/lab?redirects={count + 1}"
    assert waited == [seconds]


@pytest.mark.parametrize("count", ["4", "9"])
def test_a_loop_ends(alan: User, as_: Any, count: str) -> None:
    make_server(alan, ready=True)

    reply = as_(alan).get(f"/hub/user/alan/lab?redirects={count}")

    assert reply.status_code == 500
    assert "Redirect loop detected." in reply.content.decode()


@pytest.mark.parametrize("odd", ["", "x", "-1", "1e3", "99999999999999999999"])
def test_only_a_number_counts(alan: User, as_: Any, odd: str) -> None:
    make_server(alan, ready=True)

    reply = as_(alan).get(f"/hub/user/alan/lab?redirects={odd}")

    assert reply["Location"] == "/user/alan/lab?redirects=1"


@pytest.mark.parametrize(
    "state", [{"pending": "spawn"}, {"pending": "stop"}, {"failure": "No room"}]
)
def test_what_happens_is_shown_where_it_can_be_watched(
    alan: User, as_: Any, state: Any
) -> None:
    make_server(alan, **state)
    client = as_(alan)

    reply = client.get("/hub/user/alan/lab")

    assert reply.status_code == 303
    path = "/hub/spawn-pending/alan?next=%2Fhub%2Fuser%2Falan%2Flab"
    assert reply["Location"] == path
    assert client.get("/hub/user/alan/api/status").status_code == 424


def test_guests_see_that_the_server_starts(alan: User, mallory: User, as_: Any) -> None:
    make_share(make_server(alan, pending="spawn"), user=mallory)

    reply = as_(mallory).get("/hub/user/alan/lab")

    assert reply.status_code == 424
    assert "is starting" in reply.content.decode()


def test_a_hub_may_start_it_without_being_asked(
    alan: User, as_: Any, configure: Any
) -> None:
    configure(implicit_spawn_seconds=2.5)

    page = as_(alan).get("/hub/user/alan/lab").content.decode()

    assert 'data-go="/hub/spawn/alan?next=%2Fuser%2Falan%2Flab"' in page
    assert 'data-go-after="2.5"' in page


# From outside of the hub's part


@pytest.mark.parametrize(
    ("path", "target", "status"),
    [
        ("/", "/hub/", 302),
        ("/user/alan/lab?x=1", "/hub/user/alan/lab?x=1", 302),
        ("/services/x/", "/hub/services/x/", 302),
        ("/foo", "/hub/foo", 302),
        ("/user/alan", "/user/alan/", 301),
        ("/services/x", "/services/x/", 301),
    ],
)
def test_what_stands_outside_leads_in(path: str, target: str, status: int) -> None:
    reply = Client().get(path)

    assert (reply.status_code, reply["Location"]) == (status, target)


@pytest.mark.parametrize("name", ["a%40b", "a@b", "50%25", "a%2Bb", "a%26b", "a%2Fb"])
def test_the_way_in_is_spelt_as_it_was_asked(name: str) -> None:
    path = f"/user/{name}/tree"

    reply = Client().get(path, RAW_URI=path)

    assert reply["Location"] == f"/hub{path}"


def test_only_reading_is_led_in() -> None:
    assert Client(enforce_csrf_checks=True).post("/user/alan/lab").status_code == 405
