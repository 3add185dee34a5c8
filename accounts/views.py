"""Pages of sign-in and profile that allauth lacks or that differ from allauth's."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.login import perform_login
from allauth.account.internal.flows.logout import logout
from allauth.account.models import Login
from allauth.account.views import LoginView as AllauthLoginView
from allauth.account.views import PasswordChangeView as AllauthPasswordChangeView
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.views import ActivateTOTPView as AllauthActivateTOTPView
from allauth.mfa.webauthn.views import AddWebAuthnView as AllauthAddWebAuthnView
from allauth.socialaccount.adapter import get_adapter as get_social_adapter
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions import app_settings as usersessions_settings
from allauth.usersessions.models import UserSession
from allauth.usersessions.views import ListUserSessionsView as AllauthSessionsView
from csp.decorators import csp_exempt
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.tokens import default_token_generator
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
)
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.http import urlsafe_base64_decode
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import FormView, TemplateView, View

from accounts.forms import HostedSignInForm, SignInForm, WelcomeForm
from accounts.hosting import client
from accounts.hosting.description import description
from accounts.hosting.requests import Exchanged, exchange
from accounts.hosting.views import answer_page, respond, target_of_class
from accounts.landing import default_target, with_parameters
from accounts.mixins import SignedInMixin
from accounts.models import User
from accounts.proof import note_proof
from accounts.sessions import (
    SESSION_ID,
    SESSION_ID_COOKIE,
    end_other_sessions,
    session_id_domain,
    set_session_id_cookie,
)
from scopes.refusals import Unavailable
from web.hosts import local_path

# Set for all services by a JupyterHub before 3.2, at this path.
SERVICES_COOKIE = "jupyterhub-services"

EXPIRED = "Login form invalid or expired. Try again."


class LoginView(AllauthLoginView):
    """Signs in with a name and a password, and links to other methods."""

    form_class = SignInForm
    template_name = "account/login.html"
    answers_xsrf_problem = True

    # The user who is being signed in, once that is known.
    comer: User | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if settings.HUB.is_hosted and (
            request.method == "POST"
            or not request.user.is_authenticated
            or description().has_path("/login")
        ):
            response = self.ask_class(request, "/login")
        else:
            response = super().dispatch(request, *args, **kwargs)
        if request.user.is_authenticated and SESSION_ID in request.session:
            set_session_id_cookie(request, response)
        return response

    def ask_class(self, request: Any, path: str) -> HttpResponse:
        """Have the hosted class answer at a path below `hub`; the page is the hub's."""
        is_own = description().has_path(path)
        problem = ""
        if request.xsrf_problem and not (is_own and not checks_xsrf(path)):
            problem = EXPIRED

        def target_of(user: User, location: str) -> str:
            self.comer = user
            if is_own:
                return target_of_class(request, user, location)
            return self.get_success_url()

        return answer_page(request, self.show_page, target_of, problem)

    def show_page(self, page: dict[str, Any], status: int) -> HttpResponse:
        """Show the sign-in page with what the class has to say."""
        form = HostedSignInForm(
            request=self.request,
            initial={"login": page.get("username", "")},
            otp=page.get("otp_prompt", "") if page.get("request_otp") else "",
        )
        context = self.get_context_data(
            form=form,
            problem=page.get("problem", ""),
            custom_html=page.get("custom_html", ""),
            login_service=page.get("login_service", ""),
            service_url=page.get("authenticator_login_url", ""),
        )
        if own := local_path(self.request, page.get("authenticator_login_url", "")):
            # The class may take the form at an address of its own.
            context["action"] = own
        if page.get("custom_html"):
            # The class's HTML may have scripts, and forms for other sites.
            exempt = csp_exempt()(lambda request: self.render_to_response(context))
            response: Any = exempt(self.request)
            response.status_code = status
        else:
            response = self.render_to_response(context, status=status)
        shown: HttpResponse = response
        return shown

    def get(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().get(request, *args, **kwargs)
        context = getattr(response, "context_data", None) or {}
        if response.status_code == 200 and not (
            context.get("has_password", True) or context.get("providers")
        ):
            # With the null authenticator and nothing else, nobody can sign in.
            response.status_code = 403
        return response

    def post(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.xsrf_problem:
            context = {"form": self.get_unbound_form(), "problem": EXPIRED}
            return self.render_to_response(self.get_context_data(**context), status=403)
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: SignInForm) -> HttpResponse:
        self.comer = form.user
        return super().form_valid(form)

    def form_invalid(self, form: SignInForm) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form), status=403)

    def get_unbound_form(self) -> SignInForm:
        """Return an empty form with the name that was typed before."""
        name = self.request.POST.get("username", "")
        return self.get_form_class()(request=self.request, initial={"login": name})

    def get_initial(self) -> dict[str, Any]:
        return {**super().get_initial(), "login": self.request.GET.get("username", "")}

    def get_success_url(self) -> str:
        wanted = local_path(self.request, self.request.GET.get("next", ""))
        signed_in = self.request.user if self.request.user.is_authenticated else None
        user = self.comer or signed_in
        return wanted or with_parameters(self.request, default_target(user))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        # The page to open is kept; other parameters were meant for the form.
        wanted = self.request.GET.get("next", "")
        query = f"?{urlencode({'next': wanted})}" if wanted else ""
        context["action"] = f"{self.request.path}{query}"
        context["can_reset_password"] = (
            settings.HUB.authenticator_class == "local" and settings.MAILS_LINKS
        )
        context["can_sign_up"] = (
            settings.HUB.authenticator_class == "local" and settings.HUB.signup != "off"
        )
        context["has_password"] = settings.HUB.authenticator_class != "null"
        context["providers"] = get_social_adapter().list_providers(self.request)
        return context


