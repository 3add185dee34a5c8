"""The variables that JupyterHub gives its templates, for the site's own.

Rows of the database are read only if a template uses them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import structlog
from django.conf import settings
from django.templatetags.static import static

from accounts.models import User
from servers.addresses import spawn_path
from servers.models import Server, server_path

logger = structlog.get_logger(__name__)


class PageServer:
    """A server, with the names of JupyterHub's Spawner objects."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.name = server.name
        self.display_name = server.display_name
        self.ready = server.ready
        self.active = server.is_active
        self.pending = server.pending or None
        self.user_options = server.user_options or {}
        # The controller alone has the form.
        self.options_form = ""

    @property
    def url(self) -> str:
        return str(self.server.address)

    @property
    def started(self) -> datetime | None:
        return _naive(self.server.started)

    @property
    def last_activity(self) -> datetime | None:
        return _naive(self.server.last_activity)


class PageUser:
    """A person, with the names of JupyterHub's User objects."""

    def __init__(self, user: User) -> None:
        self.account = user
        self.name = user.name
        self.escaped_name = quote(user.name, safe="@~")
        # Within a script, as JupyterHub's own page uses it.
        self.json_escaped_name = json.dumps(user.name)[1:-1].replace("</", "<\\/")
        self.url = self.server_url()

    @property
    def admin(self) -> bool:
        return bool(self.account.admin)

    @property
    def groups(self) -> list[Any]:
        return list(self.account.groups.order_by("name"))

    @property
    def spawners(self) -> dict[str, PageServer]:
        return {each.name: each for each in self.all_spawners()}

    @property
    def spawner(self) -> PageServer:
        return next(iter(self.all_spawners()))

    @property
    def active(self) -> bool:
        return any(each.active for each in self.all_spawners())

    @property
    def running(self) -> bool:
        return any(each.ready for each in self.all_spawners())

    def server_url(self, server_name: str = "") -> str:
        return str(server_path(self.name, server_name))

    def all_spawners(self, include_default: bool = True) -> Iterator[PageServer]:
        """Yield the servers, the default one first even if it was never started."""
        rows = {row.name: row for row in self.account.servers.order_by("name")}
        default = rows.pop("", None) or Server(user=self.account)
        for row in (*([default] if include_default else ()), *rows.values()):
            row.user = self.account
            yield PageServer(row)


class PageAuthenticator:
    """What templates ask of an authenticator."""

    def __init__(self, login_service: str) -> None:
        self.login_service = login_service
        self.auto_login = False
        self.request_otp = False
        self.otp_prompt = ""


def variables(name: str, context: Any) -> dict[str, Any]:
    """Return JupyterHub's variables for a page with a Django context."""
    request = context.get("request")
    account = context.get("user")
    user = PageUser(account) if isinstance(account, User) else None
    base = settings.HUB.base_url
    hub = f"{base}hub/"
    token = str(context.get("csrf_token") or "")
    found: dict[str, Any] = {
        "base_url": hub,
        "prefix": base,
        "user": user,
        "logo_url": "",
        "login_url": f"{hub}login",
        "login_service": "",
        "logout_url": f"{hub}logout",
        "static_url": static_url,
        "version_hash": "",
        "services": _services(context),
        "parsed_scopes": Scopes(user),
        "expanded_scopes": Scopes(user),
        "xsrf": token,
        "xsrf_token": token,
        "no_spawner_check": True,
        "auth_state": None,
        **_page_variables(name, context, user, hub),
        **_of_site(account if user else None),
        "csp_nonce": getattr(request, "page_nonce", ""),
        "require_config": {
            "baseUrl": static_url("js", include_version=False),
            "paths": {
                "components": "../components",
                "jquery": "../components/jquery/dist/jquery.min",
                "js-sha256": "../components/js-sha256/build/sha256.min",
                "moment": "../components/moment/moment",
            },
        },
    }
    found["jhdata"] = {
        "base_url": hub,
        "prefix": base,
        "admin_access": False,
        "options_form": name == "servers/options.html",
        "xsrf_token": token,
        **({"user": user.name} if user else {}),
    }
    return found


def static_url(path: str, include_version: bool = True) -> str:
    """Return the address of a file of JupyterHub's or the site's."""
    return static(path)


class Scopes:
    """The scopes of the person, for questions such as `"admin-ui" in parsed_scopes`."""

    def __init__(self, user: PageUser | None) -> None:
        self.user = user

    def __contains__(self, scope: object) -> bool:
        return bool(self.user and self.user.account.access.has(str(scope)))


