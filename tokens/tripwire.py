"""The alarm of a token's earlier secret, which nobody should use any more."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from audit.actions import record
from audit.models import Actor
from database.locks import lock_all
from tokens import notices
from tokens.actions.pausing import freeze_tokens
from tokens.models import APIToken, PreviousSecret, TokenNotice
from web.hooks import Hook

# Called with the earlier secret that was used, the token in it, and the address from
# which it came; in the transaction that records the use.
token_tripped = Hook[[PreviousSecret, str], object]()

# One alarm in this time, however often a forgotten program tries.
PAUSE: Final = timedelta(minutes=10)
REASON: Final = "An earlier secret of this token was used after its end."

_told: dict[int, datetime] = {}
_lock = threading.Lock()
MOST_TOLD: Final = 10_000


def trip(pk: int, address: str, now: datetime | None = None) -> bool:
    """Record the use of an earlier secret after its end; return whether that is news.

    If its rotation wanted that, the token is frozen.
    """
    now = now or timezone.now()
    if not _is_news(pk, now):
        return False
    with transaction.atomic():
        quiet = Q(tripped_at=None) | Q(tripped_at__lte=now - PAUSE)
        secrets = PreviousSecret.objects.filter(quiet, pk=pk)
        # The token may be frozen, and is locked before its secrets.
        lock_all(APIToken.objects.filter(pk__in=secrets.values("token")))
        tripped = secrets.update(tripped_at=now, tripped_address=address[:64])
        if not tripped:
            return False
        secret = PreviousSecret.objects.select_related(
            "token__user", "token__service"
        ).get(pk=pk)
        token = secret.token
        by = Actor("anonymous", "", None, address)
        record(
            by,
            "token.trip",
            "token",
            str(token),
            names=[str(token)],
            owner=token.owner.name,
            owner_kind=token.owner_kind,
            replaced_at=secret.replaced_at.isoformat(),
            ended_at=secret.ends_at.isoformat(),
        )
        if secret.freezes:
            chosen = APIToken.objects.filter(pk=token.pk)
            freeze_tokens(chosen, by=Actor.system("alarm"), reason=REASON, now=now)
            token.refresh_from_db()
        else:
            notices.note(
                TokenNotice.Kind.TRIPPED, [token.pk], now=now, address=address[:64]
            )
        token_tripped(secret, address)
    return True


def forget() -> None:
    """Forget the alarms of this process."""
    with _lock:
        _told.clear()


def _is_news(pk: int, now: datetime) -> bool:
    """Return whether this process has not raised this alarm a moment ago."""
    with _lock:
        last = _told.get(pk)
        if last is not None and now - last < PAUSE:
            return False
        if len(_told) >= MOST_TOLD:
            _told.clear()
        _told[pk] = now
        return True
