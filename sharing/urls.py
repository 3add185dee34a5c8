"""Addresses of pages about sharing."""

from __future__ import annotations

from django.urls import path

from sharing.views.invitations import AcceptShareView
from sharing.views.shares import (
    GrantView,
    InviteView,
    LeaveView,
    RevokeView,
    SharesView,
    WithdrawView,
)

app_name = "sharing"
urlpatterns = [
    path("accept-share", AcceptShareView.as_view(), name="accept-share"),
    path("shares", SharesView.as_view(), name="shares"),
    path("shares/grant", GrantView.as_view(), name="grant"),
    path("shares/invite", InviteView.as_view(), name="invite"),
    path("shares/revoke", RevokeView.as_view(), name="revoke"),
    path("shares/withdraw", WithdrawView.as_view(), name="withdraw"),
    path("shares/leave", LeaveView.as_view(), name="leave"),
]
