"""Sign-in and sign-out on this hub, as adapters of django-allauth.

allauth implements the methods (password, second factor, passkey, single sign-on) and
counts failures; this module defines sessions, admission, and the pages to open
afterwards.
"""

from __future__ import annotations

import secrets
import time
from base64 import b32encode, urlsafe_b64encode
from collections.abc import Iterable
from http import HTTPStatus
from importlib import import_module
from itertools import count
from typing import Any
from urllib.parse import urlencode, urlsplit

import structlog
from allauth.account import app_settings as account_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.adapter import get_adapter as get_social_adapter
from allauth.socialaccount.models import SocialAccount, SocialLogin
from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from allauth.usersessions.models import UserSession
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth import logout as end_session
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.crypto import salted_hmac

from accounts.actions import make_user_of
from accounts.attempts import Attempt, TooMany, remember_browser
from accounts.backends import WaitingError, admits, settle_account
from accounts.callbacks import CallbackRequest
from accounts.hashing import PASSWORD_MEMORY, Kind, ceiling
from accounts.mail import deliver
from accounts.models import User
from accounts.naming import normalise_name
from accounts.templatetags.browsers import browser
from audit.actions import record
from audit.models import Actor
from web.hooks import Hook
from web.hosts import hub_domain, local_path, public_origin
from web.outside import begin_to_wait, release_connection

logger = structlog.get_logger(__name__)

SESSION_ID = "session_id"
SESSION_ID_COOKIE = "jupyterhub-session-id"
# The key of the time at which the user of a session was last authenticated.
PROVEN_AT = "proven_at"

# Called with the user, the id in the cookie of a session that ends, and the actor.
post_session_end = Hook[[User, str, Actor], object]()

# Called with the user who signed out, and the actor.
post_logout = Hook[[User, Actor], object]()

# Called with the user who signed in.
post_login = Hook[[User], object]()

# Return the path of the page of something that runs for a user, or "".
landing_pages = Hook[[User], str]()


def default_target(user: User | None = None) -> str:
    """Return the page for a user who has requested no particular page."""
    hub = settings.HUB
    wanted = hub.default_url
    if callable(wanted):
        wanted = wanted(CallbackRequest.of(user))
    if wanted:
        return str(wanted)
    if not hub.redirect_to_server:
        return f"{hub.base_url}hub/home"
    found = [] if user is None else landing_pages(user)
    return next(filter(None, found), "") or f"{hub.base_url}hub/spawn"


def carried_parameters(request: HttpRequest, *but: str) -> list[tuple[str, str]]:
    """Return the parameters of a request's address that a redirect keeps."""
    return [
        (key, value)
        for key, values in request.GET.lists()
        if key not in but
        for value in values
        if value
    ]


def with_parameters(request: HttpRequest, target: str) -> str:
    """Add the request's own parameters to the default address of a redirect."""
    carried = carried_parameters(request, "next", "_xsrf")
    return f"{target}?{urlencode(carried)}" if carried else target


def note_proof(request: HttpRequest) -> None:
    """Store that the user of this session was authenticated just now."""
    request.session[PROVEN_AT] = time.time()


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
        name = normalise_name(str(credentials.get("username", "")).strip())
        # A password typed into the wrong field must not enter the audit log, so only
        # names of existing users do.
        known = User.objects.filter(name=name).exists()
        record(
            Actor.anonymous(request),
            "session.refuse",
            "user",
            name if known else "",
        )

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


def set_session_id_cookie(request: HttpRequest, response: HttpResponse) -> None:
    """Set the cookie with the id by which services and servers know this session."""
    response.set_cookie(
        SESSION_ID_COOKIE,
        request.session[SESSION_ID],
        path=settings.HUB.base_url,
        domain=session_id_domain(),
        secure=request.is_secure(),
        httponly=True,
        samesite="Lax",
    )


def session_id_domain() -> str | None:
    """Return the domain of the cookie, which includes the servers' own hosts."""
    return hub_domain() if settings.HUB.subdomain_host else None


def close_session(user: User, session_id: str, by: Actor) -> None:
    """Revoke the tokens of a session that ends, and stop its dependents."""
    post_session_end(user, session_id, by)


def end_other_sessions(user: User) -> None:
    """End every other session of a user, with its tokens.

    A new password invalidates other sessions in any case, but the tokens that were
    obtained in them would stay valid.
    """
    here = context.request.session.session_key
    others = UserSession.objects.filter(user=user).exclude(session_key=here)
    UserSessionsAdapter().end_sessions(others)


def not_listed(name: str) -> str:
    return f"{name} is not on the list of people who may use this hub."


def refuse(request: HttpRequest, why: str) -> HttpResponse:
    """Return the page for an authenticated person who is not admitted."""
    context = {"explanation": f"{why} An administrator of this hub can help you."}
    return render(request, "403.html", context, status=403)


class UserSessionsAdapter(DefaultUserSessionsAdapter):
    """Ends sessions from another one, with their tokens."""

    def end_sessions(self, sessions: Iterable[UserSession]) -> None:
        engine = import_module(settings.SESSION_ENGINE)
        for session in sessions:
            stored = engine.SessionStore(session.session_key).load()
            user = session.user
            by = Actor("user", user.name)
            close_session(user, stored.get(SESSION_ID, ""), by)
            session.end()
            record(by, "session.logout", "user", user.name, elsewhere=True)


class MFAAdapter(DefaultMFAAdapter):
    """Encrypts second-factor secrets, which can't be hashed because they are used."""

    def encrypt(self, text: str) -> str:
        return self._box().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        try:
            return self._box().decrypt(encrypted_text.encode()).decode()
        except InvalidToken:
            logger.warning(
                "A second factor can't be read, because the secret key that encrypted "
                "it is lost. Its codes are refused until that key is "
                "restored, or the second factor is removed."
            )
            # The value is random and unknown, so no code matches.
            return b32encode(secrets.token_bytes(20)).decode()

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:
        """Propose a name for a new key: the browser, and a number if necessary."""
        keys = Authenticator.objects.filter(user=user, type=type)
        taken = {key.wrap().name for key in keys}
        place = browser(context.request.headers.get("User-Agent", ""))
        return next(
            name
            for number in count(1)
            if (name := f"{place} {number}" if number > 1 else place) not in taken
        )

    @staticmethod
    def _box() -> MultiFernet:
        keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
        return MultiFernet(Fernet(_fernet_key(key)) for key in keys)


def _fernet_key(secret_key: str) -> bytes:
    digest = salted_hmac("mfa", "key", secret_key, algorithm="sha256").digest()
    return urlsafe_b64encode(digest)


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
        """Tell whether this identity may sign in to an account that it never used.

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
