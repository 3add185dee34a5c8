"""Lists of users: filters, order and pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.request import Request

from accounts.models import Group, User
from api.pagination import MEDIA_TYPE, HubPagination, Window
from scopes.refusals import Invalid
from tests.conftest import API, BearerClient
from tests.factories import make_group, make_server, make_user, make_users

pytestmark = pytest.mark.django_db


def names(response: Any) -> list[str]:
    assert response.status_code == 200, response.json()
    data = response.json()
    return [
        item["name"] for item in (data if isinstance(data, list) else data["items"])
    ]


def paged(client: BearerClient, query: str = "", resource: str = "users") -> Any:
    response = client.get(f"{API}/{resource}?{query}", headers={"accept": MEDIA_TYPE})
    assert response.status_code == 200, response.json()
    assert response["Content-Type"] == "application/json"
    return response.json()


@pytest.fixture
def reader(holding: Callable[..., BearerClient]) -> BearerClient:
    return holding("list:users", "read:users", "list:groups", "read:groups")


# Pages


def test_a_list_is_bare_by_default(reader: BearerClient) -> None:
    make_users(3)

    assert len(reader.get(f"{API}/users").json()) == 3


def test_a_bare_list_is_cut_off(
    reader: BearerClient, configured: Callable[..., None]
) -> None:
    make_users(5)
    configured(api_page_max_limit=3)

    assert len(reader.get(f"{API}/users").json()) == 3
    assert len(reader.get(f"{API}/users?limit=99").json()) == 3


@pytest.mark.parametrize(
    ("accept", "enveloped"),
    [
        (MEDIA_TYPE, True),
        (f"application/json, {MEDIA_TYPE.upper()} ", True),
        (f"{MEDIA_TYPE};q=0.9", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_the_envelope_comes_with_its_media_type(
    reader: BearerClient, accept: str, enveloped: bool
) -> None:
    data = reader.get(f"{API}/users", headers={"accept": accept}).json()

    assert isinstance(data, dict) == enveloped


def test_pages_lead_through_all_users(reader: BearerClient) -> None:
    expected = [user.name for user in make_users(7)]

    seen, query = [], "limit=3&sort=id"
    while query:
        data = paged(reader, query)
        assert data["_pagination"]["total"] == 7
        seen += [user["name"] for user in data["items"]]
        following = data["_pagination"]["next"]
        if following:
            url = urlsplit(following["url"])
            assert f"{url.scheme}://{url.netloc}{url.path}" == (
                f"http://testserver{API}/users"
            )
            assert parse_qs(url.query)["sort"] == ["id"]
            assert following["offset"] == len(seen)
        query = following and urlsplit(following["url"]).query

    assert seen == expected


@pytest.mark.parametrize(
    "sort", ["id", "-id", "name", "last_activity", "-last_activity"]
)
def test_pages_from_the_far_end_are_the_same(reader: BearerClient, sort: str) -> None:
    make_users(11)
    everybody = names(reader.get(f"{API}/users?sort={sort}"))

    for offset in range(13):
        page = paged(reader, f"offset={offset}&limit=3&sort={sort}")
        assert names_in(page) == everybody[offset : offset + 3]
        assert page["_pagination"]["total"] == 11


def test_the_next_address_keeps_what_was_asked(reader: BearerClient) -> None:
    make_users(3)

    page = paged(reader, "limit=1&x=1&sort=name&x=%20&y&offset=0")

    following = page["_pagination"]["next"]["url"].partition("?")[2]
    assert following == "limit=1&x=1&x=+&sort=name&y=&offset=1"


def test_blanks_around_values_do_not_count(reader: BearerClient) -> None:
    make_users(3)

    assert names(reader.get(f"{API}/users?sort=%20-name%20&state=%20")) == names(
        reader.get(f"{API}/users?sort=-name")
    )


def names_in(page: dict[str, Any]) -> list[str]:
    return [item["name"] for item in page["items"]]


def test_limits_are_kept(reader: BearerClient, configured: Callable[..., None]) -> None:
    configured(api_page_default_limit=2, api_page_max_limit=4)
    make_users(6)

    def limit_of(query: str) -> int:
        return paged(reader, query)["_pagination"]["limit"]

    assert limit_of("") == 2
    assert limit_of("limit=0") == 1
    assert limit_of("limit=-3") == 3
    assert limit_of("limit=99") == 4


@pytest.mark.parametrize("query", ["limit=many", "offset=1.5", "offset=", "limit=9e9"])
def test_page_parameters_are_integers(reader: BearerClient, query: str) -> None:
    for resource in ("users", "groups"):
        assert reader.get(f"{API}/{resource}?{query}").status_code == 400


def test_beyond_the_end_is_an_empty_page(reader: BearerClient) -> None:
    make_users(2)

    page = paged(reader, f"offset={10**30}")

    assert page["items"] == []
    assert page["_pagination"]["total"] == 2
    assert page["_pagination"]["next"] is None


def page_of(offset: int, limit: int) -> HubPagination:
    page = HubPagination()
    page.offset, page.limit = offset, limit
    return page


@pytest.mark.parametrize("total", range(6))
@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("offset", range(7))
def test_windows_cut_out_the_page(total: int, limit: int, offset: int) -> None:
    rows = list(range(total))

    window = page_of(offset, limit).window(total)

    ordered = rows[::-1] if window.backwards else rows
    cut = ordered[window.offset : window.offset + window.limit]
    assert (cut[::-1] if window.backwards else cut) == rows[offset : offset + limit]


def test_windows_start_at_the_nearer_end() -> None:
    assert page_of(90, 5).window(100) == Window(True, 5, 5)
    assert page_of(40, 5).window(100) == Window(False, 40, 5)


def test_framework_parameters_mean_nothing(reader: BearerClient) -> None:
    make_users(1)

    response = reader.get(f"{API}/users?format=api", headers={"accept": "image/png"})

    assert len(names(response)) == 1


# Order


def test_users_come_in_the_order_asked_for(reader: BearerClient) -> None:
    for name in ("bob", "cleo", "abe"):
        make_user(name)

    def order(sort: str) -> list[str]:
        return names(reader.get(f"{API}/users?sort={sort}"))

    assert order("id") == ["bob", "cleo", "abe"]
    assert order("-id") == ["abe", "cleo", "bob"]
    assert order("name") == ["abe", "bob", "cleo"]
    assert order("-name") == ["cleo", "bob", "abe"]


def test_never_seen_comes_before_everything(reader: BearerClient) -> None:
    make_user("late", last_activity=datetime(2024, 1, 1, tzinfo=UTC))
    make_user("early", last_activity=datetime(2023, 1, 1, tzinfo=UTC))
    make_user("never")

    def order(sort: str) -> list[str]:
        return names(reader.get(f"{API}/users?sort={sort}"))

    assert order("last_activity") == ["never", "early", "late"]
    assert order("-last_activity") == ["late", "early", "never"]


@pytest.mark.parametrize("query", ["sort=colour", "sort=--name", "state=asleep"])
def test_unknown_orders_and_states_are_refused(
    reader: BearerClient, query: str
) -> None:
    assert reader.get(f"{API}/users?{query}").status_code == 400


# Filters


@pytest.fixture
def people(db: None) -> None:
    make_server(make_user("ready"), ready=True)
    make_server(make_user("pending"), "lab", pending="spawn")
    make_server(make_user("stopped"))
    make_user("none")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("active", ["ready", "pending"]),
        ("ready", ["ready"]),
        ("inactive", ["stopped", "none"]),
        ("", ["ready", "pending", "stopped", "none"]),
    ],
)
def test_states_are_those_of_servers(
    reader: BearerClient, people: None, state: str, expected: list[str]
) -> None:
    page = paged(reader, f"state={state}&limit=1")

    assert names(reader.get(f"{API}/users?state={state}")) == expected
    assert page["_pagination"]["total"] == len(expected)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("ALP", {"alpha", "alphabet"}),
        ("lph", {"alpha", "alphabet"}),
        ("abet", {"alphabet"}),
        ("et", {"alphabet", "Beta"}),
        ("B", {"alphabet", "Beta", "back\\slash"}),
        ("%", {"per%cent"}),
        ("r%c", {"per%cent"}),
        ("_", {"under_score"}),
        ("r_s", {"under_score"}),
        ("rxs", set()),
        ("GÜNTH", {"günther"}),
        ("Ü", {"günther"}),
        ('"', {'quo"te'}),
        ('o"t', {'quo"te'}),
        ("\\", {"back\\slash"}),
        ("k\\s", {"back\\slash"}),
        ("' OR 1=1 --", set()),
        ("alp*", set()),
        ("NEAR(alp bet)", set()),
    ],
)
def test_name_filter_is_a_literal_part_in_any_case(
    reader: BearerClient, part: str, expected: set[str]
) -> None:
    for name in (
        "alpha",
        "alphabet",
        "Beta",
        "per%cent",
        "under_score",
        "günther",
        'quo"te',
        "back\\slash",
    ):
        make_user(name)

    response = reader.get(f"{API}/users", {"name_filter": part})

    assert set(names(response)) == expected


def test_name_filter_follows_every_change(reader: BearerClient) -> None:
    def found(part: str) -> list[str]:
        return names(reader.get(f"{API}/users", {"name_filter": part}))

    make_user("old-name")
    assert found("old") == ["old-name"]

    User.objects.update(name="new-name")
    assert (found("old"), found("new")) == ([], ["new-name"])

    User.objects.all().delete()
    assert found("name") == []


def test_no_name_holds_nul(reader: BearerClient) -> None:
    assert reader.get(f"{API}/users?name_filter=x%00").json() == []


def test_filters_work_together(reader: BearerClient, people: None) -> None:
    data = paged(reader, "state=active&name_filter=end&sort=-name&limit=1&offset=0")

    assert names_in(data) == ["pending"]
    assert data["_pagination"]["total"] == 1


# Scopes


def test_filtered_scope_lists_what_it_reaches(
    holding: Callable[..., BearerClient], alan: User, mallory: User, data301: Group
) -> None:
    make_user("bob", groups=[data301, make_group("other")])
    make_user("cleo")

    client = holding("list:users!group=data301", "list:users!user=mallory")

    assert set(names(client.get(f"{API}/users"))) == {"alan", "bob", "mallory"}
    assert paged(client)["_pagination"]["total"] == 3


def test_keys_are_trimmed_for_each_user(
    holding: Callable[..., BearerClient], alan: User, mallory: User
) -> None:
    client = holding("list:users", "read:users!user=alan")

    users = {user["name"]: user for user in client.get(f"{API}/users").json()}

    assert users["mallory"].keys() == {"kind", "name", "admin", "user_info"}
    assert users["alan"].keys() > {"roles", "groups", "created", "last_activity"}
    assert "servers" not in users["alan"]


@pytest.mark.parametrize(
    "scopes",
    [
        ("list:users", "read:users", "read:servers", "admin:server_state"),
        ("list:users", "admin:users", "admin:servers"),
        ("list:users", "read:users:activity", "read:servers"),
        ("list:users", "read:users:groups", "delete:servers"),
        ("list:users",),
    ],
)
def test_a_list_shows_of_each_user_what_one_read_shows(
    holding: Callable[..., BearerClient], scopes: tuple[str, ...]
) -> None:
    """Users of a list are written by the database, a single one is not."""
    make_user("plain")
    make_user(
        'qu"o\\te %s ö 😀', admin=True, user_info={"a": "'", "n": 2**70, "%s": []}
    )
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    ada = make_user(
        "ada",
        groups=[make_group("a'b"), make_group("ö")],
        last_activity=now,
        # More than a float holds.
        user_info={"n": 10**400},
    )
    make_server(ada, "", ready=True, started=now, state={"pid": 1})
    make_server(ada, "named", pending="spawn", user_options={"x": "'"})
    make_server(make_user("idle"), "stopped")
    reader = holding(*scopes)

    listed = reader.get(f"{API}/users")

    assert listed.status_code == 200
    assert {"plain", "ada", "idle"} <= {user["name"] for user in listed.json()}
    for user in listed.json():
        alone = reader.get(f"{API}/users/{quote(user['name'], safe='')}")
        assert alone.json() == user
        assert list(alone.json()) == list(user)


def test_groups_are_listed_by_the_same_rules(
    reader: BearerClient, holding: Callable[..., BearerClient]
) -> None:
    groups = [make_group(name).name for name in ("one", "two", "three", "four")]

    assert names(reader.get(f"{API}/groups")) == groups
    page = paged(reader, "offset=3&limit=2", "groups")
    assert names_in(page) == ["four"]
    assert page["_pagination"] == {
        "offset": 3,
        "limit": 2,
        "total": 4,
        "next": None,
    }

    some = holding("list:groups!group=two", "list:groups!group=nowhere")
    data = paged(some, "", "groups")
    assert names_in(data) == ["two"]
    assert data["items"][0].keys() == {"kind", "name"}
    # Counting what is out of reach would tell of it.
    assert data["_pagination"]["total"] == 1


def test_page_rejects_what_is_no_number(rf: Any) -> None:
    with pytest.raises(Invalid, match="integers"):
        HubPagination().read(Request(rf.get("/", {"limit": "x"})))


# Queries


@pytest.mark.parametrize(
    "query",
    ["", "limit=1", "offset=1", "state=active", "name_filter=dent", "sort=name"],
)
@pytest.mark.parametrize("resource", ["users", "groups"])
@pytest.mark.parametrize(
    "scopes",
    [
        ("list:users", "read:users", "read:servers", "list:groups", "read:groups"),
        ("list:users!group=g0", "read:users!group=g0", "list:groups!group=g0"),
    ],
)
def test_lists_cost_the_same_however_long(
    holding: Callable[..., BearerClient],
    resource: str,
    query: str,
    scopes: tuple[str, ...],
) -> None:
    client = holding(*scopes)
    costs = []
    for size in (2, 18):
        for index, user in enumerate(make_users(size, f"student{size}-")):
            group = make_group(f"g{Group.objects.count()}", users=[user])
            group.users.add(*User.objects.all()[:3])
            make_server(user, ready=True)
            make_server(user, f"n{index}", pending="spawn")
        paged(client, query, resource)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            paged(client, query, resource)
        costs.append(len(queries))

    assert costs[0] == costs[1] <= 4
