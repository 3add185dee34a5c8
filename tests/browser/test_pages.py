"""Every page is accessible, in light and dark, narrow and wide."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.tokens import default_token_generator
from django.urls import reverse
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
from playwright.sync_api import expect

from tests.factories import (
    PASSWORD,
    make_group,
    make_role,
    make_server,
    make_service,
    make_share,
    make_token,
    make_user,
)

LONG = "w" * 120
RIGHT = "element => element.getBoundingClientRect().right"
TOO_SHORT = re.compile("at least 10 characters")


@pytest.fixture
def rich_user(transactional_db):
    """Somebody with one of everything, and with names that are hard to place."""
    user = make_user(f"ada-{LONG}", admin=True, password=PASSWORD)
    for name in ("data301", LONG):
        make_role(f"role-{name}", "read:hub", groups=[make_group(name, users=[user])])
    make_service("grades", url="http://127.0.0.1:9")
    make_service(LONG, url="http://127.0.0.1:9")
    make_token(user, note="Weekly report", expires_in=86400)
    make_token(user, note=LONG, scopes=["read:users!user", "list:groups"])
    ended, disabled = make_token(user, note=LONG)[0], make_token(user, note="Old")[0]
    rows = type(ended).objects
    rows.filter(pk=ended.pk).update(revoked_at=timezone.now(), revoked_by=LONG)
    rows.filter(pk=disabled.pk).update(disabled_at=timezone.now(), disabled_by=LONG)
    make_server(user, "analysis", ready=True, url="/user/x/")
    make_server(user, LONG, last_activity=timezone.now() - timedelta(days=3))
    make_share(make_server(make_user("grace"), ready=True), user=user)
    return user


@pytest.fixture
def plain_user(transactional_db):
    return make_user("mallory", password=PASSWORD)


@pytest.mark.parametrize(
    "path",
    [
        "/hub/login",
        "/hub/login?username=ada",
        "/hub/error/503",
        "/hub/nothing-here",
        "/hub/welcome/MQ/spent-link/",
    ],
)
def test_for_strangers(window, path):
    visit = window()
    visit.open(path)
    visit.survey()


@pytest.mark.parametrize(
    "path",
    [
        "/hub/home",
        "/hub/token",
        "/hub/profile",
        "/hub/shares",
        "/hub/accounts/2fa/",
        "/hub/accounts/2fa/webauthn/",
        "/hub/accounts/password/change/",
        "/hub/accounts/sessions/",
        "/hub/accounts/3rdparty/",
        "/hub/accounts/reauthenticate/?next=/hub/profile",
        "/hub/nothing-here",
        "/hub/admin/",
    ],
)
def test_with_much_to_show(window, rich_user, path):
    visit = window(rich_user)
    visit.open(path)
    visit.survey()


def test_a_failure_has_room_beside_a_long_name(window, rich_user):
    make_server(rich_user, "broken", failure="The disk is full, said the machine")
    page = window(rich_user).open("/hub/home")

    failure = page.get_by_text("The disk is full").bounding_box()
    assert failure["width"] > 200


def test_what_is_done_with_a_row_stands_at_its_end(window, rich_user):
    visit = window(rich_user)
    for path in ("/hub/token", "/hub/shares"):
        page = visit.open(path)
        table = page.locator("table").first.evaluate(RIGHT)
        acts = page.locator(".row-actions :is(a, button)").all()
        assert acts
        assert {round(act.evaluate(RIGHT) - table) for act in acts} == {0}


@pytest.mark.parametrize("path", ["/hub/home", "/hub/token", "/hub/admin/"])
def test_with_nothing_to_show(window, plain_user, path):
    visit = window(plain_user)
    visit.open(path)
    visit.survey()


def test_asking_whether_to_revoke(window, rich_user):
    visit = window(rich_user)
    visit.open(f"/hub/token/a{rich_user.api_tokens.last().pk}/revoke")
    visit.survey()


def test_the_api_explorer(window, plain_user):
    visit = window(plain_user)
    page = visit.open("/hub/api/docs/")
    page.locator(".opblock").first.wait_for()
    visit.survey()


def test_a_call_from_the_api_explorer(window, plain_user):
    visit = window(plain_user)
    page = visit.open("/hub/api/docs/")

    def try_out(path):
        call = page.locator(".opblock", has=page.get_by_text(path, exact=True)).first
        call.locator(".opblock-summary-control").first.click()
        call.get_by_role("button", name="Try it out").click()
        return call

    try_out("/hub/api/users")
    call = try_out("/hub/api/user")
    call.get_by_role("button", name="Execute").click()

    reply = call.locator(".live-responses-table .response").first
    reply.wait_for()

    assert '"mallory"' in reply.inner_text()
    command = call.locator(".curl-command pre").inner_text()
    assert '-H "Authorization: token $TOKEN"' in command
    assert "XSRF" not in command.upper()
    assert page.locator(".authorization__btn.unlocked").count() == 0
    visit.survey()
    page.get_by_role("button", name="Authorize").first.click()
    page.get_by_role("heading", name="Available authorizations").wait_for()
    visit.survey()


def test_open_menus(window, rich_user):
    visit = window(rich_user)
    page = visit.open("/hub/home")
    for summary in page.locator("details.menu > summary").all():
        summary.click()
        visit.survey()
        page.keyboard.press("Escape")


class TestWelcome:
    @pytest.fixture
    def link(self, transactional_db):
        user = make_user("ada", admin=True)
        uid = urlsafe_base64_encode(force_bytes(user.pk))
        token = default_token_generator.make_token(user)
        return reverse("accounts:welcome", args=[uid, token])

    def test_choosing_a_password(self, window, link):
        visit = window()
        page = visit.open(link)
        visit.survey()

        page.get_by_label("Password", exact=True).fill("12345")
        page.get_by_label("Repeat the password").fill("12345")
        page.get_by_role("button", name="Set password").click()
        chosen = page.get_by_label("Password", exact=True)
        expect(chosen).to_be_focused()
        expect(chosen).to_have_accessible_description(TOO_SHORT)
        visit.survey()

        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("Repeat the password").fill(PASSWORD)
        page.get_by_role("button", name="Set password").click()
        page.wait_for_url("**/hub/home")
        assert page.get_by_role("heading", level=1).inner_text() == "ada"


def test_times_are_those_of_the_reader(window, plain_user):
    token, _ = make_token(plain_user, note="of Tokyo")
    moment = datetime(2031, 2, 28, 20, 30, tzinfo=UTC)
    type(token).objects.filter(pk=token.pk).update(expires_at=moment)

    there = window(plain_user, timezone_id="Asia/Tokyo").open("/hub/token")
    utc = window(plain_user, java_script_enabled=False).open("/hub/token")

    shown = there.locator("time[data-local-time]").first
    expect(shown).to_have_text("1 Mar 2031, 05:30")
    expect(shown).to_have_attribute("title", "28 February 2031, 20:30:00 UTC")
    expect(there.locator("[data-zone]")).to_have_text("times are Asia/Tokyo")
    expect(utc.locator("time[data-local-time]").first).to_have_text(
        "28 Feb 2031, 20:30"
    )
    expect(utc.locator("[data-zone]")).to_have_text("times are UTC")


@pytest.mark.parametrize("person", ["nobody", "plain", "admin"])
def test_pages_of_a_site_with_a_name_and_a_lot_to_say(
    window, configure, settings, plain_user, person
):
    words = f"Maintenance on <b>Friday</b>, see <a href='/hub/home'>{LONG}</a>. " * 3
    configure(template_vars={"announcement": words})
    settings.SITE_NAME = f"Physics {LONG}"
    settings.HELP_URL = "https://help.example.org/"
    settings.FOOTER = f"<a href='https://example.org/imprint'>Imprint {LONG}</a>"
    path, user = {
        "nobody": ("/hub/login", None),
        "plain": ("/hub/home", plain_user),
        "admin": ("/hub/admin/", make_user("ada", admin=True)),
    }[person]
    visit = window(user)
    page = visit.open(path)

    expect(page.locator(".announcement")).to_contain_text("Maintenance on Friday")
    expect(page.get_by_role("link", name="Imprint")).to_be_visible()
    visit.survey()
