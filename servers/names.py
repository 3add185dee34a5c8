"""Rules for the names of named servers, and for the size of start options."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from scopes.refusals import Invalid

SERVER_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,28}[a-z0-9])?")
SERVER_NAME_HINT = (
    "Use 1 to 30 of the characters a-z, 0-9 and single dashes; begin with a letter, "
    "end with a letter or digit."
)
DISPLAY_NAME_LENGTH = 255
# Characters of JSON. All servers of a user stand in one answer, with their options.
MAX_USER_OPTIONS = 65_536
DISPLAY_NAME_HINT = "Use 1 to 255 printable characters with single blanks between them."

# Printable are letters, marks, numbers, punctuation, symbols and the plain blank, but
# not controls, other separators, and unassigned code points.
PRINTABLE = frozenset("LMNPS")


def check_server_name(name: str) -> None:
    """Refuse a name that no new named server may have."""
    if not is_server_name(name):
        # Clients match the beginning of the message; the rest is for people.
        raise Invalid(f"Invalid server_name: {name!r}", hint=SERVER_NAME_HINT)


def is_server_name(name: str) -> bool:
    """Return whether a new named server may have this name."""
    return "--" not in name and SERVER_NAME.fullmatch(name) is not None


def check_display_name(text: str) -> None:
    """Refuse a text that would not be shown as one line."""
    name = unicodedata.normalize("NFC", text)
    printable = all(
        char == " " or unicodedata.category(char)[0] in PRINTABLE for char in name
    )
    blanks = name != name.strip() or "  " in name
    if not name or len(name) > DISPLAY_NAME_LENGTH or not printable or blanks:
        raise Invalid(f"Invalid display_name: {text!r}", hint=DISPLAY_NAME_HINT)


def check_user_options(options: dict[str, Any] | None) -> None:
    """Refuse options of a start that are larger than anybody chooses."""
    if options and len(json.dumps(options)) > MAX_USER_OPTIONS:
        raise Invalid(
            f"user_options are longer than {MAX_USER_OPTIONS} characters as JSON: put"
            " less into them"
        )