class HostedView(LoginView):
    """The paths of a hosted class's own handlers, such as a provider's way back."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        path = f"/{kwargs['path']}"
        if not description().has_path(path):
            raise Http404
        return self.ask_class(request, path)


def checks_xsrf(path: str) -> bool:
    """Return whether forms for a path of the class come from the hub's pages only."""
    checks: bool = settings.HUB.tornado_settings.get("xsrf_cookies", True)
    return checks and description().checks_xsrf(path)


class PasswordChangeView(SignedInMixin, AllauthPasswordChangeView):
    """Changes a password that the hub stores; others are changed elsewhere."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        user = request.user
        if user.is_authenticated and not has_local_password(user):
            return HttpResponseRedirect(reverse("accounts:profile"))
        return super().dispatch(request, *args, **kwargs)

    def get_default_success_url(self) -> str:
        return reverse("accounts:profile")


def has_local_password(user: User) -> bool:
    """Return whether the hub itself checks the user's password."""
    return settings.HUB.authenticator_class == "local" and user.has_usable_password()


def class_keeps_passwords() -> bool:
    """Return whether the hosted class can change a password; False while it is away."""
    try:
        return bool(settings.HUB.is_hosted) and description().changes_passwords
    except (Unavailable, client.ClassFailed):
        return False


@method_decorator(never_cache, name="dispatch")
class LogoutView(View):
    """Ends the session, by a link as JupyterHub's clients do, or by a form."""

    # Without HEAD, because a client that only checks a link must not end the session.
    http_method_names = ["get", "post", "options"]  # noqa: RUF012

    def get(self, request: HttpRequest) -> HttpResponse:
        found = self.ask_class(request) if settings.HUB.is_hosted else None
        logout(request, show_message=False)
        response = self.page_after(request, found)
        base = settings.HUB.base_url
        response.delete_cookie(SESSION_ID_COOKIE, base, session_id_domain())
        response.delete_cookie(SERVICES_COOKIE, f"{base}services")
        response.delete_cookie(
            settings.SESSION_COOKIE_NAME, settings.SESSION_COOKIE_PATH
        )
        response.delete_cookie("_xsrf", f"{base}hub/")
        return response

    @staticmethod
    def ask_class(request: HttpRequest) -> Exchanged | None:
        """Have the class do what it does when a person signs out.

        If the class fails, the person is signed out here all the same.
        """
        try:
            facts = description()
            if facts.has_path("/logout"):
                return exchange(request)
            # The prefix as the class knows it.
            prefix, elsewhere = f"{settings.HUB.base_url}hub/", facts.logout_url
            if elsewhere not in ("", f"{prefix}logout"):
                path = f"/{elsewhere.removeprefix(prefix)}"
                if elsewhere.startswith(prefix) and facts.has_path(path):
                    return exchange(request, method="GET", uri=elsewhere)
                return Exchanged(status=302, headers=[("Location", elsewhere)])
            if facts.auto_login:
                return Exchanged(status=200, page={"template": "logout"})
            return None
        except (Unavailable, client.ClassFailed):
            return None

    @staticmethod
    def page_after(request: HttpRequest, found: Exchanged | None) -> HttpResponse:
        """Return the class's page, or lead to the sign-in page.

        With `auto_login` that would sign the person in again, so there is a page.
        """
        if found is None or found.status >= 400 or found.answer is not None:
            return HttpResponseRedirect(reverse("account_login"))

        def show(page: dict[str, Any], status: int) -> HttpResponse:
            return HttpResponseRedirect(reverse("account_login"))

        return respond(request, found, show, lambda user, location: location)

    post = get


