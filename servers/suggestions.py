"""Names of servers, suggested for the filters of scopes."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Value
from django.db.models.functions import Concat

from accounts.models import User
from servers.models import Server
from tokens.suggestions import MOST


def names_of_servers(user: User, text: str) -> Iterable[str]:
    """Return `user/server` of servers that `user` may see; own default server first."""
    seen = user.access.limit("read:servers", queryset=Server.objects.all())
    named = seen.annotate(full_name=Concat("user__name", Value("/"), "name"))
    found = named.filter(full_name__icontains=text).order_by("full_name")
    default = f"{user.name}/"
    names = list(found.values_list("full_name", flat=True)[:MOST])
    return dict.fromkeys([default, *names]) if text in default else names
