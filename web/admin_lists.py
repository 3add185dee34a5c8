"""Lists of the admin: every row is on a page, for a small fixed number of queries.

The ids of a page are selected first, from an index alone, and then its rows are read.
So the last page of 100,000 rows costs little more than the first.
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

# The possible numbers of rows on a page, and the parameter for the number.
ROWS = (50, 100, 200, 500)
ROWS_VAR = "rows"

# Most rows in one export, and the number that is read at a time.
EXPORTED = 100_000
CHUNK = 500

# Spreadsheet programs evaluate a cell that begins with one of these.
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


class Pages(Paginator):
    """Pages whose rows are read by their ids."""

    object_list: QuerySet[Any]

    def page(self, number: Any) -> Page:
        number = self.validate_number(number)
        first = (number - 1) * self.per_page
        ids = self.object_list.values_list("pk", flat=True)
        chosen = list(ids[first : first + self.per_page])
        return Page(self.object_list.filter(pk__in=chosen), number, self)


class WholeList(ChangeList):
    """All rows that the user may see, in pages of a chosen size."""

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
        """Return the order, with the id last and in the direction of the first field.

        An index that ends with the id serves such an order in both directions.
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
            # A short list is read like a long one, with the same number of queries.
            self.result_list = self.paginator.page(1).object_list
        self.model_admin.mark_shown(request, self.result_list)

    def sizes(self) -> list[tuple[int, str]]:
        """Return the other page sizes, each with the address of the first page."""
        if self.result_count <= ROWS[0]:
            return []
        return [
            (number, self.get_query_string({ROWS_VAR: number}))
            for number in ROWS
            if number != self.list_per_page
        ]

    def export_address(self) -> str:
        """Return the address of the same rows as CSV."""
        return f"export/{self.get_query_string()}"


def rows_asked_for(request: HttpRequest, otherwise: int) -> int:
    """Return the page size from the address."""
    asked = request.GET.get(ROWS_VAR, "")
    return int(asked) if asked in map(str, ROWS) else otherwise


def rising(field: str) -> OrderBy:
    """Return the ascending order by a time; rows without a time come first.

    Indexes of both databases serve this order.
    """
    return F(field).asc(nulls_first=True)


# Export


def export(
    name: str,
    columns: list[tuple[str, Callable[[Any], Any]]],
    queryset: QuerySet[Any],
    mark: Callable[[Iterable[Any]], None],
) -> StreamingHttpResponse:
    """Return a response with rows as CSV, read and sent in batches in their order.

    `columns` are headings with the functions of their values. `mark` is called with
    the rows of each batch first.
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
    """Return rows as CSV."""
    return "".join(map(_lines, parts))


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([plain(value) for value in row] for row in rows)
    return text.getvalue()


def plain(value: Any) -> str:
    """Return a value as text that no spreadsheet program takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    text = strip_tags(value) if hasattr(value, "__html__") else str(value)
    return f"'{text}" if text.startswith(FORMULAS) else text
