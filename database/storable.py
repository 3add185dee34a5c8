"""Remove NUL bytes, lone surrogates and infinities before text is stored.

Programs and functions of others produce such values, for instance from names of files.
PostgreSQL stores no NUL, neither database stores lone surrogates, and JSON has no
infinite number.
"""

from __future__ import annotations

import math
from typing import Any


def storable(value: Any) -> Any:
    """Return a text or JSON value without what can't be stored."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {storable(key): storable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [storable(each) for each in value]
    return value
