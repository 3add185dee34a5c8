"""The pages on which users request, list and revoke their tokens."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.views.decorators.debug import sensitive_variables
from django.views.generic import DetailView, ListView
from django.views.generic.edit import FormMixin

from accounts.mixins import ScopeRequiredMixin
from accounts.models import User
from scopes.refusals import Refusal
from tokens import activity, clients
from tokens.actions import issue_token, revoke_token
from tokens.authorized_apps import applications
from tokens.forms import TokenForm
from tokens.leaks import unseen_by
from tokens.models import APIToken, APITokenQuerySet, CreatedVia
from web.hosts import origin_of

CURL = 'curl -H "Authorization: token {secret}" {api_url}/user'

PYTHON = """\
import requests

api_url = "{api_url}"
token = "{secret}"

reply = requests.get(
    f"{{api_url}}/user", headers={{"Authorization": f"token {{token}}"}}
)
reply.raise_for_status()
print(reply.json())
"""


# Ids of this session's forms for which a token was issued.
ANSWERED_FORMS = "tokens_answered_forms"
MOST_FORMS = 20
# Most ended tokens, shown below the others.
ENDED_SHOWN = 50


class OwnTokensMixin(ScopeRequiredMixin):
    """A page about the signed-in user's tokens."""

    scope: ClassVar[str]

    @property
    def user(self) -> User:
        return cast(User, self.request.user)

    def get_queryset(self) -> APITokenQuerySet:
        return self.reached().active(timezone.now())

    def reached(self) -> APITokenQuerySet:
        """Return these tokens with those that have ended."""
        queryset = APIToken.objects.owned_by(self.user)
        reached = self.user.access.limit(self.scope, queryset=queryset)
        return cast(APITokenQuerySet, reached)

    def may_change(self) -> bool:
        return self.user.access.allows("tokens", obj=self.user)


class TokenListView(OwnTokensMixin, ListView):
    """The user's valid tokens, and the form to request another."""

    scope = "read:tokens"
    template_name = "tokens/list.html"
    context_object_name = "tokens"
    paginate_by = 50

    def get_queryset(self) -> APITokenQuerySet:
        activity.flush()
        return super().get_queryset().filter(client_id="").recent_first()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        kwargs["leaks"] = list(unseen_by(self.user))
        kwargs["applications"] = applications(super().get_queryset())
        ended = self.reached().recently_ended(timezone.now())
        kwargs["ended"] = list(ended[:ENDED_SHOWN])
        kwargs["ended_count"] = ended.count() if kwargs["ended"] else 0
        if self.may_change():
            kwargs = {
                "form": TokenForm(user=self.user, now=timezone.now()),
                "may_change": True,
                **kwargs,
            }
        return super().get_context_data(here="token", **kwargs)


class RequestView(FormMixin, TokenListView):
    """Issues a token and shows its secret, in this one response and never again."""

    scope = "tokens"
    form_class = TokenForm

    def get(self, request: HttpRequest) -> HttpResponse:
        # A GET request, from the address bar for instance, shows the form.
        return redirect("tokens:list")

    def post(self, request: HttpRequest) -> HttpResponse:
        if not self.may_change():
            raise PermissionDenied("You may not request tokens of your own.")
        form = self.get_form()
        return self.form_valid(form) if form.is_valid() else self.form_invalid(form)

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"user": self.user, "now": timezone.now()}

    @sensitive_variables("secret")
    def form_valid(self, form: TokenForm) -> HttpResponse:
        request = self.request
        form_id = form.cleaned_data["form_id"]
        answered = request.session.get(ANSWERED_FORMS, [])
        if form_id and form_id in answered:
            # The page with a secret was loaded again.
            messages.info(request, "This form has already issued its token.")
            return redirect("tokens:list")
        try:
            token, secret = issue_token(
                self.user,
                by=self.actor,
                note=form.cleaned_data["note"],
                expires_in=form.cleaned_data["expires_in"],
                scopes=form.cleaned_data["token_scopes"],
                via=CreatedVia.PAGE,
            )
        except Refusal as refusal:
            form.add_error(None, refusal.for_people)
            return self.form_invalid(form)
        if form_id:
            request.session[ANSWERED_FORMS] = [*answered, form_id][-MOST_FORMS:]
        return self.show(token, secret)

    def form_invalid(self, form: TokenForm) -> HttpResponse:
        """Show the page with the input and its errors."""
        self.object_list = self.get_queryset()
        return self.render_to_response(self.get_context_data(form=form), status=400)

    @sensitive_variables("secret", "context")
    def show(self, token: APIToken, secret: str) -> HttpResponse:
        """Show a secret, which no cache, session or message may contain."""
        api_url = self.api_url()
        context = {
            "token": token,
            "secret": secret,
            "curl": CURL.format(api_url=api_url, secret=secret),
            "python": PYTHON.format(api_url=api_url, secret=secret),
        }
        response = self.response_class(
            request=self.request, template="tokens/issued.html", context=context
        )
        add_never_cache_headers(response)
        return response

    def api_url(self) -> str:
        """Return the address of the API from the view of the client."""
        return f"{origin_of(self.request)}{settings.HUB.base_url}hub/api"


class RevokeView(OwnTokensMixin, DetailView):
    """Confirms and does the revocation of a token."""

    scope = "tokens"
    template_name = "tokens/revoke.html"
    context_object_name = "token"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().dispatch(request, *args, **kwargs)
        except Http404:
            # The browser's back button leads here after the revocation.
            if not self.reached().filter(pk=kwargs["pk"]).exists():
                raise
        messages.info(request, "This token has already been revoked or has expired.")
        return redirect("tokens:list")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        if client_id := self.object.client_id:
            # All tokens of the client are revoked together, so the page shows all.
            obtained = self.get_queryset().filter(client_id=client_id)
            kwargs["application"] = applications(obtained)[0]
        return super().get_context_data(**kwargs)

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        token = self.get_object()
        revoke_token(token, by=self.actor)
        if token.client_id:
            words = clients.describe([token.client_id])[token.client_id].description
            messages.success(request, f"Revoked all access of “{words}”.")
        else:
            messages.success(request, f"Revoked the token “{token.note or token}”.")
        return redirect("tokens:list")
