"""Revoke tokens, and purge those that ended long ago."""

from __future__ import annotations

from datetime import datetime

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from audit.actions import record
from audit.models import Actor
from database.batches import batches
from database.locks import delete_all
from tokens.actions.recorded_changes import change_in_batches, change_tokens, only_name
from tokens.models import APIToken

# Tokens that one transaction deletes, so that other writers wait briefly.
MOST_PURGED = 500


@transaction.atomic
def revoke_token(token: APIToken, *, by: Actor, now: datetime | None = None) -> int:
    """Revoke a token that a person selected; return the number of revoked tokens.

    A token of an OAuth client is revoked together with all tokens that the client has
    for the same owner, because the client would use another one.
    """
    now = now or timezone.now()
    if token.client_id:
        obtained = APIToken.objects.filter(
            client_id=token.client_id, user=token.user_id, service=token.service_id
        )
        return change_tokens(
            obtained.filter(revoked_at=None),
            by,
            "revoke",
            revoked_at=now,
            revoked_by=by.label,
        )
    # Written as SQL, because composing this statement costs as much as all the rest.
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE tokens_apitoken SET revoked_at = %s, revoked_by = %s"
            " WHERE id = %s AND revoked_at IS NULL",
            [connection.ops.adapt_datetimefield_value(now), by.label, token.pk],
        )
        revoked: int = cursor.rowcount
    if revoked:
        record(by, "token.revoke", "token", str(token), tokens=[str(token)])
    return revoked


@transaction.atomic
def revoke_tokens(
    tokens: QuerySet[APIToken],
    *,
    by: Actor,
    now: datetime | None = None,
    expires: bool = False,
) -> int:
    """Revoke exactly these tokens, in one transaction; return their number.

    This is for tokens that end together with something else, a session for instance.
    For tokens that a person selected use `remove_tokens`. Tokens that expire as well
    are deleted by the next purge.
    """
    # The ids are read first: PostgreSQL may join a queryset with itself row by row
    # while it has no statistics yet, which took minutes for a thousand tokens.
    chosen = tokens.filter(revoked_at=None).order_by().values_list("pk", flat=True)
    now = now or timezone.now()
    revoked = 0
    for ids in batches(sorted(chosen), MOST_PURGED):
        doomed = APIToken.objects.filter(pk__in=ids, revoked_at=None)
        ended: dict[str, datetime | str | None] = {
            "revoked_at": now,
            "revoked_by": by.label,
        }
        if expires:
            # In the same UPDATE: PostgreSQL checks all foreign keys of a row that a
            # transaction changes twice, which locks the owners out of order.
            ended["expires_at"] = now
        revoked += change_tokens(doomed, by, "revoke", **ended)
    return revoked


def remove_tokens(
    tokens: QuerySet[APIToken], *, by: Actor, now: datetime | None = None
) -> int:
    """Revoke these tokens in batches, each like `revoke_token`; return the number."""
    picked = APIToken.objects.filter(pk__in=tokens.order_by().values("pk"))
    obtained = picked.exclude(client_id="")
    if obtained.exists():
        beside = obtained.filter(client_id=OuterRef("client_id"))
        picked = APIToken.objects.filter(
            Q(pk__in=picked.values("pk"))
            | Q(
                Exists(beside.filter(user=OuterRef("user")))
                | Exists(beside.filter(service=OuterRef("service"))),
                client_id__in=obtained.values("client_id"),
            )
        )
    now = now or timezone.now()
    in_force = Q(revoked_at=None)
    return change_in_batches(
        picked, in_force, by, "revoke", revoked_at=now, revoked_by=by.label
    )


@transaction.atomic
def purge_expired(
    now: datetime | None = None, *, by: Actor | None = None, most: int = MOST_PURGED
) -> int:
    """Delete a batch of tokens that ended long ago; return their number.

    To delete all of them, call this until the result is 0.
    """
    expired = APIToken.objects.to_purge(now or timezone.now())
    oldest = list(expired.order_by("pk").values_list("pk", flat=True)[:most])
    if oldest:
        delete_all(APIToken.objects.filter(pk__in=oldest))
        by = by or Actor.system("purge")
        purged = [f"a{pk}" for pk in oldest]
        record(by, "token.expire", "token", only_name(purged), names=purged)
    return len(oldest)
