"""Where servers and services find programs such as `jupyterhub-singleuser`."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def with_own_programs(path: str) -> str:
    """Add the folder of the hub's own Python to a search path, behind all others.

    A virtual environment need not be activated for its Python to run the hub. A
    program that the operator has put on the path is found first.
    """
    own = str(Path(sys.executable).parent)
    known = path.split(os.pathsep)
    return path if own in known else os.pathsep.join([*known, own])
