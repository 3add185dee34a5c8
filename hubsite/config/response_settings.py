"""Headers and cookies of responses, from `c.JupyterHub.tornado_settings`."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookies import Morsel
from typing import Any

ANSWER_SETTINGS = frozenset(
    {
        *("headers", "cookie_options", "xsrf_cookie_kwargs"),
        *("slow_spawn_timeout", "slow_stop_timeout"),
    }
)
COOKIE_ATTRIBUTES = frozenset({"samesite", "secure", "domain"})
POLICY = "content-security-policy"
XSRF_COOKIE = "_xsrf"


def site_headers(tornado_settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of every response; a policy is merged with the hub's own."""
    headers: Mapping[str, str] = tornado_settings.get("headers") or {}
    return {name: value for name, value in headers.items() if name.lower() != POLICY}


def content_security_policy(tornado_settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the directives of a configured policy, by name."""
    headers: Mapping[str, str] = tornado_settings.get("headers") or {}
    found: dict[str, str] = {}
    for name, value in headers.items():
        directives = value.split(";") if name.lower() == POLICY else []
        for directive in directives:
            key, _, content = directive.strip().partition(" ")
            if key:
                # Of two directives with one name, browsers use the first.
                found.setdefault(key.lower(), content.strip())
    return found


def frame_ancestors(tornado_settings: Mapping[str, Any]) -> list[str]:
    """Return the sites that may show the hub's pages in a frame; by default none."""
    policy = content_security_policy(tornado_settings)
    return policy.get("frame-ancestors", "").split() or ["'none'"]


def cookie_attributes(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes of cookies by their names in lower case."""
    found = {name.lower(): value for name, value in options.items()}
    if "samesite" in found:
        found["samesite"] = str(found["samesite"]).capitalize()
    return found


class CookieOptions:
    """The site's attributes for the hub's cookies.

    The XSRF cookie has options of its own; without them it gets the others', as in
    JupyterHub.
    """

    def __init__(self, tornado_settings: Mapping[str, Any]) -> None:
        options = tornado_settings.get("cookie_options") or {}
        xsrf = tornado_settings.get("xsrf_cookie_kwargs") or options
        self.of_all = _ours(options)
        self.of_xsrf = _ours(xsrf)

    def apply(self, name: str, cookie: Morsel[str]) -> None:
        """Change a cookie that is being sent or deleted."""
        options = self.of_xsrf if name.endswith(XSRF_COOKIE) else self.of_all
        for attribute, value in options.items():
            # A browser refuses `__Host-` cookies for a whole domain or without https.
            is_fixed = attribute in ("domain", "secure")
            if not is_fixed or not name.startswith("__Host-"):
                cookie[attribute] = value


def _ours(options: Mapping[str, Any]) -> dict[str, Any]:
    attributes = cookie_attributes(options)
    found = {name: attributes[name] for name in COOKIE_ATTRIBUTES & attributes.keys()}
    return {name: value or "" for name, value in found.items()}
