"""The admin in a browser: every page, before and after each action."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from audit.actions import record
from servers.models import Server
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
    make_users,
)
from tokens import bulk
from tokens.models import APIToken

pytestmark = pytest.mark.django_db(transaction=True)

GROUND = "element => getComputedStyle(element).backgroundColor"
START_OF_TEXT = """element => {
    const text = document.createRange();
    text.selectNodeContents(element);
    return text.getBoundingClientRect().left;
}"""


def address(model: str, page: str = "changelist", *args: int) -> str:
    return reverse(f"admin:{model}_{page}", args=args)


@pytest.fixture
def rows(transactional_db):
    """Have a row of every kind, by the name of its admin."""
    group = make_group("data301", properties={"room": "M1"})
    user = make_user("alan", groups=[group])
    token, _ = make_token(user, note="laptop")
    service = make_service("portal", url="http://127.0.0.1:9000")
    server = make_server(
        user, "lab", ready=True, wanted="running", user_options={"profile": "gpu"}
    )
    make_server(user, "broken", failure="Spawn failed: the disk is full")
    make_share(server, group=group)
    server.events.create(generation=1, data={"message": "Server requested"})
    record(BY, "server.open", "server", "alan/lab")
    return {
        "accounts_user": user,
        "accounts_group": group,
        "accounts_role": make_role("reader", "list:users!group=data301"),
        "services_service": service,
        "tokens_apitoken": token,
        "oauth_oauthclient": make_client("portal", service=service),
        "servers_server": server,
        "audit_event": record(BY, "user.create", "user", "alan", admin=False),
    }


@pytest.fixture
def administrator(transactional_db):
    return make_user("ada", admin=True)


def test_overview(window, administrator, rows):
    view = window(administrator)
    page = view.open("/hub/admin/")

    page.get_by_role("heading", name="Audit log").wait_for()
    view.survey()


def test_pages_about_tokens(window, administrator, rows):
    """The figures, the search by secret, and a change of many tokens."""
    token, secret = make_token(administrator, scopes=["read:users!user"])
    view = window(administrator)
    page = view.open("/hub/admin/trends/")
    page.get_by_role("heading", name="Tokens created").wait_for()
    view.survey()
    page = view.open("/hub/admin/tokens/apitoken/identify/")
    page.get_by_label("Token or SHA-256").fill(secret)
    page.get_by_role("button", name="Identify").click()
    page.get_by_text("This is token").wait_for()
    view.survey()
    view.open(f"/hub/admin/tokens/apitoken/{token.pk}/narrow/")
    view.survey()
    change = bulk.begin("disable", APIToken.objects.all(), by=BY)
    bulk.proceed(change)
    view.open(f"/hub/admin/tokens/apitoken/bulk/{change.pk}/")
    view.survey()
    view.open("/hub/admin/tokens/apitoken/bulk/")
    view.survey()


def test_a_new_secret_of_a_client(window, administrator, rows):
    view = window(administrator)
    page = view.open(
        address("oauth_oauthclient", "change", rows["oauth_oauthclient"].pk)
    )
    page.get_by_role("button", name="New secret").click()
    view.survey()
    page.get_by_role("button", name="Issue the secret").click()
    assert len(page.get_by_label("Secret").input_value()) > 60
    view.survey()


@pytest.mark.parametrize(
    "model",
    [
        *("accounts_user", "accounts_group", "accounts_role", "services_service"),
        *("tokens_apitoken", "oauth_oauthclient", "servers_server", "audit_event"),
    ],
)
def test_lists_and_rows(window, administrator, rows, model):
    view = window(administrator)

    page = view.open(address(model))
    page.locator("#result_list").wait_for()
    view.survey()
    view.open(f"{address(model)}?q=nothing-is-called-that")
    page.get_by_text("No matches.").wait_for()
    view.survey()
    view.open(address(model, "change", rows[model].pk))
    page.locator("fieldset").wait_for()
    view.survey()


@pytest.mark.parametrize(
    "model", ["accounts_user", "accounts_group", "services_service", "tokens_apitoken"]
)
def test_forms_and_what_they_refuse(window, administrator, rows, model):
    view = window(administrator)
    page = view.open(address(model, "add"))
    view.survey()

    page.locator(".submit-row button").first.click()

    page.get_by_role("alert").wait_for()
    view.survey()


def test_issuing_a_token(window, administrator, rows):
    view = window(administrator)
    page = view.open(address("tokens_apitoken", "add"))
    page.get_by_label("Owner's name").fill("alan")
    page.get_by_label("Note").fill("for the lab")
    page.get_by_role("button", name="Issue token").click()

    assert len(page.get_by_label("Secret").input_value()) > 60
    view.survey()


def test_stopping_and_opening_all_that_match(window, administrator, rows):
    for user in make_users(60):
        make_server(user, ready=True, wanted="running")
    view = window(administrator)
    page = view.open(f"{address('servers_server')}?q=student")

    def choose(act):
        page.get_by_label("Select all objects on this page").check()
        page.get_by_role("button", name="Select all that match, on every page").click()
        page.locator("select[name=action]").select_option(act)
        page.get_by_role("button", name="Go").click()

    choose("open")
    assert page.get_by_role("link", name="student").count() == 60
    view.survey()
    page.get_by_role("button", name="Back to the list").click()
    choose("stop")
    page.get_by_text("Their programs end").wait_for()
    view.survey()
    page.get_by_role("button", name="Stop 60 servers").click()

    page.get_by_text("Stopping 60 servers.").wait_for()
    assert Server.objects.filter(pending="stop").count() == 60
    view.survey()


def test_revoking_all_that_match(window, administrator, rows):
    for user in make_users(60):
        make_token(user)
    view = window(administrator)
    page = view.open(f"{address('tokens_apitoken')}?q=student")

    page.get_by_label("Select all objects on this page").check()
    row = page.locator(".results tr.selected").first
    assert row.locator(".state").evaluate(GROUND) != row.evaluate(GROUND)
    page.get_by_text("Select all that match, on every page").click()
    page.locator("select[name=action]").select_option(
        label="Revoke the selected tokens"
    )
    view.survey()
    page.get_by_role("button", name="Go").click()

    page.get_by_text("Revoke 60 tokens?").wait_for()
    view.survey()
    page.get_by_role("button", name="Revoke 60 tokens").click()

    page.get_by_text("Revoked 60 tokens.").wait_for()
    view.survey()
    assert APIToken.objects.filter(revoked_at=None).count() == 1


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_adding_a_list_of_users(window, administrator, rows, scripts):
    view = window(administrator, java_script_enabled=scripts)
    survey = view.survey if scripts else lambda: None
    page = view.open(address("accounts_user"))
    page.get_by_role("link", name="Add a list of users").click()
    survey()
    page.get_by_role("button", name="Check the list first").click()
    page.get_by_role("alert").wait_for()
    survey()

    lines = ["alan", "grace", "n" * 300, "odd/name", "emmy emmy at example.org"]
    page.get_by_label("People").fill("\n".join(lines))
    page.get_by_label("Groups").fill("data301")
    page.get_by_role("button", name="Check the list first").click()
    page.get_by_role("heading", name="1 exists already").wait_for()
    survey()
    page.get_by_role("button", name=re.compile("Add . user")).click()

    links = page.get_by_label("Names and links, as CSV").input_value()
    assert [line.split(",")[0] for line in links.split()] == ["name", "grace"]
    assert "/hub/welcome/" in links
    survey()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_stop_is_confirmed_where_the_person_stands(
    window, administrator, rows, scripts
):
    view = window(administrator, java_script_enabled=scripts)
    page = view.open(address("accounts_user", "change", rows["accounts_user"].pk))
    page.get_by_role("button", name="Stop… the server alan/lab").click()
    page.get_by_text("Their programs end").wait_for()
    if scripts:
        view.survey()
    page.get_by_role("button", name="Stop 1 server").click()

    page.get_by_text("Stopping alan/lab").wait_for()
    assert Server.objects.get(name="lab").pending == "stop"


def test_inviting_a_user(window, administrator, rows):
    view = window(administrator)
    page = view.open(address("accounts_user", "change", rows["accounts_user"].pk))
    page.get_by_role("button", name="Create link").click()

    assert "/hub/welcome/" in page.get_by_label("Link").input_value()
    view.survey()


def test_deleting_a_user(window, administrator, rows):
    view = window(administrator)
    page = view.open(address("accounts_user", "change", rows["accounts_user"].pk))
    page.get_by_role("button", name="Delete…").click()
    view.survey()
    page.get_by_role("button", name="Delete alan").click()

    assert "alan" in page.get_by_role("status").inner_text()
    view.survey()


def test_deactivating_a_user(window, administrator, rows):
    view = window(administrator)
    page = view.open(address("accounts_user", "change", rows["accounts_user"].pk))
    page.get_by_role("button", name="Deactivate alan").click()

    page.get_by_text("Deactivated 1 user.").wait_for()
    page.get_by_role("button", name="Activate alan").wait_for()
    view.survey()
    view.open(f"{address('accounts_user')}?state=deactivated")
    page.get_by_role("link", name="alan", exact=True).wait_for()
    view.survey()


@pytest.mark.parametrize(
    "model", ["accounts_user", "accounts_group", "servers_server", "audit_event"]
)
def test_long_names_leave_the_other_columns_in_sight(window, administrator, model):
    name = "n" * 120
    user = make_user(name)
    make_group("g" * 120)
    make_server(user, "s" * 120)
    record(BY, "user.deactivate", "user", "", names=[name, "grace"])
    view = window(administrator)

    page = view.open(address(model))

    within = "element => element.scrollWidth <= element.clientWidth"
    assert page.locator(".results").evaluate(within)
    assert all(
        cell.evaluate(within) for cell in page.locator(".results tbody tr > *").all()
    )
    view.survey()
    # The survey leaves the window as narrow as a phone.
    parts = ".results tbody tr > *, .actions"
    assert all(part.evaluate(within) for part in page.locator(parts).all())
    view.open(address("accounts_user", "change", user.pk))
    view.survey()


def test_open_filters_stay_out_of_the_way(window, administrator, rows):
    view = window(administrator)
    page = view.open(address("tokens_apitoken"))
    opened = page.locator("#changelist-filter details[open]")
    state = page.locator("#changelist-filter summary", has_text="State")

    state.click()
    entries = opened.locator("a").all()
    assert len({entry.evaluate(START_OF_TEXT) for entry in entries}) == 1
    view.survey()
    page.keyboard.press("Escape")
    assert opened.count() == 0
    assert state.evaluate("element => element === document.activeElement")
    state.click()
    page.get_by_role("heading", level=1).click()
    assert opened.count() == 0
    state.click()
    opened.get_by_role("link", name="revoked").click()
    page.get_by_text("No matches.").wait_for()
    assert opened.count() == 0


def test_filters_work_without_a_script(window, administrator, rows):
    view = window(administrator, java_script_enabled=False)
    page = view.page
    page.goto(f"{view.base}{address('tokens_apitoken')}")

    page.locator("#changelist-filter summary").last.click()
    page.locator("#changelist-filter summary", has_text="State").click()
    assert page.locator("#changelist-filter details[open]").count() == 1
    page.get_by_role("link", name="revoked").click()

    page.get_by_text("No matches.").wait_for()
