"""`manage.py audit`: verify, export and vouch for the audit log."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from audit.actions import record
from audit.chain import Statement, public_keys
from audit.export import ExportError, ExportSource, export_lines, read_statements
from audit.models import Actor, Checkpoint
from audit.sealing import begin_anew
from audit.verification import Report, verify, verify_database

BROKEN, NOT_VERIFIED = 1, 2


class Command(BaseCommand):
    """Reads the audit log; only `begin` writes."""

    help = "Verify the hash chain of the audit log, or export it."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        check = actions.add_parser(
            "verify",
            help="verify the hash chain: 0 intact, 1 broken, 2 not verified",
        )
        check.add_argument(
            "--file", type=Path, metavar="FILE", help="an export, not the database"
        )
        check.add_argument(
            "--checkpoints",
            type=Path,
            metavar="FILE",
            help="checkpoints that were kept elsewhere, which the chain must contain",
        )
        check.add_argument(
            "--public-key",
            action="append",
            default=[],
            metavar="KEY",
            help="also trust this key; with --file, only such keys if there are any",
        )
        check.add_argument(
            "--strict",
            action="store_true",
            help="fail as well if events are older than they should be",
        )
        export = actions.add_parser(
            "export", help="write events, hashes and checkpoints as JSON lines"
        )
        kept = actions.add_parser(
            "checkpoints", help="write the checkpoints as JSON lines, to keep elsewhere"
        )
        for each in (export, kept):
            each.add_argument("--output", type=Path, metavar="FILE")
        kept.add_argument(
            "--last", action="store_true", help="only the latest checkpoint"
        )
        key = actions.add_parser("key", help="print the public key of the checkpoints")
        begin = actions.add_parser(
            "begin", help="begin a new chain, after a lost key or an examined change"
        )
        begin.add_argument("--reason", required=True, metavar="TEXT")
        for each in (check, export, kept, key, begin):
            each.add_argument("-f", "--config", metavar="CONFIG")
            each.add_argument("--data-dir", metavar="DIR")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, options["action"])(options)
        except ExportError as error:
            raise CommandError(str(error), returncode=NOT_VERIFIED) from error

    # Verification

    def verify(self, options: dict[str, Any]) -> None:
        keys = self.read_keys(options["public_key"])
        kept_file = options["checkpoints"]
        kept = read_statements(kept_file) if kept_file else []
        began = time.monotonic()
        if options["file"]:
            report = verify(ExportSource(options["file"]), keys or public_keys(), kept)
        else:
            # Without a checkpoint there may be no key yet, and root must not make it.
            own = public_keys() if Checkpoint.objects.exists() else []
            report = verify_database([*own, *keys], kept)
        seconds = time.monotonic() - began
        for line in describe(report, seconds):
            self.stdout.write(line)
        if not report.is_intact:
            raise CommandError(
                f"The audit log is broken: {report.number:,} findings, the first at"
                f" sequence {report.findings[0].sequence}",
                returncode=BROKEN,
            )
        if report.late and options["strict"]:
            raise CommandError(
                f"{report.late:,} events are older than they should be, the first at"
                f" sequence {report.first_late}",
                returncode=BROKEN,
            )
        if report.start is None:
            self.stdout.write("There is no chain yet; the controller begins it.")
            return
        self.stdout.write("The audit log is intact.")

    def read_keys(self, keys: Iterable[str]) -> list[str]:
        for key in keys:
            try:
                is_key = len(bytes.fromhex(key)) == 32
            except ValueError:
                is_key = False
            if not is_key:
                raise CommandError(
                    "--public-key: expected 64 hexadecimal digits, as"
                    " `manage.py audit key` prints",
                    returncode=NOT_VERIFIED,
                )
        return [key.lower() for key in keys]

    # Files

    def export(self, options: dict[str, Any]) -> None:
        self.write(export_lines(), options["output"])

    def checkpoints(self, options: dict[str, Any]) -> None:
        rows = Checkpoint.objects.order_by("pk")
        if options["last"]:
            rows = Checkpoint.objects.ends()[:1]
        self.write((Statement.of(row).line for row in rows), options["output"])

    def write(self, lines: Iterable[dict[str, Any]], path: Path | None) -> None:
        if path is None:
            for line in lines:
                self.stdout.write(json.dumps(line))
            return
        try:
            # An export names people, so others must not read it.
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            with os.fdopen(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
                number = 0
                for line in lines:
                    file.write(json.dumps(line) + "\n")
                    number += 1
        except OSError as error:
            raise ExportError(f"{path} can't be written: {error.strerror}") from error
        self.stderr.write(f"Wrote {number:,} lines to {path}")

    # The key

    def key(self, options: dict[str, Any]) -> None:
        self.stdout.write(public_keys()[0])

    @transaction.atomic
    def begin(self, options: dict[str, Any]) -> None:
        reason = options["reason"][:500]
        first = begin_anew(reason)
        record(
            Actor.system("command line"),
            *("audit.begin", "audit", ""),
            **{"reason": reason, "after": first.sequence},
        )
        self.stdout.write(f"A new chain begins after sequence {first.sequence}.")


def describe(report: Report, seconds: float) -> Iterable[str]:
    """Yield lines that say what was verified and what was found."""
    if report.events or report.purged:
        yield (
            f"Verified {report.events:,} events, sequence {report.first} to"
            f" {report.last}, from {shown(report.first_at)} to"
            f" {shown(report.last_at)}, in {seconds:.1f} s"
        )
    start, head = report.start, report.head
    if start is not None and head is not None:
        yield (
            f"Checkpoints: {report.checkpoints:,}, the last of {shown(head.at)} at"
            f" sequence {head.sequence}, signed by {head.public_key[:16]}…"
        )
        if start.kind == "purge":
            yield (
                f"Purged: events before {shown(report.before)}; the chain begins after"
                f" sequence {start.sequence}, and {report.purged:,} later seals are"
                " of purged events"
            )
        else:
            existing = start.detail.get("existing", 0)
            again = start.detail.get("reason")
            why = f" (begun anew: {again})" if again else ""
            yield (
                f"The chain begins after sequence {start.sequence} on"
                f" {shown(start.at)}{why}; {existing:,} events were there before and"
                " were sealed as they were"
            )
    if report.kept or report.kept_too_old:
        yield (
            f"Kept checkpoints: {report.kept:,} compared,"
            f" {report.kept_too_old:,} from before the start of the chain"
        )
    waiting = report.waiting
    if waiting.number:
        oldest = shown(waiting.oldest)
        yield f"Not sealed yet: {waiting.number:,}, the oldest of {oldest}"
    else:
        yield "Not sealed yet: 0"
    if report.late:
        yield (
            f"Older than they should be: {report.late:,} events, the first at sequence"
            f" {report.first_late}. They were sealed more than an hour after their own"
            " time, so they were inserted later, or the clock was changed."
        )
    for finding in report.findings:
        yield f"BROKEN at sequence {finding.sequence}: {finding.kind}: {finding.words}"
    if report.number > len(report.findings):
        yield f"… and {report.number - len(report.findings):,} more findings"


def shown(at: str) -> str:
    """Return a time without fractions of a second."""
    return f"{at[:19].replace('T', ' ')} UTC"
