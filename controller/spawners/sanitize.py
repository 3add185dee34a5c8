"""What spawners and hooks say, as a database can hold it.

PostgreSQL holds no NUL, neither database half of a character, as names of files may
become, and JSON no infinite number. A row that can't be written would be tried again
for ever, and with it the start that it tells of.
"""

from __future__ import annotations

import math
from typing import Any


def storable(value: Any) -> Any:
    """Return a text, or a value made of JSON, without what can't be stored."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {storable(key): storable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [storable(each) for each in value]
    return value
