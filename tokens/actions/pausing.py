"""Disable and freeze tokens, and enable and unfreeze them."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.models import User
from audit.models import Actor
from scopes.refusals import Forbidden
from services.models import Service
from tokens.actions.acting_token import refuse_among
from tokens.actions.recorded_changes import change_in_batches
from tokens.models import APIToken

# The label of the hub as an actor, for instance of an alarm.
THE_HUB = Actor.system("").label

OF_OTHERS = (
    "Somebody else has {done} this token: ask the person who did, or an administrator."
)


def freeze_tokens(
    tokens: QuerySet[APIToken], *, by: Actor, reason: str, now: datetime | None = None
) -> int:
    """Freeze these tokens after an alarm; return the number of changes.

    A frozen token works again once a person has looked into the matter.
    """
    running = Q(frozen_at=None, revoked_at=None)
    now = now or timezone.now()
    return change_in_batches(
        tokens,
        running,
        by,
        "freeze",
        frozen_at=now,
        frozen_by=by.label,
        frozen_reason=reason[:300],
    )


def unfreeze_tokens(tokens: QuerySet[APIToken], *, by: Actor) -> int:
    """End the freeze of these tokens; return the number of changes.

    Owners look into alarms of the hub themselves. They do not unfreeze what another
    person froze.
    """
    refuse_among(tokens, by, "unfreeze itself")
    frozen = Q(frozen_at__isnull=False, revoked_at=None)
    by_others = _owned_by(by) & ~Q(frozen_by__in=("", by.label, THE_HUB))
    changed = change_in_batches(
        tokens,
        frozen & ~by_others,
        by,
        "unfreeze",
        frozen_at=None,
        frozen_by="",
        frozen_reason="",
    )
    if not changed and tokens.filter(frozen & by_others).exists():
        raise Forbidden(OF_OTHERS.format(done="frozen"))
    return changed


def disable_tokens(
    tokens: QuerySet[APIToken], *, by: Actor, now: datetime | None = None
) -> int:
    """Disable these tokens until they are enabled again; return the number of changes.

    The changes are made in batches.
    """
    running = Q(disabled_at=None, revoked_at=None)
    now = now or timezone.now()
    return change_in_batches(
        tokens, running, by, "disable", disabled_at=now, disabled_by=by.label
    )


def enable_tokens(tokens: QuerySet[APIToken], *, by: Actor) -> int:
    """Enable these tokens, in batches; return the number of changes.

    Owners do not enable what somebody else disabled.
    """
    refuse_among(tokens, by, "enable itself")
    paused = Q(disabled_at__isnull=False, revoked_at=None)
    by_others = _owned_by(by) & ~Q(disabled_by__in=("", by.label))
    changed = change_in_batches(
        tokens, paused & ~by_others, by, "enable", disabled_at=None, disabled_by=""
    )
    if not changed and tokens.filter(paused & by_others).exists():
        raise Forbidden(OF_OTHERS.format(done="disabled"))
    return changed


def _owned_by(actor: Actor) -> Q:
    """Return the condition of tokens whose owner the actor is."""
    if actor.kind == "user":
        return Q(user__in=User.objects.filter(name=actor.name))
    if actor.kind == "service":
        return Q(service__in=Service.objects.filter(name=actor.name))
    return Q(pk__in=())
