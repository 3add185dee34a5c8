"""URLs of sign-in and profile.

Names that django-allauth looks up are outside of the namespace, in `sign_in`. Only
those of its pages are included that make sense where accounts are created by operators,
by the authenticator or by single sign-on, not by registration.
"""

from __future__ import annotations

from typing import Any

from allauth.account import views as account_views
from allauth.mfa.base import views as mfa_views
from allauth.mfa.webauthn import views as webauthn_views
from django.apps import apps
from django.conf import settings
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from accounts import sign_up_views, views
from accounts.hosting.password_views import PATH, HostedPasswordView
from web.bodies import accepts_bodies
from web.outside import waits_for_others

app_name = "accounts"

# Classes in a process of their own may have pages at these addresses.
sign_up: list[Any] = [
    path(
        "signup",
        waits_for_others(sign_up_views.SignUpView.as_view(), "POST"),
        name="signup",
    ),
    path("signup/received", sign_up_views.SignedUpView.as_view(), name="signed_up"),
    path("confirm/<path:link>", sign_up_views.ConfirmView.as_view(), name="confirm"),
    path("authorize", sign_up_views.AuthorizeView.as_view()),
    path("authorize/<name>", sign_up_views.AuthorizeView.as_view()),
    path("discard/<name>", sign_up_views.AuthorizeView.as_view()),
    path("change-password", sign_up_views.ChangePasswordView.as_view()),
    path("change-password/<name>", sign_up_views.ChangePasswordView.as_view()),
]

urlpatterns = [
    path("profile", views.ProfileView.as_view(), name="profile"),
    *([] if settings.HUB.is_hosted else sign_up),
    path(
        PATH,
        waits_for_others(HostedPasswordView.as_view(), "GET", "HEAD", "POST"),
        name="hosted_password",
    ),
    path(
        "welcome/<uidb64>/<token>/",
        waits_for_others(views.WelcomeView.as_view(), "POST"),
        name="welcome",
    ),
]

password_reset = [
    path(
        "password/reset/",
        waits_for_others(account_views.password_reset, "POST"),
        name="account_reset_password",
    ),
    path(
        "password/reset/done/",
        account_views.password_reset_done,
        name="account_reset_password_done",
    ),
    re_path(
        r"^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        waits_for_others(account_views.password_reset_from_key, "POST"),
        name="account_reset_password_from_key",
    ),
    path(
        "password/reset/key/done/",
        account_views.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
]

has_provider = apps.is_installed("allauth.socialaccount.providers.openid_connect")
single_sign_on = (
    [path("", include("accounts.single_sign_on_urls"))] if has_provider else []
)

second_factor: list[Any] = [
    path(
        "totp/activate/",
        views.ActivateTOTPView.as_view(),
        name="mfa_activate_totp",
    ),
    path(
        "webauthn/add/",
        views.AddWebAuthnView.as_view(),
        name="mfa_add_webauthn",
    ),
    path(
        "reauthenticate/",
        waits_for_others(views.only_if_askable(mfa_views.reauthenticate), "POST"),
        name="mfa_reauthenticate",
    ),
    path(
        "webauthn/reauthenticate/",
        views.only_if_askable(webauthn_views.reauthenticate_webauthn),
        name="mfa_reauthenticate_webauthn",
    ),
]

# A hosted class also answers when the page is opened.
login_methods = ("GET", "HEAD", "POST") if settings.HUB.is_hosted else ("POST",)
logout_methods = ("GET", "POST") if settings.HUB.is_hosted else ()

# Other paths below `hub` that no page of the hub has. Launches and responses of other
# sites are larger than forms of people.
LARGEST_LAUNCH = 256 * 1024
hosted: list[Any] = [
    re_path(
        "^(?!api/)(?P<path>.+)$",
        accepts_bodies(
            waits_for_others(views.HostedView.as_view(), "GET", "HEAD", "POST"),
            LARGEST_LAUNCH,
        ),
    )
]

sign_in: list[Any] = [
    path(
        "login",
        waits_for_others(views.LoginView.as_view(), *login_methods),
        name="account_login",
    ),
    path(
        "logout",
        waits_for_others(views.LogoutView.as_view(), *logout_methods),
        name="account_logout",
    ),
    path(
        "accounts/",
        include(
            [
                path(
                    "login/",
                    RedirectView.as_view(
                        pattern_name="account_login", query_string=True
                    ),
                ),
                path(
                    "inactive/", account_views.account_inactive, name="account_inactive"
                ),
                path(
                    "reauthenticate/",
                    waits_for_others(
                        views.only_if_askable(account_views.reauthenticate), "POST"
                    ),
                    name="account_reauthenticate",
                ),
                path(
                    "password/change/",
                    waits_for_others(views.PasswordChangeView.as_view(), "POST"),
                    name="account_change_password",
                ),
                # Password links can be requested only if the hub can send mail.
                *(password_reset if settings.MAILS_LINKS else ()),
                # These come before allauth's of the same name.
                path("2fa/", include(second_factor)),
                path("2fa/", include("allauth.mfa.urls")),
                path("3rdparty/", include("allauth.socialaccount.urls")),
                path(
                    "sessions/",
                    views.SessionsView.as_view(),
                    name="usersessions_list",
                ),
                *single_sign_on,
            ]
        ),
    ),
]
