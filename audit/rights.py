"""Who may read which events of the audit log."""

from __future__ import annotations

from django.apps import apps
from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Concat

from audit.models import Event
from scopes.access import Access

# The scopes that show the events of each kind of row. A person who holds all of them
# for all rows reads the whole audit log; others read the events of their rows.
NAME = F("name")
SERVER = Concat("user__name", Value("/"), "name")
SHARING = Q(action__startswith="share")
READABLE = (
    ("user", "accounts.User", NAME, "read:users", Q()),
    ("group", "accounts.Group", NAME, "read:groups", Q()),
    ("service", "services.Service", NAME, "read:services", Q()),
    ("server", "servers.Server", SERVER, "read:servers", ~SHARING),
    ("server", "servers.Server", SERVER, "read:shares", SHARING),
)
SCOPES = tuple(dict.fromkeys(scope for *_, scope, _ in READABLE))
EVERYTHING = frozenset({"read:tokens", *SCOPES})


def readable_events(access: Access) -> QuerySet[Event]:
    """Return the events that a holder of these rights may read."""
    events = Event.objects.all()
    if access.covers(EVERYTHING):
        return events
    reach = Q(pk__in=())
    for kind, label, name, scope, events_of_kind in READABLE:
        rows = access.limit(
            scope, queryset=apps.get_model(label)._default_manager.order_by()
        )
        names = rows.values_list(name)
        reach |= Q(target_kind=kind, target_name__in=names) & events_of_kind
    return events.filter(reach)
