"""The page that adds a list of users at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.validators import validate_email
from django.db import transaction
from django.http import HttpResponse
from django.template.response import TemplateResponse
from django.urls import path

from accounts import actions, group_actions, naming
from accounts.group_actions import check_adding
from accounts.hosting.account_hooks import prepare_later
from accounts.models import Group, User
from audit.models import Actor
from database.locks import Advisory, keep, wait_for
from scopes.refusals import Invalid, Refusal
from web.admin_base import NamesField, ScopedAdmin, count_of
from web.admin_lists import csv_text
from web.hosts import origin_of

# Limits of the form: lines, and wrong lines that are repeated.
LINES = 1_000
SHOWN = 20
# Limits of a file, and of a wrong line that is repeated, in bytes and characters.
BYTES = 256 * 1024
SHORT = 60


def spelt(names: list[str]) -> str:
    """Return a text with unknown names; of many names the first."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a pasted list: a name, perhaps an e-mail address, and its errors."""

    name: str
    email: str = ""
    exists: bool = False
    problem: str = ""


class ListForm(forms.Form):
    """A list of people, pasted or as a file, one on each line."""

    people = forms.CharField(
        required=False,
        label="People",
        widget=forms.Textarea({"rows": 10, "cols": 40, "spellcheck": "false"}),
        help_text="One name on each line, perhaps with an e-mail address after a "
        "comma, semicolon, tab or blank.",
    )
    file = forms.FileField(
        required=False, label="Or a file", help_text="Text or CSV, in UTF-8."
    )
    groups = NamesField(
        required=False, help_text="Names of groups for all of them, one per line."
    )

    def clean_file(self) -> str:
        file = self.cleaned_data["file"]
        if file is None:
            return ""
        if file.size > BYTES:
            raise forms.ValidationError(
                f"The file is larger than {BYTES // 1024:,} kB. Send it in parts."
            )
        try:
            return str(file.read().decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise forms.ValidationError(
                "The file is not text in UTF-8. Save it as CSV in UTF-8."
            ) from None

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        text = "\n".join(filter(None, (data.get("people"), data.get("file"))))
        lines = [line for line in text.splitlines() if line.strip()]
        if "\0" in text:
            raise forms.ValidationError("A list can't hold a NUL character.")
        if len(lines) > LINES:
            raise forms.ValidationError(
                f"These are {len(lines):,} lines; a list takes {LINES:,} at most. "
                "Send it in parts."
            )
        if not lines and not self.errors:
            raise forms.ValidationError("Paste names, or choose a file.")
        data["text"] = "\n".join(lines)
        data["lines"] = read_lines(lines)
        return data


def read_lines(lines: list[str]) -> list[Line]:
    """Return the people of a list, once each, with the errors of their lines."""
    found: dict[str, Line] = {}
    for text in lines:
        parts = [
            part for part in re.split(r"[,;\t ]+", text.strip().strip('"')) if part
        ]
        name = naming.normalise_name(parts[0].strip('"')) if parts else ""
        email = parts[1].strip('"') if len(parts) > 1 else ""
        problem = ""
        if not naming.is_valid_name(name):
            problem = "is not a username"
        elif len(parts) > 2:
            problem = "has more than a name and an e-mail address"
        elif email:
            try:
                validate_email(email)
            except forms.ValidationError:
                problem = f"{email[:SHORT]} is no e-mail address"
        key = name if not problem else text
        if key in found:
            continue
        found[key] = Line(name if not problem else text[:SHORT], email, False, problem)
    names = [line.name for line in found.values() if not line.problem]
    there = set(names) - set(naming.unknown_users(names))
    return [
        replace(line, exists=not line.problem and line.name in there)
        for line in found.values()
    ]


def few_enough(names: list[str]) -> list[str]:
    """Refuse more names than one form may contain."""
    if len(names) > LINES:
        raise forms.ValidationError(
            f"These are {len(names):,} names; a form takes {LINES:,} at most. "
            "Paste the list in parts."
        )
    return names


class ListAddingAdmin(ScopedAdmin):
    """Adds a list of users."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.list_view)
        return [
            path("add-list/", view, name="accounts_user_add_list"),
            *super().get_urls(),
        ]

    def list_view(self, request: Any) -> HttpResponse:
        """Add a pasted list: show a preview with existing users and errors, then add.

        Sign-in links are in the response that creates them, and nowhere else.
        """
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ListForm(request.POST or None, request.FILES or None)
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": "Add a list of users",
            "form": form,
            "may_link": settings.HUB.authenticator_class == "local"
            and request.user.access.allows("tokens"),
            "may_mail": settings.MAILS_LINKS and request.user.access.allows("tokens"),
        }
        if form.is_valid():
            lines = form.cleaned_data["lines"]
            new = [line for line in lines if not line.exists and not line.problem]
            context |= {
                "text": form.cleaned_data["text"],
                "groups": form.cleaned_data["groups"],
                "new": new,
                "existing": [line for line in lines if line.exists],
                "odd": [line for line in lines if line.problem],
            }
            if "_add" in request.POST:
                try:
                    return self.add_list(request, context)
                except Refusal as refusal:
                    form.add_error(None, refusal.message)
        return TemplateResponse(request, "admin/accounts/user/add_list.html", context)

    def add_list(self, request: Any, context: dict[str, Any]) -> HttpResponse:
        """Create the new users, add all to the groups, and show the links."""
        by = Actor.of_request(request)
        people = [*context["new"], *context["existing"]]
        with transaction.atomic():
            made: dict[str, int] = {}
            if len(context["new"]) > 1:
                wait_for(Advisory.USER_NAMES)
            # The memberships have foreign keys to all of them.
            named = Group.objects.filter(name__in=context["groups"])
            keep(Group, *named.values_list("pk", flat=True))
            known = naming.ids_of_users([line.name for line in context["existing"]])
            keep(User, *known)
            if context["new"]:
                made = actions.create_users(
                    [line.name for line in context["new"]],
                    by=by,
                    by_admin=request.user.admin,
                    prepare=prepare_later,
                )
            users = {
                user.name: user for user in User.objects.filter(pk__in=made.values())
            }
            wanted = Group.objects.filter(name__in=context["groups"])
            groups = request.user.access.limit("groups", queryset=wanted)
            missing = set(context["groups"]) - {group.name for group in groups}
            if missing:
                raise Invalid(f"No such group: {', '.join(sorted(missing))}")
            check_adding(request.user.access, by, [group.name for group in groups])
            for group in groups:
                group_actions.add_members(group, [line.name for line in people], by=by)
            rows = []
            for line in context["new"]:
                user = users.get(line.name)
                if user is None:
                    continue
                if line.email and context["may_mail"]:
                    actions.set_email(user, line.email, by=by)
                sign_in = ""
                if context["may_link"] and request.POST.get("links"):
                    path = actions.invite_user(user, by=by, by_admin=request.user.admin)
                    sign_in = f"{origin_of(request)}{path}"
                rows.append((line, sign_in))
        table = csv_text(
            [("name", "email", "link")],
            ((line.name, line.email, sign_in) for line, sign_in in rows),
        )
        context |= {
            "title": f"Added {count_of(len(rows), 'user')}",
            "rows": rows,
            "table": table,
            "has_links": any(sign_in for _, sign_in in rows),
        }
        response = TemplateResponse(
            request, "admin/accounts/user/added_list.html", context
        )
        response["Cache-Control"] = "no-store"
        return response
