"""A page for one's own password, for classes that keep passwords themselves.

FirstUseAuthenticator has one at `/hub/auth/change-password`, which needs JupyterHub's
templates and does not ask for the current password. Here it is a page of the hub for
every class with a method `reset_password(username, password)`, whose text contains
"success" if the password is changed, as in that plugin.
"""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
)
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.generic import FormView

from accounts.attempts import Attempt, TooMany
from accounts.forms import HostedPasswordForm
from accounts.hosting import client
from accounts.hosting.description import description
from accounts.hosting.sign_in import check_password
from accounts.hosting.views import FAILED, report
from accounts.mixins import SignedInMixin
from accounts.sessions import end_other_sessions
from accounts.views import HostedView

PATH = "auth/change-password"


@method_decorator(never_cache, name="dispatch")
@method_decorator(sensitive_post_parameters(), name="dispatch")
class HostedPasswordView(SignedInMixin, FormView):
    """Changes a password that the class keeps."""

    form_class = HostedPasswordForm
    template_name = "accounts/hosted_password.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not settings.HUB.is_hosted:
            raise Http404
        if not description().changes_passwords:
            # Another class may have a page of its own there.
            page = HostedView.as_view()(request, path=PATH)
            return cast(HttpResponse, page)
        return super().dispatch(request, *args, **kwargs)

    @sensitive_variables("data")
    def form_valid(self, form: HostedPasswordForm) -> HttpResponse:
        data, name = form.cleaned_data, self.person.name
        try:
            if problem := self.current_is_wrong(data["oldpassword"]):
                form.add_error("oldpassword", problem)
                return self.form_invalid(form)
            asked = {"name": name, "password": data["password1"]}
            found = client.call("reset_password", asked)
        except client.ClassFailed:
            return report(self.request, 500, FAILED)
        if not found["is_done"]:
            form.add_error("password1", found["words"])
            return self.form_invalid(form)
        end_other_sessions(self.person)
        messages.success(self.request, "Your password is changed.")
        return HttpResponseRedirect(reverse("accounts:profile"))

    def current_is_wrong(self, password: str) -> str:
        """Return why this is not the person's password, or an empty text."""
        name = self.person.name
        attempt = Attempt(self.request, name)
        try:
            attempt.begin()
        except TooMany as refused:
            return str(refused)
        try:
            answer = check_password(self.request, name, password)
        except Exception:
            # A password that could not be checked is no failure.
            attempt.withdraw()
            raise
        if answer is None or answer["name"] != name:
            attempt.fail()
            return "This is not your current password."
        attempt.withdraw()
        return ""

    def form_invalid(self, form: HostedPasswordForm) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form), status=400)
