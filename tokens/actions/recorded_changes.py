"""Change rows of tokens and record the change in the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from audit.actions import record
from audit.models import Actor
from database.batches import in_batches
from database.locks import locked
from scopes.refusals import Conflict
from tokens import notices
from tokens.models import APIToken, TokenNotice

# Changes about which owners get a notice.
NOTICES = {
    "disable": TokenNotice.Kind.DISABLED,
    "freeze": TokenNotice.Kind.FROZEN,
}


@contextmanager
def locked_token(
    token: APIToken, now: datetime | None = None, *, public_id: bool = False
) -> Iterator[APIToken]:
    """Lock a token that is in force, in a transaction; give its present row.

    A new `public_id` excludes foreign keys to the row, as a deletion does.
    """
    with transaction.atomic():
        rows = APIToken.objects.select_related("user", "service").filter(pk=token.pk)
        rows = rows.active(now or timezone.now())
        current = locked(rows, for_deletion=public_id).first()
        if current is None:
            raise Conflict("This token has been revoked or has expired.")
        yield current


def set_columns(token: APIToken, by: Actor, act: str, **columns: Any) -> None:
    """Set columns of one token and record the change with the values before."""
    changed = {
        name: value for name, value in columns.items() if getattr(token, name) != value
    }
    if not changed:
        return
    before = {name: getattr(token, name) for name in changed}
    for name, value in changed.items():
        setattr(token, name, value)
    token.save(update_fields=list(changed))
    record(
        by,
        f"token.{act}",
        "token",
        str(token),
        names=[str(token)],
        before=before,
        after=changed,
    )


def change_tokens(
    tokens: QuerySet[APIToken], by: Actor, act: str, **columns: datetime | str | None
) -> int:
    """Change all these tokens and record their names."""
    names = [f"a{pk}" for pk in locked(tokens).values_list("pk", flat=True)]
    if names:
        tokens.update(**columns)
        record(by, f"token.{act}", "token", only_name(names), names=names)
        if act in NOTICES:
            ids = [int(name[1:]) for name in names]
            reason = columns.get("frozen_reason", "")
            notices.note(NOTICES[act], ids, by=by, reason=reason)
    return len(names)


def change_in_batches(
    tokens: QuerySet[APIToken],
    still: Q,
    by: Actor,
    act: str,
    **columns: datetime | str | None,
) -> int:
    """Change those of these tokens that are `still` unchanged; see `change_tokens`."""

    def change(ids: list[int]) -> int:
        return change_tokens(
            APIToken.objects.filter(still, pk__in=ids), by, act, **columns
        )

    chosen = APIToken.objects.filter(still, pk__in=tokens.order_by().values("pk"))
    ids = chosen.order_by("pk").values_list("pk", flat=True)
    return sum(in_batches(list(ids), change))


def only_name(names: list[str]) -> str:
    """Return the name if there is one; actions on several record the list of names."""
    return names[0] if len(names) == 1 else ""
