"""Users in the admin."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from django.urls import reverse

from accounts.actions import create_users
from accounts.group_actions import create_groups
from accounts.models import User
from audit.models import Actor, Event
from tests.admin.conftest import rows, text
from tests.factories import (
    PASSWORD,
    make_group,
    make_server,
    make_token,
    make_user,
    make_users,
)

pytestmark = pytest.mark.django_db


def test_lists_names_groups_and_roles(as_, ada, alan, pages):
    reply = as_(ada).get(pages.list("accounts_user"))

    assert rows(reply) == ["ada", "alan"]
    assert "data301" in text(reply)


def test_narrower_scopes_see_just_their_rows(as_, grace, alan, ada, mallory, pages):
    client = as_(grace)

    assert rows(client.get(pages.list("accounts_user"))) == ["alan", "grace"]
    assert client.get(pages.of(mallory)).status_code == 302
    assert client.get(pages.of(alan)).status_code == 200


def test_hides_what_scopes_do_not_show(as_, alan, pages):
    reader = make_user("reader", scopes=["admin-ui", "list:users"], roles=[])

    page = text(as_(reader).get(pages.of(alan)))

    assert "alan" in page
    assert "data301" not in page


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("stu", ["student00000", "student00001"]),
        ("student00001", ["student00001"]),
        ("00001", ["student00001"]),
        ("1", ["student00001"]),
        ("TUDENT", ["student00000", "student00001"]),
        ("Student00001", ["student00001"]),
        ("t0", ["student00000", "student00001"]),
        ("*", ["ada", "student00000", "student00001"]),
        ("*00001", ["student00001"]),
        ("%", []),
        ("_tudent", []),
    ],
)
def test_searches_any_part_of_a_name(as_, ada, pages, term, found):
    make_users(2)

    reply = as_(ada).get(pages.list("accounts_user"), {"q": term})

    assert rows(reply) == found


def test_filters_by_group_role_and_activity(as_, ada, alan, mallory, pages):
    client = as_(ada)

    def listed(**query):
        return rows(client.get(pages.list("accounts_user"), query))

    assert listed(group="data301") == ["alan"]
    assert listed(role="admin") == ["ada"]
    assert listed(admin__exact="1") == ["ada"]
    assert listed(active="never") == ["ada", "alan", "mallory"]
    assert listed(active="day") == []


def test_creates_users_through_the_action(as_, ada, pages):
    make_group("physics")

    reply = as_(ada).post(
        pages.add("accounts_user"), {"name": "Emmy", "groups": "physics\n"}
    )

    assert reply.status_code == 302
    user = User.objects.get(name="emmy")
    assert [role.name for role in user.roles.all()] == ["user"]
    assert [group.name for group in user.groups.all()] == ["physics"]
    done = list(Event.objects.values_list("actor_name", "action"))
    assert done == [("ada", "group.add_members"), ("ada", "user.create")]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"name": "alan"}, "already exists"),
        ({"name": "a/b"}, "Invalid username"),
        ({"name": "emmy", "groups": "nowhere"}, "No such group: nowhere"),
        ({"name": ""}, "required"),
    ],
)
def test_refusals_show_on_the_form_and_change_nothing(
    as_, ada, alan, pages, data, says
):
    before = User.objects.count()

    reply = as_(ada).post(pages.add("accounts_user"), data)

    assert reply.status_code == 200
    assert says in text(reply)
    assert User.objects.count() == before
    assert not Event.objects.exists()


def test_admin_flag_and_role_go_together(as_, ada, alan, pages):
    client = as_(ada)
    form = {"name": "alan", "groups": "data301"}

    client.post(pages.of(alan), {**form, "admin": "on"})
    alan.refresh_from_db()
    assert alan.admin
    assert alan.roles.filter(name="admin").exists()

    client.post(pages.of(alan), form)
    alan.refresh_from_db()
    assert not alan.admin
    assert not alan.roles.filter(name="admin").exists()


def test_renames_and_changes_groups(as_, ada, alan, pages):
    make_group("physics")

    as_(ada).post(pages.of(alan), {"name": "alan2", "groups": "physics"})

    alan.refresh_from_db()
    assert alan.name == "alan2"
    assert [group.name for group in alan.groups.all()] == ["physics"]


def test_form_holds_the_groups_within_reach(as_, ada, alan, pages):
    make_group("physics", users=[alan])
    leader = make_user(
        "leader",
        scopes=["admin-ui", "admin:users!group=data301", "groups!group=data301"],
    )

    def offered(user):
        form = as_(user).get(pages.of(alan)).context["adminform"].form
        return form["groups"].value().splitlines()

    assert offered(ada) == ["data301", "physics"]
    assert offered(leader) == ["data301"]


def test_group_leader_may_not_touch_groups_beyond_reach(as_, alan, pages):
    make_group("physics", users=[alan])
    leader = make_user(
        "leader",
        scopes=["admin-ui", "admin:users!group=data301", "groups!group=data301"],
    )
    client = as_(leader)

    refused = client.post(pages.of(alan), {"name": "alan", "groups": "staff"})
    taken = client.post(pages.of(alan), {"name": "alan", "groups": ""})

    assert "No such group: staff" in text(refused)
    assert taken.status_code == 302
    assert [group.name for group in alan.groups.all()] == ["physics"]


def test_only_administrators_make_administrators(as_, alan, pages):
    manager = make_user("manager", scopes=["admin-ui", "admin:users"])

    reply = as_(manager).post(pages.of(alan), {"name": "alan", "admin": "on"})

    assert "Only admins can grant admin permissions" in text(reply)
    alan.refresh_from_db()
    assert not alan.admin


def test_readers_can_not_change(as_, grace, alan, pages):
    client = as_(grace)

    assert client.post(pages.of(alan), {"name": "other"}).status_code == 403
    assert client.post(pages.add("accounts_user"), {"name": "x"}).status_code == 403
    assert client.post(pages.of(alan, "delete"), {"post": "yes"}).status_code == 403
    alan.refresh_from_db()
    assert alan.name == "alan"


def test_deletes_one_after_asking(as_, ada, alan, pages):
    make_server(alan)
    make_token(alan)
    client = as_(ada)

    asked = client.get(pages.of(alan, "delete"))
    assert "Delete user alan?" in text(asked)
    client.post(pages.of(alan, "delete"), {"post": "yes"})

    assert not User.objects.filter(name="alan").exists()
    assert Event.objects.filter(action="user.delete", target_name="alan").exists()


def test_nobody_deletes_themselves(as_, ada, pages):
    reply = as_(ada).post(pages.of(ada, "delete"), {"post": "yes"}, follow=True)

    assert "Cannot delete yourself" in text(reply)
    assert User.objects.filter(name="ada").exists()


def test_deletes_all_that_match_or_none(as_, ada, pages):
    users = make_users(60)
    client = as_(ada)
    chosen = {
        "action": "delete_users",
        "index": "0",
        "select_across": "1",
        "_selected_action": [users[0].pk],
    }

    asked = client.post(pages.list("accounts_user", "?q=student"), chosen)
    assert "Delete 60 users" in text(asked)
    assert User.objects.count() == 61

    everyone = client.post(
        pages.list("accounts_user"), {**chosen, "confirmed": "yes"}, follow=True
    )
    assert "Cannot delete yourself" in text(everyone)
    assert User.objects.count() == 61

    client.post(
        pages.list("accounts_user", "?q=student"), {**chosen, "confirmed": "yes"}
    )
    assert list(User.objects.values_list("name", flat=True)) == ["ada"]


def test_history_is_the_record(as_, ada, alan, pages):
    client = as_(ada)
    client.post(pages.of(alan), {"name": "alan", "groups": "data301", "admin": "on"})

    reply = client.get(pages.of(alan, "history"), follow=True)

    assert "user.promote" in text(reply)


def test_history_includes_changes_of_many_rows(as_, ada, pages):
    create_users(["zoë", "o'neil", "zo"], by=Actor.system("test"))
    create_users(["alone"], by=Actor.system("test"))
    create_groups(["zoë", "b"], by=Actor.system("test"))

    for name, found in (("zoë", 1), ("o'neil", 1), ("zo", 1), ("alone", 1)):
        user = User.objects.get(name=name)
        reply = as_(ada).get(pages.of(user, "history"), follow=True)
        assert len(rows(reply)) == found
        assert "user.create" in text(reply)
        assert f"user {name}" in text(reply)


def invite(client, user):
    return client.post(reverse("admin:accounts_user_invite", args=[user.pk]))


def test_invites_by_a_link_that_works_once(as_, ada, alan, pages):
    client = as_(ada)
    assert "Create link" in text(client.get(pages.of(alan)))

    reply = invite(client, alan)

    link = re.search(r'id="link"[^>]*value="[^"]*(/hub/[^"]+)"', reply.content.decode())
    assert "no-store" in reply["Cache-Control"]
    assert Event.objects.get().action == "user.invite"
    guest = as_(None)
    password = {"new_password1": PASSWORD, "new_password2": PASSWORD}
    assert guest.post(link[1], password).status_code == 302
    assert guest.get("/hub/home").context["user"] == alan
    assert as_(None).post(link[1], password).status_code == 404


def test_users_who_may_invite_can_send_the_link(as_, ada, alan, pages, settings):
    manager = make_user("manager", scopes=["admin-ui", "admin:users", "groups"])
    changed = {"name": "alan", "groups": "data301", "email": "alan@example.org"}
    for may_mail, client, taken in (
        (False, as_(ada), False),
        (True, as_(manager), False),
        (True, as_(ada), True),
    ):
        settings.MAILS_LINKS = may_mail
        assert ("E-mail address" in text(client.get(pages.of(alan)))) is taken
        client.post(pages.of(alan), changed)
        alan.refresh_from_db()
        assert alan.email == ("alan@example.org" if taken else "")
    assert Event.objects.filter(action="user.set_email").count() == 1

    client.post(pages.of(alan), {**changed, "email": "none"})
    alan.refresh_from_db()
    assert alan.email == "alan@example.org"


def test_inviting_takes_the_right_to_issue_tokens(as_, alan, pages):
    manager = make_user("manager", scopes=["admin-ui", "admin:users"], roles=[])
    client = as_(manager)

    assert "Create link" not in text(client.get(pages.of(alan)))
    assert invite(client, alan).status_code == 403
    assert not Event.objects.exists()


def test_passwords_of_administrators_are_for_administrators(as_, ada, alan, pages):
    manager = make_user("manager", scopes=["admin-ui", "admin:users", "tokens"])
    client = as_(manager)

    assert "Create link" not in text(client.get(pages.of(ada)))
    assert invite(client, ada).status_code == 403
    assert not Event.objects.exists()
    assert invite(client, alan).status_code == 200


def test_a_demoted_administrator_of_the_configuration_is_for_administrators(
    as_, ada, alan, pages, settings
):
    # The next sign-in makes an administrator of whoever has the account.
    settings.HUB = replace(settings.HUB, admin_users=frozenset({"alan"}))
    manager = make_user("manager", scopes=["admin-ui", "admin:users", "tokens"])
    client = as_(manager)

    assert "Create link" not in text(client.get(pages.of(alan)))
    assert invite(client, alan).status_code == 403
    assert not Event.objects.exists()
    assert invite(as_(ada), alan).status_code == 200


def test_nobody_is_invited_where_passwords_are_kept_elsewhere(as_, ada, alan, settings):
    settings.HUB = replace(settings.HUB, authenticator_class="dummy")

    assert invite(as_(ada), alan).status_code == 403


# Keeping out and letting in


def set_active(client, user, act):
    return client.post(reverse(f"admin:accounts_user_{act}", args=[user.pk]))


def is_active(user):
    return User.objects.get(pk=user.pk).is_active


def test_deactivates_one_and_activates_again(as_, ada, alan, pages):
    client = as_(ada)
    assert "Deactivate alan" in text(client.get(pages.of(alan)))

    set_active(client, alan, "deactivate")
    page = text(client.get(pages.of(alan)))
    assert "Deactivated 1 user." in page
    assert "alan is deactivated" in page
    assert not is_active(alan)

    set_active(client, alan, "activate")
    assert is_active(alan)
    done = Event.objects.order_by("id").values_list("action", "target_name")
    assert list(done) == [("user.deactivate", "alan"), ("user.activate", "alan")]


def test_deactivates_all_that_match_but_oneself(as_, ada, pages):
    users = make_users(60)
    make_users(1, prefix="gone", is_active=False)
    client = as_(ada)
    chosen = {
        "action": "deactivate_users",
        "index": "0",
        "select_across": "1",
        "_selected_action": [users[0].pk],
    }

    asked = text(client.post(pages.list("accounts_user"), chosen))
    assert "Deactivate 60 users ?" in asked
    assert "Your own account and accounts" in asked
    assert not User.objects.filter(name__startswith="student", is_active=False).exists()

    reply = client.post(
        pages.list("accounts_user"), {**chosen, "confirmed": "yes"}, follow=True
    )
    assert "Deactivated 60 users." in text(reply)
    assert list(User.objects.filter(is_active=True)) == [ada]
    overview = text(client.get("/hub/admin/"))
    assert "60 users: student00000, student00001, student00002 …" in overview


def test_state_is_shown_and_filtered_for_those_who_may_read_users(
    as_, ada, alan, pages
):
    make_users(1, is_active=False)
    lister = make_user("lister", scopes=["admin-ui", "list:users"], roles=[])

    def listed(client, **query):
        return rows(client.get(pages.list("accounts_user"), query))

    assert "deactivated" in text(as_(ada).get(pages.list("accounts_user", "?q=stu")))
    assert listed(as_(ada), state="deactivated") == ["student00000"]
    assert listed(as_(ada), state="active") == ["ada", "alan", "lister"]
    assert listed(as_(lister), state="deactivated") == []
    page = as_(lister).get(pages.list("accounts_user", "?q=stu"))
    assert 'class="state' not in page.content.decode()


def test_only_within_reach(as_, ada, alan, mallory, pages):
    leader = make_user("leader", scopes=["admin-ui", "list:users"])
    client = as_(leader)
    assert set_active(client, alan, "deactivate").status_code == 403

    scopes = ["admin-ui", "list:users", "admin:users!group=data301"]
    leader = make_user("second", scopes=scopes)
    client = as_(leader)
    for user in (mallory, ada, leader):
        assert set_active(client, user, "deactivate").status_code == 403
        assert is_active(user)
        assert "Deactivate" not in text(client.get(pages.of(user)))
    set_active(client, alan, "deactivate")
    assert not is_active(alan)


def test_only_administrators_deactivate_administrators(as_, ada, pages):
    manager = make_user("manager", scopes=["admin-ui", "admin:users"])
    other = make_user("other", admin=True)

    assert set_active(as_(manager), ada, "deactivate").status_code == 403
    assert is_active(ada)
    set_active(as_(ada), other, "deactivate")
    assert not is_active(other)
    assert set_active(as_(manager), other, "activate").status_code == 403
