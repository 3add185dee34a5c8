"""Adding to the record."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from django.db import transaction

from audit.models import Actor, Event, Purge
from audit.statements import insert

# The acts that are recorded.
ACTIONS = (
    *("user.create", "user.rename", "user.promote", "user.demote", "user.block"),
    *("user.deactivate", "user.activate", "user.invite", "user.delete"),
    "user.set_email",
    *("group.create", "group.add_members", "group.remove_members"),
    *("group.set_properties", "group.delete"),
    *("role.define", "role.assign", "role.withdraw", "role.delete"),
    *("service.create", "service.delete"),
    *("token.issue", "token.revoke", "token.disable", "token.enable", "token.expire"),
    *("server.create", "server.edit", "server.delete"),
    *("server.start", "server.stop", "server.open"),
    *("client.end", "proxy.announce"),
    *("share.grant", "share.revoke"),
    *("sharecode.issue", "sharecode.revoke", "sharecode.accept"),
    *("session.login", "session.logout", "session.refuse"),
    "audit.purge",
)

# Words that name a secret: a caller that uses one of them as a key of `detail` is
# mistaken, whatever the value.
SECRET_KEYS = frozenset({"secret", "password", "token", "api_token", "code", "digest"})

# People paste secrets where they don't belong, into a note for instance. What looks
# like one of ours, like the output of `openssl rand -hex 32` or like a digest is
# blanked out: the record is read by more people than the secret was meant for.
SECRET = re.compile(
    r"[0-9A-Za-z]+_[0-9A-Za-z]{12}_[0-9A-Za-z]{40,}"
    r"|(?<![0-9A-Fa-f])[0-9A-Fa-f]{64}(?![0-9A-Fa-f])"
    r"|\$?argon2id?\$\S+|sha512:\d+:\S+"
)
WITHHELD = "(withheld: looks like a secret)"


def record(
    by: Actor, action: str, target_kind: str, target_name: str, **detail: Any
) -> Event:
    """Add one act to the record.

    `action` is `noun.verb`. `detail` is JSON and never holds a secret. The row is
    written in the caller's transaction: an act that is undone was not done.
    """
    mistaken = SECRET_KEYS & detail.keys()
    if mistaken:
        raise ValueError(f"The record keeps no secrets: {', '.join(sorted(mistaken))}")
    text = json.dumps(detail, default=str)
    kept = json.loads(text)
    if SECRET.search(text):
        kept = _withheld(kept)
    event = Event(
        actor_kind=by.kind,
        actor_name=by.name,
        token_id=by.token_id,
        address=by.address,
        action=action,
        target_kind=target_kind,
        target_name=target_name,
        detail=kept,
    )
    insert(event)
    return event


def _withheld(value: Any) -> Any:
    """Blank out secrets in each text by itself: what encloses it must stay JSON."""
    if isinstance(value, str):
        return SECRET.sub(WITHHELD, value)
    if isinstance(value, list):
        return [_withheld(each) for each in value]
    if isinstance(value, dict):
        return {_withheld(key): _withheld(each) for key, each in value.items()}
    return value


@transaction.atomic
def purge_events(before: datetime, *, by: Actor) -> int:
    """Delete what the record holds from before a moment, and record that.

    The database refuses to delete anything that no `Purge` row announces.
    """
    Purge.objects.create(before=before, actor_name=by.name)
    deleted, _ = Event.objects.filter(at__lt=before).delete()
    record(by, "audit.purge", "audit", "", before=before.isoformat(), deleted=deleted)
    return deleted
