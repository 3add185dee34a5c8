"""A site for each backend; the summary lists those that can't run on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.backends import sites
from tests.backends.hub import Hub
from tests.backends.machine import Unavailable
from tests.backends.sites import Site
from tests.databases import fresh_database

# Of what these ask, nothing is asked of the database; on the second one it is enough
# that the contract holds.
if "HUB_DATABASE_URL" in os.environ:
    collect_ignore = ["test_kubernetes.py", "test_slurm.py"]


@pytest.fixture(scope="session")
def site_of(
    tmp_path_factory: pytest.TempPathFactory, worker_number: int
) -> Iterator[Callable[[str], Site]]:
    """Return a function that starts the site of a backend, once."""
    started: dict[str, Site] = {}
    with ExitStack() as stack:

        def start(name: str) -> Site:
            if name not in started:
                folder = tmp_path_factory.mktemp(name)
                started[name] = stack.enter_context(_make(name, folder, worker_number))
            return started[name]

        yield start


def _make(name: str, folder: Path, number: int) -> AbstractContextManager[Site]:
    match name:
        case "local":
            return sites.local(folder)
        case "simple":
            return sites.simple(folder)
        case "slurm":
            return sites.slurm_site(folder)
        case "docker":
            return sites.docker_site(folder, number)
        case _:
            return sites.kubernetes_site(folder)


@pytest.fixture
def site(
    request: pytest.FixtureRequest, site_of: Callable[[str], Site]
) -> Iterator[Site]:
    """The site of the backend that a test names, with nothing left from before."""
    try:
        found = site_of(request.param)
    except Unavailable as problem:
        if request.param == "docker":
            # Not every machine lets a program make networks and mounts.
            pytest.skip(f"NOT TESTED on this machine: Docker. {problem}")
        raise
    yield found
    found.remove_all()


@pytest.fixture
def hub(site: Site, tmp_path: Path, worker_number: int) -> Iterator[Hub]:
    """A hub that runs, with its user; nothing of it is left afterwards."""
    name = f"backends_{site.name}_{worker_number}_{os.getpid()}"
    with fresh_database(name) as database:
        found = Hub(tmp_path, site, database)
        try:
            found.start()
            assert found.api("POST", f"users/{site.user}")[0] == 201
            yield found
        finally:
            found.end()
            site.remove_all()
            assert found.processes() == set()
