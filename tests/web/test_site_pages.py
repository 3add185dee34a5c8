"""Pages in a site's own Jinja templates, written for JupyterHub."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from jinja2 import Environment, nodes

from accounts.models import User
from hubsite.config.load import load_config
from hubsite.site_pages.files import data_files
from hubsite.site_pages.parts import Parts, closing, opening, without_marks
from hubsite.site_pages.scan import LACKING, OTHER_PAGES, block_at, scan, sites
from hubsite.site_pages.sources import BASES
from servers.models import Server
from tests.factories import PASSWORD, make_user
from tests.web.conftest import Browser

pytestmark = pytest.mark.django_db

Site = Callable[..., Path]
THEIRS = data_files("")
assert THEIRS is not None
JUPYTERHUB = THEIRS / "templates"


@pytest.fixture
def site(tmp_path: Path, settings: Any) -> Site:
    """Let pages be rendered in templates of a site."""

    def write(templates: dict[str, str] | None = None, **changes: Any) -> Path:
        folder = tmp_path / "templates"
        for name, text in (templates or {}).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        folder.mkdir(exist_ok=True)
        changes.setdefault("template_paths", (str(folder),))
        settings.HUB = replace(settings.HUB, **changes)
        settings.SITE_TEMPLATES = True
        middleware = "hubsite.site_pages.middleware.NonceMiddleware"
        if middleware not in settings.MIDDLEWARE:
            place = settings.MIDDLEWARE.index("csp.middleware.CSPMiddleware") + 1
            settings.MIDDLEWARE = [
                *settings.MIDDLEWARE[:place],
                middleware,
                *settings.MIDDLEWARE[place:],
            ]
        return folder

    return write


def stopped(user: User, **state: Any) -> None:
    Server.objects.create(user=user, name="", **state)


PAGES: dict[str, tuple[str, dict[str, Any] | None]] = {
    "login.html": ("/hub/login", None),
    "home.html": ("/hub/home", {}),
    "token.html": ("/hub/token", {}),
    "404.html": ("/hub/nowhere", {}),
    "error.html": ("/hub/error/503", {}),
    "not_running.html": ("/hub/user/alan/lab", {}),
    "spawn_pending.html": ("/hub/spawn-pending/alan", {"pending": "spawn"}),
    "stop_pending.html": ("/hub/spawn-pending/alan", {"pending": "stop"}),
}


@pytest.fixture
def show(alan: User, as_: Any) -> Callable[[str], str]:
    def show(name: str) -> str:
        path, state = PAGES[name]
        if state and not alan.servers.exists():
            stopped(alan, **state)
        client = Client() if state is None else as_(alan)
        text: str = client.get(path).content.decode()
        return text

    return show


def plain(page: str) -> str:
    """Return a page without what only pages in the site's templates have."""
    page = re.sub(r' nonce="[^"]*"', "", page)
    page = re.sub(r'<link rel="stylesheet" href="[^"]*site_pages.css">', "", page)
    page = re.sub(r'<script src="[^"]*components/[^"]*"></script>', "", page)
    page = re.sub(r"<script>\s*window\.jhdata.*?</script>", "", page, flags=re.S)
    page = re.sub(r'value="[\w.-]{40,}"', "", page)
    return " ".join(page.split()).replace("> <", "><")


@pytest.mark.parametrize("name", PAGES)
def test_a_site_without_a_template_for_a_page_has_the_hubs_own(
    site: Site, show: Any, name: str
) -> None:
    before = show(name)
    site(template_vars={})

    assert plain(show(name)) == plain(before)
    assert "window.jhdata" in show(name)


def test_announcements_are_where_they_were(
    site: Site, show: Any, settings: Any
) -> None:
    said = {"announcement": "<b>All</b>", "announcement_login": "Only here"}
    settings.HUB = replace(settings.HUB, template_vars=said)
    before = {name: show(name) for name in ("login.html", "home.html", "404.html")}
    site()

    for name, page in before.items():
        assert plain(show(name)) == plain(page)
    assert '<div class="announcement" role="status">Only here</div>' in show(
        "login.html"
    )


def blocks_of(path: Path) -> list[str]:
    tree = Environment(autoescape=True).parse(path.read_text())
    return [block.name for block in tree.find_all(nodes.Block)]


def every_block() -> Iterator[tuple[str, str]]:
    for name in PAGES:
        base = name if (BASES / name).exists() else "error.html"
        own = {*blocks_of(BASES / base)}
        if name in ("home.html", "login.html"):
            own |= {*blocks_of(BASES / "page.html")}
        if name == "404.html":
            own |= {*blocks_of(BASES / "error.html")}
        # These are tried below, with terms, with a service, and with a person.
        own -= {"login_terms_text", "service"}
        if name == "login.html":
            own.discard("nav_bar_left_items")
        for block in sorted(own):
            yield name, block


