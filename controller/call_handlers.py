"""Handlers of the calls that web processes make to the controller.

The kinds of calls, their payloads and their results are listed in
`servers.controller_calls`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from controller.leadership import Lost
from controller.spawners.failures import SpawnFailed
from controller.spawners.spawn_context import SpawnContext
from database.storable import storable

if TYPE_CHECKING:
    from controller.spawners.hosted_spawner import HostedSpawner
    from controller.term import Term

log = structlog.get_logger("hub.controller")

# Seconds that the configuration's hooks may take for one call.
PATIENCE = 30.0


async def answer(term: Term, inquiry_id: int) -> None:
    """Handle one call, unless its row has been deleted."""
    call = await term.ask(term.records.call, inquiry_id)
    if call is None:
        return
    kind, payload = call
    try:
        async with asyncio.timeout(PATIENCE):
            reply = await HANDLERS[kind](term, payload)
    except SpawnFailed as failure:
        reply = {"error": failure.message, "status": failure.status}
        if failure.html_message:
            reply["html"] = failure.html_message
    except TimeoutError:
        log.exception("A call took too long", kind=kind)
        reply = {"error": "no answer in time", "status": 500}
    except Lost:
        raise
    except Exception:
        # An error in the site's classes must not end the term, because the next leader
        # would find the same call waiting. The text of the error may hold secrets.
        log.exception("A call failed", kind=kind)
        reply = {"error": "Internal Server Error", "status": 500}
    await term.ask(term.records.answer, inquiry_id, storable(reply))


async def _poll(term: Term, payload: dict[str, Any]) -> dict[str, Any]:
    reconciler = term.reconcilers.get(payload["server_id"])
    return {"alive": reconciler is not None and await reconciler.is_alive()}


async def _form(term: Term, payload: dict[str, Any]) -> dict[str, Any]:
    spawner = await _spawner(term, payload)
    return {"form": await spawner.options_form()}


async def _from_form(term: Term, payload: dict[str, Any]) -> dict[str, Any]:
    spawner = await _spawner(term, payload)
    files = payload.get("files")
    return {"options": await spawner.options_from_form(payload["fields"], files)}


async def _forget(term: Term, payload: dict[str, Any]) -> dict[str, Any]:
    context = SpawnContext(
        server_id=payload["server_id"],
        user_id=payload["user_id"],
        user_name=payload["owner"],
        name=payload["server_name"],
        state=payload["state"],
    )
    try:
        await (await term.host()).spawner(context).delete_forever()
    except Exception:
        # There is no retry, because the row of the call is deleted.
        log.exception("A spawner can't forget", server=context.label)
        return {"error": "Internal Server Error", "status": 500}
    return {}


async def _spawner(term: Term, payload: dict[str, Any]) -> HostedSpawner:
    owner, name = payload["owner"], payload.get("server_name", "")
    context = await term.ask(term.records.context_of, owner, name)
    if context is None:
        raise LookupError(f"no user {owner}")
    return (await term.host()).spawner(context, keeper=term.keeper)


HANDLERS = {
    "poll": _poll,
    "options_form": _form,
    "options_from_form": _from_form,
    "forget": _forget,
}
