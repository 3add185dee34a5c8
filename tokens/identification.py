"""Finding a token by its whole text or by the SHA-256 of that, for operators.

Logs, alerts and scanners show either. Neither is stored, logged or shown again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.db.models import QuerySet
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from tokens import digests, format, imported, verification
from tokens.models import APIToken, PreviousSecret

SHA256 = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True)
class Identified:
    """A token that was found; `previous` is the earlier secret that was given."""

    token: APIToken
    previous: PreviousSecret | None = None

    @property
    def previous_is_valid(self) -> bool:
        return self.previous is not None and self.previous.ends_at > timezone.now()


@sensitive_variables("text", "prints", "secret", "public_id")
def identify(text: str, tokens: QuerySet[APIToken]) -> Identified | None:
    """Return the one of these tokens that has this secret or this SHA-256."""
    secret = text.strip()
    if not secret or len(secret) > format.MAX_LENGTH:
        return None
    imported.claim(secret)
    prints = [digests.fingerprint(secret)]
    # 64 hexadecimal digits may be an imported secret as well.
    if match := SHA256.fullmatch(secret):
        prints.append(digests.fingerprint_of(match[1]))
    if token := tokens.filter(fingerprint__in=prints).first():
        return Identified(token)
    earlier = PreviousSecret.objects.filter(
        fingerprint__in=prints, token__in=tokens.order_by().values("pk")
    )
    if previous := earlier.first():
        return Identified(tokens.get(pk=previous.token_id), previous)
    return _by_digest(secret, tokens)


@sensitive_variables("secret", "public_id")
def _by_digest(secret: str, tokens: QuerySet[APIToken]) -> Identified | None:
    """Find a token of an older hub, which has no fingerprint before its first use."""
    public_id = verification.public_id_of(secret)
    if not public_id:
        return None
    token = tokens.filter(public_id=public_id).first()
    if token is not None and digests.matches(secret, token.digest):
        return Identified(token)
    return None
