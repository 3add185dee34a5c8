"""Request, copy and revoke a token: by mouse, by keyboard, without scripts."""

from __future__ import annotations

import subprocess
import sys

import pytest
import requests
from django.utils import timezone

from tests.browser.conftest import WIDTHS
from tests.factories import make_group, make_token, make_user
from tokens.models import (
    APIToken,
    TokenDay,
    TokenNotice,
    TokenOperation,
    TokenUse,
)

ROOM = """select => {
    const style = getComputedStyle(select);
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = style.font;
    const widths = [...select.options].map((it) => pen.measureText(it.text).width);
    const sides = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
    return select.clientWidth - sides - Math.max(...widths);
}"""
BORDER = "element => getComputedStyle(element).borderColor"


@pytest.fixture
def person(transactional_db):
    return make_user("ada")


def may_call(live_server, secret):
    reply = requests.get(
        f"{live_server.url}/hub/api/user",
        headers={"Authorization": f"token {secret}"},
        timeout=10,
    )
    return reply.status_code == 200


def said_by(lines, secret):
    """Run lines that were copied from a page, without the hub's own modules."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", lines],
        cwd="/",
        env={"JUPYTERHUB_API_TOKEN": secret},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_from_request_to_revocation(window, person, live_server, scripts):
    visit = window(person, java_script_enabled=scripts)
    page = visit.open("/hub/home")
    page.get_by_role("link", name="Token", exact=True).click()
    page.get_by_role("button", name="New token").click()
    page.get_by_label("Note").fill("Weekly report")
    page.get_by_label("Token expires in").select_option(index=1)
    page.get_by_role("button", name="Request new API token").click()

    secret = page.get_by_label("Token", exact=True).input_value()
    assert may_call(live_server, secret)
    for name in ("curl", "python", "read", "keyring"):
        assert secret not in page.locator(f"#{name}").inner_text()
    assert secret in page.locator("#env").inner_text()
    assert "'name': 'ada'" in said_by(page.locator("#python").inner_text(), secret)
    if scripts:
        visit.survey()

    page.get_by_role("link", name="show all my tokens").click()
    row = page.get_by_role("row").filter(has_text="Weekly report")
    assert secret not in page.content()
    if scripts:
        visit.survey()
    row.get_by_role("link", name="Revoke").click()
    page.get_by_role("button", name="Revoke token").click()

    assert "Weekly report" in page.get_by_role("status").first.inner_text()
    page.get_by_text("You have no tokens.").wait_for()
    assert not may_call(live_server, secret)
    if scripts:
        visit.survey()


def test_copying_the_secret(window, person):
    visit = window(person, permissions=["clipboard-read", "clipboard-write"])
    page = visit.open("/hub/token/new")
    page.get_by_label("Note").fill("To copy")
    page.get_by_role("button", name="Request new API token").click()

    page.get_by_role("button", name="Copy token").click()

    page.get_by_role("button", name="Copied").wait_for()
    secret = page.get_by_label("Token", exact=True).input_value()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    said = page.locator("[role=status] [data-announcement]")
    assert said.inner_text() == "Copied to the clipboard."
    visit.survey()


def test_a_mistake_is_explained_and_loses_nothing(window, person):
    visit = window(person)
    page = visit.open("/hub/token/new")
    page.get_by_label("Note").fill("Keep this text")
    page.get_by_label("Only the permissions chosen below").check()
    page.get_by_label("Further scopes").fill("no:such:scope")
    page.get_by_role("button", name="Request new API token").click()

    page.get_by_role("alert").wait_for()
    assert page.get_by_label("Note").input_value() == "Keep this text"
    wrong = page.get_by_label("Further scopes")
    assert wrong.input_value() == "no:such:scope"
    page.locator(".picker summary").first.click()
    box = page.locator(".picker [type=checkbox]").first
    assert wrong.evaluate(BORDER) != page.get_by_label("Note").evaluate(BORDER)
    assert box.evaluate(BORDER) == page.get_by_role("radio").first.evaluate(BORDER)
    assert not APIToken.objects.exists()
    visit.survey()


def test_lifetimes_fit_on_a_phone(window, person):
    page = window(person).open("/hub/token/new")
    page.set_viewport_size({"width": 320, "height": 800})

    assert page.get_by_label("Token expires in").evaluate(ROOM) >= 0


def test_by_keyboard_alone(window, person, live_server):
    visit = window(person)
    page = visit.open("/hub/token/new")

    def tab_to(name):
        for _ in range(60):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                """() => {
                    const it = document.activeElement;
                    const box = it.getBoundingClientRect();
                    const label = it.labels?.[0]?.textContent ?? it.textContent;
                    return {
                        name: (it.ariaLabel ?? label).trim(),
                        seen: box.width > 0 && getComputedStyle(it).outlineStyle
                            !== "none",
                    };
                }"""
            )
            assert focused["seen"], f"focus is not visible on {focused['name']!r}"
            if focused["name"].startswith(name):
                return
        raise AssertionError(f"the keyboard does not reach {name!r}")

    tab_to("Skip to content")
    page.keyboard.press("Enter")
    tab_to("Note")
    page.keyboard.type("By keyboard")
    tab_to("Request new API token")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Your new token").wait_for()
    assert page.evaluate("document.activeElement.role") == "status"
    secret = page.get_by_label("Token", exact=True).input_value()
    tab_to("I have stored the token")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="API tokens").wait_for()
    tab_to("Revoke")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Revoke this token?").wait_for()
    tab_to("Revoke token")
    page.keyboard.press("Enter")
    page.get_by_text("You have no tokens.").wait_for()

    assert not may_call(live_server, secret)


def test_permissions_are_chosen_with_a_script(window, person):
    visit = window(person)
    page = visit.open("/hub/token/new")
    page.get_by_label("Only the permissions chosen below").check()
    page.get_by_label("Search permissions").fill("stop")
    page.get_by_label("See, start and stop servers").check()

    # What it contains is shown as selected, and is not sent.
    page.get_by_label("Search permissions").fill("servers")
    contained = page.locator('[value="delete:servers!user"]')
    assert contained.is_checked()
    assert contained.is_disabled()
    operations = page.locator("#operations")
    operations.get_by_text("25 API operations").wait_for()
    operations.locator("summary").filter(has_text="/users").click()
    operations.get_by_text("Stop a server").first.wait_for()
    visit.survey()

    page.get_by_label("Name", exact=True).fill("ada/lab")
    page.get_by_label("For one", exact=True).select_option("server")
    page.locator("#filtered_name").select_option("access:servers")
    page.get_by_role("button", name="Add", exact=True).click()
    written = page.get_by_label("Further scopes")
    assert written.input_value() == "access:servers!server=ada/lab"
    page.get_by_role("button", name="Request new API token").click()
    page.get_by_role("heading", name="Your new token").wait_for()

    assert APIToken.objects.get().scopes == [
        "servers!user",
        "access:servers!server=ada/lab",
    ]


def test_names_are_suggested_while_typing(window, person):
    make_group("math", users=[person])
    page = window(person).open("/hub/token/new?scopes=read:users!user")
    name = page.get_by_label("Name", exact=True)
    suggested = page.locator("#filtered-names option")

    name.fill("a")
    page.locator('#filtered-names option[value="math"]').wait_for(state="attached")
    page.get_by_label("For one", exact=True).select_option("user")
    page.locator('#filtered-names option[value="ada"]').wait_for(state="attached")

    assert suggested.count() == 1


def test_what_is_missing_or_refused_is_said_in_place_of_operations(window, person):
    group = "a-group-with-quite-a-long-name-that-fills-more-than-a-line-of-a-phone"
    visit = window(person)
    page = visit.open(f"/hub/token/new?scopes=groups!group={group}")
    operations = page.locator("#operations")

    operations.get_by_text(f"its owner lacks: groups!group={group}").wait_for()
    assert not operations.get_by_role("button").is_visible()
    page.get_by_label("Further scopes").fill("")
    page.get_by_label("Further scopes").blur()
    operations.get_by_text("Pick at least one permission.").wait_for()
    page.get_by_label("Further scopes").fill(f"groups!group={group}")
    page.get_by_role("button", name="Request new API token").click()
    page.get_by_role("alert").wait_for()
    visit.survey()


def test_columns_of_the_list_have_room_for_their_texts(window, person):
    for number in range(3):
        make_token(person, note=f"Weekly report of the group {number}")
    TokenNotice.objects.all().delete()
    page = window(person).open("/hub/token")
    lines = """element => {
        const range = document.createRange();
        range.selectNodeContents(element);
        return new Set([...range.getClientRects()].map((it) => it.top)).size;
    }"""
    text = """element => {
        const style = getComputedStyle(element);
        const pen = document.createElement("canvas").getContext("2d");
        pen.font = style.font;
        const sides = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
        const width = pen.measureText(element.placeholder).width;
        return element.clientWidth - sides - width;
    }"""

    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        for start in page.locator(".tokens .start").all():
            assert start.evaluate(lines) == 1
        assert page.get_by_role("searchbox").evaluate(text) >= 0


def test_many_notices_leave_room_for_the_list(window, person):
    for number in range(25):
        token, _ = make_token(person, note=f"job {number}")
        TokenNotice.objects.create(token=token, kind="disabled")
    visit = window(person)
    page = visit.open("/hub/token")
    visit.survey()
    page.set_viewport_size({"width": 320, "height": 800})
    assert page.get_by_role("searchbox").bounding_box()["y"] < 800

    page.get_by_text("Notices about your tokens").click()
    visit.survey()
    page.get_by_role("button", name="I have seen all").click()

    page.get_by_text("The notices were removed.").wait_for()
    assert not page.get_by_text("Notices about your tokens").is_visible()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_many_tokens_are_selected_and_revoked(window, person, scripts):
    for number in range(120):
        make_token(person, note=f"job {number}")
    visit = window(person, java_script_enabled=scripts)
    page = visit.open("/hub/token?q=job+11&sort=note")
    if scripts:
        visit.survey()
        page.get_by_label("Select all on this page").check()
    else:
        for box in page.get_by_label("Select job").all():
            box.check()
    page.get_by_role("button", name="Revoke selected").click()
    page.get_by_role("button", name="Revoke 11 tokens").click()

    page.get_by_text("Revoked 11 tokens.").wait_for()
    assert APIToken.objects.filter(revoked_at=None).count() == 109


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_token_is_rotated_narrowed_and_renamed(window, person, live_server, scripts):
    token, old = make_token(person, note="grader", scopes=["read:users!user", "self"])
    TokenDay.objects.create(token=token, day=timezone.now().date(), count=7)
    TokenUse.objects.create(token=token, network="192.0.2.0/24", agent="curl/8.0")
    TokenOperation.objects.create(
        token=token, operation="GET /users/{name}", scope="read:users:name"
    )
    visit = window(person, java_script_enabled=scripts)
    page = visit.open("/hub/token")
    # A notice above the list has the same link.
    tokens = page.get_by_role("table").first
    tokens.get_by_role("link", name="grader", exact=True).click()
    page.get_by_role("heading", name="Use in the last 30 days").wait_for()
    if scripts:
        visit.survey()

    page.get_by_role("button", name="Narrow to 1 scope").click()
    page.get_by_text("Narrowed the token.").wait_for()
    page.get_by_text("Rename", exact=True).first.click()
    page.get_by_label("Note").fill("marker")
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("heading", name="marker").wait_for()
    page.get_by_text("Rotate", exact=True).first.click()
    if scripts:
        visit.survey()
    page.get_by_role("button", name="Rotate").click()

    page.get_by_role("heading", name="The new secret of your token").wait_for()
    new = page.get_by_label("Token", exact=True).input_value()
    assert may_call(live_server, new)
    assert may_call(live_server, old)
    if scripts:
        visit.survey()
    token.refresh_from_db()
    assert (token.note, token.scopes) == ("marker", ["read:users:name!user"])
