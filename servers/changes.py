"""Telling others that something about servers has changed.

The signal carries no truth: it only hurries what a slow scan would find.
"""

from __future__ import annotations

from django.db import connection

CHANNEL = "hub_changes"


def announce() -> None:
    """Wake, at the commit of this transaction, whoever waits for changes.

    On SQLite the commit is the signal: everyone sees the file's version change.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])
