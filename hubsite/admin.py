"""Django's admin with the hub's own sign-in, permissions and design."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import update_wrapper
from typing import Any, Final, cast

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Model, Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.timesince import timesince
from django.views.decorators.cache import never_cache

from accounts.mixins import redirect_to_login
from accounts.models import Group, User
from audit.models import Event
from hubsite import overview
from servers.models import Server
from services.models import Service
from tokens.models import APIToken
from tokens.states import in_state
from web.admin_lists import csv_text

# Rooms and their models, in the order in which the admin lists them.
ROOMS: Final = {
    "accounts": ("User", "SignUp", "Group", "Role"),
    "services": ("Service",),
    "tokens": ("APIToken", "TokenPolicy", "TokenRequest"),
    "oauth": ("OAuthClient",),
    "servers": ("Server",),
    "audit": ("Event",),
}


class HubAdminSite(admin.AdminSite):
    """Admits users with the scope `admin-ui`; their scopes limit the rows shown."""

    site_header = f"{settings.SITE_NAME} administration"
    site_title = site_header
    index_title = "Overview"
    index_template = "admin/index.html"
    enable_nav_sidebar = False

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        # It would collect all related rows and bypass the actions.
        del self._actions["delete_selected"]

    def register(
        self, model_or_iterable: Any, admin_class: Any = None, **options: Any
    ) -> None:
        """Register the hub's own models only.

        Libraries register theirs as well. Those are of no use in the admin, or contain
        secrets, such as second factors.
        """
        models: Iterable[type[Model]] = (
            model_or_iterable
            if isinstance(model_or_iterable, Iterable)
            else [model_or_iterable]
        )
        ours = [model for model in models if model._meta.app_label in ROOMS]
        super().register(ours, admin_class, **options)

    def unregister(self, model_or_iterable: Any) -> None:
        """Unregister models; ignore those that were never registered."""
        models = (
            model_or_iterable
            if isinstance(model_or_iterable, Iterable)
            else [model_or_iterable]
        )
        super().unregister([model for model in models if self.is_registered(model)])

    def has_permission(self, request: HttpRequest) -> bool:
        return request.user.is_active and request.user.is_staff

    def admin_view(
        self, view: Callable[..., HttpResponse], cacheable: bool = False
    ) -> Callable[..., HttpResponse]:
        """Wrap a view with the permission check; middleware refuses forged requests."""

        def admitted(request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.is_authenticated:
                return redirect_to_login(request)
            if not self.has_permission(request):
                raise PermissionDenied(
                    "The administration is for accounts with the scope admin-ui."
                )
            return view(request, *args, **kwargs)

        if not cacheable:
            admitted = never_cache(admitted)
        return update_wrapper(admitted, view)

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Redirect to the hub's sign-in, with its limits and second factors."""
        return HttpResponseRedirect(
            f"{reverse('account_login')}?next={reverse('admin:index')}"
        )

    def logout(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return HttpResponseRedirect(reverse("account_logout"))

    def password_change(
        self, request: HttpRequest, extra_context: Any = None
    ) -> HttpResponse:
        """Redirect to the hub's page, which limits guesses of the old password."""
        return HttpResponseRedirect(reverse("account_change_password"))

    def entrance(self, request: HttpRequest) -> HttpResponse:
        """Show the overview at JupyterHub's address of the admin, without a slash."""
        return self.admin_view(self.index)(request)

    def get_app_list(
        self, request: HttpRequest, app_label: str | None = None
    ) -> list[dict[str, Any]]:
        found = self._build_app_dict(request, app_label)
        apps = ({app_label: found} if found else {}) if app_label else found
        for app in apps.values():
            order = ROOMS[app["app_label"]]
            app["models"].sort(key=lambda model: order.index(model["object_name"]))
            if app["app_label"] == "audit":
                app["models"][0]["name"] = "Audit log"
        return [apps[room] for room in ROOMS if room in apps]

    def app_index(
        self, request: HttpRequest, app_label: str, extra_context: Any = None
    ) -> HttpResponse:
        """Redirect to the overview, which has the same links."""
        return HttpResponseRedirect(reverse("admin:index"))

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().each_context(request), "here": "admin"}

    def index(self, request: Any, extra_context: Any = None) -> HttpResponse:
        context = {
            "figures": list(_figures(request)),
            "decisions": list(overview.decisions(request)),
            "oddities": list(overview.odd_tokens(request)),
            "latest": _latest(request),
            **(extra_context or {}),
        }
        return super().index(request, context)

    def get_urls(self) -> list[Any]:
        return [
            path("trends/", self.admin_view(self.trends), name="trends"),
            path("trends.csv", self.admin_view(self.trends_csv), name="trends_csv"),
            *super().get_urls(),
        ]

    def trends(self, request: Any) -> HttpResponse:
        """Show tokens, calls, people and servers over the last 30 days."""
        group = _group_of(request)
        context = {
            **self.each_context(request),
            "title": "The last 30 days",
            "group": group,
            "groups": overview.groups_to_choose(request),
            "trends": overview.trends(request, group),
            "query": f"?{urlencode({'group': group})}" if group else "",
        }
        return TemplateResponse(request, "admin/trends.html", context)

    def trends_csv(self, request: Any) -> HttpResponse:
        """Return the same figures as CSV, a row for each day."""
        found = overview.trends(request, _group_of(request))
        heads = ["Day (UTC)", *(trend.title for trend in found)]
        charts = [trend.chart for trend in found]
        bars = zip(*(chart.bars for chart in charts), strict=True)
        rows = ([row[0].day, *(bar.count for bar in row)] for row in bars)
        response = HttpResponse(
            csv_text([heads], rows), content_type="text/csv; charset=utf-8"
        )
        today = timezone.now().date().isoformat()
        response["Content-Disposition"] = f'attachment; filename="hub-{today}.csv"'
        return response


