"""How a process loads what it is made of."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
