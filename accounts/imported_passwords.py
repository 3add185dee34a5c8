"""Passwords from JupyterHub's plugins that keep them: Native and FirstUse.

For an importer, in this order, after the users of the old database were imported:

    passwords = native_passwords(rows_of_users_info)
    report = import_passwords(passwords, by=BY)
    passwords = firstuse_passwords(Path("passwords.dbm"))
    report = import_passwords(passwords, by=BY)

The digests are bcrypt's. They sign people in as they are, and are renewed to Argon2id
at the first sign-in. Repeating an import changes nothing, and updates only what nobody
has used here yet: a password that was chosen here, or renewed here, always stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX as UNUSABLE
from django.contrib.auth.hashers import is_password_usable
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import connection, transaction

from accounts.actions import add_users
from accounts.hashing import imported_digest, is_imported
from accounts.models import SignUp, User
from accounts.naming import NAMES, is_named, is_valid_name, normalise_name
from accounts.password_files import read_password_file
from audit.actions import record_many
from audit.models import Actor
from database.batches import Transaction, batches, give_way
from database.locks import Advisory, wait_for

# Base32, as authenticator apps take it; Native's have 16 characters.
MOST_TOTP: Final = 128
BASE32: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567=")


class _Account(NamedTuple):
    pk: int
    password: str


@dataclass(frozen=True, slots=True)
class ImportedPassword:
    """A digest as a plugin stores it, with the plugin's data about the person.

    Somebody who `is_admitted` gets an account with this password. Anybody else waits
    for an operator, as before.
    """

    name: str
    digest: bytes | str
    is_admitted: bool = True
    email: str = ""
    totp: str = ""


@dataclass(slots=True)
class PasswordReport:
    """What became of the rows of an import.

    `stored` accounts have the imported password now, `kept` ones had a password here
    or the same one from an earlier import, `waiting` are sign-ups that an operator
    decides about. `odd` are names that can't be names here, with digests that can't be
    verified. `second_factors` were stored with their passwords.
    """

    stored: int = 0
    kept: int = 0
    waiting: int = 0
    created: int = 0
    second_factors: int = 0
    odd: list[str] = field(default_factory=list)

    def add(self, other: PasswordReport) -> None:
        self.stored += other.stored
        self.kept += other.kept
        self.waiting += other.waiting
        self.created += other.created
        self.second_factors += other.second_factors
        self.odd += other.odd


def native_passwords(rows: Iterable[Mapping[str, Any]]) -> Iterator[ImportedPassword]:
    """Read rows of NativeAuthenticator's table `users_info`, by the names of columns.

    Columns that a release lacks may be missing. `otp_secret` is filled for everybody,
    so it counts only with `has_2fa`.
    """
    for row in rows:
        password = row.get("password")
        secret = row.get("otp_secret") if row.get("has_2fa") else ""
        yield ImportedPassword(
            name=str(row.get("username") or ""),
            digest=password if isinstance(password, bytes | str) else b"",
            is_admitted=bool(row.get("is_authorized")),
            email=str(row.get("email") or ""),
            totp=str(secret or ""),
        )


def firstuse_passwords(path: Path) -> Iterator[ImportedPassword]:
    """Read the file of FirstUseAuthenticator, `passwords.dbm` by default.

    `path` is the plugin's `dbm_path`. Raises `Invalid` if the file can't be read. As
    in the plugin, a name in another spelling counts only if nobody has the usual one.
    """
    digests = read_password_file(path)
    spelt = {normalise_name(name): name for name in reversed(digests)}
    for name, other in spelt.items():
        yield ImportedPassword(name, digests.get(name, digests[other]))


def import_passwords(
    passwords: Iterable[ImportedPassword],
    *,
    by: Actor,
    is_dry_run: bool = False,
    within: Transaction = transaction.atomic,
    progress: Callable[[int], object] | None = None,
) -> PasswordReport:
    """Store passwords of a plugin, in batches, each `within` a transaction.

    An admitted person without an account gets one. A row is skipped, and counted as
    `odd`, if its name or digest can't be stored here. A dry run writes nothing and
    reports the same numbers. `progress` is called with the number of rows that a batch
    has dealt with.
    """
    report = PasswordReport()
    for number, batch in enumerate(batches(passwords, NAMES)):
        if number and not is_dry_run:
            give_way()
        with within():
            report.add(_import_some(batch, by=by, is_dry_run=is_dry_run))
        if progress is not None:
            progress(len(batch))
    return report


def _import_some(
    batch: list[ImportedPassword], *, by: Actor, is_dry_run: bool
) -> PasswordReport:
    report = PasswordReport()
    # Of two rows with one name the first counts, as in the plugin.
    rows: dict[str, ImportedPassword] = {}
    digests: dict[str, str] = {}
    for row in batch:
        digest = imported_digest(row.digest)
        if digest is None or not is_valid_name(row.name):
            report.odd.append(row.name)
        elif row.name not in rows:
            rows[row.name], digests[row.name] = row, digest
    if not is_dry_run:
        # Before the rows of users, see database/locks.py.
        wait_for(Advisory.USER_NAMES)
    # Not locked: an update names the digest that it replaces.
    users = User.objects.filter(is_named(rows)).order_by("pk")
    known = {
        name: _Account(pk, password)
        for name, pk, password in users.values_list("name", "pk", "password")
    }
    admitted = [name for name, row in rows.items() if row.is_admitted]
    new = [name for name in admitted if name not in known]
    empty = [
        name
        for name in admitted
        if name in known and not is_password_usable(known[name].password)
    ]
    # Not used here since an earlier import.
    older = [
        name
        for name in admitted
        if name in known
        and is_imported(known[name].password)
        and known[name].password != digests[name]
    ]
    waiting = _unseen_sign_ups(
        [row for row in rows.values() if not row.is_admitted], known
    )
    factors = _lacking_factors([*new, *empty], rows)
    report.created = len(new)
    report.stored = len(new) + len(empty) + len(older)
    report.kept = len(admitted) - report.stored
    report.waiting = len(waiting)
    report.second_factors = len(factors)
    if is_dry_run:
        return report
    ids = {name: known[name].pk for name in (*empty, *older)}
    ids |= add_users(new, admin=False, by=by)
    before = {name: known[name].password for name in (*empty, *older)}
    _store(
        [
            (digests[name], _email(rows[name].email), pk, before.get(name, UNUSABLE))
            for name, pk in sorted(ids.items(), key=itemgetter(1))
        ]
    )
    Authenticator.objects.bulk_create(
        Authenticator(
            user_id=ids[name],
            type=Authenticator.Type.TOTP,
            data={"secret": _encrypted(rows[name].totp)},
        )
        for name in factors
    )
    record_many(by, "user.import_password", "user", list(ids))
    SignUp.objects.bulk_create(
        SignUp(
            name=row.name,
            password=digests[row.name],
            email=_email(row.email),
            totp=_encrypted(row.totp),
            is_imported=True,
        )
        for row in waiting
    )
    record_many(by, "sign_up.import", "sign_up", [row.name for row in waiting])
    return report


def _store(changes: list[tuple[str, str, int, str]]) -> None:
    """Store digests and addresses of accounts that still have an earlier digest."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE accounts_user SET password = %s, "
            "email = CASE WHEN email = '' THEN %s ELSE email END "
            "WHERE id = %s AND password = %s",
            changes,
        )


