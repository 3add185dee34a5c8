"""The logging configuration: text on a terminal, JSON elsewhere."""

from __future__ import annotations

import re
import sys
from typing import Any

import structlog

from web.redaction import NAMED_SECRET, redact_named


def conceal(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Replace everything in a line that looks like a secret."""
    for key, value in event.items():
        if isinstance(value, str) and NAMED_SECRET.search(value):
            event[key] = redact_named(value, "[secret]")
    return event


# Characters that move the cursor, break a line or change the direction of writing.
# Attackers put them into names and addresses to forge log lines.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def tame(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Escape characters that would control a terminal.

    A traceback keeps its lines, each with its own indentation.
    """
    for key, value in event.items():
        if not isinstance(value, str) or not UNPRINTABLE.search(value):
            continue
        lines = value.split("\n") if key == "exception" else [value]
        event[key] = "\n".join(UNPRINTABLE.sub(_spelt, line) for line in lines)
    return event


def _spelt(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def configure(log_format: str, level: str) -> dict[str, Any]:
    """Set structlog up and return the `LOGGING` that goes with it."""
    if log_format == "auto":
        log_format = "text" if sys.stderr.isatty() else "json"
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        conceal,
        # JSON escapes these characters anyway.
        *([tame] if log_format == "text" else []),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    renderer,
                ],
            }
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Django's own handlers would log everything twice.
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.server": {"handlers": [], "level": level, "propagate": True},
            # Refused requests are in the access log already.
            "django.request": {"level": "ERROR"},
            "django.security": {"level": "CRITICAL"},
            # At DEBUG, the statements of all migrations would hide the remarks of a
            # first start, and each optional variable of a page would be a traceback.
            "django.db.backends.schema": {"level": "INFO"},
            "django.template": {"level": "INFO"},
        },
    }
