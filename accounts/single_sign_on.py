"""Sign-in at another site, as an adapter of django-allauth."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.adapter import get_adapter as get_social_adapter
from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.adapter import AccountAdapter, not_listed, refuse
from accounts.backends import admits, settle_account
from accounts.models import User
from accounts.naming import normalise_name
from web.outside import release_connection

logger = structlog.get_logger(__name__)


def begin_single_sign_on(request: HttpRequest, target: str) -> HttpResponse | None:
    """Redirect to the site's only provider, which redirects back to a path of this hub.

    None if there are no or several providers, or if the provider can't be reached now.
    """
    providers = get_social_adapter().list_providers(request)
    if len(providers) != 1:
        return None
    # Imported only with a provider, because the import brings an HTTP client.
    from allauth.socialaccount.providers.oauth2.client import OAuth2Error

    try:
        response: HttpResponse = providers[0].redirect(
            request, process="login", next_url=target
        )
    except (OAuth2Error, OSError, ValueError) as problem:
        logger.warning("Single sign-on can't be reached", problem=str(problem))
        return None
    return response


def report_unreachable_provider(
    request: HttpRequest, problem: Exception
) -> HttpResponse:
    """Return the page for a provider that can't be reached at the moment."""
    logger.warning("Single sign-on can't be reached", problem=str(problem))
    context = {"is_away": True}
    page = "socialaccount/authentication_error.html"
    return render(request, page, context, status=HTTPStatus.SERVICE_UNAVAILABLE)


class SocialAccountAdapter(DefaultSocialAccountAdapter):
    """Accounts of people who sign in at another site.

    Usernames at that site are normalised and checked as with passwords. A provider may
    sign in to an existing account only if the configuration says that its names are the
    hub's names (`owns_names`); otherwise anyone who can choose a name there could take
    over an account here.
    """

    def get_requests_session(self) -> Any:
        """Return an HTTP client; the thread keeps no database connection."""
        release_connection()
        return super().get_requests_session()

    def populate_user(
        self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]
    ) -> User:
        user = super().populate_user(request, sociallogin, data)
        claim = self._settings(sociallogin).get("username_claim", "")
        extra = sociallogin.account.extra_data
        claims = extra.get("userinfo") or extra.get("id_token") or extra
        name = claims.get(claim) if claim else data.get("username")
        user.name = normalise_name(str(name or "").strip())
        return user

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        if sociallogin.is_existing or sociallogin.state.get("process") == "connect":
            return
        name = sociallogin.user.name
        known = User.objects.filter(name=name).first() if name else None
        if known and self._speaks_for(sociallogin, known):
            sociallogin.connect(request, known)
        elif known or not name or not admits(name):
            account_adapter = AccountAdapter(request)
            account_adapter.authentication_failed(request, username=name)
            if not name:
                claim = self._settings(sociallogin).get("username_claim", "username")
                why = f"The other site did not send your name (“{claim}”)."
            elif known and admits(name):
                why = f"The name {name} may be somebody else's here."
            else:
                why = not_listed(name)
            logger.warning("Single sign-on was refused", name=name, reason=why)
            raise ImmediateHttpResponse(refuse(request, why))

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Exception | None = None,
        extra_context: dict[str, Any] | None = None,
    ) -> None:
        answer = getattr(exception, "response", None)
        is_refusal = answer is not None and answer.status_code < 500
        if isinstance(exception, OSError) and not is_refusal:
            page = report_unreachable_provider(request, exception)
            raise ImmediateHttpResponse(page)
        logger.warning("Single sign-on failed", problem=str(exception or error))

    def is_open_for_signup(
        self, request: HttpRequest, sociallogin: SocialLogin
    ) -> bool:
        return admits(sociallogin.user.name)

    def save_user(
        self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None
    ) -> User:
        proposed = sociallogin.user
        address = request.META.get("REMOTE_ADDR", "")
        user = settle_account(proposed.name, address=address)
        if user is None:
            raise ImmediateHttpResponse(refuse(request, not_listed(proposed.name)))
        user.email = proposed.email
        sociallogin.user = user
        sociallogin.save(request)
        return user

    def _speaks_for(self, sociallogin: SocialLogin, user: User) -> bool:
        """Return whether this identity may sign in to an account that it never used.

        Providers give names to other people later, but identities never. So an account
        that one identity has used is closed to another identity with the same name.
        """
        taken = SocialAccount.objects.filter(
            user=user, provider=sociallogin.account.provider
        )
        return (
            self._settings(sociallogin).get("owns_names", False)
            and admits(user.name)
            and not taken.exists()
        )

    @staticmethod
    def _settings(sociallogin: SocialLogin) -> dict[str, Any]:
        app = sociallogin.account.get_provider().app
        return app.settings if app else {}
