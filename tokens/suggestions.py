"""Names that a person may put in the filter of a scope, suggested while typing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from accounts.models import Group, User
from services.models import Service

# Most names of one suggestion.
MOST = 20

# For each kind of filter the function that finds names with this text for a user; the
# room of servers adds its own.
suggesters: dict[str, Callable[[User, str], Iterable[str]]] = {}


def suggest(kind: str, text: str, user: User) -> list[str]:
    """Return up to `MOST` names of a kind of filter that `user` may see.

    Names that begin with the text come first; an unknown kind has none.
    """
    find = suggesters.get(kind)
    return [] if find is None else list(find(user, text))[:MOST]


def _users(user: User, text: str) -> Iterable[str]:
    seen = user.access.limit("list:users", queryset=User.objects.all())
    names = seen.filter(name__icontains=text).order_by("name")
    found = list(names.values_list("name", flat=True)[:MOST])
    return dict.fromkeys([user.name, *found]) if text in user.name else found


def _groups(user: User, text: str) -> Iterable[str]:
    seen = user.access.limit("list:groups", queryset=Group.objects.all())
    either = seen.filter(name__icontains=text) | user.groups.filter(
        name__icontains=text
    )
    return either.order_by("name").distinct().values_list("name", flat=True)[:MOST]


def _services(user: User, text: str) -> Iterable[str]:
    seen = user.access.limit("list:services", queryset=Service.objects.all())
    names = seen.filter(name__icontains=text).order_by("name")
    return names.values_list("name", flat=True)[:MOST]


suggesters |= {"user": _users, "group": _groups, "service": _services}
