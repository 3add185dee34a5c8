"""Notices about the tokens of a user, and which of them are mailed.

These addresses are the hub's own, not JupyterHub's.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django.http import HttpResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.response import Response

from accounts.models import User
from api.base import APIRequest, HubAPIView, empty
from api.bodies import BodySerializer, Flag
from api.openapi.decorators import extend_schema
from api.serializers import Shape, text
from api.token_owners import may_issue
from scopes.access import Target
from scopes.refusals import Forbidden, NotFound
from servers.rights import user_target
from tokens import leaks, notices
from tokens.models import TokenNotice, TokenPreferences

NOTICE_ID = re.compile(r"([nl])([0-9]{1,18})")
# Most notices in one response; older ones follow once these were seen.
MOST_SHOWN = 200


class NoticeSerializer(Shape):
    """Something that happened to a token."""

    id = text()
    kind = serializers.ChoiceField((*TokenNotice.Kind.values, "leaked"))
    token = text()
    note = text()
    at = serializers.DateTimeField()
    detail = serializers.DictField()
    is_alarm = serializers.BooleanField()
    mailed_at = serializers.DateTimeField(allow_null=True)


class NoticesSerializer(Shape):
    """The notices that a user has not seen yet, the latest first."""

    notices = NoticeSerializer(many=True)


class PreferencesSerializer(Shape):
    """Which mails a user gets; alarms are always sent."""

    mail_created = serializers.BooleanField()
    mail_expiring = serializers.BooleanField()
    mail_new_network = serializers.BooleanField()
    mail_disabled = serializers.BooleanField()
    reminder_days = serializers.ListField(child=serializers.IntegerField())
    sends_mails = serializers.BooleanField()


class ChangedPreferencesSerializer(BodySerializer):
    """The changes; keys that are left out stay as they are."""

    noun = "preferences"

    mail_created = Flag()
    mail_expiring = Flag()
    mail_new_network = Flag()
    mail_disabled = Flag()
    reminder_days = serializers.ListField(
        child=serializers.IntegerField(),
        allow_null=True,
        required=False,
        help_text="Days before an expiry; null for the hub's default.",
    )

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        """Return the given keys; the action checks the days."""
        if not isinstance(data, dict) or "reminder_days" not in data:
            return super().run_validation(data)
        others = {key: data[key] for key in data if key != "reminder_days"}
        checked = super().run_validation(others)
        return {**checked, "reminder_days": data["reminder_days"]}


class OfUserView(HubAPIView):
    """The base of views of one user's notices."""

    def get_permission_object(self) -> Target:
        return user_target(self.kwargs["name"])

    def find(self) -> User:
        user = User.objects.filter(name=self.kwargs["name"]).first()
        if user is None:
            raise NotFound(f"No such user: {self.kwargs['name']}")
        return user

    def find_own(self) -> User:
        """Return the user if the caller may act for the user."""
        user = self.find()
        if not may_issue(self.request, user):
            raise Forbidden(f"User {user.name} has more rights than you.")
        return user


class NoticesView(OfUserView):
    """What happened to a user's tokens."""

    scopes: ClassVar = {"GET": "read:tokens"}

    @extend_schema(
        summary="List the notices about tokens that a user has not seen",
        responses=NoticesSerializer,
    )
    def get(self, request: APIRequest, name: str) -> HttpResponse:
        user = self.find()
        found = [
            *map(_notice_json, notices.unseen_by(user)[:MOST_SHOWN]),
            *map(_leak_json, leaks.unseen_by(user)[:MOST_SHOWN]),
        ]
        found.sort(key=lambda each: each["at"], reverse=True)
        return Response({"notices": found[:MOST_SHOWN]})


class NoticeView(OfUserView):
    """One notice."""

    scopes: ClassVar = {"DELETE": "tokens"}

    @extend_schema(summary="Note that a user has seen a notice", responses={204: None})
    def delete(self, request: APIRequest, name: str, notice_id: str) -> HttpResponse:
        user = self.find_own()
        match = NOTICE_ID.fullmatch(notice_id)
        missing = NotFound(f"No such notice: {notice_id}")
        if match is None:
            raise missing
        kind, pk = match[1], int(match[2])
        if kind == "n":
            if not notices.confirm(notices.unseen_by(user).filter(pk=pk)):
                raise missing
            return empty()
        leak = leaks.unseen_by(user).filter(pk=pk).first()
        if leak is None:
            raise missing
        leaks.confirm(leak)
        return empty()


class PreferencesView(OfUserView):
    """Which mails about tokens a user gets."""

    scopes: ClassVar = {"GET": "read:tokens", "PATCH": "tokens"}
    serializer_classes: ClassVar = {"PATCH": ChangedPreferencesSerializer}

    @extend_schema(
        summary="Return which mails about tokens a user gets",
        responses=PreferencesSerializer,
    )
    def get(self, request: APIRequest, name: str) -> HttpResponse:
        user = self.find()
        chosen = TokenPreferences.objects.filter(user=user).first()
        return Response(_preferences_json(chosen or TokenPreferences(user=user)))

    @extend_schema(
        summary="Change which mails about tokens a user gets",
        responses=PreferencesSerializer,
    )
    def patch(self, request: APIRequest, name: str) -> HttpResponse:
        chosen = notices.set_preferences(self.find_own(), self.read_body())
        return Response(_preferences_json(chosen))


def _notice_json(notice: TokenNotice) -> dict[str, Any]:
    return {
        "id": f"n{notice.pk}",
        "kind": notice.kind,
        "token": f"a{notice.token_id}",
        "note": notice.token.note,
        "at": notice.at,
        "detail": notice.detail,
        "is_alarm": notice.is_alarm,
        "mailed_at": notice.mailed_at,
    }


def _leak_json(leak: Any) -> dict[str, Any]:
    return {
        "id": f"l{leak.pk}",
        "kind": "leaked",
        "token": f"a{leak.token_id}",
        "note": leak.token.note,
        "at": leak.at,
        "detail": {
            "address": leak.address,
            "source": leak.source,
            "is_earlier": leak.is_earlier,
        },
        "is_alarm": True,
        "mailed_at": leak.mailed_at,
    }


def _preferences_json(chosen: TokenPreferences) -> dict[str, Any]:
    days = chosen.reminder_days
    return {
        **{name: getattr(chosen, name) for name in notices.SETTINGS.values()},
        "reminder_days": list(notices.REMINDER_DAYS) if days is None else days,
        "sends_mails": notices.sends_mails(),
    }


N = "users/<name:name>/token-notices"
urlpatterns = [
    path(N, NoticesView.as_view()),
    path(f"{N}/<name:notice_id>", NoticeView.as_view()),
    path("users/<name:name>/token-preferences", PreferencesView.as_view()),
]