def _lacking_factors(
    names: list[str], rows: Mapping[str, ImportedPassword]
) -> list[str]:
    """Return those of these people whose second factor is to be stored."""
    wanted = [name for name in names if _is_secret(rows[name].totp)]
    if not wanted:
        return []
    taken = set(
        Authenticator.objects.filter(
            user__in=User.objects.filter(is_named(wanted)).order_by().values("pk"),
            type=Authenticator.Type.TOTP,
        ).values_list("user__name", flat=True)
    )
    return [name for name in wanted if name not in taken]


def _unseen_sign_ups(
    rows: list[ImportedPassword], known: Mapping[str, _Account]
) -> list[ImportedPassword]:
    """Return the rows that wait and were in no earlier import.

    Somebody with a password here was let in meanwhile.
    """
    before = SignUp.objects.filter(is_named([row.name for row in rows]))
    seen = set(before.filter(is_imported=True).values_list("name", flat=True))
    return [
        row
        for row in rows
        if row.name not in seen
        and not (row.name in known and is_password_usable(known[row.name].password))
    ]


def _is_secret(secret: str) -> bool:
    return 0 < len(secret) <= MOST_TOTP and BASE32.issuperset(secret.upper())


def _encrypted(secret: str) -> str:
    return str(get_adapter().encrypt(secret)) if _is_secret(secret) else ""


def _email(address: str) -> str:
    """Return an address that a mail can be sent to, or none."""
    try:
        validate_email(address)
    except ValidationError:
        return ""
    return address[:254]
