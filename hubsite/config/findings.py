"""The effect of each setting of a configuration, for `manage.py check_config`.

The findings are made from the remarks of a start, so that the command and the start
can't differ. A setting without a remark has its effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from hubsite.config.remarks import is_of_spawners
from hubsite.config.unsupported import PLAIN

# A setting, or several of them, at the beginning of a remark.
PLACES = re.compile(r"((?:c\.)?[A-Z]\w*(?:\.\w+)?(?:, c\.[A-Z]\w*\.\w+)*): (.*)", re.S)
# Beginnings of remarks about settings whose effect the hub has anyway.
NOTHING_TO_DO = ("not needed",)


class State(StrEnum):
    """Whether a setting has its effect, from the best to the worst."""

    HONOURED = "honoured"
    REMARK = "remark"
    STOPS = "stops"


@dataclass(frozen=True, slots=True)
class Finding:
    """A setting, with what happens here and what the operator can do."""

    setting: str
    state: State
    happens: str
    to_do: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def findings(
    sections: Mapping[str, Mapping[str, Any]],
    remarks: Iterable[str],
    hosted: Mapping[str, str],
) -> Iterator[Finding]:
    """Yield a finding for each setting of a file, and for classes that it leaves out.

    `hosted` has the effects of settings without a remark; other settings are read.
    """
    said = dict.fromkeys(remarks)
    spoken: set[str] = set()
    found = [finding for remark in said for finding in of_remark(remark)]
    for finding in found:
        spoken.add(finding.setting)
    for section, settings in sorted(sections.items()):
        for name in sorted(settings):
            place = f"c.{section}.{name}"
            if place in spoken or f"c.{section}" in spoken:
                continue
            yield Finding(place, State.HONOURED, _effect(section, name, hosted))
    for place, happens in hosted.items():
        section, _, name = place.partition(".")
        if name not in sections.get(section, {}) and f"c.{place}" not in spoken:
            yield Finding(f"c.{place} (not set)", State.HONOURED, happens)
    yield from found


def of_remark(remark: str) -> Iterator[Finding]:
    """Yield a finding for each setting that a remark names."""
    match = PLACES.fullmatch(remark)
    places, text = match.groups() if match else ("", remark)
    happens, to_do = split(text)
    if happens.startswith("have "):
        # The remark is about several settings, a finding about one.
        happens = f"has {happens.removeprefix('have ')}"
    is_fine = happens.startswith(NOTHING_TO_DO)
    state = State.HONOURED if is_fine else State.REMARK
    if is_fine:
        happens, to_do = text, ""
    for place in places.split(", "):
        named = place if not place or place.startswith("c.") else f"c.{place}"
        yield Finding(named, state, happens, to_do)


def split(text: str) -> tuple[str, str]:
    """Split a remark into what happens and what to do, at its first semicolon.

    A semicolon within quotes belongs to a name.
    """
    depth = ""
    for place, character in enumerate(text):
        if character in "`'\"":
            # An apostrophe within a word is no quote.
            within = place and text[place - 1].isalnum()
            if depth == character:
                depth = ""
            elif not depth and not (character == "'" and within):
                depth = character
        elif character == ";" and not depth:
            return text[:place], text[place + 1 :].strip()
    return text, ""


def _effect(section: str, name: str, hosted: Mapping[str, str]) -> str:
    place = f"{section}.{name}"
    if known := hosted.get(place):
        return known
    if reason := PLAIN.get(place):
        return f"nothing to do: {reason}"
    if is_of_spawners(section):
        return "the spawner reads it"
    return "read"


def worst(found: Iterable[Finding]) -> State:
    """Return the worst state of all findings."""
    states = {finding.state for finding in found}
    return max(states, key=list(State).index, default=State.HONOURED)
