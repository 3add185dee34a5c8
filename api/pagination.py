"""Pages of long lists.

Clients that accept the pagination media type get `items` with a cursor to the next
page; all others get a bare list, cut off at the same limit silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlencode

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from api.base import reply_text
from scopes.refusals import Invalid

MEDIA_TYPE = "application/jupyterhub-pagination+json"

# No row has a higher number, and databases count no further.
FARTHEST = 2**53


class Window(NamedTuple):
    """Rows to be read, from the front or from the back of a list."""

    backwards: bool
    offset: int
    limit: int


@dataclass(frozen=True, slots=True)
class Page:
    """The part of a list that a request asks for."""

    offset: int
    limit: int
    enveloped: bool

    @classmethod
    def of(cls, request: HttpRequest, *, always_enveloped: bool = False) -> Self:
        """Return a request's page; lists without a bare form are `always_enveloped`."""
        asked = accepts_pages(request)
        enveloped = always_enveloped or asked
        longest = settings.HUB.api_page_max_limit
        default = settings.HUB.api_page_default_limit if asked else longest
        try:
            offset = abs(int(request.GET.get("offset", 0)))
            limit = abs(int(request.GET.get("limit", default)))
        except ValueError:
            raise Invalid(
                "Invalid argument type, offset and limit must be integers"
            ) from None
        return cls(min(offset, FARTHEST), min(max(limit, 1), longest), enveloped)

    def total_after(self, read: int) -> int | None:
        """Return the length of the list if reading this page has shown it already."""
        if read == self.limit or (read == 0 and self.offset):
            return None
        return self.offset + read

    def window(self, total: int) -> Window:
        """Return the nearer end to read from, because skipping rows costs time."""
        if self.offset <= total // 2:
            return Window(False, self.offset, self.limit)
        after = total - self.offset - self.limit
        return Window(True, max(after, 0), max(self.limit + min(after, 0), 0))

    def reply(self, items: str, total: int, request: HttpRequest) -> HttpResponse:
        """Return a response with the JSON text of this page's items, a list or object.

        `total` is used only inside an envelope.
        """
        if not self.enveloped:
            return reply_text(items)
        pagination = orjson.dumps(self.cursor(total, request)).decode()
        return reply_text(f'{{"items":{items},"_pagination":{pagination}}}')

    def cursor(self, total: int, request: HttpRequest) -> dict[str, Any]:
        """Return the envelope's data about this page and the next."""
        following = None
        if self.offset + self.limit < total:
            following = {
                "offset": self.offset + self.limit,
                "limit": self.limit,
                "url": self.next_url(request),
            }
        return {
            "offset": self.offset,
            "limit": self.limit,
            "total": total,
            "next": following,
        }

    def next_url(self, request: HttpRequest) -> str:
        """Return the address of the next page, with the client's own host."""
        parameters = parse_qs(
            request.META.get("QUERY_STRING", ""), keep_blank_values=True
        )
        parameters["offset"] = [str(self.offset + self.limit)]
        parameters["limit"] = [str(self.limit)]
        address = request.build_absolute_uri(request.path)
        return f"{address}?{urlencode(parameters, doseq=True)}"


def accepts_pages(request: HttpRequest) -> bool:
    """Tell whether the request accepts the envelope's media type."""
    accepted = request.META.get("HTTP_ACCEPT", "")
    return any(element.strip().lower() == MEDIA_TYPE for element in accepted.split(","))
