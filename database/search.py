"""Search for rows by a part of their names, in any letter case.

The indexes are made by migrations, see `database.indexes`.
"""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import Model, Q
from django.db.models.expressions import RawSQL

# The least length of a text that SQLite's full-text tables can find.
PART = 3


def contains(model: type[Model], text: str, *fields: str, indexed: bool = True) -> Q:
    """Match the rows in which one of these fields contains `text` literally.

    `indexed` says that a migration has made an index of the fields.
    """
    if connection.vendor == "sqlite" and indexed and len(text) >= PART:
        return Q(pk__in=_matching(model._meta.db_table, text, fields))
    condition = Q()
    for field in fields:
        for spelling in _spellings(text):
            condition |= Q(**{f"{field}__icontains": spelling})
    return condition


def begins_with(field: str, text: str) -> Q:
    """Match a field that begins with `text`, with a condition that can use an index."""
    if connection.vendor == "sqlite":
        # LIKE does not use the index on this database, a range does.
        return Q(**{f"{field}__gte": text, f"{field}__lt": f"{text}\U0010ffff"})
    return Q(**{f"{field}__startswith": text})


def _matching(table: str, text: str, fields: tuple[str, ...]) -> Any:
    """Return a query for the ids of rows in the full-text table."""
    parts, phrase = f"{table}_parts", text.replace('"', '""')
    return RawSQL(  # noqa: S611 - names of ours; the text is a parameter
        f"SELECT rowid FROM {parts} WHERE {parts} MATCH %s",  # noqa: S608
        [f'{{{" ".join(fields)}}} : "{phrase}"'],
    )


def _spellings(text: str) -> set[str]:
    """Return a letter's cases, because SQLite's LIKE knows ASCII only."""
    if connection.vendor == "sqlite" and not text.isascii():
        return {text, text.lower(), text.upper()}
    return {text}
