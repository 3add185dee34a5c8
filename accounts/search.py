"""Search for users by a part of their name, in any letter case.

Each function returns a condition, with its parameters, for an SQL statement in which
`u` is the users' table. The indexes are made by the migration `search`.
"""

from __future__ import annotations

from django.db import connection

# The least length of a text that SQLite's full-text table can find.
PART = 3


def name_contains(text: str) -> tuple[str, list[str]]:
    """Match names that contain `text` literally."""
    if connection.vendor == "postgresql":
        return r"upper(u.name) LIKE upper(%s) ESCAPE '\'", [f"%{_literal(text)}%"]
    if len(text) >= PART:
        phrase = text.replace('"', '""')
        return (
            "u.id IN (SELECT rowid FROM accounts_user_parts "
            "WHERE accounts_user_parts MATCH %s)",
            [f'"{phrase}"'],
        )
    # SQLite's LIKE ignores case in ASCII only.
    spellings = sorted({text, text.lower(), text.upper()})
    condition = " OR ".join([r"u.name LIKE %s ESCAPE '\'"] * len(spellings))
    return f"({condition})", [f"%{_literal(spelling)}%" for spelling in spellings]


def _literal(text: str) -> str:
    """Escape the wildcards of LIKE."""
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
