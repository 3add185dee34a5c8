"""`manage.py check_config`: what a start would say about a configuration.

The command prepares a start with an empty database, in a folder that exists for the
moment only. So it runs the code of a start and changes nothing of the site.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from hubsite.config.file import ConfigError
from hubsite.config.findings import Finding, State, findings, worst
from hubsite.process.loading import while_loading

BASE_DIR = Path(__file__).resolve().parents[2]
# The line of traitlets about a setting that a class does not have.
UNKNOWN_TRAIT = re.compile(
    r"Config option `(?P<name>\w+)` not recognized by `(?P<section>\w+)`"
)

STATUS = {State.HONOURED: 0, State.STOPS: 1, State.REMARK: 3}
SUMMARY = {
    State.HONOURED: "Everything in this configuration has its effect.",
    State.REMARK: "The hub starts; {remarks} need{s} a look.",
    State.STOPS: "The hub does not start with this configuration.",
}
# The narrowest and the widest table, and the width for files and pipes.
NARROW, WIDE, USUAL = 80, 160, 120
HEADS = ("setting", "what happens here", "what to do")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def check_config(argv: Sequence[str]) -> int:
    """Print the findings about the configuration in the environment.

    Returns 0 if everything has its effect, 3 if there are remarks, and 1 for a
    configuration with which the hub does not start.
    """
    parser = argparse.ArgumentParser("manage.py check_config", allow_abbrev=False)
    add_options(parser)
    options = parser.parse_args(argv)
    file = os.environ.get("HUB_CONFIG", "")
    found = look()
    state = worst(found)
    if options.json:
        rows = [finding.as_json() for finding in found]
        print(json.dumps({"file": file, "state": state, "settings": rows}, indent=2))
    else:
        columns = shutil.get_terminal_size((USUAL, 24)).columns
        width = min(max(columns, NARROW), WIDE)
        print(file or "No configuration file; the defaults apply.", end="\n\n")
        print(table(found, width))
        print(summary(state, found))
    return STATUS[state]


def look() -> list[Finding]:
    """Prepare a start beside the site and return the findings about it."""
    # What libraries note while they are imported is not part of the findings.
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="hub-check-") as folder:
        os.environ["HUB_DATA_DIR"] = folder
        # An empty database there, so that the site's is not migrated.
        os.environ.pop("HUB_DATABASE_URL_FILE", None)
        os.environ.pop("HUB_DATABASE_URL", None)
        # A check imports nothing.
        os.environ.pop("HUB_IMPORT_JUPYTERHUB", None)
        try:
            # What a configuration prints is not part of the findings.
            with redirect_stdout(sys.stderr):
                return list(_prepared())
        except ConfigError as error:
            return [stops(str(error))]


def _prepared() -> Any:
    from scopes.refusals import Refusal

    try:
        with while_loading():
            import django

            django.setup()
    except Refusal as refusal:
        raise ConfigError(f"c.JupyterHub.custom_scopes: {refusal.for_people}") from None
    from django.conf import settings

    from hubsite.config import spawner_sections
    from hubsite.config.hosted import hosted
    from hubsite.process.prepare import prepare

    hub = settings.HUB
    remarks = [*prepare()["remarks"], *spawner_sections.remarks(hub)]
    if hub.is_hosted:
        remarks = [*remarks, *remarks_of_class(hub.hosted_class)]
    return findings(hub.raw if settings.SITE.config else {}, remarks, hosted(hub))


def remarks_of_class(name: str) -> list[str]:
    """Try the hosted class in its own process; return its warnings as remarks.

    Raises `ConfigError` if the class refuses its settings.
    """
    ended = subprocess.run(  # noqa: S603 - our own
        [sys.executable, str(BASE_DIR / "manage.py"), "authenticator", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = ended.stderr.splitlines()
    if ended.returncode:
        reason = next((each for each in reversed(lines) if "ERROR: " in each), "")
        raise ConfigError(
            "c.JupyterHub.authenticator_class: "
            + (reason.partition("ERROR: ")[2] or f"{name!r} can't start")
        )
    found = []
    for line in lines:
        if unknown := UNKNOWN_TRAIT.search(line):
            found.append(
                f"c.{unknown['section']}.{unknown['name']}: has no effect; the class "
                "has no such setting"
            )
        elif "No allow config found" in line:
            found.append(
                "c.Authenticator.allow_all: not set, nor any other setting that lets "
                "people in, so nobody can sign in unless the class has rules of its "
                "own; set allow_all, or list people in allowed_users"
            )
    return list(dict.fromkeys(found))


def stops(message: str) -> Finding:
    """Return the finding about an error that stops the start."""
    place, separator, text = message.partition(": ")
    if not separator or " " in place.strip():
        # The place of an error in a file is part of the message.
        return Finding("", State.STOPS, message, "mend it, then check again")
    return Finding(place, State.STOPS, text, "mend it, then check again")


def summary(state: State, found: Sequence[Finding]) -> str:
    count = sum(finding.state is State.REMARK for finding in found)
    words = "1 setting" if count == 1 else f"{count} settings"
    return SUMMARY[state].format(remarks=words, s="s" if count == 1 else "")


def table(found: Sequence[Finding], width: int) -> str:
    """Return the findings as a table in three columns, the worst ones last."""
    order = list(State)
    rows = [
        (finding.setting, finding.happens, finding.to_do)
        for finding in sorted(found, key=lambda each: order.index(each.state))
    ]
    first = min(max(len(row[0]) for row in (HEADS, *rows)), width * 9 // 20)
    rest = width - first - 4
    widths = (first, rest * 3 // 5, rest - rest * 3 // 5)
    lines = []
    for row in (HEADS, tuple("-" * each for each in widths), *rows):
        cells = [
            textwrap.wrap(text, size, break_on_hyphens=False) or [""]
            for text, size in zip(row, widths, strict=True)
        ]
        for height in range(max(map(len, cells))):
            parts = [cell[height] if height < len(cell) else "" for cell in cells]
            padded = zip(parts, widths, strict=True)
            lines.append("  ".join(part.ljust(size) for part, size in padded).rstrip())
    return "\n".join([*lines, ""])
