"""Passwords of NativeAuthenticator and FirstUseAuthenticator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from accounts.imported_passwords import (
    ImportedPassword,
    firstuse_passwords,
    import_passwords,
    native_passwords,
)
from accounts.models import User
from moving.importing import BY, Import
from moving.memory import recall, remember


def import_native_passwords(work: Import) -> None:
    """Import the passwords of NativeAuthenticator, which keeps them in a table."""
    # Every database that was used with the plugin installed has the table.
    _import_passwords(work, native_passwords(work.old.rows("users_info")))


def import_firstuse_passwords(path: Path) -> Callable[[Import], None]:
    """Return the step that imports the passwords of FirstUseAuthenticator."""

    def step(work: Import) -> None:
        _import_passwords(work, firstuse_passwords(path))

    return step


def _import_passwords(work: Import, found: Iterable[ImportedPassword]) -> None:
    passwords = list(found)
    if not passwords:
        return
    fresh = list(_not_imported(work, passwords))
    outcome = import_passwords(fresh, by=BY, within=work.batch)
    work.report.came["passwords"] += outcome.stored
    work.report.kept["passwords"] += outcome.kept + len(passwords) - len(fresh)
    work.report.came["sign-ups that wait"] += outcome.waiting
    work.report.came["second factors"] += outcome.second_factors
    for name in outcome.odd:
        work.report.leave(
            "passwords", "a name or digest that this hub can't have", name
        )
    with work.batch():
        admitted = {each.name for each in fresh if each.is_admitted}
        ids: dict[str, Any] = dict(
            User.objects.filter(name__in=admitted).values_list("name", "pk")
        )
        remember("password", ids)
        remember("user", ids)


def _not_imported(
    work: Import, passwords: Sequence[ImportedPassword]
) -> Iterator[ImportedPassword]:
    """Leave out passwords of earlier imports, and of people who were deleted since.

    Another person may have one of these names now.
    """
    names = [each.name for each in passwords]
    before, people = recall("password", names), recall("user", names)
    rows = User.objects.filter(pk__in=people.values())
    present = set(rows.values_list("pk", flat=True))
    for each in passwords:
        is_gone = each.name in people and people[each.name] not in present
        if is_gone:
            work.report.leave("passwords", "of people who were deleted here", each.name)
        elif each.name not in before:
            yield each
