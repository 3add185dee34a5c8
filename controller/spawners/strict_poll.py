"""Patches for spawners that report "stopped" when the backend can't be reached.

The hub does not stop a server whose row says that it is stopped, so its job or pod
would run on. These patches turn such reports into errors.
"""

from __future__ import annotations

from asyncio import Future
from typing import Any, Final

import structlog

log = structlog.get_logger("hub.spawner")

# batchspawner recognises two errors of Slurm; munge has more. Only one error means that
# the job is gone: that there is no such job.
SLURM_IS_SILENT: Final = (
    r"(?s)\A(?!.*Invalid job id).*(?:squeue|slurm_load_jobs)[^\n]* error"
)


def widen(spawner: Any) -> None:
    """Have a spawner of Slurm treat all failed queries as an unknown state.

    A setting of the site's configuration is kept.
    """
    name = "state_unknown_re"
    if not hasattr(spawner, "batch_submit_cmd") or not spawner.has_trait(name):
        return
    default = type(spawner).class_traits()[name].default_value
    if default and spawner.state_unknown_re == default and "slurm" in default:
        spawner.state_unknown_re = SLURM_IS_SILENT


def drop_broken(spawner: Any) -> None:
    """Have KubeSpawner list all pods anew if its cached list is not reliable.

    All spawners of its class share one list. If its first load failed the list is
    empty, and if the API was away for a minute its updates have stopped; KubeSpawner
    uses the list all the same. If the new load fails as well it raises an error, so
    that the state counts as unknown.
    """
    reflectors = getattr(type(spawner), "reflectors", None)
    if not isinstance(reflectors, dict):
        return
    for key, reflector in list(reflectors.items()):
        if _is_broken(reflector):
            del reflectors[key]
            log.warning("Pods or events are watched anew", which=str(key))


def _is_broken(reflector: Any) -> bool:
    loaded = getattr(reflector, "first_load_future", None)
    watching = getattr(reflector, "watch_task", None)
    has_failed = loaded is not None and loaded.done() and _failed(loaded)
    has_given_up = watching is not None and watching.done()
    return bool(has_failed or has_given_up)


def _failed(future: Future[Any]) -> bool:
    return future.cancelled() or future.exception() is not None