@pytest.mark.parametrize(("name", "block"), [*every_block()])
def test_a_block_can_be_replaced_and_extended(
    site: Site, show: Any, name: str, block: str
) -> None:
    site({name: f'{{% extends "templates/{name}" %}}'})
    before = plain(show(name))
    text = f'{{% extends "templates/{name}" %}}{{% block {block} %}}'
    site({name: f"{text}[here {{{{ super() }}}} there]{{% endblock %}}"})
    extended = plain(show(name))
    site({name: f"{text}[instead]{{% endblock %}}"})
    replaced = plain(show(name))

    assert re.sub(r"\s*\[here\s*|\s*there\]\s*", "", extended).replace(
        " ", ""
    ) == before.replace(" ", "")
    assert extended.count("[here") == replaced.count("[instead]") == 1


def test_jupyterhubs_blocks_are_honoured_or_named() -> None:
    """Every block of the installed JupyterHub's templates."""
    page = {*blocks_of(BASES / "page.html")}
    for path in JUPYTERHUB.glob("*.html"):
        if path.name in OTHER_PAGES:
            continue
        ours = {*blocks_of(BASES / path.name), *page}
        if path.name == "404.html":
            ours |= {*blocks_of(BASES / "error.html")}
        assert {*blocks_of(path)} - ours <= LACKING.keys(), path.name


def test_services_are_entries_that_can_be_replaced(
    site: Site, as_: Any, alan: User, ci: Any
) -> None:
    ci.url, ci.display = "http://127.0.0.1:9", True
    ci.save()
    alan.roles.get_or_create(name="all", scopes=["access:services"])
    entry = '<li><a href="/services/ci/">ci</a></li>'
    assert entry in as_(alan).get("/hub/home").content.decode()
    site({"page.html": '{% extends "templates/page.html" %}'})
    assert entry in as_(alan).get("/hub/home").content.decode()

    block = "{% block service %}<li>{{ service.name }}: {{ service.href }}</li>"
    site(
        {"page.html": '{% extends "templates/page.html" %}' + block + "{% endblock %}"}
    )

    assert "<li>ci: /services/ci/</li>" in as_(alan).get("/hub/home").content.decode()


def test_one_template_changes_every_page(site: Site, show: Any, as_: Any) -> None:
    site(
        {
            "page.html": '{% extends "templates/page.html" %}'
            "{% block footer %}<p>The university</p>{% endblock %}"
        }
    )
    for name in PAGES:
        assert "<p>The university</p>" in show(name)
    profile = as_(make_user("grace2")).get("/hub/profile").content.decode()
    assert "<p>The university</p>" in profile


def test_a_template_can_set_the_announcement(site: Site, show: Any) -> None:
    site(
        {
            "login.html": '{% extends "templates/login.html" %}'
            "{% set announcement = 'Use your <b>campus</b> account' %}"
        }
    )
    assert "Use your <b>campus</b> account</div>" in show("login.html")
    assert "campus" not in show("home.html")


def test_terms_are_shown_with_their_address(site: Site, show: Any) -> None:
    site(template_vars={"login_term_url": "https://example.org/terms"})
    assert 'href="https://example.org/terms"' in show("login.html")

    site(
        {
            "login.html": '{% extends "templates/login.html" %}'
            "{% block login_terms_text %}I agree.{% endblock %}"
        },
        template_vars={"login_term_url": "https://example.org/terms"},
    )
    assert "<span>I agree.</span>" in show("login.html")
    assert 'name="login_terms_checkbox"' in show("login.html")


def test_values_of_the_configuration_reach_templates(site: Site, show: Any) -> None:
    site(
        {
            "home.html": '{% extends "page.html" %}{% block main %}'
            "{{ colour }} {{ greet }} {{ user.name }} {{ user.admin }} {{ base_url }}"
            "{{ prefix }} {{ default_server.active }} {{ url }} {{ '<i>' }}"
            "{{ named_server_limit_per_user }}"
            "{% if 'admin-ui' in parsed_scopes %}admin{% endif %}"
            "{% for each in user.all_spawners() %}[{{ each.name }}]{% endfor %}"
            "{% endblock %}"
        },
        named_server_limit_per_user=lambda handler: len(handler.current_user.name),
        template_vars={
            "colour": "red",
            "greet": lambda user: f"Hello {user.name if user else 'you'}",
            "fails": lambda user: 1 / 0,
        },
    )
    page = show("home.html")

    assert "red Hello alan alan False /hub// False /hub/spawn/alan &lt;i&gt;4[]" in page


# JupyterHub's own templates, as sites copy them