def _group_of(request: Any) -> str:
    group: str = request.GET.get("group", "")
    if "\0" in group or len(group) > 255:
        raise BadRequest("There is no such group.")
    return group


def _figures(request: Any) -> Iterable[dict[str, Any]]:
    """Return the counts of the overview, limited by the user's scopes."""
    now = timezone.now()
    soon = now + timedelta(days=7)

    def figure(
        label: str, scope: str, rows: Any, url: str, query: str = ""
    ) -> dict[str, Any]:
        number = request.user.access.limit(scope, queryset=rows.order_by()).count()
        where = reverse(f"admin:{url}_changelist")
        return {"label": label, "number": number, "url": where + query}

    has = request.user.access.has
    if has("list:users"):
        yield figure("Users", "list:users", User.objects.all(), "accounts_user")
    if has("read:users:activity"):
        window = timedelta(seconds=settings.HUB.active_user_window)
        yield figure(
            f"Active in {timesince(now - window, now)}",
            "read:users:activity",
            User.objects.filter(last_activity__gte=now - window),
            "accounts_user",
            "?active=now",
        )
        yield figure(
            "Active in 24 hours",
            "read:users:activity",
            User.objects.filter(last_activity__gte=now - timedelta(days=1)),
            "accounts_user",
            "?active=day",
        )
    if has("list:groups"):
        yield figure("Groups", "list:groups", Group.objects.all(), "accounts_group")
    if has("list:services"):
        yield figure(
            "Services", "list:services", Service.objects.all(), "services_service"
        )
    if has("read:tokens"):
        # As the lists say to which these figures lead.
        tokens = APIToken.objects.filter(in_state("active", now))
        yield figure(
            "Active tokens", "read:tokens", tokens, "tokens_apitoken", "?state=active"
        )
        yield figure(
            "Tokens that expire within a week",
            "read:tokens",
            tokens.filter(expires_at__lte=soon),
            "tokens_apitoken",
            "?state=expiring",
        )
    if has("read:servers"):
        running = Server.objects.filter(Q(ready=True) | Q(pending__isnull=False))
        yield figure(
            "Servers running", "read:servers", running, "servers_server", "?state=on"
        )


def _latest(request: Any) -> list[Event]:
    events = admin.site.get_model_admin(Event)
    if not events.has_view_permission(request):
        return []
    return list(events.get_queryset(request)[:8])


# Django makes the site from the class above, see `hubsite/apps.py`.
site = cast("HubAdminSite", admin.site)
