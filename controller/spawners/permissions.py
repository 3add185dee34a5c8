"""Why an account of the system can't run a program, for the operator."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# The longest first line of a script that names an interpreter, as in Linux.
LONGEST_LINE: Final = 256


def why_not_run(command: str, path: str, account: str) -> str:
    """Return why an account can't run a command of a search path; "" if unknown."""
    try:
        owner = pwd.getpwnam(account)
        found = shutil.which(command, path=path) or command
        groups = frozenset(os.getgrouplist(account, owner.pw_gid))
        for program in _programs(Path(found)):
            for place in _places(program):
                if not _may(place, owner.pw_uid, groups):
                    act = "enter" if place.is_dir() else "run"
                    return f"{account} can't {act} {place}, which {found} needs"
    except (OSError, KeyError):
        pass
    return ""


def _programs(program: Path) -> Iterator[Path]:
    """Yield a program and the interpreter that its first line names."""
    yield program
    with program.open("rb") as file:
        line = file.readline(LONGEST_LINE)
    if line.startswith(b"#!") and (words := line[2:].split()):
        yield Path(os.fsdecode(words[0]))


def _places(program: Path) -> Iterator[Path]:
    """Yield the folders of a program from the root on, and the program itself."""
    for path in dict.fromkeys((program.absolute(), program.resolve())):
        yield from reversed(path.parents)
        yield path


def _may(place: Path, uid: int, groups: frozenset[int]) -> bool:
    facts = place.stat()
    if uid == 0:
        return True
    if facts.st_uid == uid:
        return bool(facts.st_mode & stat.S_IXUSR)
    if facts.st_gid in groups:
        return bool(facts.st_mode & stat.S_IXGRP)
    return bool(facts.st_mode & stat.S_IXOTH)
