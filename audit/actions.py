"""Adding events to the audit log."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.db import transaction

from audit.models import Actor, Event, Purge
from audit.sealing import allow_purge, delete_seals, shorten_chain
from database.statements import insert
from web.redaction import SECRET, redact

# Names in one row, because a page that shows the row reads all of them.
MOST_NAMES = 1_000
# Rows of the audit log that one transaction deletes, so that other writers wait
# briefly.
BATCH = 1_000

# Words that name a secret. A caller that uses one of them as a key of `detail` makes a
# mistake, whatever the value.
SECRET_KEYS = frozenset({"secret", "password", "token", "api_token", "code", "digest"})

# People paste secrets in the wrong places, for instance into a note. A text that looks
# like a secret of the hub, like the output of `openssl rand -hex 32` or like a digest
# is blanked out, because more people read the audit log than may know the secret.
WITHHELD = "(withheld: looks like a secret)"


def record(
    by: Actor, action: str, target_kind: str, target_name: str, **detail: Any
) -> Event:
    """Add one event to the audit log.

    `action` is `noun.verb`. `detail` is JSON and never holds a secret. The row is
    written in the caller's transaction, so that an undone action is not recorded. An
    action on more than `MOST_NAMES` things takes several rows, each with some of the
    names; the first is returned.
    """
    mistaken = SECRET_KEYS & detail.keys()
    if mistaken:
        raise ValueError(
            f"The audit log keeps no secrets: {', '.join(sorted(mistaken))}"
        )
    kept = without_secrets(detail)
    events = [
        Event(
            actor_kind=by.kind,
            actor_name=by.name,
            token_id=by.token_id,
            address=by.address,
            action=action,
            target_kind=target_kind,
            target_name=target_name,
            detail=part,
        )
        for part in _parts(kept)
    ]
    for event in events:
        insert(event)
    return events[0]


def record_many(
    by: Actor, action: str, kind: str, names: list[str], **detail: Any
) -> None:
    """Record one action on one or many things; without a thing nothing is recorded."""
    if len(names) == 1:
        record(by, action, kind, names[0], **detail)
    elif names:
        record(by, action, kind, "", names=names, **detail)


def without_secrets(detail: dict[str, Any]) -> dict[str, Any]:
    """Return the values as JSON, with all that looks like a secret blanked out."""
    text = json.dumps(detail, default=str)
    kept: dict[str, Any] = json.loads(text)
    return _withheld(kept) if SECRET.search(text) else kept


def _parts(detail: dict[str, Any]) -> list[dict[str, Any]]:
    """Divide long lists into several details, each with the total number."""
    long = {
        key: value
        for key, value in detail.items()
        if isinstance(value, list) and len(value) > MOST_NAMES
    }
    if not long:
        return [detail]
    rest = {key: value for key, value in detail.items() if key not in long}
    number = max(-(-len(value) // MOST_NAMES) for value in long.values())
    parts = []
    for start in range(0, number * MOST_NAMES, MOST_NAMES):
        lists = {key: value[start : start + MOST_NAMES] for key, value in long.items()}
        part = start // MOST_NAMES + 1
        shown = {key: names for key, names in lists.items() if names}
        parts.append({**rest, **shown, "part": part, "parts": number})
    return parts


def _withheld(value: Any) -> Any:
    """Blank out secrets in each text separately, so that the value remains JSON."""
    if isinstance(value, str):
        return redact(value, WITHHELD)
    if isinstance(value, list):
        return [_withheld(each) for each in value]
    if isinstance(value, dict):
        return {_withheld(key): _withheld(each) for key, each in value.items()}
    return value


def purge_events(before: datetime, *, by: Actor) -> int:
    """Delete the events before a time, and record the purge.

    The database refuses to delete events without a `Purge` row. The function uses
    several transactions, so that others may write in between.
    """
    announce_purge(before, by=by)
    deleted = 0
    while batch := delete_events(before):
        deleted += batch
    shorten_chain()
    while delete_seals():
        pass
    record_purge(before, deleted, by=by)
    return deleted


@transaction.atomic
def announce_purge(before: datetime, *, by: Actor) -> None:
    """Announce and sign that events from before a time may be deleted."""
    allow_purge(before)
    Purge.objects.create(before=before, actor_name=by.name)


@transaction.atomic
def delete_events(before: datetime, most: int = BATCH) -> int:
    """Delete the oldest events from before an announced time; return the number."""
    oldest = Event.objects.filter(at__lt=before).order_by("at").values_list("pk")
    deleted, _ = Event.objects.filter(pk__in=[pk for (pk,) in oldest[:most]]).delete()
    return deleted


def record_purge(before: datetime, deleted: int, *, by: Actor) -> None:
    """Record that events were deleted, and their number."""
    record(by, "audit.purge", "audit", "", before=before.isoformat(), deleted=deleted)
