"""Acts on many tokens in steps: each is a transaction, and others write in between.

The request that confirms an act does the first steps. The controller does the rest, so
that an act ends even if the browser is closed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from audit.models import Actor
from database.batches import give_way
from database.locks import delete_all, lock_and_keep
from scopes.refusals import Conflict, Refusal
from tokens.actions.pausing import (
    disable_tokens,
    enable_tokens,
    freeze_tokens,
    unfreeze_tokens,
)
from tokens.actions.revocation import remove_tokens
from tokens.models import APIToken, BulkChange

# Tokens that one transaction changes.
STEP: Final = 500
# Seconds for which a request works on an act.
WORKED: Final = 4.0
# How long a finished act is kept, and can be undone.
KEPT: Final = timedelta(days=30)
# Most tokens of one act.
MOST: Final = 500_000


def begin(
    act: str,
    tokens: QuerySet[APIToken],
    *,
    by: Actor,
    undoes: BulkChange | None = None,
) -> BulkChange:
    """Store an act on these tokens; nothing is changed yet."""
    ids = list(tokens.order_by("pk").values_list("pk", flat=True)[: MOST + 1])
    if len(ids) > MOST:
        raise Conflict(f"At most {MOST:,} tokens can be changed at once: filter them.")
    with transaction.atomic():
        delete_all(BulkChange.objects.filter(finished_at__lt=timezone.now() - KEPT))
    return BulkChange.objects.create(
        act=act,
        actor_kind=by.kind,
        actor_name=by.name,
        actor_address=by.address,
        ids=ids,
        total=len(ids),
        undoes=undoes,
    )


def proceed(change: BulkChange, seconds: float = WORKED) -> BulkChange:
    """Do steps of an act for so long at most; return its present row."""
    until = time.monotonic() + seconds
    while change.finished_at is None:
        step(change)
        if time.monotonic() >= until:
            break
        if change.finished_at is None:
            give_way()
    return change


def step(change: BulkChange, size: int = STEP) -> None:
    """Change the next tokens of an act, unless another process did meanwhile."""
    first, last = change.position, min(change.position + size, change.total)
    ids = change.ids[first:last]
    finished = {"finished_at": timezone.now()} if last >= change.total else {}
    try:
        with transaction.atomic():
            # The row is changed twice, which checks its foreign key.
            undone = [] if change.undoes_id is None else [change.undoes_id]
            lock_and_keep(BulkChange, [change.pk], undone)
            mine = BulkChange.objects.filter(
                pk=change.pk, position=first, finished_at=None
            ).update(position=last, **finished)
            if mine and ids:
                number = _carry_out(change, APIToken.objects.filter(pk__in=ids))
                BulkChange.objects.filter(pk=change.pk).update(
                    changed=F("changed") + number
                )
    except Refusal as refusal:
        BulkChange.objects.filter(pk=change.pk).update(
            refusal=refusal.for_people[:1023], finished_at=timezone.now()
        )
    change.refresh_from_db(
        fields=["position", "changed", "finished_at", "refusal"],
    )


def undo(change: BulkChange, tokens: QuerySet[APIToken], *, by: Actor) -> BulkChange:
    """Enable those of these tokens that an act disabled, in steps as well."""
    refuse_undo(change)
    return begin(
        BulkChange.Act.ENABLE, tokens.filter(pk__in=_ids(change)), by=by, undoes=change
    )


def refuse_undo(change: BulkChange) -> None:
    if change.act != BulkChange.Act.DISABLE:
        raise Conflict("Only disabling can be undone.")
    if change.finished_at is None:
        raise Conflict("Tokens are still being disabled. Wait until the act has ended.")
    if BulkChange.objects.filter(undoes=change).exists():
        raise Conflict("This was undone already.")


def disabled_by(change: BulkChange) -> QuerySet[APIToken]:
    """Return the tokens that an act disabled and that nobody changed since."""
    return APIToken.objects.filter(
        disabled_at=change.moment, disabled_by=change.actor.label, revoked_at=None
    )


def _ids(change: BulkChange) -> QuerySet[APIToken, Any]:
    return disabled_by(change).order_by().values("pk")


def next_unfinished() -> BulkChange | None:
    """Return the oldest act that is not finished, for the controller."""
    return BulkChange.objects.filter(finished_at=None).order_by("pk").first()


def _carry_out(change: BulkChange, tokens: QuerySet[APIToken]) -> int:
    by, moment = change.actor, change.moment
    acts: dict[str, Callable[[], int]] = {
        "disable": lambda: disable_tokens(tokens, by=by, now=moment),
        "enable": lambda: enable_tokens(_still_disabled(change, tokens), by=by),
        "freeze": lambda: freeze_tokens(
            tokens, by=by, reason="frozen by an administrator", now=moment
        ),
        "unfreeze": lambda: unfreeze_tokens(tokens, by=by),
        "revoke": lambda: remove_tokens(tokens, by=by, now=moment),
    }
    return acts[change.act]()


def _still_disabled(
    change: BulkChange, tokens: QuerySet[APIToken]
) -> QuerySet[APIToken]:
    """Leave out tokens of an undo that somebody else disabled in the meantime."""
    if change.undoes is None:
        return tokens
    return tokens.filter(pk__in=_ids(change.undoes))
