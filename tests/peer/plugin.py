"""Pytest plugin: JupyterHub's tests against another hub.

The tests are read from the installed package `jupyterhub.tests` and are not changed;
before they run, the names that they import of JupyterHub's inside (`orm`, `roles`,
`app`, ...) are replaced by stand-ins over the hub under test.
"""

from __future__ import annotations

import asyncio
import copy
import fnmatch
import os
import time
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from types import SimpleNamespace

import jupyterhub.roles
import jupyterhub.scopes
import jupyterhub.utils
import pytest
import requests
from jupyterhub.tests import conftest as theirs
from jupyterhub.tests import mocking, utils
from jupyterhub.tests.conftest import (  # noqa: F401
    admin_access,
    admin_user,
    bad_spawn,
    create_service_with_scopes,
    create_temp_role,
    create_user_with_scopes,
    custom_bad_spawn,
    form_spawn,
    full_spawn,
    group,
    groupname,
    named_servers,
    never_spawn,
    no_patience,
    role,
    service_data,
    service_name,
    slow_bad_spawn,
    slow_spawn,
    user,
    username,
)
from jupyterhub.utils import utcnow

from tests.peer.app import App, MockHub, current
from tests.peer.standins import orm, pages, roles, scopes
from tests.peer.standins.metrics import Metric
from tests.peer.standins.rows import not_portable

HERE = Path(__file__).resolve().parent


# What is replaced in the tests' modules


roles._validate_role_name = lambda name: roles.validate_role_name(name, current.app.db)

REPLACED = {
    "orm": orm,
    "roles": roles,
    "scopes": scopes.module,
    "get_scopes_for": scopes.get_scopes_for,
    "identify_scopes": scopes.module.identify_scopes,
    "expand_scopes": scopes.expand_scopes,
    "roles_to_scopes": roles.roles_to_scopes,
    "update_roles": roles.update_roles,
    "assign_default_roles": roles.assign_default_roles,
    "create_role": roles.create_role,
    "BeautifulSoup": pages.Page,
}
# In single modules.
REPLACED_IN = {
    "test_api": {"Server": orm.Server},
    "test_roles": {"MockHub": MockHub},
    "test_proxy": {"MockHub": MockHub},
    "test_scopes": {"has_scope": scopes.has_scope, "parse_scopes": lambda found: found},
}


def replace_in(module):
    short = module.__name__.rpartition(".")[2]
    if "expand_scopes" in vars(module) and short == "test_shares":
        # A helper of that module's own.
        names = {**REPLACED, "expand_scopes": module.expand_scopes}
    else:
        names = REPLACED
    for name, stand_in in {**names, **REPLACED_IN.get(short, {})}.items():
        if name in vars(module):
            setattr(module, name, stand_in)
    if short == "test_metrics":
        real = module.metrics
        module.metrics = SimpleNamespace(
            TOTAL_USERS=Metric("jupyterhub_total_users"),
            ACTIVE_USERS=Metric("jupyterhub_active_users"),
            ActiveUserPeriods=real.ActiveUserPeriods,
            PeriodicMetricsCollector=lambda db: SimpleNamespace(
                update_active_users=lambda: None
            ),
        )


# This hub knows a browser again by a cookie that JupyterHub has not.
KNOWN_BROWSER = "jupyterhub-known-browser"
# The route to the hub's description for OAuth2 clients, outside of the base URL.
DESCRIPTION = "/.well-known/oauth-authorization-server/"


class OtherCookies(DefaultCookiePolicy):
    def set_ok(self, cookie, request):
        return cookie.name != KNOWN_BROWSER and super().set_ok(cookie, request)


class AsyncSession(utils.AsyncSession):
    def __init__(self, **options):
        super().__init__(**options)
        if not os.environ.get("PEER_STRICT"):
            self.cookies.set_policy(OtherCookies())


REPLACED["AsyncSession"] = AsyncSession

# JupyterHub's helpers wait for ten seconds, which a busy machine may need.

_backoff = jupyterhub.utils.exponential_backoff


async def wait_patiently(pass_func, fail_message, *args, timeout=10, **options):
    return await _backoff(pass_func, fail_message, *args, timeout=90, **options)


