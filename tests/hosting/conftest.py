"""A browser, and classes that sign its people in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.hosting.sites import Hosting
from tests.web.conftest import Browser


@pytest.fixture
def browser() -> Browser:
    return Browser()


@pytest.fixture
def another_browser() -> Browser:
    return Browser()


@pytest.fixture
def hosting(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosting]:
    """Return what runs a class; its folder has a short path, for sockets.

    A host that does not run is not waited for.
    """
    monkeypatch.setattr("accounts.hosting.client.RESTART", 0.0)
    monkeypatch.setattr("accounts.hosting.client.waits_again_at", [0.0])
    with TemporaryDirectory(prefix="hub-") as folder:
        yield Hosting(settings, Path(folder))


@pytest.fixture
def host(hosting: Hosting) -> Iterator[Any]:
    """Return a function that runs the class of a configuration in this process."""
    with ExitStack() as stack:
        yield lambda text: stack.enter_context(hosting.here(text))


@pytest.fixture
def own_paths(settings: Any) -> None:
    """Have the paths of the class's own handlers answered in this process."""
    settings.ROOT_URLCONF = "tests.hosting.urls"
