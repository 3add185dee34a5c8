"""URLs of the pages about tokens."""

from __future__ import annotations

from django.urls import path

from tokens import (
    leak_views,
    new_token,
    notice_views,
    request_views,
    token_page,
    views,
)

app_name = "tokens"
urlpatterns = [
    path("token", views.TokenListView.as_view(), name="list"),
    path("token/selected", views.SelectedView.as_view(), name="selected"),
    path("token/new", new_token.NewTokenView.as_view(), name="new"),
    # An earlier address of the form, for pages that were left open.
    path("token/request", new_token.NewTokenView.as_view()),
    path("token/new/names", new_token.SuggestView.as_view(), name="suggest"),
    path("token/found", leak_views.FoundTokenView.as_view(), name="found"),
    path("token/report", leak_views.ReportView.as_view(), name="report"),
    path("token/reported", leak_views.ReportedView.as_view(), name="reported"),
    path("token/leaks/<int:pk>/seen", leak_views.SeenView.as_view(), name="seen"),
    path(
        "token/requests/<int:pk>/<slug:act>",
        request_views.RequestView.as_view(),
        name="request",
    ),
    path("token/notices", notice_views.PreferencesView.as_view(), name="notices"),
    path(
        "token/notices/seen",
        notice_views.NoticesSeenView.as_view(),
        name="notices-seen",
    ),
    path(
        "token/notices/<int:pk>/seen",
        notice_views.NoticeSeenView.as_view(),
        name="notice-seen",
    ),
    path("token/a<int:pk>", token_page.TokenView.as_view(), name="token"),
    path("token/a<int:pk>/revoke", views.RevokeView.as_view(), name="revoke"),
    path(
        "token/a<int:pk>/<slug:change>",
        token_page.ChangeView.as_view(),
        name="change",
    ),
]
