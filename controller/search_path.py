"""The search path on which servers and services find `jupyterhub-singleuser`."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def with_own_programs(path: str) -> str:
    """Append the folder of the hub's own Python to a search path.

    The hub may run with the Python of a virtual environment that is not activated.
    Programs that the operator has put on the path are found first.
    """
    own = str(Path(sys.executable).parent)
    known = path.split(os.pathsep)
    return path if own in known else os.pathsep.join([*known, own])
