"""Announcements of the site, which `c.JupyterHub.template_vars` puts on pages."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

# Announcements on pages; each of the last three replaces the first on one page.
PAGE_VARIABLES = frozenset(
    {
        *("announcement", "logo_url"),
        *("announcement_login", "announcement_home", "announcement_spawn"),
    }
)


class Announcements:
    """The announcements for one person, used by templates.

    The HTML comes from the operator and is shown as it is.
    """

    def __init__(self, template_vars: Mapping[str, Any], user: Any) -> None:
        self.template_vars = template_vars
        self.user = user

    def general(self) -> str:
        """Return the announcement of pages that have none of their own."""
        return self.value_of("announcement") or ""

    def login(self) -> str:
        return self.own("announcement_login")

    def home(self) -> str:
        return self.own("announcement_home")

    def spawn(self) -> str:
        return self.own("announcement_spawn")

    def logo_url(self) -> str:
        """Return the link of the site's logo; empty for the hub itself."""
        return self.value_of("logo_url") or ""

    def own(self, key: str) -> str:
        value = self.value_of(key)
        # An empty value means that the page shows no announcement.
        return self.general() if value is None else value

    def value_of(self, key: str) -> str | None:
        """Return a value for pages; a function is called with the user, or None."""
        value = self.template_vars.get(key)
        if callable(value):
            try:
                value = value(self.user)
            except Exception:
                # An error in the site's function must not break the page.
                logger.exception("c.JupyterHub.template_vars: %s failed", key)
                return None
        return None if value is None else str(value)
