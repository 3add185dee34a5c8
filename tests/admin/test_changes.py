"""A form stores only edited fields, even if the row was changed meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from accounts.models import Group, User
from audit.models import Event
from tests.admin.conftest import form_in, text
from tests.factories import make_group, make_token, make_user

pytestmark = pytest.mark.django_db
API = "/hub/api"


@pytest.fixture
def api(bearer, ada):
    return bearer(make_token(ada)[1])


def patch(api, path, **data):
    reply = api.patch(f"{API}{path}", data, content_type="application/json")
    assert reply.status_code == 200


def names(groups):
    return sorted(group.name for group in groups.all())


def acts():
    issued = Event.objects.exclude(action="token.issue")
    return [(event.action, event.detail) for event in issued.order_by("id")]


def test_saving_for_another_reason_brings_nothing_back(as_, ada, api, pages, settings):
    settings.MAILS_LINKS = True
    boss = make_user("boss", admin=True, groups=[make_group("old")])
    make_group("new")
    client = as_(ada)
    form = form_in(client.get(pages.of(boss)))
    patch(api, "/users/boss", admin=False, name="chief")
    api.delete(f"{API}/groups/old/users", {"users": ["chief"]}, "application/json")
    api.post(f"{API}/groups/new/users", {"users": ["chief"]})
    before = len(acts())

    reply = client.post(pages.of(boss), {**form, "email": "boss@example.org"})

    assert reply.status_code == 302
    boss = User.objects.get(pk=boss.pk)
    assert (boss.name, boss.admin) == ("chief", False)
    assert not boss.roles.filter(name="admin").exists()
    assert boss.email == "boss@example.org"
    assert names(boss.groups) == ["new"]
    assert acts()[before:] == [("user.set_email", {})]


def test_lists_are_changed_by_their_differences(as_, ada, api, alan, pages):
    make_group("physics")
    make_group("maths")
    client = as_(ada)
    form = form_in(client.get(pages.of(alan)))
    api.post(f"{API}/groups/maths/users", {"users": ["alan"]})

    client.post(pages.of(alan), {**form, "groups": "physics"})

    assert names(alan.groups) == ["maths", "physics"]
    assert acts()[1:] == [
        ("group.add_members", {"users": ["alan"]}),
        ("group.remove_members", {"users": ["alan"]}),
    ]


def test_what_somebody_else_did_already_is_done_once(as_, ada, api, alan, pages):
    make_group("physics")
    client = as_(ada)
    form = form_in(client.get(pages.of(alan)))
    patch(api, "/users/alan", name="alan2", admin=True)
    api.post(f"{API}/groups/physics/users", {"users": ["alan2"]})
    before = len(acts())

    reply = client.post(
        pages.of(alan),
        {**form, "name": "alan2", "admin": "on", "groups": "data301\nphysics"},
    )

    assert reply.status_code == 302
    assert acts()[before:] == []


@pytest.mark.parametrize(
    ("meanwhile", "typed", "says", "kept"),
    [
        (
            {"name": "other"},
            {"name": "mine"},
            "is “other” now; you wrote “mine”",
            "other",
        ),
    ],
)
def test_two_versions_of_a_name_are_both_shown(
    as_, ada, api, alan, pages, meanwhile, typed, says, kept
):
    client = as_(ada)
    form = form_in(client.get(pages.of(alan)))
    patch(api, "/users/alan", **meanwhile)

    refused = client.post(pages.of(alan), {**form, **typed, "groups": ""})

    assert "changed meanwhile: it was “alan”" in text(refused)
    assert says in text(refused)
    alan.refresh_from_db()
    assert alan.name == kept
    assert names(alan.groups) == ["data301"]

    # The page that comes knows the present name: saving again is a decision.
    assert client.post(pages.of(alan), form_in(refused)).status_code == 302
    alan.refresh_from_db()
    assert alan.name == "mine"
    assert names(alan.groups) == []


def test_a_name_that_is_shown_still_may_be_somebody_elses(as_, ada, api, alan, pages):
    client = as_(ada)
    form = form_in(client.get(pages.of(alan)))
    patch(api, "/users/alan", name="turing")
    make_user("alan")
    make_group("physics")

    reply = client.post(pages.of(alan), {**form, "groups": "data301\nphysics"})

    assert reply.status_code == 302
    assert User.objects.get(pk=alan.pk).name == "turing"
    assert names(alan.groups) == ["data301", "physics"]


def test_members_leave_properties_alone(as_, ada, api, alan, pages):
    group = make_group("lab", properties={"room": "M1"})
    client = as_(ada)
    form = form_in(client.get(pages.of(group)))
    api.put(
        f"{API}/groups/lab/properties", {"room": "M2", "key": 1}, "application/json"
    )
    before = len(acts())

    client.post(pages.of(group), {**form, "add_members": "alan"})

    assert Group.objects.get(pk=group.pk).properties == {"room": "M2", "key": 1}
    assert names(alan.groups) == ["data301", "lab"]
    assert acts()[before:] == [("group.add_members", {"users": ["alan"]})]


def test_two_versions_of_properties_are_both_shown(as_, ada, api, pages):
    group = make_group("lab", properties={"room": "M1"})
    client = as_(ada)
    form = form_in(client.get(pages.of(group)))
    api.put(f"{API}/groups/lab/properties", {"room": "M2"}, "application/json")

    refused = client.post(pages.of(group), {**form, "properties": '{"room": "M3"}'})

    for version in ('{"room": "M1"}', '{"room": "M2"}', '{"room": "M3"}'):
        assert version in text(refused)
    assert Group.objects.get(pk=group.pk).properties == {"room": "M2"}
    client.post(pages.of(group), form_in(refused))
    assert Group.objects.get(pk=group.pk).properties == {"room": "M3"}


def test_true_is_not_one(as_, ada, api, pages):
    group = make_group("lab", properties={"shared": True})
    client = as_(ada)
    form = form_in(client.get(pages.of(group)))

    client.post(pages.of(group), {**form, "properties": '{"shared": 1}'})

    assert Group.objects.get(pk=group.pk).properties["shared"] is not True
    assert acts() == [("group.set_properties", {"keys": ["shared"]})]


def test_a_hidden_field_that_was_tampered_with_changes_nothing(as_, ada, pages):
    group = make_group("lab", properties={"room": "M1"})
    client = as_(ada)
    form = form_in(client.get(pages.of(group)))

    reply = client.post(
        pages.of(group),
        {**form, "initial-properties": "{", "properties": "{}", "add_members": "ada"},
    )

    assert "Open it again" in text(reply)
    group.refresh_from_db()
    assert group.properties == {"room": "M1"}
    assert not group.users.exists()


def test_a_row_that_is_gone_meanwhile_is_not_made_again(as_, ada, alan, pages):
    client = as_(ada)
    form = form_in(client.get(pages.of(alan)))
    alan.delete()

    client.post(pages.of(alan, "change").replace(str(alan.pk), "0"), form)

    assert not User.objects.filter(name="alan").exists()


def together(acts):
    """Perform acts at once. SQLite has one writer, and those before it wait in line."""
    if connection.vendor == "sqlite":
        return [act() for act in acts]

    def perform(act):
        try:
            return act()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(perform, acts))


@pytest.mark.django_db(transaction=True)
def test_two_forms_at_once_both_count(as_, ada, pages):
    groups = [make_group(f"group{number}") for number in range(6)]
    alan = make_user("alan", groups=groups[:3])
    form = form_in(as_(ada).get(pages.of(alan)))
    one, two, three = form["groups"].splitlines()

    def save(*names):
        browser = as_(ada)
        changed = {**form, "groups": "\n".join(names)}
        return lambda: browser.post(pages.of(alan), changed)

    replies = together(
        [
            save(two, three, "group3"),
            save(one, three, "group4"),
            save(one, two, "group5"),
        ]
    )

    assert [reply.status_code for reply in replies] == [302, 302, 302]
    assert names(alan.groups) == ["group3", "group4", "group5"]


@pytest.mark.django_db(transaction=True)
def test_of_two_names_at_once_one_is_refused(as_, ada, pages):
    alan = make_user("alan")
    form = form_in(as_(ada).get(pages.of(alan)))

    def save(name):
        browser = as_(ada)
        return lambda: browser.post(pages.of(alan), {**form, "name": name})

    replies = together([save("one"), save("two")])

    alan.refresh_from_db()
    assert sorted(reply.status_code for reply in replies) == [200, 302]
    refused = next(reply for reply in replies if reply.status_code == 200)
    other = {"one": "two", "two": "one"}[alan.name]
    assert f"is “{alan.name}” now; you wrote “{other}”" in text(refused)
