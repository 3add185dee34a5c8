"""A real browser with a live hub, and the checks of every page.

One browser serves the whole run; each test has windows of its own in it.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import (
    Browser,
    BrowserContext,
    BrowserType,
    Page,
    sync_playwright,
)
from playwright.sync_api import Error as PlaywrightError

from accounts.models import User

# Playwright's synchronous side runs an event loop of its own, which Django takes for
# a sign that queries would block one. Nothing else runs in this process's loop.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"

AXE = settings.BASE_DIR / "node_modules" / "axe-core" / "axe.min.js"
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# A hub whose users have hosts of their own is on this machine like all others.
HOSTS_OF_TESTS = (
    "--host-resolver-rules=MAP hub.test 127.0.0.1, MAP *.hub.test 127.0.0.1"
)
# Seconds that a browser has to close a window.
CLOSING = 20.0
SCHEMES = ("light", "dark")
WIDTHS = (1280, 320)
WIDER = """() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return scrollWidth > clientWidth;
}"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


class Chromium:
    """The machine's browser, started anew if it has been ended."""

    def __init__(self, kind: BrowserType, program: str) -> None:
        self.kind = kind
        self.program = program
        self.browser = self.launch()

    def launch(self) -> Browser:
        return self.kind.launch(
            executable_path=self.program, args=[self.mark, HOSTS_OF_TESTS]
        )

    @property
    def mark(self) -> str:
        """What tells its processes from those of other browsers."""
        return f"--hub-tests={os.getpid()}"

    def new_context(self, **options: Any) -> BrowserContext:
        if not self.browser.is_connected():
            self.browser = self.launch()
        return self.browser.new_context(**options)

    def close(self, contexts: Iterable[BrowserContext]) -> None:
        """Close windows. The browser hangs over that at times, and is ended then."""
        with self.ended_after(CLOSING), suppress(PlaywrightError):
            for context in contexts:
                context.close()

    def end(self) -> None:
        with self.ended_after(CLOSING), suppress(PlaywrightError):
            self.browser.close()

    @contextmanager
    def ended_after(self, seconds: float) -> Iterator[None]:
        timer = threading.Timer(seconds, self.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def kill(self) -> None:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if self.mark in process.cmdline():
                    process.kill()


# Not for the whole session: as long as it is there this thread has a running event
# loop, and tests of other folders that start one of their own would fail.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """Start the machine's own browser; without one there is nothing to test."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, names)), ""
    )
    if not found:
        pytest.fail(
            "No browser found. Install Debian's package `chromium`, or name one in "
            "the variable CHROMIUM."
        )
    with sync_playwright() as playwright:
        chromium = Chromium(playwright.chromium, shutil.which(found) or found)
        yield chromium
        chromium.end()


@pytest.fixture(scope="session")
def axe() -> str:
    if not AXE.exists():
        pytest.fail("axe-core is missing: run `npm ci`, or `start.py setup`.")
    return AXE.read_text("utf-8")


class Window:
    """One page of the browser, and the questions that tests ask of it."""

    def __init__(self, page: Page, base: str, axe: str) -> None:
        self.page = page
        self.base = base
        self.axe = axe
        self.complaints: list[str] = []
        self.strangers: list[str] = []
        page.on("console", self.note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self.watch)

    def note(self, message: Any) -> None:
        # A page that is an error by its status is told by the browser as well.
        if message.type == "error" and "the server responded" not in message.text:
            self.complaints.append(message.text)

    def watch(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:", "blob:")):
            self.strangers.append(request.url)

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.base}{path}")
        return self.page

    def survey(self, *, but: tuple[str, ...] = ()) -> None:
        """Look at the page in both schemes and at both widths, and find no fault.

        `but` names rules of axe that are left out; whoever does says why.
        """
        faults = []
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": 800})
            for scheme in SCHEMES:
                self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                where = f"{scheme}, {width} px"
                faults += [f"{where}: {fault}" for fault in self.look(but)]
        assert not faults, "\n".join([self.page.url, *faults])
        assert not self.complaints, self.complaints
        assert not self.strangers, self.strangers

    def look(self, but: tuple[str, ...]) -> Iterator[str]:
        # A page about a start or a stop loads itself again when that ends.
        for is_last in (False, False, True):
            try:
                found, is_wider = self.violations(but), self.page.evaluate(WIDER)
                break
            except PlaywrightError:
                if is_last:
                    raise
                self.page.wait_for_load_state()
        for violation in found["violations"]:
            for node in violation["nodes"]:
                yield f"{violation['id']}: {node['html'][:200]}"
        if is_wider:
            yield "the page is wider than the window"

    def violations(self, but: tuple[str, ...]) -> Any:
        """Run axe, which is put into the page first, and return what it found."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(self.axe)
        return self.page.evaluate(
            """([levels, rules]) => axe.run(document, {
                runOnly: {type: "tag", values: levels}, rules,
                resultTypes: ["violations"],
            })""",
            [LEVELS, {rule: {"enabled": False} for rule in but}],
        )


@pytest.fixture
def window(
    chromium: Chromium, live_server: Any, axe: str
) -> Iterator[Callable[..., Window]]:
    """Open a window: `window(user)` is signed in, `window()` is nobody's."""
    contexts: list[BrowserContext] = []

    def open_window(user: User | None = None, **options: Any) -> Window:
        context = chromium.new_context(
            viewport={"width": 1280, "height": 800}, **options
        )
        context.set_default_timeout(60_000)
        contexts.append(context)
        if user is not None:
            client = Client()
            client.force_login(user)
            cookie = client.cookies[settings.SESSION_COOKIE_NAME]
            context.add_cookies(
                [
                    {
                        "name": cookie.key,
                        "value": cookie.value,
                        "url": f"{live_server.url}{settings.SESSION_COOKIE_PATH}",
                    }
                ]
            )
        return Window(context.new_page(), live_server.url, axe)

    yield open_window
    chromium.close(contexts)


@pytest.fixture
def configure(settings: Any) -> Callable[..., None]:
    """Change what the configuration file says, for one test."""

    def change(**changes: Any) -> None:
        settings.HUB = replace(settings.HUB, **changes)

    return change
