"""Pages of the sign-up, and redirects from the addresses of NativeAuthenticator."""

from __future__ import annotations

from typing import Any

from allauth.account.internal.flows.login import perform_login
from allauth.account.models import Login
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.hashers import make_password
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
)
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import FormView, TemplateView, View

from accounts import sign_up_actions
from accounts.attempts import in_words, requests_within
from accounts.forms import SignUpForm
from accounts.landing import default_target
from accounts.mixins import SignedInMixin
from accounts.models import User
from accounts.naming import find_typed_user
from audit.models import Actor
from scopes.refusals import NotFound, Refusal
from web.markup import clean_html

# Sign-ups from one network within an hour: a large class behind one address.
MOST_FROM_A_NETWORK = 500


class SignUpMixin:
    """A page that exists while people may sign up."""

    def dispatch(
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        if settings.HUB.signup == "off" or settings.HUB.authenticator_class != "local":
            raise Http404
        if request.user.is_authenticated:
            return HttpResponseRedirect(default_target(request.user))
        return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]


@method_decorator(never_cache, name="dispatch")
@method_decorator(sensitive_post_parameters(), name="dispatch")
class SignUpView(SignUpMixin, FormView):
    """Asks for an account: a name, a password, and a mail address where it is needed.

    The response is the same whether somebody has the name or not, unless the hub is
    open and signs the person in at once.
    """

    form_class = SignUpForm
    template_name = "accounts/sign_up.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            terms=clean_html(settings.HUB.signup_terms),
            needs_approval=settings.HUB.signup == "approval",
            **kwargs,
        )

    def form_valid(self, form: SignUpForm) -> HttpResponse:
        by = Actor.anonymous(self.request)
        if seconds := requests_within("sign-up", MOST_FROM_A_NETWORK, by.address):
            form.add_error(
                None,
                "Too many people sign up from your network. Wait "
                f"{in_words(seconds)}, then try again.",
            )
            return self.respond(form, 429)
        data = form.cleaned_data
        digest = make_password(data["signup_password"])
        try:
            _, user = sign_up_actions.sign_up(
                data["username"],
                digest,
                email=data.get("email", ""),
                terms_accepted=data.get("terms", False),
                by=by,
            )
        except Refusal as refusal:
            form.add_error(None, refusal.for_people)
            return self.respond(form, refusal.status)
        if user is not None:
            target = default_target(user)
            return perform_login(self.request, Login(user=user, redirect_url=target))
        return HttpResponseRedirect(reverse("accounts:signed_up"))

    def form_invalid(self, form: SignUpForm) -> HttpResponse:
        return self.respond(form, 400)

    def respond(self, form: SignUpForm, status: int) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form), status=status)


class SignedUpView(SignUpMixin, TemplateView):
    """Shows what happens after a sign-up, the same to everybody."""

    template_name = "accounts/signed_up.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        hub = settings.HUB
        return super().get_context_data(
            mails_links=bool(hub.signup_self_approval)
            and sign_up_actions.mails_links(),
            **kwargs,
        )


@method_decorator(never_cache, name="dispatch")
class ConfirmView(SignUpMixin, TemplateView):
    """Lets in the owner of a mail address, who presses a button.

    Programs that scan mails open links, so opening the page is not enough.
    """

    template_name = "accounts/confirm.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            row = sign_up_actions.waiting_for(kwargs["link"])
        except NotFound as problem:
            return self.render_to_response({"problem": problem.message}, status=404)
        return self.render_to_response({"sign_up": row})

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            user = sign_up_actions.confirm(kwargs["link"], by=Actor.anonymous(request))
        except Refusal as problem:
            context = {"problem": problem.for_people}
            return self.render_to_response(context, status=problem.status)
        if user is None:
            return HttpResponseRedirect(reverse("accounts:signed_up"))
        messages.success(request, "Your address is confirmed. Sign in.")
        query = urlencode({"username": user.name})
        return HttpResponseRedirect(f"{reverse('account_login')}?{query}")


# Addresses of NativeAuthenticator


class AuthorizeView(View):
    """Leads from the plugin's list of people to the hub's list of sign-ups."""

    http_method_names = ["get", "head", "options"]  # noqa: RUF012 - as Django's

    def get(self, request: HttpRequest, name: str = "") -> HttpResponse:
        query = {"q": name} if name else {"state": "pending"}
        page = reverse("admin:accounts_signup_changelist")
        return HttpResponseRedirect(f"{page}?{urlencode(query)}")


class ChangePasswordView(SignedInMixin, View):
    """Leads from the plugin's page to the hub's.

    For another person's password it leads to the person's page in the admin, where an
    operator makes a link, so that only the person knows the password.
    """

    http_method_names = ["get", "head", "options"]  # noqa: RUF012 - as Django's

    def get(self, request: HttpRequest, name: str = "") -> HttpResponse:
        if not name or name == self.person.name:
            return HttpResponseRedirect(reverse("account_change_password"))
        access = self.person.access
        reached = access.limit("admin:users", queryset=User.objects.all())
        user = find_typed_user(name, reached)
        if user is None:
            raise Http404
        page = reverse("admin:accounts_user_change", args=[user.pk])
        return HttpResponseRedirect(page)
