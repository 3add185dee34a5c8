"""Template variables of every page."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts.models import User
from hubsite.config.announcements import Announcements
from services.models import Service
from web import xsrf
from web.hosts import service_origin, service_path

# The navigation's entry for a page, by the start of the page's URL name.
PLACES = {"home": "home", "tokens": "token", "docs": "docs", "admin": "admin"}


def hub(request: HttpRequest) -> dict[str, Any]:
    """Return the XSRF value for scripts, and the data of the navigation."""
    user = getattr(request, "user", None)
    # A refused request for a page may come from a service.
    known = user if isinstance(user, User) else None
    return {
        "announcements": Announcements(settings.HUB.template_vars, known),
        "csrf_token": SimpleLazyObject(lambda: xsrf.get_token(request)),
        "here": _place(request),
        "hub_services": SimpleLazyObject(lambda: list(_services(request))),
        **site(),
        # Whether pages of servers have the same origin as the hub's.
        "shares_origin": not settings.HUB.subdomain_host,
    }


def site() -> dict[str, Any]:
    """Return the part of the context that needs no request, for error pages too."""
    return {
        "hub_prefix": f"{settings.HUB.base_url}hub/",
        "hub_version": settings.JUPYTERHUB_VERSION,
        "site_footer": settings.FOOTER,
        "site_help": settings.HELP_URL,
        "site_logo": has_logo(),
        "site_name": settings.SITE_NAME,
        "site_templates": settings.SITE_TEMPLATES,
    }


def has_logo() -> bool:
    """Return whether the site has a logo of its own."""
    return settings.LOGO_FILE is not None and settings.LOGO_FILE.is_file()


def _place(request: HttpRequest) -> str:
    match = getattr(request, "resolver_match", None)
    name = (match.view_name or "") if match else ""
    return PLACES.get(name.partition(":")[0], "")


def _services(request: HttpRequest) -> list[dict[str, str]]:
    """Return the services with pages that this person may open."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return []
    shown = Service.objects.exclude(display=False).exclude(url=None).exclude(url="")
    reachable = user.access.limit("access:services", queryset=shown).order_by("name")
    return [
        {"name": name, "href": f"{service_origin(name)}{service_path(name)}"}
        for name in reachable.values_list("name", flat=True)
    ]
