"""Objects that belong to users and services, with counts beside their owners."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, QuerySet
from django.utils.safestring import SafeString

from accounts.models import User
from scopes.access import Access
from web.admin_base import (
    count_of,
    link,
    shows_one,
)

# Facts about users, which rooms to the right add.

# Counts the related rows of some users, by their ids, that an access reaches; without
# an access all.
Counter = Callable[[list[int], Access | None], dict[int, int]]


@dataclass(frozen=True, slots=True)
class Belonging:
    """Rows that belong to users or services, and are deleted with them.

    `view` is the list of such rows, and empty if there is none. Lists of owners show
    the number if it is `listed`.
    """

    noun: str
    count: Counter
    view: str = ""
    listed: bool = False


belongings: list[Belonging] = []


def note_owned(
    belongings: list[Belonging], rows: Collection[Any], request: Any, owner: str
) -> None:
    """Set the related rows of each row, with links to the lists."""
    ids = [row.pk for row in rows]
    for row in rows:
        row.owned = []
    for belonging in belongings:
        if not (belonging.listed or shows_one(request)):
            continue
        numbers = belonging.count(ids, request.user.access)
        for row in rows:
            if number := numbers.get(row.pk):
                said: Any = count_of(number, belonging.noun)
                if belonging.view:
                    said = link(belonging.view, said, **{owner: row.name})
                row.owned.append(said)


def counted(belongings: list[Belonging], rows: QuerySet[Any]) -> list[str]:
    """Return the number of all related rows, whatever the reader's rights."""
    ids = list(rows.order_by().values_list("pk", flat=True))
    numbers = [(sum(each.count(ids, None).values()), each.noun) for each in belongings]
    return [count_of(number, noun) for number, noun in numbers if number]


# Returns the HTML beside users in their list and on their page, by their ids.
Beside = Callable[[Any, Collection[User]], dict[int, SafeString]]
besides: list[Beside] = []


def count_by(rows: QuerySet[Any], *scopes: str, owner: str = "user_id") -> Counter:
    """Count rows by their owner's column, as far as one of the scopes reaches."""

    def count(ids: list[int], access: Access | None) -> dict[int, int]:
        queryset = (
            rows.all() if access is None else access.limit(*scopes, queryset=rows)
        )
        mine = queryset.order_by().filter(**{f"{owner}__in": ids})
        return dict(mine.values_list(owner).annotate(Count("pk")))

    return count
