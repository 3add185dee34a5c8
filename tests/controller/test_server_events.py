"""Events in JupyterHub's schema, by default and for a site's own handlers."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jupyterhub
import pytest
import yaml
from jsonschema import Draft7Validator
from traitlets.config import Config

from controller import server_events
from controller.server_events import SCHEMA_FILE, Moment, capsule, emitter
from controller.spawners.spawn_context import SpawnContext
from hubsite.config.hub_config import HubConfig
from hubsite.config.load import build_config
from tests.controller.site import Site, until

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
START: Moment = (NOON, {"action": "start", "username": "ada", "servername": "lab"})
ADA = SpawnContext(server_id=1, user_id=1, user_name="ada", name="lab")


@pytest.fixture
def schema() -> Draft7Validator:
    file = Path(jupyterhub.__file__).parent / SCHEMA_FILE
    return Draft7Validator(yaml.safe_load(file.read_text()))


class Controller:
    """A controller as far as it is needed: it has lists of callbacks."""

    def __init__(self) -> None:
        self.on_started: list[Any] = []
        self.on_stopped: list[Any] = []


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "logs" / "events.log"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def test_what_is_written_is_what_jupyter_events_writes(
    settings: Any, schema: Draft7Validator
) -> None:
    stream = io.StringIO()
    config = Config()
    config.EventLogger.handlers = [logging.StreamHandler(stream)]
    settings.HUB = HubConfig(raw=config)

    emitter()(START)

    ours, theirs = capsule(START), json.loads(stream.getvalue())
    # Theirs has an offset and a Z at its end, which is no moment by any standard.
    assert theirs.pop("__timestamp__").startswith("2026-11-23T12:00:00")
    assert ours.pop("__timestamp__") == "2026-11-23T12:00:00Z"
    assert ours == theirs
    schema.validate(ours)
    assert ours["__schema__"] == schema.schema["$id"]
    assert ours["__schema_version__"] == schema.schema["version"]


def test_handlers_refuse_what_the_schema_does_not_know(settings: Any) -> None:
    config = Config()
    config.EventLogger.handlers = [logging.StreamHandler(io.StringIO())]
    settings.HUB = HubConfig(raw=config)

    with pytest.raises(Exception, match="restart"):
        emitter()((NOON, {**START[1], "action": "restart"}))


def test_handlers_are_a_setting_that_is_known() -> None:
    config = Config()
    config.EventLogger.handlers = []

    assert build_config(config).remarks == ()


def test_keeps_the_order_of_the_request(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    settings.HUB = HubConfig()

    async def term() -> None:
        controller: Any = Controller()
        task = asyncio.create_task(server_events.run(controller))
        await asyncio.sleep(0)
        controller.on_started[0](ADA, 1.0)
        controller.on_stopped[0](ADA, 1.0, "exit")
        controller.on_started[0](ADA, 1.0)
        controller.on_stopped[0](ADA, 1.0, "stop")
        while len(lines(tmp_path)) < 3:
            await asyncio.sleep(0.01)
        # What is left when the term ends is told, too.
        controller.on_started[0](ADA, 1.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(term())

    assert [line["action"] for line in lines(tmp_path)] == [
        *("start", "start", "stop", "start")
    ]


def test_a_lost_event_ends_nothing(
    settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DATA_DIR = tmp_path
    settings.HUB = HubConfig()
    (tmp_path / "logs" / "events.log").mkdir(parents=True)

    server_events._emit(emitter(), START)

    assert "An event was lost" in caplog.text


def test_a_controller_counts_starts_and_stops(
    site: Site, schema: Draft7Validator
) -> None:
    site.controller()
    site.start("alan", "lab")
    assert site.settled("alan", "lab").ready
    site.stop("alan", "lab")
    site.settled("alan", "lab")

    until(lambda: len(lines(site.folder)) == 2)
    found = lines(site.folder)
    for event, action in zip(found, ("start", "stop"), strict=True):
        schema.validate(event)
        assert (event["action"], event["username"]) == (action, "alan")
        assert event["servername"] == "lab"
