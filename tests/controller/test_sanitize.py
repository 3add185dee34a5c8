"""Limits of the texts from spawners and hooks."""

from __future__ import annotations

from controller.spawners.failures import SpawnFailed
from controller.spawners.sanitize import LONGEST, brief


def test_texts_of_failures_are_cut() -> None:
    failure = SpawnFailed(
        "a" * 100_000, html_message="b" * 100_000, event="c", detail="d" * 100_000
    )

    for text in (failure.message, failure.html_message, failure.detail):
        assert len(text) == LONGEST + 1
        assert text.endswith("\u2026")
    assert failure.event == "c"


def test_texts_of_progress_are_cut_wherever_they_stand() -> None:
    event = {"progress": 5, "message": "m" * 100_000, "more": [{"a": "b" * 100_000}]}

    kept = brief(event)

    assert kept["progress"] == 5
    assert len(kept["message"]) == LONGEST + 1
    assert len(kept["more"][0]["a"]) == LONGEST + 1
    assert brief({"message": "short\0"}) == {"message": "short\ufffd"}
