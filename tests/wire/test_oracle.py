"""The hub responds like a recorded JupyterHub, scenario by scenario.

`tests/oracle/` contains the scenarios, the responses of JupyterHub 6.1.1, and the
program that compares; see its README. Each configuration is started once, with the real
command, and each scenario is one test here. `--dist loadgroup` keeps a configuration's
scenarios in one worker.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest

from tests.databases import fresh_database
from tests.wire.conftest import CONFIGS, ORACLE, command

from hubdiff import transcript  # isort: skip
from hubdiff.play import PortPool, Side, Take, play_all  # isort: skip
from hubdiff.scenario import Scenario, load_scenarios  # isort: skip
from hubdiff.verdict import judge  # isort: skip

AREAS = {
    *("activity", "auth", "badinput", "cors", "environment", "groups", "hubauth"),
    *(
        "info",
        "lifecycle",
        "listing",
        "named_servers",
        "oauth",
        "pages",
        "progress",
        "proxy",
        "roles",
    ),
    *("scopes", "services", "shares", "shutdown", "tokens", "users", "xsrf"),
}

EVERY = load_scenarios(ORACLE / "scenarios")

# Configurations under which notebook servers are started.
WITH_SERVERS = {"servers", "broken", "environment", "published"}
_serial = count()


def stage(scenario: Scenario) -> str:
    """Name the hub that a scenario is played on: those that end it get their own."""
    return scenario.id if scenario.fresh else scenario.config


@pytest.fixture(scope="session")
def takes(
    request: pytest.FixtureRequest, ports: PortPool
) -> Iterator[Callable[[Scenario], Take]]:
    """Play, at the first question about a stage, all that was chosen for it."""
    chosen = [
        item.callspec.params["scenario"]
        for item in request.session.items
        if item.function is test_answers_as_jupyterhub_does
    ]
    played: dict[str, dict[str, Take]] = {}

    with ExitStack() as databases:

        def take_of(scenario: Scenario) -> Take:
            name = stage(scenario)
            if name not in played:
                environment = databases.enter_context(
                    fresh_database(f"oracle_{os.getpid()}_{next(_serial)}")
                )
                group = [other for other in chosen if stage(other) == name]
                side = Side("hub", command=command(environment), start_timeout=60)
                played[name] = play_all(group, CONFIGS, side, ports)
            return played[name][scenario.id]

        yield take_of


def grouped(scenario: Scenario) -> Any:
    marks = [pytest.mark.xdist_group(f"oracle-{scenario.config}")]
    if scenario.config in WITH_SERVERS:
        marks.append(pytest.mark.slow)
    return pytest.param(scenario, id=scenario.id, marks=marks)


@pytest.mark.oracle
@pytest.mark.parametrize("scenario", [grouped(scenario) for scenario in EVERY])
def test_answers_as_jupyterhub_does(
    scenario: Scenario, takes: Callable[[Scenario], Take]
) -> None:
    recorded = transcript.load(ORACLE / "transcripts")

    verdict = judge(scenario, recorded.get(scenario.id), takes(scenario))

    if not verdict.passed:
        where = verdict.difference
        pytest.fail(
            f"{scenario.id}: {verdict.reason}\n"
            + (
                f"step {verdict.step}: {verdict.title}\n"
                f"at {where.path}\n"
                f"  expected {json.dumps(where.expected, ensure_ascii=False)}\n"
                f"  got      {json.dumps(where.got, ensure_ascii=False)}"
                if where
                else ""
            ),
            pytrace=False,
        )


def test_every_area_is_played() -> None:
    assert {scenario.area for scenario in EVERY} == AREAS
