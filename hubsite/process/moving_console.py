"""An import of a JupyterHub database in a terminal, with its progress and report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from moving.importing import Advance, import_database, total
from moving.jupyterhub_database import OldDatabase
from moving.report import Report
from moving.steps import steps_of


def import_from(
    address: str,
    *,
    is_dry_run: bool = False,
    old_keys: Sequence[bytes] = (),
    firstuse: Path | None = None,
    console: Console | None = None,
) -> Report:
    """Import a database, and print what came and what did not."""
    console = console or Console()
    steps = steps_of(old_keys, firstuse)
    with OldDatabase(address) as old:
        console.print(
            f"{old.source}: a database of JupyterHub {old.release}", highlight=False
        )
        with _progress(console, total(old)) as advance:
            report = import_database(old, steps, advance=advance, is_dry_run=is_dry_run)
    show(report, console, title="would come" if is_dry_run else "came")
    if is_dry_run:
        console.print("Nothing was changed.")
    return report


@contextmanager
def _progress(console: Console, totals: dict[str, int]) -> Iterator[Advance]:
    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        tasks = {
            kind: bar.add_task(kind, total=number) for kind, number in totals.items()
        }
        yield lambda kind, number: bar.advance(tasks[kind], number)


def show(report: Report, console: Console, *, title: str) -> None:
    """Print a report; `title` heads the numbers of what was moved."""
    table = Table(box=None)
    table.add_column("")
    for heading in (title, "kept", "left"):
        table.add_column(heading, justify="right")
    for kind in report.kinds():
        numbers = report.came[kind], report.kept[kind], report.left_of(kind)
        if any(numbers):
            table.add_row(kind, *map(str, numbers))
    console.print(table)
    for line in (*report.reasons(), *report.remarks):
        console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)
