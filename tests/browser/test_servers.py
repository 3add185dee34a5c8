"""Pages about servers, in every state of a server, and their buttons."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from accounts.models import User
from audit.actions import record
from audit.models import Actor
from servers.models import Server, ServerEvent
from sharing.actions import issue_share_code
from tests.answers import Answers
from tests.browser.conftest import Window
from tests.factories import BY, make_client, make_server, make_share, make_user

LONG = "w" * 120
# As Spawners bring it: with a style, a script, and classes of JupyterHub's pages.
FORM = """
<style>.profile { border-top: 1px solid }</style>
<div class="form-group">
  <label class="profile">Size
    <select name="size" class="form-control">
      <option>small</option><option>big</option>
    </select>
  </label>
  <p class="note"></p>
  <div class="hidden">Not to be seen</div>
</div>
<script>
  $("select").on("change", function() {
    $(".note").text(window.jhdata.user + " chose " + this.value)
  });
</script>
"""

Open = Callable[..., Window]


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers.in_place_of_the_controller(monkeypatch)


@pytest.fixture
def ada(transactional_db: None, configure: Any) -> User:
    configure(allow_named_servers=True, named_server_limit_per_user=8)
    return make_user("ada", admin=True)


@pytest.fixture
def with_servers(ada: User) -> User:
    """Somebody with a server in each state, and with names that are hard to place."""
    now = timezone.now()
    grace = make_user(f"grace-{LONG}")
    make_server(ada, ready=True, started=now, last_activity=now)
    make_server(ada, "analysis", display_name="Analysis of 2026", ready=True)
    make_server(ada, "gpu", display_name="GPU", pending="spawn", generation=1)
    make_server(ada, "old", pending="stop", last_activity=now - timedelta(days=3))
    make_server(ada, "check", pending="check")
    make_server(ada, "broken", failure=f"No such image: {LONG}")
    make_server(ada, "thesis", display_name=LONG)
    make_share(make_server(grace, "lab", display_name=LONG, ready=True), user=ada)
    make_share(make_server(grace), user=ada)
    for name in ("", "analysis", "gone"):
        record(Actor("user", grace.name), "server.open", "server", f"ada/{name}")
    return ada


def tell(server: Server, progress: int, message: str, **more: Any) -> None:
    data = {"progress": progress, "message": message, **more}
    ServerEvent.objects.create(server=server, generation=server.generation, data=data)


# Looks


def test_home_with_everything(window: Open, with_servers: User) -> None:
    visit = window(with_servers)
    visit.open("/hub/home")
    visit.survey()


def test_home_without_anything(window: Open, ada: User) -> None:
    visit = window(ada)
    visit.open("/hub/home")
    visit.survey()


@pytest.mark.parametrize(
    "path",
    [
        "/hub/spawn-pending/ada/old",
        "/hub/spawn-pending/ada/check",
        "/hub/spawn-pending/ada/broken",
        "/hub/spawn-pending/ada/thesis",
        "/hub/servers/delete?server_name=thesis",
        "/hub/user/ada/thesis/lab",
        "/hub/user/ada/lab?redirects=4",
    ],
)
def test_pages_about_one_server(window: Open, with_servers: User, path: str) -> None:
    visit = window(with_servers)
    visit.open(path)
    visit.survey()


def test_a_controller_that_is_silent(window: Open, ada: User, answers: Answers) -> None:
    answers.is_silent = True
    visit = window(ada)
    visit.open("/hub/spawn")
    visit.survey()


@pytest.mark.parametrize("ready", [True, False])
def test_an_invitation(window: Open, ada: User, ready: bool) -> None:
    lab = make_server(make_user(f"grace-{LONG}"), "lab", ready=ready)
    _, code = issue_share_code(lab, by=BY, access=ada.access)
    visit = window(make_user("mallory"))
    visit.open(f"/hub/accept-share?code={code}")
    visit.survey()


def test_signing_in_to_the_server_of_another(window: Open, ada: User) -> None:
    grace = make_user("grace")
    make_share(make_server(grace, "lab", ready=True), user=ada)
    make_client(
        "lab",
        "a-secret-of-a-server-29c0ffee",
        identifier="jupyterhub-user-grace-lab",
        description="Server at /user/grace/lab/",
        server="grace/lab",
        redirect_uri="/user/grace/lab/oauth_callback",
    )
    visit = window(ada)

    page = visit.open(
        "/hub/api/oauth2/authorize?response_type=code"
        "&client_id=jupyterhub-user-grace-lab"
    )

    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Open the server “lab” of grace?"
    )
    visit.survey()


# Watching


def test_a_start_is_shown_as_it_comes_along(window: Open, ada: User) -> None:
    server = make_server(ada, pending="spawn", generation=1)
    tell(server, 0, "Server requested")
    visit = window(ada)
    page = visit.open("/hub/spawn-pending/ada")
    status = page.locator("[data-start-message]")
    visit.survey()

    tell(server, 40, "Pulling the image <b>")

    expect(status).to_have_text("Pulling the image <b>")
    bar = page.get_by_role("progressbar", name="Progress of the start")
    expect(bar).to_have_js_property("value", 40)
    page.get_by_text("Start log").click()
    expect(page.locator("[data-start-log] li")).to_have_text(
        ["Server requested", "Pulling the image <b>"]
    )
    visit.survey()

    markup = "Pulled <em>all</em> of it<script>document.title = 'evil'</script>"
    tell(server, 60, "Pulled all of it", html_message=markup)

    expect(status.locator("em")).to_have_text("all")
    line = page.locator("[data-start-log] li").last
    expect(line).to_have_text("Pulled all of it")
    expect(line.locator("em")).to_have_text("all")
    assert "evil" not in page.title()

    tell(server, 100, "Spawn failed: No room", failed=True)
    Server.objects.update(pending=None, settled=1, failure="No room")

    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Your server did not start"
    )
    visit.survey()


def test_a_server_that_is_ready_is_opened(window: Open, ada: User) -> None:
    server = make_server(ada, pending="spawn", generation=1)
    tell(server, 0, "Server requested")
    page = window(ada).open("/hub/spawn-pending/ada?next=/hub/token")
    expect(page.get_by_role("progressbar")).to_be_visible()

    Server.objects.update(pending=None, settled=1, ready=True)
    tell(server, 100, "Ready", ready=True, url="/user/ada/")

    expect(page.get_by_role("heading", name="API tokens")).to_be_visible()


def test_a_start_can_be_cancelled(window: Open, ada: User) -> None:
    tell(make_server(ada, pending="spawn", generation=1), 0, "Server requested")
    visit = window(ada)
    page = visit.open("/hub/spawn-pending/ada")

    page.get_by_role("button", name="Cancel").click()

    mine = page.get_by_role("region", name="My server")
    expect(mine.get_by_text("stopping")).to_be_visible()
    assert Server.objects.get().wanted == "stopped"
    Server.objects.update(pending=None, settled=2)
    expect(mine.get_by_role("button", name="Start my server")).to_be_visible()
    expect(page.get_by_text("My server: stopped")).to_be_attached()
    visit.survey()


def test_a_page_about_stopping_goes_on_by_itself(window: Open, ada: User) -> None:
    make_server(ada, pending="stop", generation=1)
    page = window(ada).open("/hub/spawn-pending/ada")
    expect(page.get_by_role("heading", name="Stopping your server")).to_be_visible()

    Server.objects.update(pending=None, settled=1)

    expect(page.get_by_role("heading", name="Server not running")).to_be_visible()


def test_a_stopped_server_may_start_by_itself(
    window: Open, ada: User, configure: Any
) -> None:
    configure(implicit_spawn_seconds=0.5)
    page = window(ada).open("/hub/user/ada/lab")

    expect(page.get_by_role("heading", name="Starting your server")).to_be_visible()


def test_home_stays_where_one_is(window: Open, with_servers: User) -> None:
    page = window(with_servers).open("/hub/home")
    typed = page.get_by_label("Name of the new server")
    typed.press_sequentially("My ne")

    Server.objects.filter(name="gpu").update(pending=None, settled=1, ready=True)

    expect(page.get_by_role("row", name="GPU")).to_contain_text("running")
    expect(typed).to_have_value("My ne")
    expect(typed).to_be_focused()


def test_home_is_not_what_the_browser_kept(window: Open, ada: User) -> None:
    server = make_server(ada)
    page = window(ada).open("/hub/home")
    page.get_by_role("link", name="Token", exact=True).click()
    Server.objects.filter(pk=server.pk).update(ready=True, started=timezone.now())

    page.go_back()

    expect(page.get_by_role("link", name="Open my server")).to_be_visible()


# Starting


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_button_starts(window: Open, ada: User, scripts: bool) -> None:
    page = window(ada, java_script_enabled=scripts).open("/hub/home")

    page.get_by_role("button", name="Start my server").click()

    expect(page.get_by_role("heading", name="Starting your server")).to_be_visible()
    assert Server.objects.get().pending == "spawn"
    if not scripts:
        Server.objects.update(pending=None, failure="No room")
        expect(page.get_by_role("alert")).to_have_text("No room", timeout=20_000)


def test_the_form_of_options_works_as_its_author_meant(
    window: Open, ada: User, answers: Answers
) -> None:
    answers.form = FORM
    visit = window(ada)
    page = visit.open("/hub/home")
    page.get_by_role("button", name="Start my server").click()
    expect(page.get_by_role("heading", name="Start options")).to_be_visible()
    expect(page.get_by_text("Not to be seen")).to_be_hidden()
    visit.survey()

    page.get_by_label("Size").select_option("big")
    expect(page.get_by_text("ada chose big")).to_be_visible()
    answers.error = "There is no room for big ones"
    page.get_by_role("button", name="Start", exact=True).click()

    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("There is no room for big ones")
    expect(alert).to_be_focused()
    visit.survey()

    answers.error = ""
    page.get_by_role("button", name="Start", exact=True).click()

    expect(page.get_by_role("heading", name="Starting your server")).to_be_visible()
    assert Server.objects.get().user_options == {"size": ["small"]}


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_named_server_comes_and_goes_by_keyboard(
    window: Open, ada: User, scripts: bool
) -> None:
    visit = window(ada, java_script_enabled=scripts)
    page = visit.open("/hub/home")
    page.get_by_label("Name of the new server").focus()
    page.keyboard.type("Größe 2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("Added the server")
    row = page.get_by_role("row", name="Größe 2")
    expect(row).to_contain_text("stopped")
    if scripts:
        visit.survey()

    row.get_by_role("link", name="Delete").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Delete server").focus()
    if scripts:
        visit.survey()
    page.keyboard.press("Enter")

    expect(page.get_by_role("status").first).to_contain_text("Deleted the server")
    expect(page.get_by_role("row", name="Größe 2")).to_have_count(0)


def test_a_name_that_is_taken_is_said_where_it_was_typed(
    window: Open, ada: User
) -> None:
    make_server(ada, "lab")
    visit = window(ada)
    page = visit.open("/hub/home")

    page.get_by_label("Name of the new server").fill("Lab")
    page.get_by_role("button", name="Add server").click()

    field = page.get_by_label("Name of the new server")
    expect(field).to_be_focused()
    expect(field).to_have_value("Lab")
    expect(page.get_by_text("You already have a server “lab”.")).to_be_visible()
    visit.survey()
