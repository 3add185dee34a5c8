"""The syntax of scopes.

A **raw scope** is a name, `name!kind=value` with a **filter**, or `name!kind` with a
short filter whose value is taken from the token's owner or its OAuth client.
The **metascopes** `self`, `inherit` and `(no_scope)` take no filter.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sized
from dataclasses import dataclass
from typing import Final, Self

from scopes.definitions import INHERIT, METASCOPES, SCOPES
from scopes.refusals import Invalid

# The name of a role.
ROLE_NAME: Final = re.compile(r"[a-z][a-z0-9\-_~.]{1,253}[a-z0-9]")

KINDS: Final = frozenset({"user", "group", "server", "service"})
SHORT_KINDS: Final = frozenset({"user", "server", "service"})

# Each process expands a token's scopes at its first use. A thousand scopes take a few
# milliseconds and a few megabytes, which is as much as one request should cost. A
# filter by group reaches more people than a thousand scopes by name.
MAX_SCOPES: Final = 1_000
# The longest names of a user and of a server, with the scope before them.
MAX_SCOPE_LENGTH: Final = 1_023
# The longest body with scopes, in bytes: the most and longest scopes, twice, because
# a body may contain escapes and blanks.
LARGEST_WITH_SCOPES: Final = 2 * MAX_SCOPES * MAX_SCOPE_LENGTH

# For these scopes a group filter means the group itself, for all others its members.
GROUP_SCOPES: Final = frozenset(
    {
        "admin:groups",
        "groups",
        "list:groups",
        "read:groups",
        "read:groups:name",
        "delete:groups",
        "read:roles:groups",
        "groups:shares",
        "read:groups:shares",
    }
)


@dataclass(frozen=True, slots=True)
class RawScope:
    """The parts of one scope; `kind` and `value` are None if missing."""

    name: str
    kind: str | None = None
    value: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `text` without validation, which is done by `check_scopes`."""
        name, bang, filtering = text.partition("!")
        if not bang:
            return cls(name)
        kind, equals, value = filtering.partition("=")
        return cls(name, kind, value if equals else None)

    def __str__(self) -> str:
        if self.kind is None:
            return self.name
        if self.value is None:
            return f"{self.name}!{self.kind}"
        return f"{self.name}!{self.kind}={self.value}"


def check_scopes(
    texts: Collection[str], *, holder: str = "token", limited: bool = True
) -> None:
    """Refuse the first of `texts` that is no scope; `holder` is the future holder.

    The function does not check that a filter's user, group, server or service exists.
    The number of scopes in the configuration is not `limited`.
    """
    if limited:
        check_number(texts, holder=holder)
    for text in texts:
        _check(text, holder)


def check_count(texts: Sized, *, holder: str = "token") -> None:
    """Refuse more scopes than a request may contain, without a look at any."""
    if len(texts) > MAX_SCOPES:
        raise Invalid(
            f"{len(texts)} scopes for {holder} are too many: at most {MAX_SCOPES} can "
            "be named. A filter for a group stands for all its members."
        )


def check_number(texts: Collection[str], *, holder: str = "token") -> None:
    """Refuse more scopes, or longer ones, than a request may contain.

    Code that reads scopes from a request calls this first, because each scope costs
    time and memory later.
    """
    check_count(texts, holder=holder)
    for text in texts:
        if len(text) > MAX_SCOPE_LENGTH:
            raise Invalid(
                f"Scope '{text[:40]}…' for {holder} is longer than"
                f" {MAX_SCOPE_LENGTH} characters"
            )


def _check(text: str, holder: str) -> None:
    scope = RawScope.parse(text)
    if scope.name == "all" and "all" not in SCOPES:
        raise Invalid("Draft scope 'all' is now called 'inherit'")
    if scope.name not in SCOPES:
        raise Invalid(f"Scope '{text}' for {holder} does not exist")
    if scope.kind is None:
        return
    if not _is_filter(scope):
        written = text.partition("!")[2]
        raise Invalid(
            f"Scope filter '!{written}' in scope '{text}' for {holder} does not exist"
        )
    if scope.name in METASCOPES:
        raise Invalid(f"Scope '{scope.name}' for {holder} takes no filter: '{text}'")


def _is_filter(scope: RawScope) -> bool:
    if scope.value is None:
        return scope.kind in SHORT_KINDS
    # A server without its owner does not exist; such a filter reaches nothing, in
    # JupyterHub as here.
    return scope.kind in KINDS and bool(scope.value)


def describe(raw_scope: str, *, to_owner: bool = False) -> str:
    """Return a description of a raw scope and its limits.

    `to_owner` addresses the description to the user who owns the scope's holder.
    """
    if to_owner and raw_scope == INHERIT:
        return "Everything you may do, now and later"
    scope = RawScope.parse(raw_scope)
    known = SCOPES.get(scope.name)
    if known is None:
        return raw_scope
    if to_owner and (scope.kind, scope.value) == ("user", None):
        limits = "only your own"
    else:
        limits = _describe_filter(scope)
    return f"{known.description} ({limits})" if limits else known.description


def _describe_filter(scope: RawScope) -> str:
    if scope.kind is None:
        return ""
    if scope.value is None:
        return {
            "user": "only the owner",
            "service": "only the service itself",
            "server": "only the server itself",
        }.get(scope.kind, f"only !{scope.kind}")
    if scope.kind == "group" and scope.name not in GROUP_SCOPES:
        return f"only members of group {scope.value}"
    if scope.kind == "server":
        username, slash, name = scope.value.partition("/")
        if not (username and slash):
            return f"no server, for {scope.value} names no owner"
        if name:
            return f"only server {name} of user {username}"
        return f"only the default server of user {username}"
    return f"only {scope.kind} {scope.value}"
