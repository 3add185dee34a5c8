"""Errors that explain to the caller why an action was refused.

Actions raise these errors. Each edge (API, page, admin, command line) converts them to
its own format; `status` is for the edges that use HTTP. A refused action has changed
nothing.
"""

from __future__ import annotations


class Refusal(Exception):
    """A refused action; `message` contains the reason and what to do instead.

    Where programs match JupyterHub's messages, `message` is JupyterHub's, and `hint`
    tells people what to do. `for_people` is both, or `on_pages` in their place.
    """

    status: int = 400

    def __init__(
        self, message: str = "", *, hint: str = "", on_pages: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.on_pages = on_pages

    @property
    def for_people(self) -> str:
        if self.on_pages:
            return self.on_pages
        return f"{self.message}. {self.hint}" if self.hint else self.message


class Invalid(Refusal):
    """The input is not valid."""


class Conflict(Refusal):
    """The input conflicts with existing rows."""

    status = 409


class Forbidden(Refusal):
    """The caller lacks the right for this."""

    status = 403


class NotFound(Refusal):
    """The target does not exist, or the caller may not know that it exists."""

    status = 404


class Busy(Refusal):
    """A limit is reached; `retry_after` is the number of seconds until a retry.

    It is None if the time is unknown.
    """

    status = 429

    def __init__(
        self, message: str = "", retry_after: int | None = None, *, on_pages: str = ""
    ) -> None:
        super().__init__(message, on_pages=on_pages)
        self.retry_after = retry_after


class Unavailable(Busy):
    """The hub can't do this at the moment, for any caller."""

    status = 503
