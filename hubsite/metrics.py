"""Prometheus metrics with JupyterHub's names.

Gauges are counted in the database at each scrape, so that every process returns the
same number. Durations are measured in each process. Several workers share them in the
folder `PROMETHEUS_MULTIPROC_DIR`, which must be set before this module is imported. The
controller's measurements come from a file and are added.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, ClassVar

from django.conf import settings
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from rest_framework.request import Request

from accounts.models import User
from api.authentication import SessionAuthentication
from api.base import HubAPIView
from api.permissions import AllowAny
from audit.sealing import state
from controller.proxy import client
from hubsite.memberships import memberships
from servers import limits
from servers.metrics import ServerMetrics, prefix
from servers.models import Server
from tokens import activity
from tokens.authentication import TokenAuthentication

logger = logging.getLogger(__name__)

PREFIX = prefix()
# The measurements of this machine's controller, see `controller.metrics`.
CONTROLLER = "metrics/controller.prom"

# A registry of the hub's own, because a configuration may import JupyterHub (as `import
# batchspawner` does), which creates metrics of the same names in the default registry.
OWN = CollectorRegistry()
REQUEST_DURATION = Histogram(
    f"{PREFIX}_request_duration_seconds",
    "Time taken to answer requests",
    ("method", "handler", "code"),
    registry=OWN,
)
LOGIN_DURATION = Histogram(
    f"{PREFIX}_login_duration_seconds",
    "Time taken by attempts to sign in",
    ("status",),
    registry=OWN,
)
LOGOUT_DURATION = Histogram(
    f"{PREFIX}_logout_duration_seconds", "Time taken to sign out", registry=OWN
)
CSP_REPORTS = Counter(
    f"{PREFIX}_csp_reports",
    "Violations of the content security policy, as reported",
    registry=OWN,
)
PERIODS = {"24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}

# Dashboards select requests by the names of JupyterHub's handler classes.
HANDLERS = {
    ours: f"jupyterhub.{theirs}"
    for theirs, classes in {
        "apihandlers.auth.CookieAPIHandler": "api.authorizations.CookieLookupView",
        "apihandlers.auth.TokenAPIHandler": (
            "api.authorizations.TokenRequestView api.authorizations.TokenLookupView"
        ),
        "apihandlers.base.API404": "api.base.UnknownView",
        "apihandlers.groups.GroupAPIHandler": "api.groups.GroupView",
        "apihandlers.groups.GroupListAPIHandler": "api.groups.GroupsView",
        "apihandlers.groups.GroupPropertiesAPIHandler": "api.groups.PropertiesView",
        "apihandlers.groups.GroupUsersAPIHandler": "api.groups.MembersView",
        "apihandlers.hub.InfoAPIHandler": "api.hub.InfoView",
        "apihandlers.hub.RootAPIHandler": "api.hub.RootView",
        "apihandlers.hub.ShutdownAPIHandler": "api.hub.ShutdownView",
        "apihandlers.proxy.ProxyAPIHandler": "api.hub.ProxyView",
        "apihandlers.services.ServiceAPIHandler": "api.services.ServiceView",
        "apihandlers.services.ServiceListAPIHandler": "api.services.ServicesView",
        "apihandlers.users.ActivityAPIHandler": "api.activity.ActivityView",
        "apihandlers.users.SelfAPIHandler": "api.whoami.WhoAmIView",
        "apihandlers.users.SpawnProgressAPIHandler": "api.servers.ProgressView",
        "apihandlers.users.UserAdminAccessAPIHandler": "api.servers.AdminAccessView",
        "apihandlers.users.UserAPIHandler": "api.users.UserView",
        "apihandlers.users.UserListAPIHandler": "api.users.UsersView",
        "apihandlers.users.UserServerAPIHandler": "api.servers.ServerView",
        "apihandlers.users.UserTokenAPIHandler": "api.tokens.UserTokenView",
        "apihandlers.users.UserTokenListAPIHandler": "api.tokens.UserTokensView",
        "handlers.base.CSPReportHandler": "hubsite.pages.views.csp_report",
        "handlers.base.UserRedirectHandler": "servers.views.stopped.UserRedirectView",
        "handlers.base.UserUrlHandler": "servers.views.stopped.StoppedServerView",
        "handlers.login.LoginHandler": "accounts.views.LoginView",
        "handlers.login.LogoutHandler": "accounts.views.LogoutView",
        "handlers.metrics.MetricsHandler": "hubsite.metrics.MetricsView",
        "handlers.pages.AcceptShareHandler": (
            "sharing.views.invitations.AcceptShareView"
        ),
        "handlers.pages.HealthCheckHandler": "api.hub.HealthView",
        "handlers.pages.HomeHandler": "hubsite.pages.home.HomeView",
        "handlers.pages.ProxyErrorHandler": "hubsite.pages.views.error_page",
        "handlers.pages.RootHandler": "hubsite.pages.views.RootView",
        "handlers.pages.SpawnHandler": (
            "servers.views.start.SpawnView servers.views.start.StartView"
        ),
        "handlers.pages.SpawnPendingHandler": "servers.views.pending.PendingView",
        "handlers.pages.TokenPageHandler": "tokens.views.TokenListView",
        "handlers.static.LogoHandler": "hubsite.pages.views.logo",
    }.items()
    for ours in classes.split()
}

HANDLERS |= {
    f"api.{ours}": f"jupyterhub.apihandlers.shares.{theirs}"
    for ours, theirs in {
        "shares.OwnerSharesView": "ServerShareAPIHandler",
        "shares.ServerSharesView": "ServerShareAPIHandler",
        "share_codes.OwnerCodesView": "ServerShareCodeAPIHandler",
        "share_codes.ServerCodesView": "ServerShareCodeAPIHandler",
        "shares.UserSharedView": "UserShareListAPIHandler",
        "shares.UserSharedServerView": "UserShareAPIHandler",
        "shares.GroupSharedView": "GroupShareListAPIHandler",
        "shares.GroupSharedServerView": "GroupShareAPIHandler",
    }.items()
}
# This handler class is from the spawner's package.
HANDLERS["api.batchspawner.BatchSpawnerView"] = (
    "batchspawner.api.BatchSpawnerAPIHandler"
)
STATIC = "jupyterhub.handlers.static.CacheControlStaticFilesHandler"
NOWHERE = "jupyterhub.handlers.base.Template404"
LOGIN = HANDLERS["accounts.views.LoginView"]
LOGOUT = HANDLERS["accounts.views.LogoutView"]
CSP_REPORT = HANDLERS["hubsite.pages.views.csp_report"]

# Alerts on a rate need the series before the first failure.
for outcome in ("success", "failure"):
    LOGIN_DURATION.labels(outcome)

SERVER_METRICS = ServerMetrics(OWN)
limits.start_refused.connect(SERVER_METRICS.observe_refusal)
client.request_ended.connect(SERVER_METRICS.observe_proxy)


# Measuring


def observe_request(
    request: HttpRequest, response: HttpResponseBase, seconds: float
) -> None:
    """Count a request and its duration."""
    match = request.resolver_match
    view = match.func if match is not None else None
    for observe in _observers(view, request.method or "", response.status_code):
        observe(seconds)


@cache
def _observers(
    view: Callable[..., Any] | None, method: str, code: int
) -> tuple[Callable[[float], Any], ...]:
    handler = handler_of(view, code)
    observers: list[Callable[[float], Any]] = [
        REQUEST_DURATION.labels(method, handler, str(code)).observe
    ]
    if handler == LOGIN and method == "POST":
        outcome = "success" if 300 <= code < 400 else "failure"
        observers.append(LOGIN_DURATION.labels(outcome).observe)
    elif handler == LOGOUT and method == "POST":
        observers.append(LOGOUT_DURATION.observe)
    elif handler == CSP_REPORT and code < 300:
        observers.append(lambda seconds: CSP_REPORTS.inc())
    return tuple(observers)


def handler_of(view: Callable[..., Any] | None, code: int) -> str:
    """Return the name of JupyterHub's handler for a view, or the view's own name."""
    if view is None:
        return NOWHERE if code == 404 else STATIC
    made_from = getattr(view, "view_class", view)
    name = getattr(made_from, "__name__", type(made_from).__name__)
    ours = f"{made_from.__module__}.{name}"
    return HANDLERS.get(ours, ours)


# Reading


class DatabaseCollector(Collector):
    """Counts of rows, made at each scrape."""

    def collect(self) -> Iterable[Metric]:
        activity.flush()
        now = timezone.now()
        yield GaugeMetricFamily(
            f"{PREFIX}_total_users", "Users there are", value=User.objects.count()
        )
        active = GaugeMetricFamily(
            f"{PREFIX}_active_users",
            "Users who were active within the period",
            labels=["period"],
        )
        for period, users in active_users(now).items():
            active.add_metric([period], users)
        yield active
        yield GaugeMetricFamily(
            f"{PREFIX}_running_servers",
            "Servers that run and are ready",
            value=Server.objects.filter(ready=True).count(),
        )
        yield memberships(f"{PREFIX}_user_group_info", now)
        yield from chain_gauges()

    def describe(self) -> Iterable[Metric]:
        # Called when the collector is registered, perhaps without a database.
        return ()


def chain_gauges() -> Iterable[Metric]:
    """Yield the state of the audit log's hash chain; alerts watch the oldest event."""
    chain = state()
    yield GaugeMetricFamily(
        f"{PREFIX}_audit_sealed_events",
        "The sequence number of the last sealed event of the audit log",
        value=chain.sealed,
    )
    yield GaugeMetricFamily(
        f"{PREFIX}_audit_unsealed_events",
        "Events of the audit log that are not sealed yet",
        value=chain.unsealed,
    )
    yield GaugeMetricFamily(
        f"{PREFIX}_audit_oldest_unsealed_timestamp_seconds",
        "The time of the oldest event that is not sealed yet; 0 without such an event",
        value=chain.oldest.timestamp() if chain.oldest else 0,
    )
    checkpoint = chain.checkpoint
    yield GaugeMetricFamily(
        f"{PREFIX}_audit_checkpoint_timestamp_seconds",
        "The time of the last signed checkpoint of the audit log; 0 without one",
        value=datetime.fromisoformat(checkpoint.at).timestamp() if checkpoint else 0,
    )


