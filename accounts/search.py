"""Finding users by a part of their name, in any letter case.

Each function writes a condition for an SQL statement that knows the users' table as
`u`, with its parameters. The indexes are made by the migration `search`.
"""

from __future__ import annotations

from django.db import connection

# The full-text table of SQLite knows parts of this length, and longer ones by them.
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
    # SQLite's LIKE knows the cases of ASCII only.
    spellings = sorted({text, text.lower(), text.upper()})
    condition = " OR ".join([r"u.name LIKE %s ESCAPE '\'"] * len(spellings))
    return f"({condition})", [f"%{_literal(spelling)}%" for spelling in spellings]


def _literal(text: str) -> str:
    """Take the meaning from characters that LIKE reads as wildcards."""
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
