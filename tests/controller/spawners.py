"""Fixtures for spawners: a configuration, a context and an event loop."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import urlopen

from traitlets.config import Config

from controller.spawners.hosted_spawner import HostedSpawner
from controller.spawners.spawn_context import SpawnContext

STUB = Path(__file__).resolve().parent.parent / "servers" / "stub.py"
T = TypeVar("T")


def context(user: str = "alan", name: str = "", **fields: Any) -> SpawnContext:
    """Tell of a server of which no database knows."""
    fields.setdefault("client_id", f"jupyterhub-user-{user}")
    return SpawnContext(server_id=7, user_id=3, user_name=user, name=name, **fields)


def configuration(home: Path, *stub_arguments: str) -> Config:
    """Configure local servers that are stubs, with homes below `home`."""
    config = Config()
    config.Spawner.cmd = [sys.executable, str(STUB)]
    config.Spawner.args = list(stub_arguments)
    config.SimpleLocalProcessSpawner.home_dir_template = f"{home}/{{username}}"
    return config


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end, which must come soon."""

    async def limited() -> T:
        return await asyncio.wait_for(coroutine, 60)

    return asyncio.run(limited())


async def get(url: str, seconds: float = 10) -> Any:
    """Ask a server that may just be about to listen."""

    def ask() -> Any:
        with urlopen(url, timeout=seconds) as reply:
            return json.loads(reply.read())

    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return await asyncio.to_thread(ask)
        except OSError:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(0.05)


@asynccontextmanager
async def started(
    spawner: HostedSpawner, token: str = "the-token"
) -> AsyncIterator[str]:
    """Run a server, and leave nothing of it behind."""
    try:
        yield await spawner.start(token)
    finally:
        await spawner.stop(now=True)


async def environment(spawner: HostedSpawner) -> dict[str, str]:
    """Return what a server of this spawner is given, as it sees it."""
    async with started(spawner) as url:
        found: dict[str, str] = (await get(f"{url}env"))["env"]
        return found
