"""Where spawners take it that a server is gone, and only could not find out.

A server of which the hub believes that it is gone is never stopped by anybody: its
row says that it is stopped, and its job or pod runs on.
"""

from __future__ import annotations

from asyncio import Future
from typing import Any, Final

import structlog

log = structlog.get_logger("hub.spawner")

# batchspawner knows two ways in which Slurm does not tell; munge has more. The one
# error that does tell is that there is no such job.
SLURM_IS_SILENT: Final = (
    r"(?s)\A(?!.*Invalid job id).*(?:squeue|slurm_load_jobs)[^\n]* error"
)


def widen(spawner: Any) -> None:
    """Let a spawner of Slurm doubt whenever Slurm tells nothing of its job.

    What a site has configured itself stays.
    """
    name = "state_unknown_re"
    if not hasattr(spawner, "batch_submit_cmd") or not spawner.has_trait(name):
        return
    default = type(spawner).class_traits()[name].default_value
    if default and spawner.state_unknown_re == default and "slurm" in default:
        spawner.state_unknown_re = SLURM_IS_SILENT


def drop_broken(spawner: Any) -> None:
    """Let KubeSpawner look at all pods anew if it can't rely on what it knows of them.

    All spawners of its class share one picture. If its first load failed it is empty,
    and if the API was away for a minute it has given up; it is used on all the same.
    Should the new look fail as well it raises, which tells that nothing is known.
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