async def wait_for_http_server(url, timeout=10, **options):
    return await jupyterhub.utils.wait_for_http_server(url, timeout=90, **options)


jupyterhub.utils.exponential_backoff = wait_patiently
REPLACED["exponential_backoff"] = wait_patiently
REPLACED_IN["test_services"] = {"wait_for_http_server": wait_for_http_server}

for each in (theirs, utils, mocking):
    replace_in(each)


# Before each request: the hub that the test has asked for

_submit = utils.async_requests.executor.submit


def submit(function, *args, **kwargs):
    def call():
        if current.app is None:
            return function(*args, **kwargs)
        current.app.settle()
        try:
            with orm.at_that_time(current.app.peer):
                answer = function(*args, **kwargs)
        finally:
            current.app.tell_log()
        if isinstance(answer, requests.Response):
            pages.Page.last_url = answer.url
        return answer

    return _submit(call)


utils.async_requests.executor.submit = submit


# What this hub says beyond JupyterHub, taken away so that the rest can be compared.

_json = requests.Response.json


def json_of_both(response, **options):
    """Read JSON without keys of a server's state, and routes, that JupyterHub lacks."""
    found = _json(response, **options)
    if not os.environ.get("PEER_STRICT"):
        forget(found)
    return found


def forget(value):
    if isinstance(value, dict):
        state = value.get("state")
        if isinstance(state, dict):
            state.pop("pid_started", None)
        for key in [key for key in value if key.startswith(DESCRIPTION)]:
            del value[key]
        value = value.values()
    elif not isinstance(value, list):
        return
    for each in value:
        forget(each)


requests.Response.json = json_of_both

_text = requests.Response.text


def text_of_both(response):
    """Read a page followed by JupyterHub's words for what it says."""
    text = _text.fget(response)
    if "text/html" not in response.headers.get("content-type", ""):
        return text
    more = pages.in_their_words(text)
    return text + "".join(f"<!-- {words} -->" for words in more)


requests.Response.text = property(text_of_both)


# Which tests run


def listed(name):
    """Read a list of tests, each with a reason."""
    found = []
    for line in (HERE / name).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            pattern, _, reason = line.partition("  ")
            found.append((pattern.strip(), reason.strip()))
    return found


def pytest_collection_modifyitems(config, items):
    skipped, expected = listed("not_portable.txt"), listed("findings.txt")
    for module in {item.module for item in items}:
        replace_in(module)
    for item in items:
        short = short_id(item.nodeid)
        reason = reason_for(short, skipped)
        if reason:
            item.add_marker(pytest.mark.skip(reason=f"not portable: {reason}"))
            continue
        reason = reason_for(short, expected)
        if reason:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def short_id(nodeid):
    file, _, rest = nodeid.partition("::")
    return f"{file.rpartition('/')[2]}::{rest}"


def reason_for(test, entries):
    for pattern, reason in entries:
        if test in (pattern, pattern.strip()) or test.partition("[")[0] == pattern:
            return reason
        if fnmatch.fnmatchcase(test.partition("[")[0], pattern):
            return reason
    return None


# Fixtures


@pytest.fixture(scope="module")
def app(request, tmp_path_factory):
    """A hub of one's own for each file."""
    folder = tmp_path_factory.mktemp(request.module.__name__.rpartition(".")[2])
    MockHub.folder = folder
    found = current.app = App(folder / "hub")
    found.settle()
    for name in ("admin", "user"):
        # As JupyterHub's own application for tests begins.
        utils.add_user(found.db, name=name, last_activity=utcnow())
    yield found
    current.app = None
    found.peer.remove()


@pytest.fixture(scope="module", autouse=True)
def place_of_own_hubs(request, tmp_path_factory):
    MockHub.folder = tmp_path_factory.mktemp("own")


@pytest.fixture
def db(app):
    """The database, which here is that of the hub."""
    return app.db