def active_users(now: datetime) -> dict[str, int]:
    """Count the users who were active within each period, in one query."""
    longest = max(PERIODS.values())
    return User.objects.filter(last_activity__gt=now - longest).aggregate(
        **{
            period: Count("pk", filter=Q(last_activity__gt=now - length))
            for period, length in PERIODS.items()
        }
    )


class WorkersCollector(Collector):
    """Metrics of all workers, and of the hub's own registry."""

    def collect(self) -> Iterable[Metric]:
        ours = {family.name for family in OWN.collect()}
        everything = MultiProcessCollector(None).collect()
        return [family for family in everything if family.name in ours]

    def describe(self) -> Iterable[Metric]:
        return ()


class SummedCollector(Collector):
    """Metrics of this process, or of all workers, added to the controller's."""

    def __init__(self, own: CollectorRegistry) -> None:
        self.own = own

    def collect(self) -> Iterable[Metric]:
        families = {family.name: family for family in self.own.collect()}
        for theirs in controller_families():
            # The time of creation is part of the family here, and differs by process.
            if theirs.name.endswith("_created"):
                continue
            ours = families.get(theirs.name)
            families[theirs.name] = _sum(ours, theirs) if ours else theirs
        return families.values()

    def describe(self) -> Iterable[Metric]:
        return ()


