"""What JupyterHub keeps of people in secret: auth state, and passwords of plugins."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from accounts import auth_state
from accounts.imported_passwords import (
    ImportedPassword,
    firstuse_passwords,
    import_passwords,
    native_passwords,
)
from accounts.models import AuthState, User
from database.locks import keep
from moving.importing import BY, Import
from moving.jupyterhub_database import Row
from moving.memory import recall, remember
from scopes.refusals import Invalid

# Said of what can be imported later, once there is a key.
NO_KEY: Final = (
    "encrypted with a key that this hub does not have: set JUPYTERHUB_CRYPT_KEY (or "
    "c.CryptKeeper.keys) to the old hub's, or give --crypt-key-file, and import again"
)


def import_auth_state(
    old_keys: Sequence[bytes] = (),
) -> Callable[[Import], None]:
    """Return the step that imports auth state, encrypted by this hub or by these keys.

    A value that this hub can decrypt is stored as it is.
    """
    fernets = [Fernet(base64.urlsafe_b64encode(key)) for key in old_keys]

    def step(work: Import) -> None:
        if not work.old.has_column("users", "encrypted_auth_state"):
            return
        for rows in work.old.chunks("users"):
            filled = [
                row
                for row in rows
                if row["encrypted_auth_state"] and row["id"] in work.users
            ]
            if filled:
                with work.batch():
                    _import_states(work, filled, fernets)

    return step


def _import_states(work: Import, rows: list[Row], fernets: list[Fernet]) -> None:
    owners = {row["id"]: work.users[row["id"]] for row in rows}
    before = recall("state", [owner.name for owner in owners.values()])
    here = set(
        AuthState.objects.filter(
            user__in=[owner.pk for owner in owners.values()]
        ).values_list("pk", flat=True)
    )
    new = []
    for row in rows:
        owner = owners[row["id"]]
        if owner.name in before or owner.pk in here:
            work.report.kept["auth states"] += 1
            continue
        stored = _readable(row["encrypted_auth_state"], owner.name, fernets)
        if stored is None:
            work.report.leave("auth states", NO_KEY)
        else:
            new.append(AuthState(user_id=owner.pk, encrypted=stored))
    keep(User, *(state.user_id for state in new))
    AuthState.objects.bulk_create(new)
    work.report.came["auth states"] += len(new)
    names = {owner.pk: owner.name for owner in owners.values()}
    remember("state", {names[state.user_id]: state.user_id for state in new})


def _readable(value: Any, name: str, fernets: list[Fernet]) -> bytes | None:
    """Return a value as this hub can read it, or None."""
    if not isinstance(value, bytes | memoryview):
        return None
    stored = bytes(value)
    if auth_state.is_available():
        if auth_state.decrypt(stored, name) is not None:
            return stored
        if fernets:
            try:
                found = json.loads(MultiFernet(fernets).decrypt(stored))
                return auth_state.encrypt(found) if isinstance(found, dict) else None
            except (InvalidToken, ValueError, RecursionError, Invalid):
                return None
    return None


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
