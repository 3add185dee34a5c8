"""The steps of an import, in the order in which rows depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from accounts.password_files import read_password_file
from moving.auth_state import import_auth_state
from moving.clients import import_clients
from moving.importing import Import
from moving.passwords import import_firstuse_passwords, import_native_passwords
from moving.people import import_groups, import_roles, import_users
from moving.servers import import_servers
from moving.services import import_services
from moving.shares import import_shares
from moving.tokens import import_tokens

Step = Callable[[Import], None]

STEPS: Final[tuple[Step, ...]] = (
    import_roles,
    import_groups,
    import_users,
    import_services,
    import_servers,
    import_clients,
    import_tokens,
    import_shares,
    import_native_passwords,
)


def steps_of(
    old_keys: Sequence[bytes] = (), firstuse: Path | None = None
) -> list[Step]:
    """Return the steps of an import, in their order."""
    steps = [*STEPS, import_auth_state(old_keys)]
    if firstuse is not None:
        # Fails before anything is changed if the file can't be read.
        read_password_file(firstuse)
        steps.append(import_firstuse_passwords(firstuse))
    return steps
