"""Groups in the admin, of any size."""

from __future__ import annotations

from dataclasses import replace
from html import unescape

import pytest

from accounts import auth_state
from accounts.models import Group, Role
from audit.models import Event
from tests.admin.conftest import form_in, rows, text
from tests.factories import make_group, make_role, make_user, make_users

pytestmark = pytest.mark.django_db


def test_narrower_scopes_see_just_their_rows(as_, grace, pages):
    make_group("physics")

    assert rows(as_(grace).get(pages.list("accounts_group"))) == ["data301"]


def test_creates_with_members_and_properties(as_, ada, alan, pages):
    reply = as_(ada).post(
        pages.add("accounts_group"),
        {"name": "physics", "properties": '{"room": "P1"}', "add_members": "alan"},
    )

    assert reply.status_code == 302
    group = Group.objects.get(name="physics")
    assert group.properties == {"room": "P1"}
    assert [user.name for user in group.users.all()] == ["alan"]
    assert Event.objects.get().action == "group.create"


def test_adds_and_removes_members(as_, ada, alan, mallory, pages):
    group = alan.groups.get()

    as_(ada).post(
        pages.of(group),
        {"add_members": "mallory\nada", "remove_members": "alan", "properties": "{}"},
    )

    assert {user.name for user in group.users.all()} == {"mallory", "ada"}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"add_members": "mallory\nnobody"}, "nobody"),
        ({"properties": "[1]"}, "JSON object"),
        ({"properties": "{"}, "valid JSON"),
    ],
)
def test_refusals_change_nothing(as_, ada, alan, mallory, pages, data, says):
    group = alan.groups.get()

    reply = as_(ada).post(pages.of(group), {"properties": "{}", **data})

    assert says in text(reply)
    assert [user.name for user in group.users.all()] == ["alan"]
    assert not Event.objects.exists()


def test_members_change_by_filtered_scope(as_, grace, alan, mallory, pages):
    group = alan.groups.get()

    as_(grace).post(pages.of(group), {"add_members": "mallory", "properties": "{}"})

    assert group.users.filter(name="mallory").exists()


def test_large_groups_stay_light(as_, ada, pages, django_assert_max_num_queries):
    group = make_group("everybody", users=make_users(2000))
    client = as_(ada)

    with django_assert_max_num_queries(12):
        reply = client.get(pages.of(group))

    assert "2000 members" in text(reply)
    assert len(reply.content) < 30_000
    assert len(client.get(pages.of(group, "delete")).content) < 30_000


def test_deletes_through_the_action(as_, ada, alan, pages):
    group = alan.groups.get()

    as_(ada).post(pages.of(group, "delete"), {"post": "yes"})

    assert not Group.objects.exists()
    assert Event.objects.get().action == "group.delete"


def test_deleting_needs_its_own_scope(as_, grace, alan, pages):
    group = alan.groups.get()

    assert (
        as_(grace).post(pages.of(group, "delete"), {"post": "yes"}).status_code == 403
    )
    assert Group.objects.exists()


def test_hides_members_and_properties_from_list_scope(as_, pages):
    group = make_group("secret-plans", properties={"room": "hidden"})
    reader = make_user("reader", scopes=["admin-ui", "list:groups"], roles=[])

    page = text(as_(reader).get(pages.of(group)))

    assert "secret-plans" in page
    assert "hidden" not in page


@pytest.mark.parametrize(
    "properties",
    [
        *("[" * 5000, '{"a":' * 101 + "1" + "}" * 101, '{"a": 1e400}', '{"a": NaN}'),
        *('{"a": "\\u0000"}', '{"a": "\\ud800"}', "{", "[1]", '"text"', "false"),
    ],
)
def test_refuses_properties_that_no_database_keeps(
    as_, ada, data301, pages, properties
):
    form = {"add_members": "", "remove_members": "", "properties": properties}

    reply = as_(ada).post(pages.of(data301), form)

    assert reply.status_code == 200
    assert properties[:5] in unescape(reply.content.decode())
    data301.refresh_from_db()
    assert data301.properties == {}


def test_refuses_names_that_no_database_keeps(as_, ada, data301, pages):
    form = {"add_members": "a\0b", "remove_members": "", "properties": "{}"}

    reply = as_(ada).post(pages.of(data301), form)

    assert "NUL character" in text(reply)


@pytest.mark.parametrize("chosen", ["", "x", "\0", "9" * 40, "1 OR 1=1"])
def test_nothing_odd_is_chosen(as_, ada, data301, pages, chosen):
    form = {"action": "delete_groups", "_selected_action": chosen, "index": "0"}

    reply = as_(ada).post(pages.list("accounts_group"), form)

    assert reply.status_code == 400


def test_all_names_that_nobody_has_are_said_and_the_rest_is_offered(
    as_, ada, alan, mallory, pages
):
    group = make_group("physics")
    client = as_(ada)
    form = {
        **form_in(client.get(pages.of(group))),
        "add_members": "Alan\nx\nmallory\ny",
    }

    refused = client.post(pages.of(group), form)

    assert "No such user: x, y. Of 4 names 2 have a user." in text(refused)
    assert not group.users.exists()

    again = form_in(refused)
    taken = client.post(pages.of(group), {**again, "_known": "yes"}, follow=True)

    assert "Left out, because there is no such user: x, y." in text(taken)
    assert sorted(user.name for user in group.users.all()) == ["alan", "mallory"]
    event = Event.objects.get(action="group.add_members")
    assert event.detail == {"users": ["alan", "mallory"]}


def test_nothing_is_offered_where_nobody_is_known(as_, ada, pages):
    group = make_group("physics")

    refused = as_(ada).post(pages.of(group), {"add_members": "x", "properties": "{}"})

    assert "No such user: x" in text(refused)
    assert "Save with the others" not in text(refused)


def test_a_form_takes_a_thousand_names(as_, ada, pages):
    group = make_group("physics")
    names = "\n".join(f"student{number}" for number in range(1001))

    refused = as_(ada).post(pages.of(group), {"add_members": names, "properties": "{}"})

    assert "These are 1,001 names; a form takes 1,000 at most." in text(refused)


@pytest.mark.parametrize("is_managed", [True, False])
def test_pages_say_that_the_authenticator_manages_groups(
    as_, ada, alan, pages, settings, is_managed
):
    settings.HUB = replace(settings.HUB, manage_groups=is_managed)

    for obj in (alan.groups.get(), alan):
        page = text(as_(ada).get(pages.of(obj)))
        assert ("next sign-in or refresh undoes" in page) is is_managed


def test_pages_of_a_user_never_contain_auth_state(as_, ada, alan, pages, settings):
    settings.HUB = replace(settings.HUB, crypt_keys=(b"k" * 32,))
    auth_state.save(alan.pk, {"access_token": "a-secret-of-alan"})

    for path in (pages.of(alan), pages.list("accounts_user"), pages.of(alan, "delete")):
        page = as_(ada).get(path).content.decode()
        assert "a-secret-of-alan" not in page
        assert "gAAAAA" not in page


def test_pages_say_who_defines_a_role(as_, ada, pages):
    make_role("by-hand", "list:users")
    managed = make_role("by-answer", "list:users")
    Role.objects.filter(pk=managed.pk).update(managed_by_auth=True)

    page = text(as_(ada).get(pages.list("accounts_role")))
    assert "the authenticator" in page and "the configuration" in page
    assert "the authenticator" in text(as_(ada).get(pages.of(managed)))
