"""Access to the admin, and its overview."""

from __future__ import annotations

import pytest
from django.contrib import admin

from accounts.models import Group, Role, SignUp, User
from audit.models import Event
from oauth.models import OAuthClient
from servers.models import Server
from services.models import Service
from tests.admin.conftest import text
from tests.factories import make_user
from tokens.models import APIToken, TokenPolicy, TokenRequest

pytestmark = pytest.mark.django_db

LISTS = (
    *("accounts_user", "accounts_group", "accounts_role", "services_service"),
    *("tokens_apitoken", "servers_server", "audit_event"),
)


@pytest.mark.parametrize("address", ["/hub/admin", "/hub/admin/", "/hub/admin/login/"])
def test_strangers_are_sent_to_sign_in(as_, address):
    reply = as_(None).get(address)

    assert reply.status_code == 302
    assert reply["Location"].startswith("/hub/login?next=")


@pytest.mark.parametrize("model", LISTS)
def test_lists_are_closed_to_those_without_admin_ui(as_, mallory, pages, model):
    reply = as_(mallory).get(pages.list(model))

    assert reply.status_code == 403
    assert "admin-ui" in text(reply)


@pytest.mark.parametrize("model", LISTS)
def test_admin_ui_alone_opens_the_overview_and_no_list(as_, pages, model):
    client = as_(make_user("opener", scopes=["admin-ui"], roles=[]))

    assert client.get("/hub/admin/").status_code == 200
    assert client.get(pages.list(model)).status_code == 403


@pytest.mark.parametrize("model", LISTS)
def test_administrators_see_every_list(as_, ada, pages, model):
    assert as_(ada).get(pages.list(model)).status_code == 200


def test_inactive_administrators_are_refused(as_, ada):
    client = as_(ada)
    User.objects.filter(pk=ada.pk).update(is_active=False)

    assert client.get("/hub/admin/").status_code in (302, 403)


def test_losing_the_role_counts_at_once(as_, ada):
    client = as_(ada)
    assert client.get("/hub/admin/").status_code == 200

    ada.roles.clear()

    assert client.get("/hub/admin/").status_code == 403


def test_address_without_slash_is_the_same_page(as_, ada):
    pages = [as_(ada).get(path) for path in ("/hub/admin", "/hub/admin/")]

    assert [page.status_code for page in pages] == [200, 200]
    assert pages[0].templates[0].name == pages[1].templates[0].name


def test_only_models_of_the_hub_are_there():
    assert {model for model in admin.site._registry} == {
        *(User, SignUp, Group, Role, Service, APIToken, TokenPolicy, TokenRequest),
        *(OAuthClient, Server, Event),
    }


def test_nothing_is_stored_by_browsers(as_, ada):
    assert "no-store" in as_(ada).get("/hub/admin/")["Cache-Control"]


def test_forged_changes_are_refused(ada, pages):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)

    reply = client.post(pages.add("accounts_user"), {"name": "eve"})

    assert reply.status_code == 403
    assert not User.objects.filter(name="eve").exists()


def test_overview_counts_what_is_within_reach(as_, grace, alan, ada):
    reply = as_(grace).get("/hub/admin/")

    figures = {each["label"]: each["number"] for each in reply.context["figures"]}
    assert figures["Users"] == 2
    assert "Services" not in figures
