"""Sign-in and sign-out on this hub, as an adapter of django-allauth.

allauth implements the methods (password, second factor, passkey, single sign-on) and
counts failures; this module defines sessions and admission.
"""

from __future__ import annotations

import secrets
import time
from typing import Any
from urllib.parse import urlsplit

from allauth.account import app_settings as account_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth import logout as end_session
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.actions import make_user_of
from accounts.attempts import Attempt, TooMany, remember_browser
from accounts.backends import WaitingError, admits
from accounts.hashing import PASSWORD_MEMORY, Kind, ceiling
from accounts.landing import default_target
from accounts.mail import deliver
from accounts.models import User
from accounts.naming import normalise_name
from accounts.proof import PROVEN_AT, note_proof
from accounts.sessions import (
    SESSION_ID,
    close_session,
    end_other_sessions,
    set_session_id_cookie,
)
from audit.actions import record
from audit.models import Actor
from web.hooks import Hook
from web.hosts import local_path, public_origin
from web.outside import begin_to_wait

# Called with the user who signed out, and the actor.
post_logout = Hook[[User, Actor], object]()

# Called with the user who signed in.
post_login = Hook[[User], object]()


class AccountAdapter(DefaultAccountAdapter):
    """Records sign-ins, and sets the two cookies that JupyterHub's clients expect."""

    error_messages = {  # noqa: RUF012 - extends the library's mapping
        **DefaultAccountAdapter.error_messages,
        "username_password_mismatch": "Invalid username or password",
        "too_many_login_attempts": (
            "Too many failed attempts. Wait a few minutes, then try again."
        ),
    }

    def get_client_ip(self, request: HttpRequest) -> str:
        # The hub's own middleware has checked which proxies are trusted.
        return request.META.get("REMOTE_ADDR") or "127.0.0.1"

    # Pages to open

    def is_safe_url(self, url: str) -> bool:
        return bool(url and local_path(self.request, url))

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        user = request.user
        return default_target(user if isinstance(user, User) else None)

    def get_signup_redirect_url(self, request: HttpRequest) -> str:
        return default_target()

    # Authentication

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Any:
        """Check a name and a password after waiting for a turn to hash.

        The wait comes before the attempt is counted, because an attempt that is refused
        for lack of capacity is no failure.
        """
        if settings.HUB.authenticator_class != "local":
            return self._attempt(request, **credentials)
        begin_to_wait()
        with ceiling.turn(Kind.PASSWORD, PASSWORD_MEMORY):
            return self._attempt(request, **credentials)

    def _attempt(self, request: HttpRequest, **credentials: Any) -> Any:
        # By account, because each spelling of its name would have a limit of its own.
        name = normalise_name(str(credentials.get("username", "")).strip())
        self.attempt = Attempt(request, name)
        try:
            user = super().authenticate(request, **credentials)
        except WaitingError as waiting:
            self.attempt.withdraw()
            raise ValidationError(str(waiting), code="sign_up") from None
        except Exception:
            # A password that could not be checked is no failure.
            self.attempt.withdraw()
            raise
        if user is None:
            self.attempt.fail()
        else:
            self.attempt.withdraw()
        return user

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        try:
            self.attempt.begin()
        except TooMany as problem:
            code = "too_many_login_attempts"
            raise ValidationError(str(problem), code=code) from None

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def pre_login(
        self, request: HttpRequest, user: User, **kwargs: Any
    ) -> HttpResponse | None:
        # The class that has just authenticated a person has decided already.
        is_decided = getattr(request, "admitted_by_class", None) == user.pk
        if not is_decided and not admits(user.name):
            self.authentication_failed(request, username=user.name)
            return refuse(request, not_listed(user.name))
        return super().pre_login(request, user, **kwargs)

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        # allauth itself counts only reauthentication as such, so it would ask for the
        # password again seconds after the sign-in.
        passed = time.time() - self.request.session.get(PROVEN_AT, 0)
        return passed >= account_settings.REAUTHENTICATION_TIMEOUT

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        if not is_mfa_enabled(user, [Authenticator.Type.TOTP]):
            # Only the first method is shown. Recovery codes are created together with a
            # first key, and a user who has not seen them yet can't enter one.
            methods.sort(key=lambda method: method["id"] == "mfa_reauthenticate")
        return methods

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        record_refusal(request, str(credentials.get("username", "")))

    # Mail

    def send_mail(
        self, template_prefix: str, email: str, context: dict[str, Any]
    ) -> None:
        host = urlsplit(settings.PUBLIC_URL).netloc
        about = {
            "request": self.request,
            "email": email,
            "current_site": {"name": host, "domain": host},
            **context,
        }
        deliver(self.render_mail(template_prefix, email, about))

    def get_reset_password_from_key_url(self, key: str) -> str:
        parts = urlsplit(super().get_reset_password_from_key_url(key))
        return f"{public_origin()}{parts.path}"

    # Begin and end of sessions

    def login(self, request: HttpRequest, user: User) -> None:
        if not user.is_active:
            # Deactivated between the password and the second factor.
            raise ImmediateHttpResponse(self.respond_user_inactive(request, user))
        before = request.session.get(SESSION_KEY, "")
        earlier = request.session.get(SESSION_ID, "")
        super().login(request, user)
        by = Actor.of_request(request, user)
        make_user_of(user, by=by)
        # A suspended session of the same person goes on with its id. Any other session
        # of this browser ends here, and with it what was begun in it.
        if SESSION_ID not in request.session:
            owner = User.objects.filter(pk=before).first() if earlier else None
            if owner is not None:
                close_session(owner, earlier, by)
            request.session[SESSION_ID] = secrets.token_hex(16)
        note_proof(request)

    def post_login(
        self, request: HttpRequest, user: User, **kwargs: Any
    ) -> HttpResponse:
        response = super().post_login(request, user, **kwargs)
        set_session_id_cookie(request, response)
        remember_browser(request, response, user.name)
        record(Actor.of_request(request, user), "session.login", "user", user.name)
        post_login(user)
        return response

    def logout(self, request: HttpRequest) -> None:
        user = request.user
        if user.is_authenticated:
            by = Actor.of_request(request, user)
            close_session(user, request.session.get(SESSION_ID, ""), by)
            record(by, "session.logout", "user", user.name)
            post_logout(user, by)
        end_session(request)

    def set_password(self, user: User, password: str) -> None:
        user.set_password(password)
        user.save(update_fields=["password"])
        end_other_sessions(user)


def record_refusal(request: HttpRequest, username: str, **detail: str) -> None:
    """Record that somebody has not signed in, maybe with the reason.

    A password typed into the wrong field must not enter the audit log, so only names of
    existing users do.
    """
    name = normalise_name(username.strip())
    known = bool(name) and User.objects.filter(name=name).exists()
    by = Actor.anonymous(request)
    record(by, "session.refuse", "user", name if known else "", **detail)


def not_listed(name: str) -> str:
    return f"{name} is not on the list of people who may use this hub."


def refuse(request: HttpRequest, why: str) -> HttpResponse:
    """Return the page for an authenticated person who is not admitted."""
    context = {"explanation": f"{why} An administrator of this hub can help you."}
    return render(request, "403.html", context, status=403)
