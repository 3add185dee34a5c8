"""Hosting of JupyterHub's classes of proxies, such as Traefik's.

The class is JupyterHub's, another package's or the configuration's own, and is
configured by the same lines. The hub decides about routes and calls `add_route`,
`delete_route` and `get_all_routes`; the class starts its proxy with `start` and ends it
with `stop`. The objects of the hub that a class uses are in `jupyterhub_app`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from contextlib import suppress
from inspect import isawaitable
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import quote, unquote

from django.conf import settings
from traitlets.config import Config

from controller.pids import children, with_variable
from controller.proxy import classes
from controller.proxy.client import NAME
from controller.search_path import with_own_programs

logger = logging.getLogger(__name__)

# Seconds that a class may take for one route, and to begin and to end.
CALL_TIMEOUT: Final = 30.0
START_TIMEOUT: Final = 120.0
STOP_TIMEOUT: Final = 12.0
# Seconds that left processes get after a signal to end.
GRACE: Final = 2.0
# Seconds for which a class may block its event loop before it counts as hung.
HUNG: Final = 120.0
LOOK: Final = 1.0
# The mark of a class's processes in their environment.
VARIABLE: Final = "HUB_PROXY_OF"

# Methods of the class that JupyterHub calls and this hub does not.
UNUSED_METHODS: Final = (
    *("check_routes", "add_hub_route", "add_user", "delete_user"),
    *("add_service", "delete_service", "add_all_users", "add_all_services"),
)

Routes = dict[str, dict[str, Any]]


class ClassFailed(Exception):
    """A call of the class failed, or took too long; the text is for the operator."""


class HostedProxy:
    """One object of the site's class of proxies, in a thread and event loop of its own.

    A class that blocks keeps nobody waiting for longer than the limits. Paths are
    written as configurable-http-proxy writes them: unescaped, with a slash at the
    beginning and none at the end.
    """

    def __init__(self, *, command: list[str]) -> None:
        """Prepare to host a class; `command` starts configurable-http-proxy here."""
        self.command = command
        self.loop = asyncio.new_event_loop()
        self.proxy: Any
        self.name = settings.HUB.proxy_class.rpartition(".")[2]
        # The routes that the class was given, for a proxy that the class restarts.
        self.added: Routes = {}
        self.programs: list[int] = []
        self.has_started = False
        self._beat = time.monotonic()
        Thread(target=self._run, name="proxy-class", daemon=True).start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    # The life of the proxy

    def start(self) -> None:
        """Construct the object, and start its proxy if the class says so."""
        self._call("__init__", self._construct, START_TIMEOUT)
        self._remark()
        if not self.proxy.should_start:
            return
        end_leftovers()
        os.environ[VARIABLE] = str(settings.DATA_DIR)
        before = set(children(os.getpid()))
        self._call("start", lambda: self.proxy.start(), START_TIMEOUT)
        self.has_started = True
        self.programs = [pid for pid in children(os.getpid()) if pid not in before]

    def stop(self) -> None:
        """End the proxy, if the class has started it."""
        if not self.has_started:
            return
        self.has_started = False
        try:
            self._call("stop", lambda: self.proxy.stop(), STOP_TIMEOUT)
        except ClassFailed as problem:
            logger.error("The proxy did not end: %s", problem)
        # A class that looks after its proxy must not start the proxy again.
        self.loop.call_soon_threadsafe(self.loop.stop)
        end_leftovers()

    def problem(self) -> str:
        """Return why the proxy needs a new start, or ""."""
        asked = time.monotonic()
        self.loop.call_soon_threadsafe(self._note_beat, asked)
        silent = asked - self._beat
        if silent > HUNG:
            return f"{self.name} has blocked its event loop for {silent:.0f} s"
        if hasattr(self.proxy, "check_running"):
            # The class restarts its proxy itself.
            return ""
        for pid in self.programs:
            if status := exit_status(pid):
                return f"The program that {self.name} started has ended ({status})"
        return ""

    def _note_beat(self, asked: float) -> None:
        self._beat = asked

    async def _construct(self) -> None:
        from jupyterhub.proxy import ConfigurableHTTPProxy

        from controller.proxy.jupyterhub_app import HostedApp, no_database

        os.environ["PATH"] = with_own_programs(os.environ.get("PATH", os.defpath))
        hub = settings.HUB
        found = load_class()
        self.name = found.__name__
        config = renamed(hub.raw)
        if issubclass(found, ConfigurableHTTPProxy):
            # The variable with the secret is not in this process any more.
            config.ConfigurableHTTPProxy.setdefault(
                "auth_token", settings.PROXY_AUTH_TOKEN
            )
        app = HostedApp(config)
        self.proxy = found(
            db_factory=no_database,
            public_url=hub.bind_url,
            parent=app,
            app=app,
            log=logger,
            hub=app.hub,
            host_routing=bool(hub.subdomain_host),
            ssl_cert=hub.ssl_cert,
            ssl_key=hub.ssl_key,
        )
        words = getattr(self.proxy, "command", None)
        if self.command and isinstance(words, list) and words and is_missing(words[0]):
            self.proxy.command = [*self.command, *words[1:]]
        restore = self.proxy.restore_routes

        async def restore_routes() -> None:
            """Add all routes again, to a proxy that the class has restarted."""
            await restore()
            for spec, route in list(self.added.items()):
                await self.proxy.add_route(spec, route["target"], dict(route["data"]))

        self.proxy.restore_routes = restore_routes

    def _remark(self) -> None:
        """Log what the configuration or the class contains without an effect."""
        from jupyterhub.proxy import ConfigurableHTTPProxy, Proxy

        own = [
            name
            for name in UNUSED_METHODS
            if getattr(type(self.proxy), name) is not getattr(Proxy, name)
            # Traefik's waits in its `check_routes` for what `get_all_routes` waits for.
            and not type(self.proxy).__module__.startswith("jupyterhub_traefik_proxy")
        ]
        if own:
            logger.warning(
                "%s has its own %s, which this hub does not call; it calls add_route, "
                "delete_route and get_all_routes",
                self.name,
                ", ".join(own),
            )
        if "ConfigurableHTTPProxy" in settings.HUB.raw and not isinstance(
            self.proxy, ConfigurableHTTPProxy
        ):
            logger.warning(
                "c.ConfigurableHTTPProxy: has no effect; the proxy is a %s", self.name
            )
        if not isinstance(self.proxy, ConfigurableHTTPProxy):
            logger.info(
                "%s does not report when servers were used, so their activity comes "
                "from the servers alone",
                self.name,
            )

    # Routes

    def routes(self) -> Routes:
        """Return all routes of the hub, by path, each with `target` and other data."""
        found = self._call("get_all_routes", lambda: self.proxy.get_all_routes())
        try:
            return {
                path_of(spec): {**(route.get("data") or {}), "target": route["target"]}
                for spec, route in found.items()
            }
        except (AttributeError, LookupError, TypeError):
            raise ClassFailed(
                f"{self.name}.get_all_routes returned no routes: {found!r:.200}"
            ) from None

    def add_route(self, path: str, target: str, data: dict[str, Any]) -> None:
        spec = self.spec_of(path)
        self._call("add_route", lambda: self.proxy.add_route(spec, target, dict(data)))
        self.added[spec] = {"target": target, "data": data}

    def delete_route(self, path: str) -> None:
        spec = self.spec_of(path)
        self.added.pop(spec, None)
        self._call("delete_route", lambda: self.proxy.delete_route(spec))

    def spec_of(self, path: str) -> str:
        """Return a path as JupyterHub writes it: escaped, with a slash at the end.

        A route for one host begins with the host, without a slash before.
        """
        spec = quote(path, safe="/@").rstrip("/") + "/"
        return spec.lstrip("/") or "/" if settings.HUB.subdomain_host else spec

    # Calls

    def _call(
        self, name: str, call: Callable[[], Any], timeout: float | None = None
    ) -> Any:
        """Call the class in its thread, and wait for the result.

        Raises ClassFailed if the call fails or takes longer than the limit.
        """
        where = f"{self.name}.{name}"
        timeout = timeout or CALL_TIMEOUT

        async def do() -> Any:
            found = call()
            return await found if isawaitable(found) else found

        coroutine: Coroutine[Any, Any, Any] = do()
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(timeout)
        except TimeoutError as problem:
            if future.done():
                # The class's own limit.
                raise self._failed(where, problem) from problem
            future.cancel()
            raise ClassFailed(f"{where} has not returned in {timeout:g} s") from None
        except CancelledError as problem:
            raise ClassFailed(f"{where} was cancelled") from problem
        except Exception as problem:
            raise self._failed(where, problem) from problem

    def _failed(self, where: str, problem: BaseException) -> ClassFailed:
        logger.error("%s failed", where, exc_info=problem)
        text = f"{where}: {type(problem).__name__}: {problem}"
        return ClassFailed(text.rstrip(": ").replace("\n", " ")[:500])


def load_class() -> Any:
    """Return the configured class, which the configuration itself may define."""
    given = settings.HUB.raw.get("JupyterHub", {}).get("proxy_class")
    found = classes.load(given if isinstance(given, type) else settings.HUB.proxy_class)
    from jupyterhub.proxy import Proxy

    if not (isinstance(found, type) and issubclass(found, Proxy)):
        raise ClassFailed(
            f"{settings.HUB.proxy_class} is no Proxy; see c.JupyterHub.proxy_class"
        )
    return found


def renamed(raw: Any) -> Config:
    """Return a configuration in which old names of settings have their new ones."""
    config = Config(raw)
    hub = settings.HUB
    old = raw.get("JupyterHub", {})
    for name, value in (
        ("auth_token", hub.proxy_auth_token if "proxy_auth_token" in old else None),
        ("command", list(hub.proxy_command) if "proxy_cmd" in old else None),
        ("debug", old.get("debug_proxy")),
        (
            "api_url",
            hub.proxy_api_url if {"proxy_api_ip", "proxy_api_port"} & {*old} else None,
        ),
    ):
        if value is not None and name not in config.ConfigurableHTTPProxy:
            config.ConfigurableHTTPProxy[name] = value
    return config


def path_of(spec: str) -> str:
    """Return the path of a route that JupyterHub writes as `spec`."""
    return f"/{unquote(spec).strip('/')}"


def is_missing(program: str) -> bool:
    """Return whether a program is a configurable-http-proxy that is not installed."""
    return Path(program).name == NAME and shutil.which(program) is None


def exit_status(pid: int) -> int:
    """Return the status with which a child process failed, or 0.

    The status is left for the class, which may wait for the process as well.
    """
    with suppress(ChildProcessError):
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None:
            killed = ended.si_code != os.CLD_EXITED
            return -ended.si_status if killed else ended.si_status
    return 0


def end_leftovers() -> None:
    """End the processes of a class that has not ended them, or could not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + GRACE
        while left := [*with_variable(VARIABLE, str(settings.DATA_DIR))]:
            for pid in left:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
