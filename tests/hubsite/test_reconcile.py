"""The rows after a start, according to the configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from accounts.models import Group, Role, User
from audit.models import Event
from hubsite.config.file import ConfigError
from hubsite.config.hub_config import HubConfig
from hubsite.config.reconcile import reconcile
from oauth.actions import matches
from oauth.models import OAuthClient
from scopes.definitions import DEFAULT_ROLES
from services.models import Service
from tests import factories
from tokens.models import APIToken
from tokens.verification import verify

pytestmark = pytest.mark.django_db

SECRET = "a-secret-that-somebody-brought"


def start(**declared: Any) -> list[str]:
    """Reconcile as at a start with this configuration."""
    hub = replace(HubConfig(), **declared)
    with override_settings(HUB=hub):
        return reconcile(hub)


def names(rows: Any) -> set[str]:
    return set(rows.values_list("name", flat=True))


def roles_of(name: str) -> set[str]:
    return names(User.objects.get(name=name).roles)


def state() -> dict[str, Any]:
    """All that a start may change."""
    return {
        "users": list(User.objects.values("name", "admin")),
        "roles": list(Role.objects.values("name", "description", "scopes")),
        "held": sorted(User.roles.through.objects.values_list("user_id", "role_id")),
        "groups": list(Group.objects.values("name", "properties", "users")),
        "services": list(Service.objects.values()),
        "clients": list(OAuthClient.objects.values()),
        "tokens": list(APIToken.objects.values("public_id", "user", "service")),
        "events": Event.objects.count(),
    }


FULL: dict[str, Any] = {
    "admin_users": frozenset({"ada"}),
    "allowed_users": frozenset({"ada", "alan"}),
    "load_groups": {"g": {"users": ["alan", "bo"], "properties": {"floor": 3}}},
    "services": ({"name": "ci", "admin": True}, {"name": "portal", "url": "http://x"}),
    "service_tokens": {SECRET: "ci"},
    "api_tokens": {SECRET + "-2": "tina"},
    "load_roles": (
        {"name": "user", "scopes": ["self", "read:hub"]},
        {"name": "reader", "scopes": ["list:users"], "users": ["zoe"],
         "groups": ["g", "new"], "services": ["portal"]},
    ),
    "blocked_users": frozenset({"mallory"}),
}  # fmt: skip


def test_names_that_are_not_valid_any_more_are_replaced_if_that_is_wanted() -> None:
    ada = factories.make_user("ada")
    for name in ("My Lab", "my-lab", "Other_One", "fine"):
        factories.make_server(ada, name)
    factories.make_server(ada, "Running_One", ready=True)

    start()
    assert ada.servers.filter(name="My Lab").exists()
    (remark,) = start(allow_existing_invalid_named_servers="autorename")

    assert "ada/Running_One runs" in remark
    found = dict(ada.servers.values_list("display_name", "name"))
    assert found["Other_One"] == "other-one"
    assert found["My Lab"].startswith("my-lab-")
    assert {"my-lab", "fine", "Running_One"} <= names(ada.servers)
    before = state()
    start(allow_existing_invalid_named_servers="autorename")
    assert state() == before


def test_second_start_changes_nothing() -> None:
    remarks = start(**FULL)
    before = state()
    assert start(**FULL) == remarks
    assert state() == before


def test_start_costs_the_same_whatever_the_number_of_users() -> None:
    start(**FULL)
    with CaptureQueriesContext(
        connection,
    ) as few:
        start(**FULL)
    User.objects.bulk_create(User(name=f"u{number}") for number in range(300))
    with CaptureQueriesContext(connection) as many:
        start(**FULL)
    assert len(few) == len(many)


def test_refused_configuration_leaves_everything() -> None:
    before = state()
    with pytest.raises(ConfigError, match="no service 'nobody'"):
        start(
            **FULL
            | {"load_roles": ({"name": "abc", "users": [], "services": ["nobody"]},)}
        )
    assert state() == before


# Users


def test_administrators_are_made_and_never_unmade() -> None:
    factories.make_user("grace")
    start(admin_users=frozenset({"Ada", "grace"}))
    start()
    for name in ("ada", "grace"):
        assert User.objects.get(name=name).admin
        assert roles_of(name) == {"user", "admin"}


def test_allowed_users_exist_and_hold_the_role() -> None:
    factories.make_user("old", roles=())
    start(allowed_users=frozenset({"old", "new"}))
    assert roles_of("old") == roles_of("new") == {"user"}


def test_users_are_normalised_and_checked() -> None:
    start(allowed_users=frozenset({"Alias"}), username_map={"alias": "mapped"})
    assert User.objects.filter(name="mapped").exists()
    with pytest.raises(ConfigError, match=r"c\.Authenticator\.admin_users: .*a/b"):
        start(admin_users=frozenset({"a/b"}))


def test_blocked_users_lose_rights_and_keep_rows() -> None:
    group = factories.make_group("g")
    user = factories.make_user("mallory", admin=True, groups=[group])
    _token, secret = factories.make_token(user)
    start(blocked_users=frozenset({"Mallory", "unheard-of"}))
    user.refresh_from_db()
    assert not user.admin
    assert not user.roles.exists() and not user.groups.exists()
    bearer = verify(secret)
    assert bearer is None or not bearer.access.scopes


# Groups


def test_groups_are_only_added_to() -> None:
    group = factories.make_group("g", properties={"kept": 1})
    group.users.add(factories.make_user("alan"))
    start(load_groups={"g": {"users": ["bo"]}})
    group.refresh_from_db()
    assert names(group.users) == {"alan", "bo"}
    assert group.properties == {"kept": 1}
    assert roles_of("bo") == {"user"}
    start(load_groups={"g": {"users": [], "properties": {}}})
    group.refresh_from_db()
    assert group.properties == {}
    start()
    assert names(group.users) == {"alan", "bo"}


# Roles


def test_roles_are_what_is_declared() -> None:
    start(load_roles=({"name": "abc", "scopes": ["list:users"], "description": "x"},))
    start(load_roles=({"name": "abc"},))
    role = Role.objects.get(name="abc")
    assert (role.scopes, role.description) == ([], "")
    start()
    assert names(Role.objects) == set(DEFAULT_ROLES)


def test_default_roles_fall_back_to_their_defaults() -> None:
    start(load_roles=({"name": "user", "scopes": ["self", "read:hub"]},))
    user = Role.objects.get(name="user")
    assert user.scopes == ["self", "read:hub"]
    assert user.description == DEFAULT_ROLES["user"]["description"]
    start(extra_user_scopes=frozenset({"read:metrics"}))
    user.refresh_from_db()
    assert user.scopes == ["self", "read:metrics"]


def test_unknown_scope_stops_the_start() -> None:
    with pytest.raises(ConfigError, match=r"role 'abc'.*no:such"):
        start(load_roles=({"name": "abc", "scopes": ["no:such"]},))


def test_members_are_exactly_who_is_listed() -> None:
    declared = {"name": "abc", "users": ["a", "b"], "groups": ["g"], "services": ["s"]}
    start(load_roles=(declared,), services=({"name": "s"},))
    role = Role.objects.get(name="abc")
    assert names(role.users) == {"a", "b"}
    assert names(role.groups) == {"g"}
    assert names(role.services) == {"s"}
    assert roles_of("a") == {"user", "abc"}
    start(load_roles=({"name": "abc", "users": ["b"]},), services=({"name": "s"},))
    assert names(role.users) == {"b"}
    assert not role.groups.exists() and not role.services.exists()


def test_role_user_keeps_its_users_unless_it_lists_them() -> None:
    factories.make_user("alan")
    start(load_roles=({"name": "user", "scopes": ["self"]},))
    assert roles_of("alan") == {"user"}
    start(load_roles=({"name": "user", "users": ["bo"]},))
    assert roles_of("alan") == set()
    assert roles_of("bo") == {"user"}


def test_listing_administrators_decides_who_is_one() -> None:
    factories.make_user("old", admin=True)
    start(load_roles=({"name": "admin"},))
    assert User.objects.get(name="old").admin
    start(
        load_roles=({"name": "admin", "users": ["new"]},),
        admin_users=frozenset({"ada"}),
    )
    assert names(User.objects.filter(admin=True)) == {"new", "ada"}
    assert names(Role.objects.get(name="admin").users) == {"new", "ada"}


# Services and tokens


def test_services_follow_the_configuration() -> None:
    runtime = factories.make_service("runtime")
    start(services=({"name": "a", "admin": True}, {"name": "b", "url": "http://x"}))
    first, second = Service.objects.get(name="a"), Service.objects.get(name="b")
    assert names(first.roles) == {"admin"}
    assert second.oauth_client_id == "service-b"
    assert first.oauth_client_id is None
    start(services=({"name": "b", "display": False},))
    assert not Service.objects.filter(name="a").exists()
    second.refresh_from_db()
    assert (second.url, second.display) == (None, False)
    assert Service.objects.filter(pk=runtime.pk).exists()


def test_service_that_was_added_at_run_time_is_left() -> None:
    factories.make_service("a")
    (remark,) = start(services=({"name": "a", "admin": True},))
    assert "'a'" in remark
    assert not Service.objects.get(name="a").admin


def test_service_of_a_token_need_not_be_declared() -> None:
    start(service_tokens={SECRET: "ci"})
    bearer = verify(SECRET)
    assert bearer and (bearer.owner_kind, bearer.owner_name) == ("service", "ci")


def test_token_brings_its_user_without_a_role() -> None:
    (remark,) = start(api_tokens={SECRET: "Tina"})
    assert remark.startswith("tina (c.JupyterHub.api_tokens) holds no role yet:")
    bearer = verify(SECRET)
    assert bearer and bearer.owner_name == "tina"
    assert bearer.access.scopes == frozenset()
    assert roles_of("tina") == set()
    token = APIToken.objects.get()
    assert (token.note, token.expires_at) == ("from config", None)


def test_owner_of_a_token_is_a_user_once_listed() -> None:
    start(api_tokens={SECRET: "tina"})
    assert not start(api_tokens={SECRET: "tina"}, allowed_users=frozenset({"tina"}))
    assert roles_of("tina") == {"user"}
    assert not start(api_tokens={SECRET: "Tina"})
    assert roles_of("tina") == {"user"}


def test_owner_of_a_token_may_do_what_others_give_it() -> None:
    helper = {"name": "helper", "scopes": ["read:hub"], "groups": ["staff"]}
    groups = {"staff": {"users": ["tina"]}, "none": {"users": ["tina"]}}
    secrets = {SECRET: "tina", SECRET + "-2": "tom", SECRET + "-3": "bob"}
    start(api_tokens=secrets)
    remarks = start(
        api_tokens=secrets,
        load_groups=groups,
        load_roles=(helper,),
        blocked_users=frozenset({"bob"}),
    )
    assert [remark.split()[0] for remark in remarks] == ["tom"]
    assert roles_of("tina") == set()


def test_token_stays_with_its_first_owner() -> None:
    start(api_tokens={SECRET: "tina"})
    start(api_tokens={SECRET: "tom"})
    bearer = verify(SECRET)
    assert bearer and bearer.owner_name == "tina"


def test_dropped_entry_leaves_its_token() -> None:
    start(api_tokens={SECRET: "tina"})
    start()
    assert verify(SECRET)


def test_secret_is_hashed_once() -> None:
    start(api_tokens={SECRET: "tina"})
    digest = APIToken.objects.get().digest
    start(api_tokens={SECRET: "tina"})
    assert APIToken.objects.get().digest == digest


def test_services_that_people_sign_in_to_are_clients() -> None:
    portal = {"name": "portal", "url": "http://x", "api_token": SECRET}
    start(
        services=(portal, {"name": "ci"}),
        service_tokens={SECRET: "portal"},
    )

    client = OAuthClient.objects.get()
    assert client.identifier == "service-portal"
    assert client.redirect_uri == "/services/portal/oauth_callback"
    assert matches(client, SECRET)


def test_a_client_ends_with_its_declaration() -> None:
    start(services=({"name": "portal", "url": "http://x"}, {"name": "ci"}))
    alan = factories.make_user("alan")
    token, _ = factories.make_token(alan, client_id="service-portal", scopes=[])
    start(services=({"name": "portal", "url": "http://x"}, {"name": "ci"}))
    token.refresh_from_db()
    assert token.revoked_at is None

    start(services=({"name": "portal"}, {"name": "ci"}))

    token.refresh_from_db()
    assert token.revoked_at
    assert not OAuthClient.objects.exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"oauth_no_confirm": True},
        {"oauth_redirect_uri": "//evil.example/"},
        {"url": "http://x", "oauth_client_allowed_scopes": ("no:such:scope",)},
    ],
)
def test_half_a_client_stops_the_start(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="services"):
        start(services=({"name": "portal", **fields},))

    assert not Service.objects.exists()
