"""Ways to gain rights with a token, which must all fail."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Role, User
from services.models import Service
from tests.factories import (
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

API = "/hub/api"


def scopes_of(client: Any) -> list[str]:
    reply = client.get(f"{API}/user")
    assert reply.status_code == 200
    return reply.json()["scopes"]


def assert_refused(reply: Any, *statuses: int) -> None:
    assert reply.status_code in statuses, reply.content
    assert "token" not in reply.json()


# A token can't widen itself


@pytest.mark.parametrize("method", ["patch", "put", "post"])
def test_a_token_has_no_address_at_which_it_could_be_changed(
    method: str, ada: User, bearer: Any
) -> None:
    token, secret = make_token(ada, scopes=["read:tokens!user", "tokens!user"])
    before = scopes_of(bearer(secret))

    reply = getattr(bearer(secret), method)(
        f"{API}/users/ada/tokens/a{token.pk}",
        {"scopes": ["inherit"]},
        content_type="application/json",
    )

    assert reply.status_code == 405
    assert scopes_of(bearer(secret)) == before


@pytest.mark.parametrize(
    "scopes",
    [[], ["read:tokens"], ["read:users", "list:users"], ["admin:users"], ["servers"]],
)
def test_without_the_scope_tokens_none_is_issued(
    scopes: list[str], ada: User, bearer: Any
) -> None:
    _, secret = make_token(ada, scopes=scopes)
    before = APIToken.objects.count()

    assert_refused(bearer(secret).post(f"{API}/users/ada/tokens", {}), 403)
    assert_refused(bearer(secret).post(f"{API}/users/ada/tokens", None), 403)

    assert APIToken.objects.count() == before


@pytest.mark.parametrize(
    "scopes",
    [
        ["admin:users"],
        ["read:users"],
        ["read:hub"],
        ["tokens"],
        ["tokens!user=ada"],
        ["read:users!group=staff"],
        ["inherit", "read:hub"],
        ["self", "read:hub"],
        ["access:servers!server=ada/"],
        ["list:users!user"],
    ],
)
def test_nobody_issues_what_the_owner_lacks(
    scopes: list[str], ada: User, mallory: User, bearer: Any
) -> None:
    make_group("staff", users=[ada])
    _, secret = make_token(mallory)
    _, admins = make_token(ada)
    before = APIToken.objects.count()

    for client in (bearer(secret), bearer(admins)):
        reply = client.post(f"{API}/users/mallory/tokens", {"scopes": scopes})
        assert_refused(reply, 400)

    assert APIToken.objects.count() == before


def test_roles_are_no_way_around_scopes(mallory: User, bearer: Any) -> None:
    _, secret = make_token(mallory)

    reply = bearer(secret).post(f"{API}/users/mallory/tokens", {"roles": ["admin"]})

    assert_refused(reply, 400)


def test_what_is_issued_is_all_that_is_held(mallory: User, bearer: Any) -> None:
    _, secret = make_token(mallory, scopes=["tokens!user"])

    reply = bearer(secret).post(
        f"{API}/users/mallory/tokens", {"scopes": ["read:tokens!user"]}
    )

    assert reply.status_code == 201
    assert scopes_of(bearer(reply.json()["token"])) == [
        "read:tokens!user=mallory",
        "read:users:groups!user=mallory",
        "read:users:name!user=mallory",
    ]


@pytest.mark.parametrize("scope", ["admin:users", "admin:users!user=mallory"])
def test_managing_users_is_not_being_an_administrator(
    scope: str, ada: User, mallory: User, bearer: Any
) -> None:
    make_role("manager", scope, users=[mallory])
    client = bearer(make_token(mallory)[1])
    as_json = {"content_type": "application/json"}

    own = client.patch(f"{API}/users/mallory", {"admin": True}, **as_json)
    new = client.post(f"{API}/users/eve", {"admin": True})
    many = client.post(f"{API}/users", {"usernames": ["eve"], "admin": True})
    other = client.patch(f"{API}/users/ada", {"admin": False}, **as_json)
    renaming = client.patch(f"{API}/users/ada", {"name": "eve"}, **as_json)

    assert_refused(own, 403)
    for reply in (new, many, other, renaming):
        assert_refused(reply, 403, 404)
    assert list(User.objects.filter(admin=True)) == [ada]
    assert not User.objects.filter(name="eve").exists()


def test_managing_users_gives_no_token_of_an_administrator(
    ada: User, bearer: Any
) -> None:
    manager = make_service(scopes=["admin:users", "admin:servers", "list:users"])
    client = bearer(make_token(manager)[1])

    assert_refused(client.post(f"{API}/users/ada/tokens", {}), 403)
    assert_refused(client.get(f"{API}/users/ada/tokens"), 403)


@pytest.mark.parametrize(
    "body",
    [{"admin": True}, {"oauth_client_allowed_scopes": ["admin:users"]}],
)
def test_managing_services_makes_no_powerful_service(
    body: dict[str, Any], bearer: Any
) -> None:
    manager = make_service(scopes=["admin:services"])
    secret = make_token(manager)[1]

    reply = bearer(secret).post(f"{API}/services/puppet", {"info": {}, **body})

    assert_refused(reply, 400, 403)
    assert not Service.objects.filter(name="puppet").exists()


def test_nobody_shares_what_they_lack(ada: User, mallory: User, bearer: Any) -> None:
    make_server(mallory)
    make_role("sharer", "shares!user=mallory", "read:users:name", users=[mallory])
    client = bearer(make_token(mallory)[1])

    reply = client.post(
        f"{API}/shares/mallory/", {"user": "ada", "scopes": ["admin:server_state"]}
    )

    assert_refused(reply, 400, 403)
    assert not ada.shared_with_me.exists()


# A token can't issue for others


@pytest.mark.parametrize("name", ["ada", "nobody", "%20", "Mallory"])
def test_a_user_issues_for_nobody_else(
    name: str, ada: User, mallory: User, bearer: Any
) -> None:
    _, secret = make_token(mallory)
    before = APIToken.objects.count()

    reply = bearer(secret).post(f"{API}/users/{name}/tokens", {})

    assert_refused(reply, 403)
    assert APIToken.objects.count() == before


# A filter leads to nobody who may do more


@pytest.fixture
def leader() -> User:
    """Lead the group maths: its members, their tokens and their accounts."""
    scopes = ("admin-ui", *(f"{name}!group=maths" for name in LEADING))
    return make_user("lea", groups=[make_group("maths")], scopes=scopes)


LEADING = ("tokens", "groups", "admin:users", "list:users", "read:users", "servers")
MORE = {
    "an administrator": {"admin": True},
    "a role of their own": {"scopes": ["read:hub"]},
    "another group": {"scopes": ["read:users!group=physics"]},
    "the same without a filter": {"scopes": ["read:users"]},
}


@pytest.mark.parametrize("rights", MORE.values(), ids=MORE.keys())
def test_a_group_leader_issues_for_nobody_who_may_do_more(
    leader: User, rights: Any, bearer: Any
) -> None:
    target = make_user("target", **rights)
    _, secret = make_token(leader)
    client = bearer(secret)
    assert (
        client.post(f"{API}/groups/maths/users", {"users": ["target"]}).status_code
        == 200
    )

    assert_refused(client.post(f"{API}/users/target/tokens", {}), 403)

    assert not APIToken.objects.owned_by(target).exists()


def test_a_group_with_rights_makes_its_members_more(
    leader: User, mallory: User, bearer: Any
) -> None:
    leader.groups.get().users.add(mallory)
    graders = make_group("graders", users=[mallory])
    make_role("grader", "read:hub", groups=[graders])
    _, secret = make_token(leader)

    assert_refused(bearer(secret).post(f"{API}/users/mallory/tokens", {}), 403)


def test_a_group_leader_issues_for_members_and_for_other_leaders(
    leader: User, bearer: Any
) -> None:
    role = leader.roles.exclude(name="user").get()
    student = make_user("student", groups=leader.groups.all())
    second = make_user("second", groups=leader.groups.all())
    second.roles.add(role)
    _, secret = make_token(leader)

    for user in (student, second, leader):
        reply = bearer(secret).post(f"{API}/users/{user.name}/tokens", {})
        assert reply.status_code == 201, reply.content


def test_a_token_that_names_one_user_is_filtered_as_well(
    ada: User, mallory: User, bearer: Any
) -> None:
    service = make_service("one", scopes=["tokens!user=ada", "tokens!user=mallory"])
    _, secret = make_token(service)

    assert_refused(bearer(secret).post(f"{API}/users/ada/tokens", {}), 403)
    assert bearer(secret).post(f"{API}/users/mallory/tokens", {}).status_code == 201


def test_launchers_issue_for_everybody(ada: User, bearer: Any) -> None:
    launcher = make_service("launcher", scopes=["tokens"])
    _, secret = make_token(launcher)

    assert bearer(secret).post(f"{API}/users/ada/tokens", {}).status_code == 201


def test_people_with_rights_issue_for_themselves(bearer: Any) -> None:
    user = make_user("librarian", scopes=["read:hub"])
    _, secret = make_token(user, scopes=["tokens!user"])

    assert bearer(secret).post(f"{API}/users/librarian/tokens", {}).status_code == 201


def test_a_group_leader_adds_nobody_to_rights_beyond_their_own(
    leader: User, mallory: User, bearer: Any
) -> None:
    maths = leader.groups.get()
    make_role("grader", "read:hub", groups=[maths])
    leader.groups.clear()
    _, secret = make_token(leader)

    for name in ("lea", "mallory"):
        body = {"users": [name]}
        assert_refused(bearer(secret).post(f"{API}/groups/maths/users", body), 403)

    assert not maths.users.exists()
    _, everywhere = make_token(make_service("groups-for-all", scopes=["groups"]))
    reply = bearer(everywhere).post(f"{API}/groups/maths/users", {"users": ["lea"]})
    assert reply.status_code == 200


# The configuration gives rights by name


@pytest.fixture
def named(settings: Any) -> None:
    """Name people with rights in the configuration who have no rows."""
    make_role("grader", "read:hub")
    settings.HUB = dataclasses.replace(
        settings.HUB,
        admin_users=frozenset({"boss"}),
        load_groups={"graders": {"users": ["Grace"], "properties": {}}},
        load_roles=(
            {"name": "grader", "users": ["emmy"], "groups": ["graders"]},
            {"name": "user", "users": ["student"]},
        ),
    )


@pytest.mark.parametrize("name", ["boss", "Boss", "emmy", "grace"])
def test_only_administrators_give_a_name_that_has_rights(
    name: str, named: None, ada: User, mallory: User, as_: Any, bearer: Any
) -> None:
    make_role("manager", "admin-ui", "admin:users", users=[mallory])
    client = bearer(make_token(mallory)[1])
    page = f"/hub/admin/accounts/user/{mallory.pk}/change/"

    patched = client.patch(
        f"{API}/users/mallory", {"name": name}, content_type="application/json"
    )
    assert_refused(patched, 403)
    assert_refused(client.post(f"{API}/users", {"usernames": ["bob", name]}), 403)
    if name.islower():
        assert_refused(client.post(f"{API}/users/{name}", {}), 403)
    form = {"name": name, "initial-name": "mallory", "groups": ""}
    assert "gives rights to this name" in as_(mallory).post(page, form).content.decode()
    form = {"name": name, "groups": ""}
    added = as_(mallory).post("/hub/admin/accounts/user/add/", form)
    assert "gives rights to this name" in added.content.decode()
    assert set(User.objects.values_list("name", flat=True)) == {"ada", "mallory"}

    admins = bearer(make_token(ada)[1])
    assert admins.post(f"{API}/users/{name.lower()}", {}).status_code == 201


def test_names_without_rights_are_free(named: None, mallory: User, bearer: Any) -> None:
    make_role("manager", "admin:users", users=[mallory])
    client = bearer(make_token(mallory)[1])

    assert client.post(f"{API}/users/student", {}).status_code == 201
    assert client.post(f"{API}/users/bob", {}).status_code == 201


def test_a_group_made_again_gives_its_maker_no_configured_role(
    named: None, leader: User, mallory: User, as_: Any, bearer: Any
) -> None:
    make_role("maker", "admin:groups!group=graders", "list:users", users=[leader])
    client = bearer(make_token(leader)[1])
    body = {"users": ["mallory"]}

    assert_refused(client.post(f"{API}/groups/graders", body), 403)
    page = as_(leader).post(
        "/hub/admin/accounts/group/add/",
        {"name": "graders", "properties": "{}", "add_members": "mallory"},
    )
    assert page.status_code in (200, 403)
    assert not mallory.groups.exists()

    assert client.post(f"{API}/groups/graders", {}).status_code == 201
    assert_refused(client.post(f"{API}/groups/graders/users", body), 403)
    assert not mallory.groups.exists()


def test_the_admin_holds_to_the_same(leader: User, as_: Any, settings: Any) -> None:
    client = as_(leader)
    target = make_user("target", scopes=["read:hub"], groups=leader.groups.all())
    student = make_user("student", groups=leader.groups.all())
    form = {"kind": "user", "note": "x", "expires_in": "3600", "scopes": ""}
    made = {}

    for user in (target, student):
        page = client.post(
            "/hub/admin/tokens/apitoken/add/", {**form, "owner": user.name}
        )
        invited = client.post(f"/hub/admin/accounts/user/{user.pk}/invite/")
        made[user.name] = (user.api_tokens.count(), invited.status_code)
        assert ("rights that you lack" in page.content.decode()) is (user == target)

    assert made == {"target": (0, 403), "student": (1, 200)}


def test_who_exists_shows_in_no_refusal(ada: User, mallory: User, bearer: Any) -> None:
    client = bearer(make_token(mallory)[1])

    for path in ("users/{}/tokens", "users/{}", "users/{}/tokens/a1", "shares/{}"):
        existing = client.get(f"{API}/{path.format('ada')}")
        absent = client.get(f"{API}/{path.format('bob')}")

        assert existing.status_code == absent.status_code == 404
        assert existing.content == absent.content
    existing = client.post(f"{API}/users/ada/tokens", {}).json()["message"]
    absent = client.post(f"{API}/users/bob/tokens", {}).json()["message"]
    assert existing.replace("ada", "bob") == absent


def test_a_user_ends_no_token_of_another(ada: User, mallory: User, bearer: Any) -> None:
    theirs, _ = make_token(ada)
    _, secret = make_token(mallory)

    through_owner = bearer(secret).delete(f"{API}/users/ada/tokens/a{theirs.pk}")
    through_self = bearer(secret).delete(f"{API}/users/mallory/tokens/a{theirs.pk}")

    assert_refused(through_owner, 404)
    assert_refused(through_self, 404)
    theirs.refresh_from_db()
    assert theirs.revoked_at is None


def test_a_group_leader_stays_within_the_group(
    grace: User, alan: User, mallory: User, bearer: Any
) -> None:
    client = bearer(make_token(grace)[1])

    assert client.post(f"{API}/users/alan/tokens", {}).status_code == 201
    assert_refused(client.post(f"{API}/users/mallory/tokens", {}), 403)


# A token can't outlive a policy


@pytest.fixture
def policy(settings: Any) -> int:
    """Let tokens live for an hour at most."""
    settings.HUB = dataclasses.replace(settings.HUB, token_expires_in_max_seconds=3600)
    return 3600


@pytest.mark.parametrize("expires_in", [3601, 10**9, 0, -1, True, 1.5, "60"])
def test_no_lifetime_beyond_the_policy(
    expires_in: Any, policy: int, mallory: User, bearer: Any
) -> None:
    _, secret = make_token(mallory)
    before = APIToken.objects.count()

    reply = bearer(secret).post(
        f"{API}/users/mallory/tokens", {"expires_in": expires_in}
    )

    assert_refused(reply, 400)
    assert APIToken.objects.count() == before


@pytest.mark.parametrize("body", [{}, {"expires_in": None}, None])
def test_without_a_lifetime_the_policy_is_the_lifetime(
    body: Any, policy: int, mallory: User, bearer: Any
) -> None:
    _, secret = make_token(mallory)

    reply = bearer(secret).generic(
        "POST", f"{API}/users/mallory/tokens", "" if body is None else json.dumps(body)
    )

    assert reply.status_code == 201
    expires_at = datetime.fromisoformat(reply.json()["expires_at"])
    assert expires_at - datetime.now(UTC) <= timedelta(seconds=policy)


@pytest.mark.parametrize(
    "end",
    [
        {"expires_at": timezone.now() - timedelta(seconds=1)},
        {"revoked_at": timezone.now()},
        {"disabled_at": timezone.now()},
    ],
    ids=lambda end: next(iter(end)),
)
def test_a_token_that_was_used_before_ends_at_once(
    end: dict[str, Any], ada: User, bearer: Any
) -> None:
    token, secret = make_token(ada)
    assert bearer(secret).get(f"{API}/users").status_code == 200

    APIToken.objects.filter(pk=token.pk).update(**end)

    assert bearer(secret).get(f"{API}/users").status_code == 403
    assert bearer(secret).get(f"{API}/user").status_code == 403


def test_a_token_ends_with_its_owner(ada: User, bearer: Any) -> None:
    mortal = make_user("mortal")
    _, secret = make_token(mortal)
    _, admins = make_token(ada)
    assert bearer(secret).get(f"{API}/user").status_code == 200

    assert bearer(admins).delete(f"{API}/users/mortal").status_code == 204

    assert bearer(secret).get(f"{API}/user").status_code == 403
    # Nor does the next owner of the name inherit it.
    make_user("mortal")
    assert bearer(secret).get(f"{API}/user").status_code == 403


def test_a_closed_account_closes_its_tokens(mallory: User, bearer: Any) -> None:
    _, secret = make_token(mallory)
    assert bearer(secret).get(f"{API}/user").status_code == 200

    User.objects.filter(pk=mallory.pk).update(is_active=False)

    assert bearer(secret).get(f"{API}/user").status_code == 403


# A token can't read what its owner lost a moment ago


@pytest.mark.parametrize("scopes", [["inherit"], ["list:users", "read:users"]])
def test_a_demotion_counts_at_once(
    scopes: list[str], ada: User, mallory: User, bearer: Any
) -> None:
    boss = make_user("boss", admin=True)
    _, secret = make_token(boss, scopes=scopes)
    _, admins = make_token(ada)
    assert bearer(secret).get(f"{API}/users").status_code == 200
    assert bearer(secret).get(f"{API}/users/mallory").status_code == 200

    reply = bearer(admins).patch(
        f"{API}/users/boss", {"admin": False}, content_type="application/json"
    )

    assert reply.status_code == 200
    assert bearer(secret).get(f"{API}/users").status_code == 403
    assert bearer(secret).get(f"{API}/users/mallory").status_code == 404
    assert not any("!" not in scope for scope in scopes_of(bearer(secret)))


def test_a_lost_role_counts_at_once(mallory: User, bearer: Any) -> None:
    role = make_role("reader", "list:users", users=[mallory])
    _, secret = make_token(mallory)
    assert bearer(secret).get(f"{API}/users").status_code == 200

    mallory.roles.remove(role)

    assert bearer(secret).get(f"{API}/users").status_code == 403


def test_a_changed_role_counts_at_once(ci: Service, bearer: Any) -> None:
    _, secret = make_token(ci)
    assert bearer(secret).get(f"{API}/users").status_code == 200

    Role.objects.filter(services=ci).update(scopes=["read:hub"])

    assert bearer(secret).get(f"{API}/users").status_code == 403
    assert scopes_of(bearer(secret)) == ["read:hub"]


def test_a_left_group_counts_at_once(ada: User, mallory: User, bearer: Any) -> None:
    group = make_group("staff", users=[mallory], scopes=["list:users"])
    _, secret = make_token(mallory)
    _, admins = make_token(ada)
    assert bearer(secret).get(f"{API}/users").status_code == 200

    bearer(admins).delete(
        f"{API}/groups/{group.name}/users",
        {"users": ["mallory"]},
        content_type="application/json",
    )

    assert bearer(secret).get(f"{API}/users").status_code == 403


@pytest.mark.parametrize("scopes", [["inherit"], ["read:users!group=data301"]])
def test_former_members_are_out_of_reach_of_the_leader(
    scopes: list[str], data301: Any, grace: User, alan: User, bearer: Any
) -> None:
    _, secret = make_token(grace, scopes=scopes)
    assert bearer(secret).get(f"{API}/users/alan").status_code == 200

    data301.users.remove(alan)
    assert bearer(secret).get(f"{API}/users/alan").status_code == 404

    data301.users.add(alan)
    assert bearer(secret).get(f"{API}/users/alan").status_code == 200


def test_a_token_for_one_member_ends_with_the_membership(
    data301: Any, grace: User, alan: User, bearer: Any
) -> None:
    _, secret = make_token(grace, scopes=["read:users!user=alan"])
    assert bearer(secret).get(f"{API}/users/alan").status_code == 200

    data301.users.remove(alan)

    assert bearer(secret).get(f"{API}/users/alan").status_code == 404
    assert not any("alan" in scope for scope in scopes_of(bearer(secret)))


@pytest.mark.parametrize("to", ["user", "group"])
def test_an_ended_share_counts_at_once(to: str, mallory: User, bearer: Any) -> None:
    server = make_server(make_user("owner"), "lab")
    group = make_group("friends", users=[mallory])
    whom: Any = {"user": mallory} if to == "user" else {"group": group}
    share = make_share(server, scopes=["access:servers"], **whom)
    # What is shared with a group reaches tokens that clients obtained.
    _, secret = make_token(mallory, client_id="service-portal")
    scope = "access:servers!server=owner/lab"
    assert scope in scopes_of(bearer(secret))

    share.delete()

    assert scope not in scopes_of(bearer(secret))


def test_a_renamed_owner_keeps_own_things_and_no_more(
    ada: User, mallory: User, bearer: Any
) -> None:
    _, secret = make_token(mallory)
    _, admins = make_token(ada)

    reply = bearer(admins).patch(
        f"{API}/users/mallory", {"name": "eve"}, content_type="application/json"
    )

    assert reply.status_code == 200
    make_user("mallory")
    assert bearer(secret).get(f"{API}/users/eve").status_code == 200
    assert bearer(secret).get(f"{API}/users/mallory").status_code == 404


def test_an_admin_flag_without_the_role_is_worth_nothing(bearer: Any) -> None:
    pretender = make_user("pretender", admin=True, roles=["user"])
    _, secret = make_token(pretender)

    assert bearer(secret).get(f"{API}/users").status_code == 403
    assert bearer(secret).get(f"{API}/info").status_code == 403
