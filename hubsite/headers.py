"""Headers of responses, without a detour for each of them."""

from __future__ import annotations

from django.http.response import HttpResponseBase

Header = tuple[str, str]


def kept(response: HttpResponseBase) -> dict[str, Header]:
    """Return the name and value of each header, by its name in lower case.

    This is where Django keeps them. Its mapping around it takes three calls of Python
    to give one of them out and four to take one in, for every request.
    """
    found: dict[str, Header] = response.headers._store  # type: ignore[attr-defined]
    return found


def prepared(headers: dict[str, str]) -> dict[str, Header]:
    """Make headers ready to be added to what is `kept`; each is ASCII, on one line."""
    return {name.lower(): (name, value) for name, value in headers.items()}
