"""A hub with a hosted class, and a browser without a screen that uses it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from installation.packages import AUTHENTICATORS, OLDEST_AUTHENTICATORS
from tests.accounts.redirect.learning import LearningPlatform
from tests.accounts.redirect.provider import CLIENT_ID, CLIENT_SECRET, Provider
from tests.databases import fresh_database
from tests.hubsite.conftest import ROOT, RunningHub, hub, wait_until

NEWEST = (AUTHENTICATORS,)
OLDEST = (OLDEST_AUTHENTICATORS, AUTHENTICATORS)


class HostingHub(RunningHub):
    """A web process and the host, without proxy and controller.

    Its address for browsers is that of the web process.
    """

    host: subprocess.Popen[bytes] | None = None

    def start_both(self, plugins: tuple[Path, ...] = NEWEST) -> None:
        self.start_host(self.config, plugins)
        self.start("web", "--prepare")
        wait_until(self.host_listens, "the host listens")

    def start_host(
        self, config: Path | None = None, plugins: tuple[Path, ...] = NEWEST
    ) -> None:
        for folder in plugins:
            if not folder.is_dir():
                pytest.fail("The plugins are missing; `start.py test` installs them.")
        with (self.folder / "host.log").open("ab") as output:
            self.host = subprocess.Popen(
                [
                    *(sys.executable, str(ROOT / "manage.py"), "authenticator"),
                    *("-f", str(config or self.config)),
                    *("--data-dir", str(self.data_dir)),
                ],
                env=self.env | {"PYTHONPATH": ":".join(map(str, plugins))},
                cwd=self.folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def host_listens(self) -> bool:
        assert self.host
        if self.host.poll() is not None:
            pytest.fail(f"the host ended:\n{self.host_said()}")
        # Any response of the class will do, and its provider need not be there.
        with suppress(requests.ConnectionError):
            page = requests.get(
                f"{self.own_url}login", allow_redirects=False, timeout=60
            )
            return page.status_code != 503
        return False

    def host_said(self) -> str:
        return (self.folder / "host.log").read_text()

    def stop_host(self) -> None:
        if self.host and self.host.poll() is None:
            self.host.send_signal(signal.SIGTERM)
            self.host.wait(30)

    def stop_both(self) -> None:
        self.stop_host()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
            self.process.kill()

    def forget_people(self) -> None:
        """Delete all users, so that a test finds a new hub."""
        for user in self.get("api/users", OPERATOR):
            self.call("DELETE", f"api/users/{user['name']}", OPERATOR, {})

    def host_class(self, text: str, plugins: tuple[Path, ...] = NEWEST) -> None:
        """Host another class than that of the web process's configuration."""
        self.stop_host()
        self.forget_people()
        config = self.folder / "other.py"
        config.write_text(f"{self.config.read_text()}\n{text}\n")
        self.start_host(config, plugins)
        wait_until(self.host_listens, "the host listens")


__all__ = ["hub"]

OPERATOR = "operator-" + "0" * 32


class Browser:
    """Keeps cookies and follows redirects as a person's browser does."""

    def __init__(self, hub: RunningHub, origin: str = "") -> None:
        self.hub = hub
        self.origin = origin or hub.own_url.removesuffix("/hub/")
        self.session = requests.Session()
        # As a browser that navigates sends it.
        self.session.headers.update(
            {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "User-Agent": "test"}
        )

    def get(self, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", 60)
        return self.session.get(urljoin(self.origin, path), **options)

    def post(self, path: str, form: dict[str, str], **options: Any) -> Any:
        options.setdefault("timeout", 60)
        return self.session.post(urljoin(self.origin, path), data=form, **options)

    def step(self, path: str, **options: Any) -> requests.Response:
        """Get a page without following a redirect."""
        return self.get(path, allow_redirects=False, **options)

    def me(self) -> dict[str, Any] | None:
        """Return the signed-in user as the API shows it; None if nobody is."""
        response = self.get("/hub/api/user")
        if response.status_code != 200:
            return None
        found: dict[str, Any] = response.json()
        return found

    @property
    def name(self) -> str:
        me = self.me()
        return me["name"] if me else ""


def path_of(response: requests.Response) -> str:
    """Return the path and query of the page where redirects ended."""
    parts = urlsplit(response.url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def text_of(response: requests.Response) -> str:
    """Return a page's words."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.text))


@pytest.fixture
def site(tmp_path: Path, worker_number: int) -> Iterator[HostingHub]:
    """A hub whose configuration a test writes; nothing of it is left afterwards."""
    with fresh_database(f"redirect_{worker_number}") as env:
        hub = HostingHub(tmp_path, env)
        yield hub
        hub.stop_both()


@contextmanager
def web_for_many(
    factory: pytest.TempPathFactory, database: str, **variables: str
) -> Iterator[HostingHub]:
    """A web process for many classes, because only the host differs."""
    with fresh_database(database) as env:
        hub = HostingHub(factory.mktemp("hub"), env | variables)
        hub.declare("c.JupyterHub.authenticator_class = 'generic-oauth'")
        hub.declare("c.JupyterHub.redirect_to_server = False")
        hub.declare(f"c.CryptKeeper.keys = ['{'0' * 64}']")
        hub.declare(
            f"c.JupyterHub.services = [{{'name': 'op', 'api_token': {OPERATOR!r}}}]"
        )
        hub.declare(
            "c.JupyterHub.load_roles = [{'name': 'operator', 'services': ['op'], "
            "'scopes': ['admin:users', 'list:users', 'admin:auth_state']}, "
            "{'name': 'user', 'scopes': ['self', 'admin:auth_state!user']}]"
        )
        hub.start("web", "--prepare")
        yield hub
        hub.stop_both()


@pytest.fixture(scope="session")
def shared_web(
    tmp_path_factory: pytest.TempPathFactory, worker_number: int
) -> Iterator[HostingHub]:
    with web_for_many(tmp_path_factory, f"redirect_shared_{worker_number}") as hub:
        yield hub


@pytest.fixture
def shared(shared_web: HostingHub) -> Iterator[HostingHub]:
    yield shared_web
    shared_web.stop_host()


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def platform() -> Iterator[LearningPlatform]:
    with LearningPlatform() as platform:
        yield platform


@pytest.fixture
def oauth(shared: HostingHub, provider: Provider) -> Callable[..., Browser]:
    """Host a class that relies on the provider, and return a browser."""

    def begin(
        short: str,
        section: str,
        settings: dict[str, Any],
        *more: str,
        plugins: tuple[Path, ...] = NEWEST,
    ) -> Browser:
        provider.redirect_uri = f"{shared.own_url}oauth_callback"
        client = {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "oauth_callback_url": provider.redirect_uri,
        }
        lines = [f"c.JupyterHub.authenticator_class = {short!r}"]
        lines += settings_of(section, {**client, **settings})
        shared.host_class("\n".join([*lines, *more]), plugins)
        return Browser(shared)

    return begin


def settings_of(section: str, settings: dict[str, Any]) -> list[str]:
    return [f"c.{section}.{name} = {value!r}" for name, value in settings.items()]
