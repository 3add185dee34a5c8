"""Reports of the last activity of users and of their servers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar

from django.http import HttpResponse
from django.urls import path
from django.utils import timezone
from rest_framework import serializers

from api.base import APIRequest, empty
from api.bodies import (
    BodySerializer,
)
from api.openapi.decorators import extend_schema
from api.users import OneUserView
from database.statements import first_row
from scopes.refusals import Invalid, NotFound
from servers.activity import note_activity
from tokens import activity
from web.deferred import Deferred

# Most servers in one report. A server reports itself alone, a culler or proxy more.
MOST_REPORTED = 1_000

# Twice the length of so many servers with the longest names.
LARGEST_REPORT = 1_000_000


class ServerReportSerializer(serializers.Serializer[Any]):
    """The last activity of one server."""

    last_activity = serializers.CharField()


class ReportSerializer(BodySerializer):
    """The last activity of a user and of some servers."""

    is_closed = False
    largest = LARGEST_REPORT

    last_activity = serializers.CharField(allow_null=True, required=False)
    servers = serializers.DictField(
        child=ServerReportSerializer(), allow_null=True, required=False
    )

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        return read_report(data, timezone.now())


class ActivityView(OneUserView):
    """Reports of the last activity of a user and of the user's servers."""

    scopes: ClassVar = {"POST": "users:activity"}
    serializer_classes: ClassVar = {"POST": ReportSerializer}

    @extend_schema(
        summary="Report the last activity of a user and of the user's servers",
        responses={200: None},
    )
    def post(self, request: APIRequest, name: str) -> HttpResponse:
        row = first_row("SELECT id FROM accounts_user WHERE name = %s", (name,))
        if row is None:
            raise NotFound(f"No such user: '{name}'")
        report = self.read_body()
        last_activity, servers = report["last_activity"], report["servers"]
        if last_activity and not servers:
            activity.users.report(row[0], last_activity)
            return empty(200)
        # Written in another thread, because writing may wait for others, and this
        # thread may serve all requests.
        return Deferred(partial(self.write, row[0], name, last_activity, servers))

    async def write(self, *report: Any) -> HttpResponse:
        await asyncio.to_thread(note_activity, *report)
        return empty(200)


def read_report(body: Any, now: datetime) -> dict[str, Any]:
    """Return the times in a report for the user and for each server."""
    if not isinstance(body, dict):
        raise Invalid("body must be a json dict")
    moment, servers = body.get("last_activity"), body.get("servers")
    if not moment and not servers:
        raise Invalid("body must contain at least one of `last_activity` or `servers`")
    if isinstance(servers, dict) and len(servers) > MOST_REPORTED:
        raise Invalid(
            f"{len(servers)} servers are too many for one report: name at most"
            f" {MOST_REPORTED}, and the others in further reports"
        )
    if servers and not (
        isinstance(servers, dict)
        and all(
            isinstance(report, dict) and report.get("last_activity")
            for report in servers.values()
        )
    ):
        raise Invalid(
            "servers must be a dict of the form "
            "{server_name: {last_activity: timestamp}}"
        )
    return {
        "last_activity": read_moment(moment, now) if moment else None,
        "servers": {
            server: read_moment(report["last_activity"], now)
            for server, report in (servers or {}).items()
        },
    }


def read_moment(text: Any, now: datetime) -> datetime:
    """Parse a timestamp; without an offset it is UTC. The far future is refused."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        raise Invalid(
            f"Not a valid timestamp: {str(text)[:100]!r}; write it like "
            "2026-01-31T12:00:00Z"
        ) from None
    if moment > now + timedelta(minutes=59):
        raise Invalid(
            f"Rejecting activity from more than an hour in the future: {text[:100]}"
        )
    return moment


urlpatterns = [
    path("users/<name:name>/activity", ActivityView.as_view(), name="activity"),
]
