"""Classes of proxies that an operator might write."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from jupyterhub.proxy import Proxy
from traitlets import Unicode


class InMemory(Proxy):
    """Keeps its routes, and the calls that it got."""

    greeting = Unicode(config=True)

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.kept: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []

    async def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")

    async def add_route(self, routespec: str, target: str, data: Any) -> None:
        self.calls.append(f"add {routespec}")
        self.kept[self.validate_routespec(routespec)] = {
            "routespec": routespec,
            "target": target,
            "data": data,
        }

    async def delete_route(self, routespec: str) -> None:
        self.calls.append(f"delete {routespec}")
        self.kept.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        return dict(self.kept)


class Failing(InMemory):
    """Fails as often as it is told to."""

    failures: ClassVar = 0

    async def add_route(self, routespec: str, target: str, data: Any) -> None:
        if type(self).failures:
            type(self).failures -= 1
            raise RuntimeError("the balancer is on holiday")
        await super().add_route(routespec, target, data)


class Blocking(InMemory):
    """Blocks the event loop at one route."""

    seconds: ClassVar = 0.0

    async def add_route(self, routespec: str, target: str, data: Any) -> None:
        time.sleep(self.seconds)
        await super().add_route(routespec, target, data)


class Unstartable(InMemory):
    """Can't start."""

    async def start(self) -> None:
        raise FileNotFoundError("balancer")


class External(InMemory):
    """A proxy that somebody else starts."""

    should_start = False


class NoProxy:
    """No class of proxies at all."""
