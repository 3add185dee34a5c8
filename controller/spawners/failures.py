"""Why a server could not be started, in words for the people who wait for it."""

from __future__ import annotations

from http.client import responses

from tornado.web import HTTPError

from controller.spawners.sanitize import brief
from web.markup import text_of

# JupyterHub's text for an exception that only operators may read.
UNHANDLED = "Unhandled error starting server"


class SpawnFailed(Exception):
    """A start that failed.

    `message` and `html_message` are for people, `event` is the text of the progress
    stream after "Spawn failed: ", and `detail` is the text of an unexpected exception,
    for administrators only. `status` answers a request that waits for the start.
    `reason` is one word for metrics; `refused` means that a policy of the site refused
    the start, and that nothing is broken.
    """

    def __init__(
        self,
        message: str,
        status: int = 500,
        *,
        html_message: str = "",
        event: str = "",
        detail: str = "",
        reason: str = "error",
    ) -> None:
        super().__init__(message)
        self.message: str = brief(message)
        self.status = status
        self.html_message: str = brief(html_message)
        self.event: str = brief(event) or self.message
        self.detail: str = brief(detail)
        self.reason = reason

    @property
    def refused(self) -> bool:
        return self.status < 500

    @classmethod
    def of(cls, problem: BaseException, message: str = UNHANDLED) -> SpawnFailed:
        """Convert an exception of a spawner or a hook.

        As in JupyterHub, people read the message of Tornado's `HTTPError`, and the
        attributes `jupyterhub_message` and `jupyterhub_html_message` of any exception.
        The text of all others may hold secrets, so `message` replaces it.
        """
        if isinstance(problem, SpawnFailed):
            return problem
        is_meant = isinstance(problem, HTTPError)
        said = _attribute(problem, "jupyterhub_message")
        html_message = _attribute(problem, "jupyterhub_html_message")
        event = said
        status = 500
        if isinstance(problem, HTTPError):
            if 400 <= problem.status_code <= 599:
                status = problem.status_code
            said = said or _message_of(problem)
            html_message = html_message or _attribute(problem, "message_html")
            event = event or str(problem)
        said = said or text_of(html_message)
        is_unexpected = not (is_meant or said)
        return cls(
            said or message,
            status,
            html_message=html_message,
            event=event,
            detail=describe(problem) if is_unexpected else "",
            reason=_attribute(problem, "reason") or "error",
        )


def describe(problem: BaseException) -> str:
    """Return the text of an exception, for administrators."""
    return f"{type(problem).__name__}: {problem}" if str(problem) else repr(problem)


def _attribute(problem: BaseException, name: str) -> str:
    value = getattr(problem, name, None)
    return str(value) if value else ""


def _message_of(problem: HTTPError) -> str:
    """Return the message of an `HTTPError`, with its arguments filled in."""
    return (
        # Of JupyterHub's `SpawnException`.
        _attribute(problem, "message")
        or _filled_in(problem)
        or problem.reason
        or responses.get(problem.status_code, "Unknown error")
    )


def _filled_in(problem: HTTPError) -> str:
    words, arguments = problem.log_message, problem.args
    if not words:
        return ""
    try:
        return str(words % arguments) if arguments else str(words)
    except (TypeError, ValueError):
        return str(words)
