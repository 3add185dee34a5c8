"""Accounts of the operating system: passwords through PAM, and groups."""

from __future__ import annotations

import grp
import logging
import os
import pwd
from collections.abc import Collection
from importlib import import_module

from django.conf import settings

from accounts.naming import normalise_name
from web.outside import release_connection

logger = logging.getLogger(__name__)


def check_password(name: str, password: str) -> bool:
    """Tell whether the configured PAM service accepts a name and password."""
    # Imported here, because the import opens the system's PAM library, which not every
    # system has.
    pamela = import_module("pamela")
    hub = settings.HUB
    release_connection()
    try:
        pamela.authenticate(
            name,
            password,
            service=hub.pam_service,
            encoding=hub.pam_encoding,
            check=hub.pam_check_account,
        )
    except (pamela.PAMError, UnicodeEncodeError):
        return False
    return True


def name_here(typed: str) -> str:
    """Return the hub's name of a system account.

    PAM may accept several names for one account, `DOMAIN\\name` for example; with
    `pam_normalize_username` all of them are the same user.
    """
    if not settings.HUB.pam_normalize_username:
        return normalise_name(typed)
    try:
        name = pwd.getpwuid(pwd.getpwnam(typed).pw_uid).pw_name
    except KeyError:
        return ""
    return settings.HUB.username_map.get(name, name)


def is_in_groups(name: str, groups: Collection[str]) -> bool:
    """Tell whether an account is in any of some system groups."""
    return bool(_ids_of(groups) & _groups_of(name)) if groups else False


def is_administrator(name: str) -> bool | None:
    """Tell whether an account is in the groups of administrators; None if unknown.

    Configured groups decide alone. The result is unknown if a group can't be found,
    because a directory may be down.
    """
    groups = settings.HUB.pam_admin_groups
    if not groups:
        return None
    found = _ids_of(groups)
    if found & _groups_of(name):
        return True
    return False if len(found) == len(groups) else None


def missing_groups(groups: Collection[str]) -> list[str]:
    """Return those of some groups that the system does not have."""
    return sorted(group for group in groups if _id_of(group) is None)


def _ids_of(groups: Collection[str]) -> set[int]:
    ids = {group: _id_of(group) for group in groups}
    if missing := sorted(group for group, found in ids.items() if found is None):
        logger.error("The system has no group %s", ", ".join(missing))
    return {found for found in ids.values() if found is not None}


def _id_of(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def _groups_of(name: str) -> set[int]:
    try:
        return set(os.getgrouplist(name, pwd.getpwnam(name).pw_gid))
    except (KeyError, ValueError):
        # `ValueError`: a name with a NUL byte.
        return set()
