"""A page of the hub in the site's own template."""

from __future__ import annotations

from typing import Any

import structlog
from django.conf import settings
from jinja2 import Environment, Template, TemplateNotFound

from hubsite.site_pages.parts import Parts, without_marks
from hubsite.site_pages.sources import BASES, environment_for
from hubsite.site_pages.variables import variables

logger = structlog.get_logger(__name__)

# JupyterHub's templates for pages of the hub.
PAGES = {
    "account/login.html": "login.html",
    "account/signed_out.html": "logout.html",
    "home.html": "home.html",
    "servers/options.html": "spawn.html",
    "servers/starting.html": "spawn_pending.html",
    "servers/stopping.html": "stop_pending.html",
    "servers/stopped.html": "not_running.html",
    "servers/failed.html": "not_running.html",
    "tokens/list.html": "token.html",
    "oauth/authorize.html": "oauth.html",
    "sharing/accept_share.html": "accept-share.html",
}
ERRORS = frozenset({"error.html", "403.html", "404.html", "500.html", "silent.html"})


# The environment of the configuration for which it was made, with compiled templates.
_made: list[tuple[Any, Environment]] = []


def environment() -> Environment:
    hub = settings.HUB
    if not _made or _made[0][0] is not hub:
        options = dict(hub.jinja_environment_options)
        _made[:] = [(hub, environment_for([*hub.template_paths], options))]
    return _made[0][1]


def render_page(name: str, page: str, mark: str, context: Any) -> str:
    """Return a page in the site's template; in case of an error the hub's own page."""
    try:
        parts = Parts.read(page, mark)
        template = template_for(name, context)
        return template.render(
            variables(name, context), parts=parts, is_of_site=is_of_site(template)
        )
    except Exception:
        # The site's template fails on this page; people still get the page.
        logger.exception("c.JupyterHub.template_paths: a template failed", page=name)
        return without_marks(page, mark)


def template_for(name: str, context: Any) -> Template:
    if name in PAGES:
        return environment().get_template(PAGES[name])
    if name in ERRORS:
        try:
            return environment().get_template(f"{context.get('code', '')}.html")
        except TemplateNotFound:
            return environment().get_template("error.html")
    return environment().get_template("page.html")


def is_of_site(template: Template) -> bool:
    """Return whether the site has a template for this very page."""
    return not str(template.filename).startswith(str(BASES))