def controller_families() -> list[Metric]:
    """Return the controller's metrics from its file; nothing if there is no file."""
    try:
        text = (settings.DATA_DIR / CONTROLLER).read_text("utf-8")
        return list(text_string_to_metric_families(text))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        logger.warning("The controller's metrics can't be read: %s", error)
        return []


def _sum(ours: Metric, theirs: Metric) -> Metric:
    """Add up histograms of the same name, series by series."""
    if theirs.type != "histogram":
        return ours
    series: dict[Any, Sample] = {}
    for sample in (*ours.samples, *theirs.samples):
        key = (sample.name, *sorted(sample.labels.items()))
        known = series.get(key)
        value = sample.value + (known.value if known else 0)
        series[key] = (known or sample)._replace(value=value)
    summed = Metric(ours.name, ours.documentation, ours.type)
    summed.samples = list(series.values())
    return summed


def registry() -> CollectorRegistry:
    """Return the registry for one scrape."""
    own, found = OWN, CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        own = CollectorRegistry()
        own.register(WorkersCollector())
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        found.register(collector)
    found.register(DatabaseCollector())
    found.register(SummedCollector(own))
    return found


class ReadingSessionAuthentication(SessionAuthentication):
    """Accepts a browser's session on a page that changes nothing."""

    def enforce_csrf(self, request: Request) -> None:
        """Do nothing, because reading a page needs no XSRF value."""


class MetricsView(HubAPIView):
    """All metrics, as text for Prometheus."""

    authentication_classes = (TokenAuthentication, ReadingSessionAuthentication)
    scopes: ClassVar = {"GET": "read:metrics"}

    def get_permissions(self) -> Sequence[Any]:
        if settings.HUB.authenticate_prometheus:
            return super().get_permissions()
        return [AllowAny()]

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if response.status_code == 403:
            # JupyterHub responds with a page here, as to a browser.
            explanation = json.loads(response.content)["message"] or ""
            if "requires any of" not in explanation:
                # The API's message for anonymous callers does not name the scope.
                explanation = "Access to metrics requires scope 'read:metrics'"
            context = {"explanation": explanation}
            return render(request._request, "403.html", context, status=403)
        return response

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(
            generate_latest(registry()), content_type=CONTENT_TYPE_LATEST
        )
