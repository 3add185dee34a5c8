"""Kinds of spawners, and the mark by which the processes of a start are found."""

from __future__ import annotations

from typing import Any, Final

# The mark of an attempt: a variable of processes, the beginning of a job's comment.
VARIABLE: Final = "HUB_ATTEMPT"
COMMENT: Final = "hub:"


def is_local(spawner: Any) -> bool:
    """Return whether a spawner starts processes of this machine."""
    from jupyterhub.spawner import LocalProcessSpawner

    return isinstance(spawner, LocalProcessSpawner)


def submits(spawner: Any) -> bool:
    """Return whether a spawner runs a command of a batch system."""
    return hasattr(spawner, "batch_submit_cmd")


def is_slurm(spawner: Any) -> bool:
    """Return whether a spawner submits jobs to Slurm; the class is not imported."""
    return any(each.__name__ == "SlurmSpawner" for each in type(spawner).__mro__)


def mark(spawner: Any, attempt: str) -> None:
    """Mark the spawner's future process or job with the id of the attempt."""
    if not attempt:
        return
    spawner.environment = {**spawner.environment, VARIABLE: attempt}
    if is_slurm(spawner) and not _has_comment(spawner):
        spawner.batch_submit_cmd += f" --comment={COMMENT}{attempt}"


def _has_comment(spawner: Any) -> bool:
    """Return whether the site sets a comment of its own, which must be kept."""
    return any(
        "--comment" in text
        for text in (
            spawner.batch_submit_cmd,
            spawner.batch_script,
            spawner.req_options,
        )
    )
