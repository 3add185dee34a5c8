"""The argument of operators' functions that decide something about a request.

JupyterHub passes the handler of the request. Configurations use its `current_user`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Self

from accounts.models import User


@dataclass(frozen=True, slots=True)
class CallbackRequest:
    """A request as an operator's function gets it.

    `current_user` is None if nobody has signed in.
    """

    current_user: SimpleNamespace | None

    @classmethod
    def of(cls, user: User | None) -> Self:
        if user is None:
            return cls(None)
        groups = user.groups.values_list("name", flat=True)
        return cls.of_principal("user", user.name, admin=user.admin, groups=groups)

    @classmethod
    def of_principal(
        cls, kind: str, name: str, *, admin: bool = False, groups: Iterable[str] = ()
    ) -> Self:
        return cls(
            SimpleNamespace(
                kind=kind,
                name=name,
                admin=admin,
                groups=[SimpleNamespace(name=group) for group in groups],
            )
        )
