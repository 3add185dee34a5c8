"""Why an act did not happen, in words for whoever asked.

Actions raise these; they know no HTTP. Each edge (API, page, admin, command line)
gives a refusal the form that it speaks. A refused act has changed nothing.
"""

from __future__ import annotations


class Refusal(Exception):
    """An act that was refused; `message` says why and what to do instead.

    Where programs match JupyterHub's words, `message` is those, and `hint` says to
    people what to do. `for_people` is both.
    """

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def for_people(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class Invalid(Refusal):
    """What was asked makes no sense as it stands."""


class Conflict(Refusal):
    """What was asked contradicts what already exists."""


class Forbidden(Refusal):
    """Whoever asked may not do this."""


class NotFound(Refusal):
    """What it was asked of does not exist, as far as whoever asked may know."""


class Busy(Refusal):
    """There is no room for it now; `retry_after` says in how many seconds to ask again.

    It is None where nobody can tell.
    """

    def __init__(self, message: str = "", retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(Busy):
    """The hub can't do it for anybody at this moment, whoever asks."""
