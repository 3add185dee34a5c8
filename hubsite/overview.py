"""The overview of the admin: what needs a decision, what is odd, and what happened.

Everything is limited by the scopes of the person who looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Count, DateField, Func, QuerySet, Sum
from django.urls import reverse
from django.utils import timezone

from accounts.models import Group, SignUp, User
from audit.models import Event
from audit.rights import readable_events
from tokens.models import APIToken, TokenDay, TokenRequest
from tokens.oddities import oddities
from tokens.usage_chart import DAYS, UsageChart, usage_chart


@dataclass(frozen=True, slots=True)
class Trend:
    """A number for each of the last 30 days."""

    name: str
    title: str
    noun: str
    counts: dict[date, int]

    @property
    def chart(self) -> UsageChart:
        return usage_chart(self.counts, timezone.now().date())


class Day(Func):
    """The day of a time, in UTC."""

    function = "date"
    output_field = DateField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "(%(expressions)s AT TIME ZONE 'UTC')::date"
        return self.as_sql(compiler, connection, template=template, **context)


def decisions(request: Any) -> Iterator[dict[str, Any]]:
    """Return what waits for a decision, with numbers and addresses."""
    access = request.user.access
    scopes = SignUp.scope_permissions["change"]
    waiting = SignUp.objects.filter(state=SignUp.State.PENDING)
    if access.covers(scopes) and (settings.HUB.signup != "off" or waiting.exists()):
        url = f"{reverse('admin:accounts_signup_changelist')}?state=pending"
        number = waiting.order_by().count()
        yield {"label": "People who signed up", "number": number, "url": url}
    scopes = TokenRequest.scope_permissions["change"]
    if access.has(*scopes):
        requests = TokenRequest.objects.filter(state=TokenRequest.State.PENDING)
        number = access.limit(*scopes, queryset=requests.order_by()).count()
        url = ""
        if admin.site.is_registered(TokenRequest):
            url = reverse("admin:tokens_tokenrequest_changelist")
        yield {"label": "Tokens to approve", "number": number, "url": url}


def odd_tokens(request: Any) -> Iterator[dict[str, Any]]:
    """Return the numbers of tokens at which somebody should look."""
    access = request.user.access
    if not access.has("read:tokens"):
        return
    where = reverse("admin:tokens_apitoken_changelist")
    tokens = access.limit("read:tokens", queryset=APIToken.objects.order_by())
    for name, (words, condition) in oddities(timezone.now()).items():
        number = tokens.filter(condition).count()
        yield {"label": words, "number": number, "url": f"{where}?look={name}"}


def groups_to_choose(request: Any, most: int = 200) -> list[str]:
    """Return the names of groups for which the figures can be shown."""
    reached = request.user.access.limit("list:groups", queryset=Group.objects.all())
    return list(reached.order_by("name").values_list("name", flat=True)[:most])


def trends(request: Any, group: str = "") -> list[Trend]:
    """Return the figures of the last 30 days, of everybody or of a group's members."""
    return list(_trends(request, group))


def _trends(request: Any, group: str) -> Iterable[Trend]:
    access = request.user.access
    now = timezone.now()
    first = (now - timedelta(days=DAYS - 1)).date()
    since = datetime.combine(first, datetime.min.time(), tzinfo=now.tzinfo)
    members = User.objects.order_by()
    if group:
        reached = access.limit("list:groups", queryset=Group.objects.filter(name=group))
        members = members.filter(groups__in=reached.order_by().values("pk"))
    if access.has("read:tokens"):
        tokens = access.limit("read:tokens", queryset=APIToken.objects.order_by())
        if group:
            tokens = tokens.filter(user__in=members.values("pk"))
        made = tokens.filter(created__gte=since)
        yield Trend("tokens", "Tokens created", "token", _by_day(made, "created"))
        calls = TokenDay.objects.order_by().filter(day__gte=first)
        if group or not access.covers(("read:tokens",)):
            calls = calls.filter(token__in=tokens.values("pk"))
        days = calls.values_list("day").annotate(number=Sum("count"))
        yield Trend("calls", "Calls with tokens", "call", dict(days))
    if admin.site.get_model_admin(Event).has_view_permission(request):
        events = readable_events(access).order_by().filter(at__gte=since)
        if group:
            events = events.filter(
                actor_kind="user", actor_name__in=members.values("name")
            )
        people = events.filter(action="session.login", actor_kind="user")
        signed_in = _by_day(people, "at", Count("actor_name", distinct=True))
        yield Trend("people", "People who signed in", "person", signed_in)
        starts = _by_day(events.filter(action="server.start"), "at")
        yield Trend("servers", "Servers started", "server", starts)


def _by_day(rows: QuerySet[Any], field: str, number: Any = None) -> dict[date, int]:
    counted = rows.annotate(on_day=Day(field)).values_list("on_day")
    return dict(counted.annotate(number=number or Count("pk")))
