"""Lists of the admin: every row can be reached, in a fixed small number of queries.

A page is found by its ids, which an index answers, and then read; so that the last page
of a hundred thousand rows costs little more than the first.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Page, Paginator
from django.db.models import F, QuerySet
from django.db.models.expressions import OrderBy
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from django.utils.html import strip_tags

# How many rows a page may have, and the parameter that says so.
ROWS = (50, 100, 200, 500)
ROWS_VAR = "rows"

# More rows than this are not exported at once, and so many are read at a time.
EXPORTED = 100_000
CHUNK = 500

# Programs for tables compute a cell that begins like this.
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


class Pages(Paginator):
    """Pages whose rows are read by the ids that are on them."""

    object_list: QuerySet[Any]

    def page(self, number: Any) -> Page:
        number = self.validate_number(number)
        first = (number - 1) * self.per_page
        ids = self.object_list.values_list("pk", flat=True)
        chosen = list(ids[first : first + self.per_page])
        return Page(self.object_list.filter(pk__in=chosen), number, self)


class WholeList(ChangeList):
    """All rows that whoever asks may see, in pages of the size they choose."""

    model_admin: Any

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        chosen: dict[str, Any] = super().get_filters_params(params)
        chosen.pop(ROWS_VAR, None)
        return chosen

    def get_queryset(self, request: Any, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        queryset = super().get_queryset(request, *args, **kwargs)
        for parameter in self.params:
            queryset = self.model_admin.entitled(request, queryset, parameter)
        return queryset

    def get_ordering(self, request: Any, queryset: QuerySet[Any]) -> list[Any]:
        """Let rows that are alike come in the direction of the others.

        An index that ends with the id answers such an order, read either way.
        """
        ordering = super().get_ordering(request, queryset)
        if len(ordering) > 1 and ordering[-1] == "-pk":
            before = ordering[-2]
            descending = (
                before.startswith("-")
                if isinstance(before, str)
                else getattr(before, "descending", False)
            )
            ordering[-1] = "-pk" if descending else "pk"
        return ordering

    def get_results(self, request: HttpRequest) -> None:
        self.list_per_page = rows_asked_for(request, self.list_per_page)
        super().get_results(request)
        if not self.multi_page:
            # A short list takes the same way as a long one, and as many queries.
            self.result_list = self.paginator.page(1).object_list
        self.model_admin.mark_shown(request, self.result_list)

    def sizes(self) -> list[tuple[int, str]]:
        """Return the other sizes of pages, each with its address; the first stays 1."""
        if self.result_count <= ROWS[0]:
            return []
        return [
            (number, self.get_query_string({ROWS_VAR: number}))
            for number in ROWS
            if number != self.list_per_page
        ]

    def export_address(self) -> str:
        """Return where the same rows are answered as CSV."""
        return f"export/{self.get_query_string()}"


def rows_asked_for(request: HttpRequest, otherwise: int) -> int:
    """Read the size of a page from its address."""
    asked = request.GET.get(ROWS_VAR, "")
    return int(asked) if asked in map(str, ROWS) else otherwise


# Orders that the indexes of both databases know: nulls first, or last the other way.


def rising(field: str) -> OrderBy:
    """Order by a time that may be missing; what has none comes first."""
    return F(field).asc(nulls_first=True)


def falling(field: str) -> OrderBy:
    return F(field).desc(nulls_last=True)


# Export


def export(
    name: str,
    columns: list[tuple[str, Callable[[Any], Any]]],
    queryset: QuerySet[Any],
    mark: Callable[[Iterable[Any]], None],
) -> StreamingHttpResponse:
    """Answer with rows as CSV, read and sent piece by piece in their order.

    `columns` are headings, each with what it shows of a row; `mark` is called with the
    rows of each piece first.
    """
    ids = list(queryset.values_list("pk", flat=True)[:EXPORTED])

    def pieces() -> Iterator[str]:
        yield _lines([[heading for heading, _ in columns]])
        for start in range(0, len(ids), CHUNK):
            rows = list(queryset.filter(pk__in=ids[start : start + CHUNK]))
            mark(rows)
            yield _lines([[show(row) for _, show in columns] for row in rows])

    today = timezone.now().date().isoformat()
    return StreamingHttpResponse(
        pieces(),
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{name}-{today}.csv"',
            "Cache-Control": "no-store",
        },
    )


def csv_text(*parts: Iterable[Iterable[Any]]) -> str:
    """Write rows as CSV."""
    return "".join(map(_lines, parts))


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([plain(value) for value in row] for row in rows)
    return text.getvalue()


def plain(value: Any) -> str:
    """Spell a value for a table; none that a program would take for a formula."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    text = strip_tags(value) if hasattr(value, "__html__") else str(value)
    return f"'{text}" if text.startswith(FORMULAS) else text
