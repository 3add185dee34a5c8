"""Auth state of a JupyterHub database."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from accounts import auth_state
from accounts.models import AuthState, User
from database.locks import keep
from moving.importing import Import
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
