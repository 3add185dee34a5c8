"""Scopes as databases of JupyterHub have them, of earlier releases as well."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from scopes.definitions import INHERIT, SELF
from scopes.grammar import RawScope, check_scopes
from scopes.refusals import Refusal

# The name of `inherit` in 2.x.
FORMERLY_INHERIT = "all"


def of_roles_on_tokens(scopes: Iterable[str]) -> list[str]:
    """Return what the scopes of a role gave to a token of 2.x that had the role.

    `self` came to nothing there. JupyterHub's own upgrade gives it a meaning, and the
    token new rights.
    """
    found = [INHERIT if scope == FORMERLY_INHERIT else scope for scope in scopes]
    return [scope for scope in dict.fromkeys(found) if scope != SELF]


def existing(scopes: Iterable[str]) -> tuple[list[str], list[str]]:
    """Divide scopes into those that exist here and the others."""
    known: list[str] = []
    unknown: list[str] = []
    for scope in dict.fromkeys(scopes):
        try:
            check_scopes([scope], limited=False)
        except Refusal:
            unknown.append(scope)
        else:
            known.append(scope)
    return known, unknown


def divide(
    scopes: Iterable[str], names: Collection[str]
) -> tuple[list[str], list[str]]:
    """Divide scopes into those of these names, with custom ones, and the others."""
    kept: list[str] = []
    others: list[str] = []
    for scope in scopes:
        name = RawScope.parse(scope).name
        is_kept = name in names or name.startswith("custom:")
        (kept if is_kept else others).append(scope)
    return kept, others


def base_names(scopes: Iterable[str]) -> list[str]:
    """Return scopes without their filters."""
    return list(dict.fromkeys(RawScope.parse(scope).name for scope in scopes))


def with_filter(names: Iterable[str], kind: str, value: str) -> list[str]:
    """Return base names with one filter."""
    return [str(RawScope(name, kind, value)) for name in names]
