"""The class of the site's spawners, imported when a server first needs the class."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import cast

from django.conf import settings
from traitlets.config import Config

from controller.spawners import classes
from controller.spawners.hosted_spawner import Host


class Hosting:
    """Makes the `Host` of the configured class of spawners, once for all terms."""

    def __init__(self) -> None:
        self._host: Host | None = None
        self._lock = asyncio.Lock()

    async def get(self) -> Host:
        async with self._lock:
            if self._host is None:
                await asyncio.to_thread(_import_spawners, settings.HUB.spawner_class)
                # Spawners belong to the thread of the event loop.
                config = cast(Config, settings.HUB.raw)
                self._host = Host(config, settings.HUB.spawner_class)
        return self._host


def _import_spawners(spawner_class: str) -> None:
    """Do the slow imports for a host, which may run in a thread."""
    # Alembic logs a line for each of its plugins, none of which is used here.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # A class that the configuration defines has no import path.
    with suppress(classes.UnknownSpawner):
        classes.load(spawner_class)
