"""Plug-in for detect-secrets: finds API tokens of this hub, by format and checksum.

This file needs nothing but detect-secrets, so it can be copied into any repository:

    detect-secrets scan -p integrations/detect_secrets_hub.py

A string with a wrong checksum is no token, so it is not reported. Nothing is sent.
"""

from __future__ import annotations

import re
import string
import zlib
from collections.abc import Generator
from typing import Any

from detect_secrets.constants import VerifiedResult
from detect_secrets.plugins.base import RegexBasedDetector

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
CHECKSUM_LENGTH = 6


class HubTokenDetector(RegexBasedDetector):
    """Finds tokens of any prefix: `<prefix>_<12 characters>_<60 characters>`."""

    secret_type = "Hub API token"  # noqa: S105 - the name of the kind
    denylist = (
        re.compile(
            r"(?<![0-9A-Za-z_])"
            r"[a-z][a-z0-9]{0,15}_[0-9A-Za-z]{12}_[0-9A-Za-z]{60}"
            r"(?![0-9A-Za-z_])"
        ),
    )

    def analyze_string(self, string: str, **options: Any) -> Generator[str, None, None]:
        for found in super().analyze_string(string):
            if has_checksum(found):
                yield found

    def verify(self, secret: str) -> VerifiedResult:
        """Verify the checksum; only the hub knows whether the token is still valid."""
        right = has_checksum(secret)
        return VerifiedResult.VERIFIED_TRUE if right else VerifiedResult.VERIFIED_FALSE


def has_checksum(token: str) -> bool:
    """Tell whether a token ends in the CRC-32 of all before it, in base62."""
    number = zlib.crc32(token[:-CHECKSUM_LENGTH].encode())
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits == token[-CHECKSUM_LENGTH:]
