"""Request, copy and revoke a token: by mouse, by keyboard, without scripts."""

from __future__ import annotations

import subprocess
import sys

import pytest
import requests

from tests.factories import make_user
from tokens.models import APIToken

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


def said_by(lines):
    """Run lines that were copied from a page, without the hub's own modules."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", lines],
        cwd="/",
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
    page.get_by_label("Note").fill("Weekly report")
    page.get_by_label("Token expires in").select_option(index=1)
    page.get_by_role("button", name="Request new API token").click()

    secret = page.get_by_label("Token", exact=True).input_value()
    assert may_call(live_server, secret)
    assert secret in page.locator("#curl").inner_text()
    assert "'name': 'ada'" in said_by(page.locator("#python").inner_text())
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
    page = visit.open("/hub/token")
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
    page = visit.open("/hub/token")
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
    page = window(person).open("/hub/token")
    page.set_viewport_size({"width": 320, "height": 800})

    assert page.get_by_label("Token expires in").evaluate(ROOM) >= 0


def test_by_keyboard_alone(window, person, live_server):
    visit = window(person)
    page = visit.open("/hub/token")

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
