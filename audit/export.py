"""The audit log as JSON lines, with the hashes, and the verification of such a file.

The first line says what the file is, then come the checkpoints, the sealed events in
the order of the chain, the events without a seal, and a line that ends the file.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from django.utils import timezone

from audit.chain import (
    VALUES,
    Statement,
    content_of,
    moment,
    public_keys,
)
from audit.models import Checkpoint
from audit.sealing import unsealed_values
from audit.verification import CHUNK, Row, Waiting, sealed_rows

FORMAT: Final = 1
# Most bytes in a line of an export; an event names at most a thousand rows.
LONGEST_LINE: Final = 16_000_000


class ExportError(Exception):
    """A file is no export of the audit log, or a damaged one."""


# Writing


def export_lines() -> Iterator[dict[str, Any]]:
    """Yield the lines of an export.

    Events that are sealed meanwhile are left for the next export.
    """
    statements = [Statement.of(row) for row in Checkpoint.objects.order_by("pk")]
    yield {
        **{"type": "audit", "format": FORMAT, "at": moment(timezone.now())},
        "public_keys": public_keys(),
    }
    yield from (each.line for each in statements)
    up_to = max((each.sequence for each in statements), default=0)
    number = 0
    for row, sealed in sealed_rows(-1, up_to):
        number += 1
        yield sealed_line(row, sealed)
    floor, batch = 0, CHUNK
    while batch == CHUNK:
        batch = 0
        for pk, values in unsealed_values(floor, CHUNK):
            batch += 1
            floor = pk
            yield {"type": "unsealed", "id": pk, **named(values)}
        number += batch
    yield {"type": "end", "events": number}


def named(values: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(VALUES, values, strict=True))


def sealed_line(row: Row, values: Sequence[Any] | None) -> dict[str, Any]:
    """Return the line of a sealed event, or of a seal whose event is gone."""
    hashes = {"content": row.content.hex(), "digest": row.digest.hex()}
    place = {"sequence": row.sequence, "id": row.event_id, "sealed_at": row.at}
    if values is None:
        return {"type": "gone", **place, **hashes}
    return {"type": "event", **place, **named(values), **hashes}


# Reading


class ExportSource:
    """The chain in an export, which is read line by line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._totals: tuple[Waiting, int] | None = None
        for line in self._lines():
            if line.get("type") != "audit" or line.get("format") != FORMAT:
                raise ExportError(f"{path} is not an export of the audit log")
            break
        else:
            raise ExportError(f"{path} is empty")

    def checkpoints(self) -> list[Statement]:
        found = []
        for line in self._lines():
            if line.get("type") == "checkpoint":
                try:
                    found.append(Statement.read(line))
                except ValueError as error:
                    raise ExportError(f"{self.path}: {error}") from error
            elif line.get("type") != "audit":
                break
        return found

    def rows(self, after: int, up_to: int, *, events: bool = True) -> Iterator[Row]:
        number, counted, highest, oldest = 0, 0, 0, ""
        last: dict[str, Any] = {}
        for line in self._lines():
            kind = line.get("type")
            last = line
            if kind == "unsealed":
                number += 1
                counted += 1
                at = str(line.get("at"))
                oldest = min(oldest or at, at)
            elif kind in ("event", "gone"):
                number += 1
                row = self._row(line)
                highest = max(highest, row.sequence)
                if after < row.sequence <= up_to:
                    yield row
        if last.get("type") != "end" or last.get("events") != number:
            raise ExportError(
                f"{self.path} is not complete: it has {number:,} events, and"
                f" {last.get('events', 'no')} according to its last line"
            )
        self._totals = Waiting(counted, oldest), highest

    def waiting(self) -> Waiting:
        return self._read_totals()[0]

    def last_sequence(self) -> int:
        return self._read_totals()[1]

    def _read_totals(self) -> tuple[Waiting, int]:
        """Return what a whole pass through the file counts."""
        while self._totals is None:
            deque(self.rows(0, 0), maxlen=0)
        return self._totals

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            with self.path.open("rb") as file:
                number = 0
                while text := file.readline(LONGEST_LINE + 1):
                    number += 1
                    yield self._parse(number, text)
        except OSError as error:
            raise ExportError(f"{self.path} can't be read: {error.strerror}") from error

    def _parse(self, number: int, text: bytes) -> dict[str, Any]:
        try:
            if len(text) > LONGEST_LINE:
                raise ValueError
            line = json.loads(text)
            if not isinstance(line, dict):
                raise ValueError
        except (ValueError, RecursionError) as error:
            raise ExportError(f"{self.path}, line {number}: no JSON object") from error
        return line

    def _row(self, line: dict[str, Any]) -> Row:
        try:
            row = Row(
                int(line["sequence"]),
                int(line["id"]),
                str(line["sealed_at"]),
                bytes.fromhex(line["content"]),
                bytes.fromhex(line["digest"]),
            )
            row.at.encode("ascii")
            if line["type"] == "gone":
                return row
            content = content_of([line[name] for name in VALUES])
        except (KeyError, TypeError, ValueError) as error:
            raise ExportError(
                f"{self.path}: a sealed event lacks a value: {error}"
            ) from error
        return row._replace(event_at=str(line["at"]), event_content=content)


def read_statements(path: Path) -> list[Statement]:
    """Return the checkpoints in a file of JSON lines that were kept elsewhere."""
    found = []
    try:
        with path.open("rb") as file:
            while text := file.readline(LONGEST_LINE + 1):
                line = json.loads(text)
                if isinstance(line, dict) and line.get("type") == "checkpoint":
                    found.append(Statement.read(line))
    except OSError as error:
        raise ExportError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path} is not a file of checkpoints") from error
    if not found:
        raise ExportError(f"{path} has no checkpoints")
    return found