@method_decorator(never_cache, name="dispatch")
@method_decorator(sensitive_post_parameters(), name="dispatch")
class WelcomeView(FormView):
    """Sets the first administrator's password, by a link that works once.

    The link becomes invalid when the password is set, because Django's tokens depend on
    the password's digest and the last sign-in.
    """

    form_class = WelcomeForm
    template_name = "accounts/welcome.html"

    user: User

    def dispatch(
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        user = self.find_user(kwargs["uidb64"])
        if user is None or not default_token_generator.check_token(
            user, kwargs["token"]
        ):
            return self.render_to_response({"is_spent": True}, status=404)
        self.user = user
        return super().dispatch(request, *args, **kwargs)

    @staticmethod
    def find_user(uidb64: str) -> User | None:
        try:
            pk = int(urlsafe_base64_decode(uidb64))
        except ValueError:
            return None
        return User.objects.filter(pk=pk, is_active=True).first()

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "user": self.user}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            name=self.user.name, is_admin=self.user.admin, **kwargs
        )

    def form_valid(self, form: WelcomeForm) -> HttpResponse:
        user = form.save()
        end_other_sessions(user)
        home = f"{settings.HUB.base_url}hub/home"
        return perform_login(self.request, Login(user=user, redirect_url=home))


class ActivateTOTPView(AllauthActivateTOTPView):
    """Sets up an app; its code authenticates the user."""

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        note_proof(self.request)
        return response


class AddWebAuthnView(AllauthAddWebAuthnView):
    """Adds a key; using it authenticates the user for the next page."""

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        note_proof(self.request)
        return response


def only_if_askable(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Redirect users who have nothing to reauthenticate with."""

    @wraps(view)
    def ask(request: HttpRequest) -> HttpResponse:
        user = request.user
        if user.is_authenticated and not get_adapter().get_reauthentication_methods(
            user
        ):
            messages.info(
                request,
                "The hub can't confirm your identity, because it stores no password "
                "of yours and you have set up no second factor.",
            )
            return HttpResponseRedirect(reverse("accounts:profile"))
        return view(request)

    return ask


def sessions_of(user: User) -> QuerySet[UserSession]:
    """Return the sessions in which a user is signed in now.

    allauth deletes ended sessions from its list when the list is read. Here reading
    deletes nothing; the controller deletes them.
    """
    stored = Session.objects.filter(expire_date__gt=timezone.now())
    return UserSession.objects.filter(
        user=user, session_key__in=stored.values("session_key")
    )


class SessionsView(AllauthSessionsView):
    """Lists a user's sessions, with buttons to end them."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        # Without allauth's context, which deletes rows while it reads.
        context = FormView.get_context_data(self, **kwargs)
        sessions = list(sessions_of(self.request.user).order_by("created_at"))
        return context | {
            "sessions": sessions,
            "session_count": len(sessions),
            "show_last_seen_at": usersessions_settings.TRACK_ACTIVITY,
        }


class ProfileView(SignedInMixin, TemplateView):
    """Lists the methods by which a user signs in, with links to change each."""

    template_name = "accounts/profile.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.person
        types = list(
            Authenticator.objects.filter(user=user).values_list("type", flat=True)
        )
        return super().get_context_data(
            keeps_password=has_local_password(user),
            class_keeps_password=class_keeps_passwords(),
            has_totp=Authenticator.Type.TOTP in types,
            has_recovery_codes=Authenticator.Type.RECOVERY_CODES in types,
            passkeys=types.count(Authenticator.Type.WEBAUTHN),
            sessions=sessions_of(user).count(),
            connections=SocialAccount.objects.filter(user=user).count(),
            providers=get_social_adapter().list_providers(self.request),
            **kwargs,
        )
