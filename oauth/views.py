"""The endpoints of OAuth2: people authorize a client, the client gets a token."""

from __future__ import annotations

from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import render
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.encoding import iri_to_uri
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import (
    sensitive_post_parameters,
    sensitive_variables,
)
from django.views.generic import View
from oauthlib.common import Request, add_params_to_uri
from oauthlib.oauth2.rfc6749 import errors

from accounts.mixins import SignedInMixin
from accounts.sessions import SESSION_ID
from accounts.single_sign_on import begin_single_sign_on
from oauth import device_grant, exchange
from oauth.actions import issue_code, sweep_codes
from oauth.endpoint import in_json
from oauth.grants import (
    IDENTIFY_ALONE,
    grant,
    is_confirmed,
    may_use,
    read_consent,
    required_scopes,
)
from oauth.metadata import DEVICE_CODE, TOKEN_EXCHANGE
from oauth.models import OAuthClient
from oauth.validator import grant_type, token_handler
from scopes.grammar import describe
from scopes.refusals import Invalid

# The types of bodies that Django reads into `request.POST`.
FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})

OTHER_GRANTS: Final = {
    DEVICE_CODE: device_grant.answer_poll,
    TOKEN_EXCHANGE: exchange.answer_exchange,
}


@method_decorator(never_cache, name="dispatch")
class AuthorizeView(SignedInMixin, View):
    """Confirms that a client may act for the signed-in user, and issues a code.

    There is no confirmation for the user's own server, for clients that the
    configuration trusts, or for a grant that was confirmed before. Only a session is
    accepted here, no token.
    """

    http_method_names = ["get", "post", "options"]  # noqa: RUF012
    # Scripts of applications are redirected through this page where they have access
    # already.
    answers_scripts = True

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().dispatch(request, *args, **kwargs)
        except errors.FatalClientError as problem:
            # The real address of the client is unknown, so the page shows the redirect
            # address.
            context = {
                "code": 400,
                "title": "The application made a mistake",
                "explanation": problem.description,
            }
            return render(request, "error.html", context, status=400)
        except errors.OAuth2Error as problem:
            return _send_to(problem.in_uri(problem.redirect_uri))

    def handle_anonymous(self, request: HttpRequest) -> HttpResponse:
        """Redirect to single sign-on at once, if the site is configured so."""
        if settings.HUB.auto_login_oauth2_authorize:
            elsewhere = begin_single_sign_on(request, request.get_full_path())
            if elsewhere is not None:
                return elsewhere
        return super().handle_anonymous(request)

    def get(self, request: HttpRequest) -> HttpResponse:
        asked, granted = self.read()
        if is_confirmed(asked.client, self.person, granted, timezone.now()):
            return self.send_back(asked, granted)
        required = required_scopes(asked.client)
        context = {
            "client": asked.client,
            "destination": urlsplit(asked.redirect_uri).netloc,
            "scopes": granted,
            "permissions": [
                describe(scope, to_owner=True)
                for scope in granted
                if scope not in required
            ],
        }
        response = render(request, "oauth/authorize.html", context)
        _allow_form_to_lead_to(asked.redirect_uri, response)
        return response

    def post(self, request: HttpRequest) -> HttpResponse:
        asked, _ = self.read()
        # Agreeing to fewer scopes still includes the scopes that identify the user.
        agreed = request.POST.getlist("scopes") or [IDENTIFY_ALONE]
        try:
            chosen = read_consent(asked.client, self.person, asked.scopes, agreed)
        except Invalid:
            raise errors.InvalidScopeError(request=asked) from None
        return self.send_back(asked, grant(asked.client, self.person, chosen))

    def read(self) -> tuple[Request, list[str]]:
        """Return the client's request, and the scopes that this user can grant."""
        # Rebuilt, because oauthlib fails at some input that browsers may send.
        uri = f"{self.request.path}?{self.request.GET.urlencode()}"
        asked = Request(uri)
        asked.user = self.person
        grant_type.validate_authorization_request(asked)
        client: OAuthClient = asked.client
        if not may_use(client, self.person):
            raise PermissionDenied(
                f"You do not have permission to access {client.description}"
            )
        return asked, grant(client, self.person, asked.scopes)

    @sensitive_variables()
    def send_back(self, asked: Request, scopes: list[str]) -> HttpResponse:
        """Redirect to the client, with a code for a token of these scopes."""
        code = issue_code(
            asked.client,
            self.person,
            redirect_uri="" if asked.using_default_redirect_uri else asked.redirect_uri,
            scopes=scopes,
            by=self.actor,
            session_id=self.request.session.get(SESSION_ID, ""),
            code_challenge=asked.code_challenge or "",
            code_challenge_method=asked.code_challenge_method or "",
        )
        parameters = [("code", code)]
        if asked.state is not None:
            parameters.append(("state", asked.state))
        return _send_to(add_params_to_uri(asked.redirect_uri, parameters))


@method_decorator(csrf_exempt, name="dispatch")
@method_decorator(sensitive_post_parameters(), name="dispatch")
class TokenView(View):
    """Exchanges a code for an access token; the client authenticates in the body."""

    http_method_names = ["post", "options"]  # noqa: RUF012

    @sensitive_variables()
    def post(self, request: HttpRequest) -> HttpResponse:
        # The other grants are additions to JupyterHub's endpoint.
        answer = OTHER_GRANTS.get(request.POST.get("grant_type", ""))
        if answer is not None:
            return in_json(request, partial(answer, request))
        asked = Request(request.path, "POST", self.form_of(request).urlencode())
        asked.address = request.META.get("REMOTE_ADDR", "")
        sweep_codes(timezone.now())
        try:
            headers, text, status = grant_type.create_token_response(
                asked, token_handler()
            )
        except errors.OAuth2Error as problem:
            headers, text, status = problem.headers, problem.json, problem.status_code
        headers = {"Cache-Control": "no-store", "Pragma": "no-cache", **headers}
        return HttpResponse(text, status=status, headers=headers)

    @staticmethod
    def form_of(request: HttpRequest) -> QueryDict:
        """Return the form in the body, whatever the content type says.

        JupyterHub, too, reads a form that a client sends as text, or without a type.
        """
        if request.content_type in FORM_TYPES:
            return request.POST
        return QueryDict(request.body)

    def http_method_not_allowed(
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        allowed = super().http_method_not_allowed(request, *args, **kwargs)
        message = f"{request.method} is not supported here."
        body = {"status": allowed.status_code, "message": message}
        return JsonResponse(
            body, status=allowed.status_code, headers={"Allow": allowed["Allow"]}
        )


def _send_to(uri: str) -> HttpResponse:
    """Redirect to an address of a client, with any scheme."""
    return HttpResponse(status=302, headers={"Location": iri_to_uri(uri)})


def _allow_form_to_lead_to(uri: str, response: Any) -> None:
    """Allow the form's response to redirect to a client on another host."""
    parts = urlsplit(uri)
    if parts.scheme:
        place = f"{parts.scheme}://{parts.netloc}" if parts.netloc else parts.scheme
        response._csp_update = {"form-action": [place if parts.netloc else f"{place}:"]}