@pytest.mark.parametrize("name", PAGES)
def test_a_copy_of_jupyterhubs_template_is_a_page(
    site: Site, show: Any, name: str
) -> None:
    copies = {path.name: path.read_text() for path in JUPYTERHUB.glob("*.html")}
    site(copies)
    page = show(name)

    assert 'id="jupyterhub-logo"' in page
    assert "[undefined]" not in page and "{{" not in page
    marks = {
        "login.html": 'id="login_submit"',
        "home.html": 'id="start"',
        "404.html": "moons",
        "error.html": "503 : Service Unavailable",
        "not_running.html": "Your server  is not running",
        "spawn_pending.html": "EventSource(",
        "stop_pending.html": "Your server is stopping",
    }
    assert marks.get(name, "") in page


def test_a_copied_page_follows_the_start(
    site: Site, browser: Browser, alan: User
) -> None:
    """The stream of events needs the XSRF value in its address."""
    alan.set_password(PASSWORD)
    alan.save()
    browser.sign_in("alan")
    Server.objects.update_or_create(user=alan, name="", defaults={"pending": "spawn"})
    name = "spawn_pending.html"
    site({name: (JUPYTERHUB / name).read_text()})

    page = browser.get("/hub/spawn-pending/alan").content.decode()
    stream = re.search(r'EventSource\("([^"]+)"\)', page)
    assert stream is not None

    sent = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    refused = browser.get(stream[1].partition("?")[0], headers=sent)
    assert refused.status_code == 403
    answer = browser.get(stream[1].replace("&amp;", "&"), headers=sent)
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/event-stream")


@pytest.mark.parametrize("copied", [("login.html",), ("login.html", "page.html")])
def test_people_sign_in_with_a_copied_form(
    site: Site, browser: Browser, alan: User, copied: tuple[str, ...]
) -> None:
    alan.set_password(PASSWORD)
    alan.save()
    site({name: (JUPYTERHUB / name).read_text() for name in copied})

    page = browser.get("/hub/login?next=/hub/token")
    text = page.content.decode()
    action = re.search(r'<form action="([^"]+)"', text)
    assert action is not None and 'id="login_submit"' in text
    refused = browser.post(
        action[1],
        {"_xsrf": browser.xsrf_of(page), "username": "alan", "password": "wrong"},
    )
    assert refused.status_code == 403
    assert "Invalid username or password" in refused.content.decode()
    assert 'value="alan"' in refused.content.decode()
    answer = browser.post(
        action[1],
        {"_xsrf": browser.xsrf_of(page), "username": "alan", "password": PASSWORD},
    )

    assert (answer.status_code, answer["Location"]) == (302, "/hub/token")


# Scripts and other sites


def test_scripts_of_templates_have_the_nonce_of_the_page(
    site: Site, show: Any, as_: Any, alan: User
) -> None:
    site(
        {
            "page.html": '{% extends "templates/page.html" %}{% block main %}'
            "<style>p { color: red }</style><SCRIPT type='module'>run()</SCRIPT>"
            '{{ evil | safe }}{% set x = "<script>in a string" %}{% endblock %}'
        },
        template_vars={"evil": "<script>steal()</script>"},
    )
    answer = as_(alan).get("/hub/home")
    page = answer.content.decode()
    nonce = re.search(r"'nonce-([^']+)'", answer["Content-Security-Policy"])
    assert nonce is not None

    assert f'<style nonce="{nonce[1]}">p' in page
    assert f"<SCRIPT nonce=\"{nonce[1]}\" type='module'>run()" in page
    assert "<script>steal()</script>" in page
    policy = answer["Content-Security-Policy"]
    scripts = re.search(r"script-src ([^;]+)", policy)
    assert scripts is not None and "unsafe" not in scripts[1]


def test_sites_of_literal_addresses_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "login.html").write_text(
        '<link rel="stylesheet" href="https://fonts.googleapis.com/css?family=Lato">'
        '<img alt="" src="https://img.example.org/a.png">'
        "<script src=//cdn.example.org/a.js>"
        "<style>@import 'https://css.example.org/a.css';</style>"
        '<img src="{{ logo }}"><img src="https://{{ host }}/a.png">'
        '<a href="https://linked.example.org/">only a link</a>'
    )
    found = sites(
        scan([str(tmp_path)], {}),
        {
            "org": {"logo": "https://logo.example.org/l.svg"},
            "scripts": ["https://js.example.org/x.js"],
            "welcome": "See https://text.example.org for more",
        },
    )
    assert found["img-src"] == [
        "https://css.example.org",
        "https://fonts.googleapis.com",
        "https://img.example.org",
        "https://logo.example.org",
    ]
    assert found["script-src"] == ["cdn.example.org", "https://js.example.org"]
    assert "https://fonts.gstatic.com" in found["font-src"]
    assert "linked" not in str(found) and "text." not in str(found)


