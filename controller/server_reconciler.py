"""The reconciler of one server: starts, watches and stops it as the row requests.

A reconciler reads its server's row, does the requested operation, settles the row, and
reads it again, until the server is stopped. A newer generation interrupts a start,
never a stop. A reconciler is cancelled when its controller no longer leads; then the
reconciler leaves everything as it is, for the next leader to find.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from accounts.models import User
from controller import recovery
from controller.authenticator import prepare_owner, refresh_owner
from controller.leadership import Lost
from controller.progress import Progress
from controller.proxy import routes
from controller.proxy.client import ProxyError
from controller.readiness import NotReady, until_ready
from controller.records import Outcome, Records, Row
from controller.spawners.failures import SpawnFailed
from database.backoff import Backoff
from servers.credentials import Requested
from servers.models import Server
from servers.progress import cancelled_event, failed_event, ready_event

if TYPE_CHECKING:
    from controller.spawners.hosted_spawner import HostedSpawner
    from controller.term import Term

log = structlog.get_logger("hub.controller")

# Seconds that a spawner may take to stop a server before `now=True`. Local spawners
# wait half a minute after each of two signals.
STOP_PATIENCE = 90.0
POLL_PATIENCE = 60.0
WITHDRAW_PATIENCE = 5.0
FORGET_LOOK = 0.1
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
# Tries after which a failed start is given up although its process can't be stopped.
CLEANUP_TRIES = 4


class ServerReconciler:
    """The task of one server in one term of leadership."""

    def __init__(self, term: Term, server_id: int) -> None:
        self.term = term
        self.server_id = server_id
        self.row: Row
        self.spawner: HostedSpawner | None = None
        self.generation = self._announced = -1
        self.watching = False
        self._changed = asyncio.Event()
        self._woken = asyncio.Event()
        self._calls: list[asyncio.Future[bool]] = []
        self._saving = asyncio.Lock()
        self._saved: tuple[dict[str, Any], str] | None = None
        self._published = ""
        self._progress: Progress | None = None
        # A start was begun, and its result is not stored yet.
        self._starting = False
        # A stop is never interrupted.
        self._ending = False

    # For the leader and the handlers of calls

    def notify(self, generation: int, announced_port: int | None = None) -> None:
        """Take over the row's latest generation."""
        self._announced = generation
        if generation > self.generation:
            self.look_again()
        elif announced_port and self.spawner is not None and not self.watching:
            self.spawner.announce_port(announced_port)

    def look_again(self) -> None:
        """Read the row again, because it may be deleted."""
        self._changed.set()
        self._woken.set()

    async def is_alive(self) -> bool:
        """Poll the process now; a dead server is settled before this returns."""
        if not self.watching:
            return True
        call: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._calls.append(call)
        self._woken.set()
        return await call

    # Steps

    async def run(self) -> None:
        """Reconcile until the server is stopped, or its row is deleted."""
        try:
            while await self._step():
                pass
        finally:
            self._return_to_calls(False)

    async def _step(self) -> bool:
        self._changed.clear()
        row = await self.term.ask(self.records.read, self.server_id)
        if row is None:
            await self._end_of_the_deleted()
            return False
        self.row, self.generation = row, row.generation
        if self._announced <= row.generation:
            # Generations announced before this read are included in it.
            self._changed.clear()
        self._ending = False
        if row.pending is None and not row.ready and row.settled == row.generation:
            return False
        if row.wanted == Server.Wanted.STOPPED:
            await self._stop(why="stop")
        elif row.pending == Server.Pending.SPAWN:
            await self._until_changed(self._start())
        elif row.pending == Server.Pending.CHECK or (
            row.ready and self.spawner is None
        ):
            await self._until_changed(self._adopt())
        elif row.ready:
            await self._watch()
        else:
            # Nothing is pending, and there is no process.
            await self._stop(why="exit")
        return True

    async def _until_changed(self, work: Coroutine[Any, Any, None]) -> None:
        """Work until that is done, or until there is a newer generation."""
        working = asyncio.ensure_future(work)
        changing = asyncio.ensure_future(self._changed.wait())
        both = {working, changing}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if self._ending:
                await working
        finally:
            changing.cancel()
            working.cancel()
            await asyncio.wait({working})
        with suppress(asyncio.CancelledError):
            working.result()

    @property
    def records(self) -> Records:
        return self.term.records

    async def _host(self, row: Row) -> HostedSpawner:
        host = await self.term.host()
        return host.spawner(row.context, self._note, self.term.keeper)

    # Starting

    async def _start(self) -> None:
        began = time.monotonic()
        try:
            if not await self._launch():
                return
        except (asyncio.CancelledError, Lost):
            await self._end_progress()
            raise
        except Exception as problem:
            if not isinstance(problem, SpawnFailed):
                log.exception("A start failed", server=self.row.context.label)
            await self._fail(SpawnFailed.of(problem), began)
            return
        self.term.has_started(self.row.context, time.monotonic() - began)

    async def _launch(self) -> bool:
        """Start the server, or resume a start that another controller began."""
        row = self.row
        url = await self._resume() if row.context.attempt else ""
        if not url:
            # An earlier server of this name must be deleted for ever before this start.
            while await self.term.ask(self.records.is_being_forgotten, row):
                await asyncio.sleep(FORGET_LOOK)
            attempt = secrets.token_hex(8)
            context = await refresh_owner(self.term, row.context)
            await prepare_owner(self.term, context)
            row = replace(
                row,
                context=replace(context, attempt=attempt, announced_port=None, url=""),
            )
            self.row = row
            self.spawner = spawner = await self._host(row)
            scopes = await spawner.requested_scopes()
            secret = await self.term.ask(self.records.begin, row, attempt, scopes)
            if secret is None:
                return False
            self._progress = Progress(self.records, self.term, row, spawner)
            self._starting = True
            url = await spawner.start(secret)
            await self._keep_secret(row, spawner, secret, scopes)
            del secret
        spawner = self._spawner()
        await self._save()
        self._starting = False
        try:
            await _until_ready(url, spawner)
        except NotReady as problem:
            if problem.status is None:
                raise spawner.not_responding(url) from None
            raise SpawnFailed(
                f"The server ended with status {problem.status} before it answered"
                f" at {url}",
                reason="exit",
            ) from None
        await self._publish(url)
        events = await self._end_progress()
        final = await spawner.ready_event(
            ready_event(row.context.user_name, row.context.name)
        )
        if not await self.term.ask(
            self.records.settle_ready,
            *(row, spawner.state(), url, [*events, final]),
        ):
            # There is a newer generation, whose step finds the spawner in memory.
            return False
        log.info("A server is ready", server=row.context.label, url=url)
        return True

    async def _keep_secret(
        self, row: Row, spawner: HostedSpawner, secret: str, scopes: Requested
    ) -> None:
        if spawner.api_token == secret:
            return
        problem = await self.term.ask(
            self.records.rehash, row, spawner.api_token, scopes
        )
        if problem:
            raise SpawnFailed(problem)

    async def _resume(self) -> str:
        """Find an interrupted start's process; return its address if it runs."""
        row = self.row
        self.spawner = spawner = await self._host(row)
        log.warning("A start was interrupted", server=row.context.label)
        if row.context.url and await self._poll_surely(spawner) is None:
            self._progress = Progress(self.records, self.term, row, spawner)
            return row.context.url
        await recovery.find_and_end(spawner, row.context.attempt)
        return ""

    async def _fail(self, failure: SpawnFailed, began: float) -> None:
        row, self._ending = self.row, True
        log.warning(
            "A server did not start",
            server=row.context.label,
            reason=failure.detail or failure.message,
            status=failure.status,
            output=self.spawner.last_output if self.spawner else [],
        )
        events = await self._end_progress()
        await self._withdraw()
        limit, state = 0, row.context.state
        if self.spawner is not None:
            limit = self.spawner.consecutive_failure_limit
            spawner = await self._end(self.spawner, tries=CLEANUP_TRIES, now=True)
            state = spawner.state()
        event = failed_event(failure.event)
        if failure.html_message:
            event["html_message"] = failure.html_message
        settled = await self.term.ask(
            self.records.settle_failed,
            *(row, state, failure, [*events, event]),
        )
        self.spawner = self._saved = None
        if settled:
            seconds = time.monotonic() - began
            self.term.has_failed(row.context, failure, seconds, limit)

    # Adopting

    async def _adopt(self) -> None:
        """Take over a server that was running under another controller."""
        row, url = self.row, self.row.context.url
        async with self.term.adopting:
            spawner = await self._host(row)
            status = await self._poll_surely(spawner)
        self.spawner = spawner
        if status is None and not row.is_welcome:
            await self._stop(why="stop")
            return
        try:
            if status is None:
                url = url or await spawner.current_url()
                await _until_ready(url, spawner)
        except NotReady as problem:
            status = problem.status
            if status is None:
                log.warning(
                    "A server runs but does not answer, and is stopped",
                    server=row.context.label,
                    url=url,
                )
                await self._stop(why="stop")
                return
        if status is not None:
            await self._stop(why="exit", status=status)
            return
        await self._publish(url, insist=False)
        if await self.term.ask(
            self.records.settle_ready, row, spawner.state(), url, []
        ):
            log.info("A server was found running", server=row.context.label)

    async def _poll_surely(self, spawner: HostedSpawner) -> int | None:
        """Return whether the server runs, and retry without limit until that is known.

        An unknown state is no reason to end the server.
        """
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                async with asyncio.timeout(POLL_PATIENCE):
                    return await spawner.poll()
            except Exception as problem:
                log.warning(
                    "The state of a server can't be found out",
                    server=self.row.context.label,
                    reason=str(problem) or type(problem).__name__,
                )
            await backoff.sleep()

    # Watching

    async def _watch(self) -> None:
        spawner = self._spawner()
        self.watching = True
        try:
            while not self._changed.is_set():
                self._woken.clear()
                if not self._calls:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_interval(spawner)):
                            await self._woken.wait()
                if self._changed.is_set():
                    break
                # A call that arrives during a poll gets the result of the next poll.
                calls = list(self._calls)
                if await self._has_ended(spawner):
                    return
                self._return_to_calls(True, calls)
        finally:
            self.watching = False
        self._return_to_calls(True)

    async def _has_ended(self, spawner: HostedSpawner) -> bool:
        began = time.monotonic()
        try:
            async with asyncio.timeout(POLL_PATIENCE):
                status = await spawner.poll()
        except Exception as problem:
            log.warning(
                "A server can't be polled",
                server=self.row.context.label,
                reason=str(problem) or type(problem).__name__,
            )
            return False
        self.term.has_polled(self.row.context, time.monotonic() - began, status)
        if status is None:
            return False
        await self._stop(why="exit", status=status)
        return True

    def _return_to_calls(
        self, alive: bool, calls: Sequence[asyncio.Future[bool]] | None = None
    ) -> None:
        """Return a result to all calls that wait for a poll, or to some of them."""
        for call in list(self._calls) if calls is None else calls:
            self._calls.remove(call)
            if not call.done():
                call.set_result(alive)

    # Stopping

    async def _stop(self, *, why: str, status: int | None = None) -> None:
        began = time.monotonic()
        row, spawner, self._ending = self.row, self.spawner, True
        if why == "exit":
            log.warning(
                "A server has ended by itself", server=row.context.label, status=status
            )
        await self._end_progress()
        await self._withdraw()
        resumes, forgotten = False, False
        state = row.context.state
        if spawner is None and row.has_left_traces:
            spawner = await self._host(row)
            self._starting = not row.context.url
        if spawner is not None:
            spawner = await self._end(spawner)
            state, resumes = spawner.state(), spawner.will_resume
        while True:
            outcome = await self.term.ask(
                self.records.settle_stopped,
                *(row, state),
                resumes=resumes,
                forgotten=forgotten,
                cancelled=cancelled_event(),
            )
            if outcome is not Outcome.TO_FORGET:
                break
            spawner = spawner or await self._host(row)
            await self._forget(spawner)
            forgotten = True
        self.spawner = self._saved = None
        if outcome is Outcome.SETTLED:
            log.info("A server is stopped", server=row.context.label)
            self.term.has_stopped(row.context, time.monotonic() - began, why)

    async def _end(
        self, spawner: HostedSpawner, *, tries: int = 0, now: bool = False
    ) -> HostedSpawner:
        """Stop the process, with at most so many tries; 0 means without limit."""
        state, url = spawner.state(), spawner.url
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        tried = 0
        while True:
            try:
                async with asyncio.timeout(STOP_PATIENCE):
                    await spawner.stop(now=now)
                if self._starting:
                    # The spawner may not have the id of the process or job yet.
                    context = replace(self.row.context, state={}, url="")
                    other = await self._host(replace(self.row, context=context))
                    await recovery.find_and_end(other, context.attempt)
                    self._starting = False
                return spawner
            except Exception as problem:
                tried += 1
                log.warning(
                    "A server can't be stopped",
                    server=self.row.context.label,
                    tried=tried,
                    reason=str(problem) or type(problem).__name__,
                )
                if tried == tries:
                    log.error("The server is left alone", server=self.row.context.label)
                    return spawner
            await backoff.sleep()
            now = True
            # The spawner of the failed try may have lost the id of its process.
            context = replace(
                self.row.context, state=state, url=url or self.row.context.url
            )
            spawner = await self._host(replace(self.row, context=context))

    async def _forget(self, spawner: HostedSpawner) -> None:
        try:
            await spawner.delete_forever()
        except Exception:
            log.exception("A spawner can't forget", server=self.row.context.label)

    async def _end_of_the_deleted(self) -> None:
        """End a server whose row was deleted."""
        if self.spawner is not None:
            log.warning("A server's row is gone", server=self.row.context.label)
            await self._end_progress()
            await self._withdraw()
            await self._end(self.spawner, tries=CLEANUP_TRIES)

    # Routes and rows

    async def _publish(self, url: str, *, insist: bool = True) -> None:
        try:
            await routes.publish_server(self._for_route(url))
        except ProxyError as problem:
            if insist:
                raise SpawnFailed(
                    f"The proxy can't be told where the server is: {problem}"
                ) from problem
            log.warning("A route can't be added", reason=str(problem))
        else:
            self._published = url

    async def _withdraw(self) -> None:
        self._published = ""
        try:
            async with asyncio.timeout(WITHDRAW_PATIENCE):
                await routes.withdraw_server(self._for_route(""))
        except (ProxyError, TimeoutError) as problem:
            log.warning(
                "A route can't be removed yet",
                server=self.row.context.label,
                reason=str(problem),
            )

    def _for_route(self, url: str) -> Server:
        context = self.row.context
        owner = User(pk=context.user_id, name=context.user_name)
        return Server(pk=context.server_id, user=owner, name=context.name, url=url)

    def _note(self, state: dict[str, Any], url: str) -> None:
        """Store the spawner's changed state; called by the spawner."""
        self.term.spawn(self._save())

    async def _save(self) -> None:
        async with self._saving:
            spawner, row = self.spawner, self.row
            if spawner is None:
                return
            now = (spawner.state(), spawner.url)
            if now == self._saved:
                return
            if await self.term.ask(self.records.keep, row, *now):
                self._saved = now
            moved = self.watching and now[1] and now[1] != self._published
        if moved:
            await self._publish(now[1], insist=False)

    async def _end_progress(self) -> list[dict[str, Any]]:
        """Stop reading progress; return the events that are not stored yet."""
        progress, self._progress = self._progress, None
        return await progress.end() if progress is not None else []

    def _spawner(self) -> HostedSpawner:
        if self.spawner is None:
            raise RuntimeError("a server without spawner")
        return self.spawner


async def _until_ready(url: str, spawner: HostedSpawner) -> None:
    """Wait until a server answers, or raise `NotReady`."""
    is_local = spawner.process is not None
    await until_ready(url, spawner.http_timeout, spawner.poll, is_local=is_local)


def _interval(spawner: HostedSpawner) -> float | None:
    """Return the seconds until the next poll, with a spread between servers."""
    interval = float(spawner.poll_interval)
    if interval <= 0:
        return None
    return interval * (1 + random.uniform(-1, 1) * float(spawner.poll_jitter))  # noqa: S311
