"""Group memberships as a metric, which dashboards join with the resources of pods.

Pods have an escaped name of their user, because Kubernetes limits the characters. So
the metric has the names of users in both formats of KubeSpawner: the older one, which
escapes single bytes, and the newer one, which keeps valid characters and adds a hash.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from string import ascii_lowercase, digits

from django.db.models import Exists, OuterRef, Q
from prometheus_client.core import GaugeMetricFamily

from accounts.models import User
from servers.models import ACTIVE, Server

# Inactive users are left out, because each series makes every scrape longer.
RECENT = timedelta(days=1)

PLAIN = frozenset(ascii_lowercase + digits)
FITTING = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
SLUG_LENGTH, HASH_LENGTH = 32, 8
HASH_MARK = "---"


def memberships(name: str, now: datetime) -> GaugeMetricFamily:
    """Return a series of value 1 for each group of each recently active user."""
    family = GaugeMetricFamily(
        name,
        "Groups of users who run a server, or were active in the last 24 hours",
        labels=["usergroup", "username", "username_safe", "username_escaped"],
    )
    running = Server.objects.filter(ACTIVE, user=OuterRef("pk")).order_by()
    users = User.objects.filter(Q(last_activity__gt=now - RECENT) | Exists(running))
    rows = users.filter(groups__isnull=False).order_by()
    for user, group in rows.values_list("name", "groups__name"):
        family.add_metric([group, user, safe(user), escaped(user)], 1)
    return family


@lru_cache(maxsize=10_000)
def escaped(name: str) -> str:
    """Escape each byte, except lower-case letters and digits, as `-` and its number."""
    return "".join(
        chr(byte)
        if chr(byte) in "abcdefghijklmnopqrstuvwxyz0123456789"
        else f"-{byte:02x}"
        for byte in name.encode()
    )


@lru_cache(maxsize=10_000)
def safe(name: str) -> str:
    """Return a valid name unchanged, others with their valid characters and a hash."""
    if FITTING.fullmatch(name) and "--" not in name:
        return name
    room = SLUG_LENGTH - HASH_LENGTH - len(HASH_MARK)
    kept = re.sub("[^a-z0-9]+", "-", name.lower()).lstrip("-")[:room].rstrip("-")
    if kept and not kept[0].isalpha():
        kept = f"x-{kept[: room - 2]}"
    digest = sha256(name.encode()).hexdigest()[:HASH_LENGTH]
    return f"{kept or 'x'}{HASH_MARK}{digest}"