@pytest.fixture(autouse=True)
async def cleanup_after(request):
    if current.app is not None:
        current.app.quotes_cookies = request.node.name == "test_cookie"
    yield
    MockHub.end_all()
    app = current.app
    if app is None:
        return
    app.services.clear()
    app.extra = {}
    app.has_started = False
    app.authenticator.set.clear()
    app.config.Spawner.clear()
    app.proxy.extra_routes = {}
    app.service_tokens.clear()
    for name in ("default_server_name", "user_redirect_hook"):
        app.__dict__.pop(name, None)
    app.__dict__.pop("use_legacy_stopped_server_status_code", None)
    peer = app.peer
    if peer.running is None:
        # Its last configuration was refused; the next test has it started.
        return
    peer.__dict__.pop("gates", None)
    peer.__dict__.pop("to_start", None)
    peer.__dict__.pop("of_spawners", None)
    for gate in peer.folder.glob("control/*/*"):
        gate.unlink()
    peer.ask("stop_all")
    end = time.monotonic() + 90
    while peer.ask("counts")["active"] and time.monotonic() < end:
        await asyncio.sleep(0.05)
    peer.ask("clean", ["admin", "user"])


@pytest.fixture
def auth_state_enabled(app):
    not_portable("c.Authenticator.enable_auth_state, which this hub has not")


@pytest.fixture
def preserve_scopes(app):
    before = copy.deepcopy(jupyterhub.scopes.scope_definitions)
    yield before
    jupyterhub.scopes.scope_definitions = before


@pytest.fixture
def no_proxy_activity(app):
    """Nobody asks the proxy for activity during a test."""


def service_spec(name, *, external=False, url=False):
    from jupyterhub.tests.test_services import mockservice_cmd
    from jupyterhub.utils import random_port

    port = random_port()
    spec = {
        "name": name,
        "admin": True,
        "command": mockservice_cmd,
        "api_token": f"token-of-{name}",
    }
    if url:
        spec["url"] = f"http://127.0.0.1:{port}"
    if external:
        del spec["command"]
        spec["oauth_redirect_uri"] = f"http://127.0.0.1:{port}"
    return spec


async def make_service(app, name, **how):
    spec = service_spec(name, **how)
    app.services[:] = [spec]
    await asyncio.to_thread(app.settle)
    service = app._service_map[name]
    if "command" in spec:
        end = time.monotonic() + 90
        while not service.pid and time.monotonic() < end:
            await asyncio.sleep(0.05)
        assert service.pid, "The hub did not start the service"
    if "url" in spec:
        from jupyterhub.utils import wait_for_http_server

        await wait_for_http_server(spec["url"], timeout=90)
        end = time.monotonic() + 90
        while service.prefix not in await app.proxy.get_all_routes():
            assert time.monotonic() < end, "No route to the service"
            await asyncio.sleep(0.05)
    return service


@pytest.fixture
async def mockservice(app, service_name):  # noqa: F811
    yield await make_service(app, service_name)


@pytest.fixture
async def mockservice_external(app, service_name):  # noqa: F811
    yield await make_service(app, service_name, external=True)


@pytest.fixture
async def mockservice_url(app, service_name):  # noqa: F811
    yield await make_service(app, service_name, url=True)


# The report


def pytest_terminal_summary(terminalreporter):
    """Say for each file how many passed, failed and can't be carried over."""
    table: dict[str, dict[str, int]] = {}
    kinds = ("passed", "xfailed", "failed", "error", "skipped")
    for kind in kinds:
        for report in terminalreporter.getreports(kind):
            if kind == "passed" and report.when != "call":
                continue
            name = short_id(report.nodeid).partition("::")[0]
            row = table.setdefault(name, dict.fromkeys(kinds, 0))
            row["failed" if kind == "error" else kind] += 1
    terminalreporter.section("JupyterHub's tests against this hub")
    for name, row in sorted(table.items()):
        terminalreporter.line(
            f"{name:24} {row['passed']:4} passed {row['xfailed']:4} known findings "
            f"{row['failed']:4} failed {row['skipped']:4} not portable"
        )
    reasons: dict[str, list[str]] = {}
    for report in terminalreporter.getreports("skipped"):
        reason = str(report.longrepr[-1]).removeprefix("Skipped: ")
        reasons.setdefault(reason, []).append(short_id(report.nodeid))
    path = os.environ.get("PEER_REASONS")
    if path:
        with open(path, "w") as file:
            for reason, tests in sorted(reasons.items()):
                file.write(f"{reason}\n")
                file.writelines(f"    {each}\n" for each in sorted(tests))
