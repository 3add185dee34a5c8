"""Names of users and groups: rules, spellings, and many names in one statement.

Lists of names are sent to the database as one JSON text and become rows there, so that
a thousand names cost little more than one.
"""

# Tables and fragments in the statements are constants; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote

from django.conf import settings
from django.db import connection, models
from django.db.models import Q
from django.db.models.expressions import RawSQL

from accounts.models import NAME_LENGTH, Group, User
from audit.actions import MOST_NAMES
from database.locks import (
    Advisory,
    wait_for,
)
from scopes.refusals import Invalid

# Limit of names in one call.
MOST_NAMED = 10_000
# Names of one batch, which take one or two rows each.
NAMES = MOST_NAMES
# A JSON text of names as rows `t(key, value)`.
NAMES_AS_ROWS = {
    "sqlite": "json_each(%s) AS t",
    "postgresql": (
        "jsonb_array_elements_text(%s::jsonb) WITH ORDINALITY AS t(value, key)"
    ),
}


# Names
def normalise_name(name: str) -> str:
    """Return a username as it is stored: lower case, then the configured map."""
    lowered = name.lower()
    return settings.HUB.username_map.get(lowered, lowered)


def spellings(name: str) -> list[str]:
    """Return the possible usernames for a typed name, the likeliest first.

    Names are stored in the form of `normalise_name`, except those that programs created
    with `POST /users/NAME`, which JupyterHub does not normalise. Addresses of the API
    contain exact names.
    """
    name = name.strip()
    return [] if "\0" in name else list(dict.fromkeys([name, normalise_name(name)]))


def find_typed_user(
    name: str, users: models.QuerySet[User] | None = None
) -> User | None:
    """Find a user, among all or these, by a typed name."""
    wanted = spellings(name)
    found = User.objects.all() if users is None else users
    by_name = {user.name: user for user in found.filter(name__in=wanted)}
    return next((by_name[each] for each in wanted if each in by_name), None)


def is_valid_name(name: str) -> bool:
    """Return whether a username can be part of an address and matches the pattern."""
    return (
        bool(name)
        and len(name) <= NAME_LENGTH
        and "/" not in name
        and "\0" not in name
        and bool(unquote(name).strip("."))
        and name == name.strip()
        and (
            not settings.HUB.username_pattern
            or re.match(settings.HUB.username_pattern, name) is not None
        )
    )


def check_name(name: str) -> None:
    """Raise `Invalid` if this can't be a username."""
    check_names([name])


def check_number(names: Sequence[str], what: str) -> None:
    """Raise `Invalid` if these are more names than one call may contain."""
    if len(names) > MOST_NAMED:
        raise Invalid(
            f"{len(names)} {what} are too many for one call: name at most"
            f" {MOST_NAMED}, and the others in further calls"
        )


def check_names(names: Sequence[str]) -> None:
    """Raise `Invalid` with a list of all names that can't be usernames."""
    bad = [name for name in names if not is_valid_name(name)]
    if bad:
        shown = ", ".join(name[:NAME_LENGTH] or "(empty)" for name in bad)
        pattern = settings.HUB.username_pattern
        raise Invalid(
            f"Invalid username{'s' if len(bad) > 1 else ''}: {shown}",
            hint=f"A name has 1 to {NAME_LENGTH} characters, no slash, no blank at its "
            f"ends and not only dots{f', and matches {pattern}' if pattern else ''}.",
        )


def users_of(ids: Iterable[int]) -> models.QuerySet[User]:
    """Return users by ids, which may be more than a statement's parameters."""
    ids = list(ids)
    if len(ids) <= MOST_NAMES:
        # The database plans well for a list of values.
        return User.objects.filter(pk__in=ids)
    rows = RawSQL(  # noqa: S611
        f"SELECT CAST(t.value AS bigint) FROM {names_as_rows()}",
        [json.dumps(ids)],
    )
    return User.objects.filter(pk__in=rows)


def is_named(names: Iterable[str]) -> Q:
    """Match rows by names, which may be more than a statement's parameters."""
    rows = RawSQL(  # noqa: S611
        f"SELECT t.value FROM {names_as_rows()}", [json.dumps(list(names))]
    )
    return Q(name__in=rows)


def until_taken(names: list[str]) -> list[str]:
    """Return the names before the first that exists or is a duplicate."""
    taken = set(Group.objects.filter(name__in=names).values_list("name", flat=True))
    for position, name in enumerate(names):
        if name in taken:
            return names[:position]
        taken.add(name)
    return names


def unknown_users(names: Iterable[str]) -> list[str]:
    """Return those of these usernames that no user has, in their order."""
    wanted = list(names)
    known = set(ids_of_users(wanted).values())
    return [name for name in wanted if normalise_name(name) not in known]


def known_users(names: list[str]) -> dict[int, str]:
    """Return the ids and names of users; refuse names without a user."""
    check_number(names, "users")
    known = ids_of_users(names)
    if len(known) < len(set(names)):
        there = set(known.values())
        for name in map(normalise_name, names):
            if name not in there:
                raise Invalid(f"No such user: {name}")
    return known


def ids_of_users(names: list[str]) -> dict[int, str]:
    """Return ids and normalised names of users, in the order of the names."""
    if not names:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT u.id, u.name FROM {names_as_rows()} "
            "JOIN accounts_user u ON u.name = t.value ORDER BY t.key",
            [json.dumps([normalise_name(name) for name in names])],
        )
        return dict(cursor.fetchall())


# Users and groups
def names_as_rows() -> str:
    return NAMES_AS_ROWS[connection.vendor]


def insert_named(template: models.Model, names: list[str]) -> dict[str, int]:
    """Insert one row per name as copies of `template`; return the ids of new rows.

    Names that exist are skipped, also those that another transaction has just inserted.
    """
    meta = template._meta
    fields = [
        field
        for field in meta.concrete_fields
        if not field.primary_key and field.name != "name"
    ]
    columns = ", ".join(f'"{field.column}"' for field in fields)
    values = [
        field.get_db_prep_save(field.pre_save(template, True), connection)
        for field in fields
    ]
    if len(names) > 1:
        wait_for(
            Advisory.USER_NAMES if isinstance(template, User) else Advisory.GROUP_NAMES
        )
    with connection.cursor() as cursor:
        cursor.execute(
            f'INSERT INTO "{meta.db_table}" (name, {columns}) '
            f"SELECT t.value, {', '.join(['%s'] * len(fields))} FROM {names_as_rows()} "
            "WHERE true ORDER BY t.key ON CONFLICT (name) DO NOTHING "
            "RETURNING name, id",
            [*values, json.dumps(names)],
        )
        return dict(cursor.fetchall())
