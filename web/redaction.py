"""Patterns of secrets in texts, for logs and for the audit log."""

from __future__ import annotations

import re

# A token of this format (tokens/format.py), the output of `openssl rand -hex 32`, and
# the digests of tokens and passwords.
_SECRETS = (
    r"\b[0-9A-Za-z]+_[0-9A-Za-z]{12}_[0-9A-Za-z]{40,}"
    r"|(?<![0-9A-Fa-f])[0-9A-Fa-f]{64}(?![0-9A-Fa-f])"
    r"|\$?argon2id?\$\S+|sha512:\d+:\S+"
)
SECRET = re.compile(_SECRETS)

# The same, and values after a name or a header of secrets; the first group is the name.
NAMED_SECRET = re.compile(
    r"((?i:authorization['\"]?\s*[:=]\s*['\"]?(?:token|bearer)\s+)"
    r"|(?i:\b(?:token|password|secret|code|_xsrf)['\"]?\s*[=:]\s*['\"]?))[^\s'\"&,;}]+"
    rf"|{_SECRETS}"
)


def redact(text: str, replacement: str) -> str:
    """Return a text with all secrets replaced."""
    return SECRET.sub(replacement, text)


def redact_named(text: str, replacement: str) -> str:
    """Return a text with all secrets and all values of named secrets replaced."""
    return NAMED_SECRET.sub(lambda match: f"{match[1] or ''}{replacement}", text)
