"""Pages of long lists.

Clients that accept the pagination media type get `items` with a cursor to the next
page; all others get a bare list, cut off at the same limit without notice.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import parse_qs, urlencode

import orjson
from django.conf import settings
from django.http import HttpResponse
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request
from rest_framework.response import Response

from api.renderers import json_response
from scopes.refusals import Invalid

MEDIA_TYPE = "application/jupyterhub-pagination+json"

# No row has a higher number, and databases refuse much higher ones.
FARTHEST = 2**53


class Window(NamedTuple):
    """Rows to be read, from the beginning or from the end of a list."""

    backwards: bool
    offset: int
    limit: int


class HubPagination(LimitOffsetPagination):
    """The requested page of a list.

    Lists whose JSON the database makes use `read`, `window` and `json_response`; all
    others use DRF's `paginate_queryset` and `get_paginated_response`.
    """

    # Lists that JupyterHub never returned bare always have an envelope.
    always_enveloped: ClassVar[bool] = False

    enveloped: bool
    offset: int
    limit: int
    request: Request

    def read(self, request: Request) -> Self:
        """Read the requested page from the query."""
        self.request = request
        self.enveloped = self.always_enveloped or accepts_pages(request)
        self.limit, self.offset = self.get_limit(request), self.get_offset(request)
        return self

    def get_limit(self, request: Request) -> int:
        longest: int = settings.HUB.api_page_max_limit
        default = longest
        if accepts_pages(request):
            default = settings.HUB.api_page_default_limit
        return min(max(_number(request, self.limit_query_param, default), 1), longest)

    def get_offset(self, request: Request) -> int:
        return min(_number(request, self.offset_query_param, 0), FARTHEST)

    def paginate_queryset(
        self, queryset: Any, request: Request, view: Any = None
    ) -> list[Any]:
        self.read(request)
        self.count = self.get_count(queryset)
        return list(queryset[self.offset : self.offset + self.limit])

    def get_paginated_response(self, data: Any) -> Response:
        if self.enveloped:
            data = {"items": data, "_pagination": self.get_pagination()}
        return Response(data)

    def get_pagination(self) -> dict[str, Any]:
        """Return the envelope's data about this page and the next."""
        link = self.get_next_link()
        following = None
        if link is not None:
            following = {
                "offset": self.offset + self.limit,
                "limit": self.limit,
                "url": link,
            }
        return {
            "offset": self.offset,
            "limit": self.limit,
            "total": self.count,
            "next": following,
        }

    def get_next_link(self) -> str | None:
        """Return the address of the next page, with the client's host and path."""
        if self.offset + self.limit >= (self.count or 0):
            return None
        query = self.request.META.get("QUERY_STRING", "")
        parameters = parse_qs(query, keep_blank_values=True)
        parameters[self.offset_query_param] = [str(self.offset + self.limit)]
        parameters[self.limit_query_param] = [str(self.limit)]
        address = self.request.build_absolute_uri(self.request.path)
        return f"{address}?{urlencode(parameters, doseq=True)}"

    # The description of the API

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": self.offset_query_param,
                "in": "query",
                "description": "The number of rows to skip.",
                "schema": {"type": "integer", "default": 0},
            },
            {
                "name": self.limit_query_param,
                "in": "query",
                "description": "The number of rows to return, at most "
                f"{settings.HUB.api_page_max_limit}.",
                "schema": {"type": "integer"},
            },
        ]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        envelope = {
            "type": "object",
            "required": ["items", "_pagination"],
            "properties": {
                "items": schema,
                "_pagination": {"$ref": "#/components/schemas/Pagination"},
            },
        }
        return envelope if self.always_enveloped else {"oneOf": [schema, envelope]}

    # Lists whose JSON the database makes

    def total_after(self, read: int) -> int | None:
        """Return the length of the list if it follows from the rows of this page."""
        if read == self.limit or (read == 0 and self.offset):
            return None
        return self.offset + read

    def window(self, total: int | None) -> Window:
        """Return the rows to read from the nearer end, because skipping is slow.

        The length of the list is needed only for a page that is not the first one.
        """
        if total is None or self.offset <= total // 2:
            return Window(False, self.offset, self.limit)
        after = total - self.offset - self.limit
        return Window(True, max(after, 0), max(self.limit + min(after, 0), 0))

    def json_response(self, items: str, total: int | None) -> HttpResponse:
        """Return a response with the items of this page, JSON of a list or an object.

        `total` is used only inside an envelope.
        """
        if not self.enveloped:
            return json_response(items)
        self.count = total or 0
        pagination = orjson.dumps(self.get_pagination()).decode()
        return json_response(f'{{"items":{items},"_pagination":{pagination}}}')


def _number(request: Request, name: str, default: int) -> int:
    """Return a parameter as a whole number; its sign is ignored."""
    try:
        return abs(int(request.query_params.get(name, default)))
    except ValueError:
        raise Invalid(
            "Invalid argument type, offset and limit must be integers"
        ) from None


def accepts_pages(request: Request) -> bool:
    """Return whether the request accepts the media type of the envelope."""
    accepted = request.META.get("HTTP_ACCEPT", "")
    return any(element.strip().lower() == MEDIA_TYPE for element in accepted.split(","))
