"""Why a server could not be started, in words for whoever waits for it."""

from __future__ import annotations

from servers.controller.hosting.texts import storable


class SpawnFailed(Exception):
    """A start that came to nothing.

    `status` answers a request that waits for it. `reason` is one word for metrics;
    `refused` says that a policy of the site refused, rather than something broke.
    """

    def __init__(
        self,
        message: str,
        status: int = 500,
        *,
        html_message: str = "",
        reason: str = "error",
    ) -> None:
        super().__init__(message)
        self.message: str = storable(message)
        self.status = status
        self.html_message: str = storable(html_message)
        self.reason = reason

    @property
    def refused(self) -> bool:
        return self.status < 500

    @classmethod
    def of(cls, problem: BaseException) -> SpawnFailed:
        """Read what a spawner or a hook raised.

        What Tornado calls an `HTTPError` keeps its status and words; so do the
        attributes by which JupyterHub lets an exception speak to people.
        """
        if isinstance(problem, SpawnFailed):
            return problem
        status = getattr(problem, "status_code", 500)
        if not isinstance(status, int) or not 400 <= status <= 599:
            status = 500
        message = getattr(problem, "jupyterhub_message", None)
        if message is None and hasattr(problem, "status_code"):
            message = (
                getattr(problem, "message", "")
                or _filled_in(problem)
                or getattr(problem, "reason", "")
            )
        html_message = getattr(problem, "jupyterhub_html_message", None) or getattr(
            problem, "message_html", ""
        )
        return cls(
            str(message or problem or type(problem).__name__),
            status,
            html_message=str(html_message or ""),
            reason=str(getattr(problem, "reason", "") or "error"),
        )


def _filled_in(problem: BaseException) -> str:
    """Return the words of an `HTTPError`, with what they were given filled in."""
    words = getattr(problem, "log_message", None)
    arguments = getattr(problem, "args", ())
    if not words:
        return ""
    try:
        return str(words % arguments) if arguments else str(words)
    except (TypeError, ValueError):
        return str(words)
