"""How a process loads what it is made of."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast


@contextmanager
def while_loading() -> Iterator[None]:
    """Look for no garbage meanwhile.

    What is loaded stays, and to look through all of it, again and again as it grows,
    takes a fifth of the time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def left_out(*modules: str) -> Iterator[None]:
    """Have modules that are not loaded yet look as if they were not installed.

    For libraries that load whatever they might be asked to work with.
    """
    absent = [name for name in modules if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent, cast(Any, None)))
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