def test_the_start_names_what_is_not_honoured(tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "login.html").write_text(
        '{% extends "templates/login.html" %}'
        "{% block username_input_attrs %}{% endblock %}"
        "{% block site %}{% endblock %}"
        '{% block main %}<a\n href="#" onclick="go()">go</a>{{ super() }}{% endblock %}'
    )
    (folder / "home.html").write_text('{% extends "page.html" %}\n{% block main %}')
    (folder / "signup.html").write_text('{% extends "page.html" %}')
    (folder / "admin.html").write_text('{% extends "templates/admin.html" %}')
    (folder / "parts.html").write_text("<b>included</b>")
    (folder / "token.html").write_text(
        "{% extends 'page.html' %}{% include 'a.css' ignore missing %}\n"
        "{% include 'style.css' %}"
    )
    (folder / "404.html").write_text(
        '{% extends "page.html" %}{% block main %}{% block own %}{% endblock %}'
        "{% endblock %}"
    )
    (folder / "503.html").write_text("{% include 'parts.html' %}")
    config = tmp_path / "jupyterhub_config.py"
    config.write_text(
        "c.JupyterHub.authenticator_class = 'dummy'\n"
        f"c.JupyterHub.template_paths = [{str(folder)!r}, '/no/such/folder']\n"
        "c.JupyterHub.template_vars = {'colour': 'red'}\n"
    )
    place = "c.JupyterHub.template_paths: "
    said = [
        remark.removeprefix(place)
        for remark in load_config(config).remarks
        if remark.startswith(place)
    ]

    assert [each.partition(";")[0] for each in said] == [
        "there is no folder /no/such/folder",
        "admin.html: is not used",
        "home.html: line 2: Unexpected end of template. Jinja was looking for the "
        "following tags: 'endblock'. The innermost block that needs to be closed is "
        "'block'.",
        "login.html: block `username_input_attrs` has no counterpart here",
        "login.html: block `site` is not shown",
        "login.html: block `main`: onclick is refused by the hub's "
        "Content-Security-Policy",
        "signup.html: is not used",
        "token.html: line 2: there is no template 'style.css'",
    ]


def test_a_template_that_fails_leaves_the_hubs_page(
    site: Site, show: Any, caplog: Any
) -> None:
    before = show("home.html")
    site(
        {
            "home.html": '{% extends "page.html" %}'
            "{% block main %}{{ 1 / 0 }}{% endblock %}"
        }
    )

    assert plain(show("home.html")) == plain(before)
    assert "\ue000" not in show("home.html")


def test_changes_of_a_template_count_at_once(site: Site, show: Any) -> None:
    folder = site({"login.html": '{% extends "templates/login.html" %}'})
    show("login.html")
    path = folder / "login.html"
    path.write_text(
        '{% extends "templates/login.html" %}{% set announcement = "New" %}'
    )
    os.utime(path, (1, 1))

    assert "New</div>" in show("login.html")


def test_only_sites_with_templates_load_jinja(tmp_path: Path) -> None:
    code = (
        "import sys, django; django.setup()\n"
        "from django.template import loader; loader.get_template('home.html')\n"
        "sys.exit('jinja2' in sys.modules)"
    )
    config = tmp_path / "jupyterhub_config.py"
    config.write_text("c.JupyterHub.authenticator_class = 'dummy'\n")
    environment = {**os.environ, "HUB_CONFIG": str(config)}
    environment |= {"HUB_DATA_DIR": str(tmp_path / "data")}

    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=django_settings.BASE_DIR, env=environment
    )

    assert ended.returncode == 0


# Parts


def test_a_page_is_taken_apart_at_its_marks() -> None:
    def marked(name: str, text: str) -> str:
        return opening("m", name) + text + closing("m", name)

    inner = marked("item", "1") + "," + marked("item", "2")
    page = "a" + marked("outer", f"b{inner}c") + "d"
    parts = Parts.read(page, "m")

    assert parts.text("page") == "a" and parts.after("page", "outer") == "d"
    assert parts.text("outer") == "b" and parts.after("outer", "item") == "c"
    assert parts.text("item") == "1"
    assert parts.text("none") == parts.after("page", "none") == ""
    assert without_marks(page, "m") == "ab1,2cd"


def test_the_block_around_a_place_is_found() -> None:
    text = "{% block a %}{% block b %}x{% endblock b %}y{% endblock %}z"

    assert block_at(text, text.index("x")) == "block `b`"
    assert block_at(text, text.index("y")) == "block `a`"
    assert block_at(text, text.index("z")) == "outside of blocks"