def _services(context: Any) -> list[Any]:
    return [
        {**service, "prefix": service["href"], "url": service["href"]}
        for service in context.get("hub_services") or ()
    ]


def _of_site(account: User | None) -> dict[str, Any]:
    """Return `c.JupyterHub.template_vars`; functions are called with the user."""
    found: dict[str, Any] = {}
    for key, value in settings.HUB.template_vars.items():
        if callable(value):
            try:
                value = value(account)
            except Exception:
                logger.exception("c.JupyterHub.template_vars failed", key=key)
                continue
        found[key] = value
    return found


def _page_variables(
    name: str, context: Any, user: PageUser | None, hub: str
) -> Mapping[str, Any]:
    if name == "account/login.html":
        return _login(context, hub)
    if name == "home.html" and user:
        return _home(context, user)
    if name.startswith("servers/"):
        return _server(name, context, user)
    if code := context.get("code"):
        return _error(context, int(code))
    return {}


def _login(context: Any, hub: str) -> dict[str, Any]:
    request, form = context.get("request"), context.get("form")
    wanted = request.GET.get("next", "") if request else ""
    problems = [*(form.non_field_errors() if form is not None else ())]
    service = str(context.get("login_service") or "")
    # A hosted class may have an address of its own for signing in.
    way = str(context.get("login_url") or context.get("action") or f"{hub}login")
    typed = form["login"].value() if form is not None else ""
    return {
        "next": quote(wanted, safe=""),
        "username": typed or "",
        "login_error": str(context.get("problem") or " ".join(map(str, problems))),
        "login_service": service,
        "authenticator_login_url": way,
        "authenticator": PageAuthenticator(service),
        "custom_html": context.get("custom_html") or "",
    }


def _home(context: Any, user: PageUser) -> dict[str, Any]:
    servers = [*user.all_spawners()]
    default = servers[0]
    return {
        "url": user.url if default.active else spawn_path(user.name, ""),
        "allow_named_servers": settings.HUB.allow_named_servers,
        "named_server_limit_per_user": context.get("limit", 0),
        "url_path_join": url_path_join,
        "spawners": servers,
        "default_server": default,
        "invalid_server_names": [],
    }


def _server(name: str, context: Any, user: PageUser | None) -> dict[str, Any]:
    request, server = context.get("request"), context.get("server")
    failed = name == "servers/failed.html"
    report = context.get("report")
    owner = context.get("owner") or (user.name if user else "")
    server_name = context.get("server_name") or (server.name if server else "")
    next_url = context.get("next_url") or ""
    return {
        "server_name": server_name,
        "spawn_url": context.get("start_url")
        or spawn_path(owner, server_name, next_url),
        "for_user": {"name": owner},
        "spawner": PageServer(server) if server else None,
        "spawner_options_form": context.get("form") or "",
        "error_message": "",
        "error_html_message": context.get("reason") or "",
        "url": _with_xsrf(context, request.get_full_path() if request else ""),
        # A stream of events has no header for the value.
        "progress_url": _with_xsrf(context, context.get("progress_url") or ""),
        "failed": failed,
        "failed_message": report.failure if failed and report else "",
        "failed_html_message": "",
        "implicit_spawn_seconds": context.get("implicit_spawn_seconds") or 0,
    }


def _error(context: Any, code: int) -> dict[str, Any]:
    try:
        phrase = HTTPStatus(code).phrase
    except ValueError:
        phrase = "Unknown HTTP Error"
    return {
        "status_code": code,
        "status_message": phrase,
        "message": context.get("explanation") or "",
        "message_html": "",
        "extra_error_html": "",
        "exception": None,
    }


def _with_xsrf(context: Any, path: str) -> str:
    """Return an address with the XSRF value, as JupyterHub's templates get it."""
    query = urlencode({"_xsrf": str(context.get("csrf_token") or "")})
    return f"{path}{'&' if '?' in path else '?'}{query}" if path else ""


def url_path_join(*pieces: str) -> str:
    """Join pieces of a path, as JupyterHub's function of this name."""
    initial = "/" if pieces and pieces[0].startswith("/") else ""
    final = "/" if pieces and pieces[-1].endswith("/") else ""
    middle = "/".join(each for each in (piece.strip("/") for piece in pieces) if each)
    return f"{initial}{middle}{final}" if middle else initial or final


def _naive(moment: datetime | None) -> datetime | None:
    """Return a time as JupyterHub's templates know it: in UTC, without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment else None
