"""Hosting of JupyterHub's spawners: one `HostedSpawner` for each active server.

The classes are JupyterHub's own and are configured by the same lines; the objects of
the hub that they use are in `jupyterhub_objects`. Nothing here uses the database.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from inspect import isawaitable
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from traitlets.config import Config

from controller.search_path import with_own_programs
from controller.spawners import authenticators, classes, kinds, options, strict_poll
from controller.spawners.failures import UNHANDLED, SpawnFailed
from controller.spawners.permissions import why_not_run
from controller.spawners.processes import LocalProcess
from controller.spawners.sanitize import brief
from controller.spawners.spawn_context import SpawnContext
from database.storable import storable
from servers.credentials import Requested
from web.hosts import public_url

log = structlog.get_logger("hub.spawner")

# Seconds between two reads of a starting spawner's state.
GLANCE: Final = 0.25

OnState = Callable[[dict[str, Any], str], None]


class Host:
    """The class of the site's spawners, with its configuration.

    Constructing a `Host` imports the class, and JupyterHub with it.
    """

    def __init__(self, config: Config, spawner_class: str) -> None:
        self.config = config
        # JupyterHub's database library logs what it loads.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        given = config.get("JupyterHub", {}).get("spawner_class")
        # A configuration may define a class of its own, which has no import path.
        self.spawner_class = classes.load(
            given if isinstance(given, type) else spawner_class
        )
        from jupyterhub.spawner import Spawner

        found = self.spawner_class
        if not (isinstance(found, type) and issubclass(found, Spawner)):
            raise classes.UnknownSpawner(
                f"{spawner_class} is no Spawner; see c.JupyterHub.spawner_class"
            )
        self.authenticator_class = authenticators.Class(config)
        # Local servers inherit this.
        os.environ["PATH"] = with_own_programs(os.environ.get("PATH", os.defpath))

    def spawner(
        self,
        context: SpawnContext,
        on_state: OnState | None = None,
        keeper: authenticators.Keeper | None = None,
    ) -> HostedSpawner:
        """Return the spawner of a server, with the state that is stored in its row.

        `keeper` has the auth state of its owner.

        Some constructors fail, such as KubeSpawner's without a cluster.
        """
        try:
            return HostedSpawner(self, context, on_state, keeper)
        except Exception as problem:
            log.error("Start failed", server=context.label, exc_info=problem)
            raise SpawnFailed.of(problem, unhandled(context)) from problem


class HostedSpawner:
    """One spawner object, used for one start or for one running server.

    `on_state` is called on the event loop with the values to store when the spawner
    changed its state or the server's address by itself.
    """

    def __init__(
        self,
        host: Host,
        context: SpawnContext,
        on_state: OnState | None,
        keeper: authenticators.Keeper | None,
    ) -> None:
        from controller.spawners import jupyterhub_objects

        self.host = host
        self.context = context
        self.on_state = on_state
        self.told: tuple[dict[str, Any], str] | None = None
        self.asking: set[asyncio.Future[int | None]] = set()
        self.user_options = options.unpack(context.user_options)
        self.row = jupyterhub_objects.HostedRow(context, self.user_options)
        hub = jupyterhub_objects.hub()
        self.spawner = host.spawner_class(
            config=host.config,
            log=logging.getLogger("jupyterhub.spawner"),
            user=jupyterhub_objects.HostedUser(
                context, keeper or authenticators.NoKeeper()
            ),
            orm_spawner=self.row,
            hub=hub,
            authenticator=jupyterhub_objects.HostedAuthenticator(),
            db=jupyterhub_objects.HostedSession(self.store_state),
            handler=jupyterhub_objects.NoHandler(),
            proxy_spec=jupyterhub_objects.proxy_spec(context.user_name, context.path),
            oauth_client_id=context.client_id,
            cookie_options=dict(
                settings.HUB.tornado_settings.get("cookie_options", {})
            ),
            user_options=self.user_options,
            cookie_host_prefix_enabled=settings.HUB.cookie_host_prefix_enabled,
            public_url=jupyterhub_objects.server_public_url(
                context.user_name, context.path
            ),
            public_hub_url=public_url(hub.base_url),
        )
        self.process: LocalProcess | None = None
        if kinds.is_local(self.spawner):
            self.process = LocalProcess(self.spawner, context)
            self.process.load(context.state)
        strict_poll.widen(self.spawner)
        self.spawner.load_state(dict(context.state))
        if context.announced_port:
            self.announce_port(context.announced_port)

    def __getattr__(self, name: str) -> Any:
        # Numbers such as time limits, set by the class or the configuration.
        if name in TRAITS:
            return getattr(self.spawner, name)
        raise AttributeError(name)

    # State of the spawner

    @property
    def api_token(self) -> str:
        """The server's secret, which is not the given one if the server was resumed."""
        return str(self.spawner.api_token)

    @property
    def will_resume(self) -> bool:
        """Whether the server keeps its token when it is stopped."""
        return bool(self.spawner.will_resume)

    @property
    def url(self) -> str:
        """The address of the server, with its path; empty while that is unknown."""
        if self.row.server is None or not self.row.server.port:
            return ""
        return str(self.spawner.server.url)

    @property
    def last_output(self) -> list[str]:
        """The last output of a local server; empty for other servers."""
        return [] if self.process is None else self.process.last_output()

    def state(self) -> dict[str, Any]:
        """Return the state to store; a stopped server may have some, too."""
        state = _as_json(self.spawner.get_state())
        return state if self.process is None else self.process.save(state)

    async def current_url(self) -> str:
        """Return the address of the running server, from the spawner."""
        url = await self._awaited(self.spawner.get_url())
        return str(url)

    def announce_port(self, port: int) -> None:
        """Set the port of the server, as reported by a batch job."""
        self.spawner.port = port

    def store_state(self) -> None:
        """Have state and address stored if they changed."""
        found = (self.state(), self.url)
        if found != self.told and self.on_state is not None:
            self.told = found
            self.on_state(*found)

    # Starting

    async def requested_scopes(self) -> Requested:
        """Return the scopes that the configuration names for the server's tokens."""
        hook = "server_token_scopes"
        try:
            wanted = self.spawner.server_token_scopes
            if callable(wanted):
                wanted = await self._awaited(wanted(self.spawner))
            hook = "oauth_client_allowed_scopes"
            if self.spawner.oauth_roles:
                raise SpawnFailed(
                    "oauth_roles is not supported; "
                    "set c.Spawner.oauth_client_allowed_scopes"
                )
            allowed = self.spawner.oauth_client_allowed_scopes
            if callable(allowed):
                allowed = await self._awaited(allowed(self.spawner))
                # The server reads the scopes from its environment, as JSON.
                self.spawner.oauth_client_allowed_scopes = list(allowed or ())
            return Requested(
                tuple(wanted or ()), tuple(allowed or ()), resumes=self.will_resume
            )
        except Exception as problem:
            raise self._failure(problem, hook=hook) from problem

    async def start(self, token: str) -> str:
        """Start the server and return its address, with its path.

        All hooks of JupyterHub are called, in its order. After cancellation or failure
        the caller must call `stop()`.
        """
        spawner = self.spawner
        strict_poll.drop_broken(spawner)
        spawner.clear_state()
        spawner._spawn_pending = spawner._start_pending = True
        spawner.api_token = token
        try:
            if authenticator := await self.host.authenticator_class.get():
                spawner.authenticator = authenticator
                await self._hook(
                    f"{type(authenticator).__name__}.pre_spawn_start",
                    lambda: authenticator.pre_spawn_start(spawner.user, spawner),
                )
            await self._run_auth_state_hook()
            if hasattr(spawner, "apply_group_overrides"):
                await self._hook("group_overrides", spawner.apply_group_overrides)
            if hasattr(spawner, "_run_apply_user_options"):
                await self._hook(
                    "apply_user_options",
                    lambda: spawner._run_apply_user_options(spawner.user_options),
                )
            await self._hook("pre_spawn_hook", spawner.run_pre_spawn_hook)
            kinds.mark(spawner, self.context.attempt)
            self._settle(await self._started())
        except Exception as problem:
            raise self._failure(problem) from problem
        finally:
            spawner._start_pending = False
        spawner._waiting_for_response = True
        self.store_state()
        return self.url

    async def _run_auth_state_hook(self) -> None:
        """Call the hook with the auth state of the owner."""
        state = await self.spawner.user.get_auth_state()
        await self._hook(
            "auth_state_hook", lambda: self.spawner.run_auth_state_hook(state)
        )

    async def _started(self) -> Any:
        """Call `Spawner.start`, within its time limit, and return its result.

        The spawner's state is stored as soon as it is known, so that the server can be
        found.
        """

        async def watch_state() -> None:
            while True:
                await asyncio.sleep(GLANCE)
                self.store_state()

        watcher = asyncio.ensure_future(watch_state())
        if self.process is not None:
            self.process.before_start()
        try:
            async with asyncio.timeout(self.spawner.start_timeout):
                return await self._awaited(self.spawner.start())
        except TimeoutError as problem:
            raise self._timed_out(problem) from problem
        except Exception as problem:
            # As in JupyterHub, the progress stream shows the spawner's exception.
            failure = self._failure(problem)
            if failure.detail and str(problem):
                failure.event = brief(str(problem))
            raise failure from problem
        finally:
            watcher.cancel()
            if self.process is not None:
                self.process.after_start()

    def _settle(self, address: Any) -> None:
        """Store the address of the server, in any form that the spawner returns."""
        from controller.spawners.jupyterhub_objects import set_address

        if not address:
            # Old spawners write the address into their server object themselves.
            if not self.url:
                raise SpawnFailed("The spawner returned no address of its server.")
            return
        if not isinstance(address, str):
            host, port = address
            host = f"[{host}]" if ":" in host else host
            address = f"http://{host}:{int(port)}"
        if not urlsplit(address).hostname:
            raise SpawnFailed(f"The spawner told an address without host: {address}")
        # Set on the object, which passes it on to the row.
        set_address(self.spawner.server, address)

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the spawner's progress events, `Server requested` first.

        The generator may never end: stop reading when the start has ended.
        """
        async with aclosing(self.spawner._generate_progress()) as events:
            async for event in events:
                if isinstance(event, Mapping):
                    # Only the hub may report that a server is ready.
                    yield {
                        key: value
                        for key, value in brief(_as_json(event)).items()
                        if key != "ready"
                    }

    async def ready_event(self, event: dict[str, Any]) -> dict[str, Any]:
        """Let the configuration's hook change the last event of a start."""
        hook = self.spawner.progress_ready_hook
        if hook is None:
            return event
        try:
            changed = await self._awaited(hook(self.spawner, dict(event)))
            return brief(_as_json(changed)) if isinstance(changed, Mapping) else event
        except Exception:
            log.exception("progress_ready_hook failed", server=self.context.label)
            return event

    def not_responding(self, url: str) -> SpawnFailed:
        """Return the failure of a server that started and does not answer."""
        seconds = self.spawner.http_timeout
        return SpawnFailed(
            f"Server at {url} didn't respond in {seconds} seconds", reason="timeout"
        )

    # Running and stopping

    async def poll(self) -> int | None:
        """Return None while the server runs, else its exit status, 0 if unknown.

        The spawner's `poll` continues even if the caller is cancelled. Otherwise
        batchspawner would kill its query command, read that as the answer that there is
        no such job, and forget a job that runs on.
        """
        asking = asyncio.ensure_future(self._poll())
        # The event loop itself keeps no strong reference.
        self.asking.add(asking)
        asking.add_done_callback(self.asking.discard)
        return await asyncio.shield(asking)

    async def _poll(self) -> int | None:
        strict_poll.drop_broken(self.spawner)
        status = await self._awaited(self.spawner.poll())
        if self.process is not None:
            self.process.tidy()
        return None if status is None else int(status)

    async def stop(self, now: bool = False) -> None:
        """Stop the server if it runs, and call the hooks that follow a stop."""
        spawner = self.spawner
        spawner._spawn_pending = spawner._start_pending = False
        spawner._waiting_for_response = False
        spawner._stop_pending = True
        try:
            if await self.poll() is None:
                await self._awaited(spawner.stop(now=now))
        finally:
            try:
                await self._awaited(spawner.run_post_stop_hook())
            except Exception:
                log.exception("post_stop_hook failed", server=self.context.label)
            await self._after_stop()
            spawner.clear_state()
            spawner._stop_pending = False

    async def _after_stop(self) -> None:
        """Call the authenticator's hook after a stop; its failure stops nothing."""
        try:
            authenticator = await self.host.authenticator_class.get()
            if authenticator:
                await self._awaited(
                    authenticator.post_spawn_stop(self.spawner.user, self.spawner)
                )
        except Exception:
            log.exception("post_spawn_stop failed", server=self.context.label)

    async def delete_forever(self) -> None:
        """Have the spawner delete what it keeps between starts, such as volumes."""
        await self._awaited(self.spawner.delete_forever())
        if self.process is not None:
            self.process.log.remove()

    # Options

    async def options_form(self) -> str:
        """Return the form of start options as HTML; empty if there is none.

        As in JupyterHub, the form may use what the hook for auth state has set.
        """
        if self.spawner.options_form:
            await self._run_auth_state_hook()
        try:
            return str(await self._awaited(self.spawner.get_options_form()) or "")
        except Exception as problem:
            words = "The form of start options can't be made."
            raise self._failure(problem, words, hook="options_form") from problem

    async def options_from_form(
        self,
        fields: Mapping[str, Sequence[str]],
        files: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    ) -> dict[str, Any]:
        """Return the start options of a form, as JSON."""
        data = options.form_data(fields, files)
        read = getattr(self.spawner, "run_options_from_form", None)
        return await self._read_options(read or self.spawner.options_from_form, data)

    async def _read_options(
        self, read: Callable[[Any], Any], data: Any
    ) -> dict[str, Any]:
        """Return the requested options, or raise the reason why they are refused.

        Configurations refuse a value by a `ValueError`, so its text is shown to the
        person who filled in the form.
        """
        try:
            found = await self._awaited(read(data))
        except Exception as problem:
            words = str(problem) if isinstance(problem, ValueError) else ""
            words = words or "These options can't be used."
            failure = self._failure(problem, words, hook="options_from_form")
            if failure.detail:
                failure.status = 400
            raise failure from problem
        if not isinstance(found, Mapping):
            raise SpawnFailed("options_from_form must return a dictionary")
        packed: dict[str, Any] = options.pack(found)
        return packed

    # Helpers

    @staticmethod
    async def _awaited(value: Any) -> Any:
        """Return a value, awaited if necessary, because hooks may be sync or async."""
        return await value if isawaitable(value) else value

    async def _hook(self, name: str, call: Callable[[], Any]) -> None:
        """Call a hook of the configuration; its name is part of a failure."""
        try:
            await self._awaited(call())
        except Exception as problem:
            raise self._failure(problem, hook=name) from problem

    def _failure(
        self, problem: BaseException, message: str = "", *, hook: str = ""
    ) -> SpawnFailed:
        failure = SpawnFailed.of(problem, message or unhandled(self.context))
        if hook and failure.detail:
            # The authenticator's hooks are named with their class.
            place = hook if "." in hook else f"c.Spawner.{hook}"
            failure.detail = f"{place}: {failure.detail}"
        if isinstance(problem, KeyError) and "getpwnam" in str(problem):
            name = self.context.user_name
            failure = SpawnFailed(
                f"The machine on which the hub runs has no account {name}, and "
                f"{type(self.spawner).__name__} starts servers as the accounts of "
                "their owners."
            )
        if isinstance(problem, PermissionError) and not hook:
            failure = self._not_permitted(problem) or failure
        if failure is not problem and not failure.refused:
            calling = {"hook": hook} if hook else {}
            log.error(
                "Start failed", server=self.context.label, exc_info=problem, **calling
            )
        return failure

    def _not_permitted(self, problem: PermissionError) -> SpawnFailed | None:
        """Return the failure if the owner's account can't run the server's program."""
        name, command = self.context.user_name, getattr(self.spawner, "cmd", None)
        if not command or problem.filename != command[0]:
            return None
        path = self.spawner.get_env().get("PATH", os.defpath)
        if not (why := why_not_run(command[0], path, name)):
            return None
        return SpawnFailed(
            f"The server can't start: the system's account {why}. An administrator can "
            "let all accounts into that place, or install the program in one that all "
            "accounts may use, and name it in c.Spawner.cmd."
        )

    def _timed_out(self, problem: BaseException) -> SpawnFailed:
        """Return the failure for a timeout of the hub or of the spawner."""
        seconds = self.spawner.start_timeout
        words = f"The server did not start in {seconds} seconds"
        failure = SpawnFailed.of(problem, words)
        event = failure.event if failure.event != words else str(problem)
        return SpawnFailed(
            failure.message,
            html_message=failure.html_message,
            event=event,
            reason="timeout",
        )


def unhandled(context: SpawnContext) -> str:
    """Return JupyterHub's message about an unexpected failure of a server's start."""
    name = f":{context.name}" if context.name else ""
    return f"{UNHANDLED} {context.user_name}{name}"


TRAITS: Final = frozenset(
    {
        *("start_timeout", "http_timeout", "poll_interval", "poll_jitter"),
        "consecutive_failure_limit",
    }
)


def _as_json(value: Any) -> dict[str, Any]:
    """Return a dictionary as a row can store it."""
    with suppress(TypeError, ValueError):
        loaded = json.loads(json.dumps(value, default=str))
        if isinstance(loaded, dict):
            return dict(storable(loaded))
    return {}
