"""The settings of `jupyterhub_config.py`, as one frozen object.

The file is read by traitlets as JupyterHub reads it (`c`, `get_config()`,
`load_subconfig()`). Rooms to the left of this one read the result as `settings.HUB`.

Each field below with a `setting(...)` has its place in the file, the accepted values,
and one sentence with its purpose; the reference page is made from these sentences. A
value of a wrong kind stops the start with a `ConfigError` that names the setting.
Settings without an effect here are listed in `HubConfig.remarks`.
"""

# `setting()` only describes a field; nothing mutable is shared between objects.
# ruff: noqa: RUF009

from __future__ import annotations

import copy
import logging
import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from traitlets.config.loader import Config, LazyConfigValue

from controller.spawners.classes import BUILT_IN as SPAWNERS
from controller.spawners.classes import UnknownSpawner, resolve
from hubsite.config import authenticators, remarks
from hubsite.config.file import ConfigError as ConfigError
from hubsite.config.file import read_file as read_file
from hubsite.config.unsupported import KNOWN_AUTHENTICATORS

TOKEN_MIN_LENGTH = 8
TOKEN_MAX_LENGTH = 128
SERVICE_PREFIX = "service-"
ROLE_NAME = re.compile(r"[a-z][a-z0-9\-_~.]{1,253}[a-z0-9]")


# Types of settings. Each takes a value and returns it in the form that the hub uses, or
# raises ValueError with the text after "expected".


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("True or False")
    return value


def whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("a whole number, 0 or more")
    return value


def whole_or_function(value: Any) -> Any:
    return value if callable(value) else whole(value)


def public_address(value: Any) -> str:
    """Accept an address on the web; without a scheme it gets https."""
    address = text(value).strip()
    return web_address(
        f"https://{address}" if address and "://" not in address else address
    )


def host_address(value: Any) -> str:
    """Accept scheme, host and port of an address."""
    address = public_address(value).rstrip("/")
    if urlsplit(address).path:
        raise ValueError(f"a host such as 'https://hub.example.org', not {value!r}")
    return address


def domain_hook(value: Any) -> Any:
    if value not in ("idna", "legacy") and not callable(value):
        raise ValueError(f"'idna', 'legacy' or a function, not {value!r}")
    return value


def port(value: Any) -> int:
    if whole(value) > 65535:
        raise ValueError("a port number")
    return int(value)


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError("a number, 0 or more")
    return float(value)


def seconds_range(value: Any) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("two numbers, the lower one first")
    low, high = number(value[0]), number(value[1])
    if low > high:
        raise ValueError("two numbers, the lower one first")
    return low, high


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a string")
    return value


def text_or_function(value: Any) -> Any:
    return value if callable(value) else text(value)


# Line ends and control characters, which no header or address may contain.
CONTROL = re.compile("[\x00-\x1f\x7f]")


def line(value: Any) -> str:
    """Accept a string that can be part of a header or an address."""
    if CONTROL.search(text(value)):
        raise ValueError(
            "a string of one line without control characters; read a file with .strip()"
        )
    return str(value)


def proxy_log_level(value: Any) -> str:
    if text(value) not in ("debug", "info", "warn", "error"):
        raise ValueError("'debug', 'info', 'warn' or 'error'")
    return str(value)


LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def log_level(value: Any) -> str:
    """Accept a log level by its name or number, as traitlets does."""
    number = value
    if isinstance(value, str):
        number = logging.getLevelNamesMapping().get(value.upper())
    if isinstance(number, bool) or number not in (0, 10, 20, 30, 40, 50):
        raise ValueError(f"one of {', '.join(map(repr, LOG_LEVELS))} or its number")
    # "Fatal" has no level of its own, and 0 includes everything.
    return LOG_LEVELS[min(max(number // 10 - 1, 0), 3)]


def web_address(value: Any) -> str:
    """Accept an address on the web, or none."""
    if not line(value):
        return ""
    try:
        url = urlsplit(value)
        is_address = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError as error:
        raise ValueError(f"an http or https address ({error})") from None
    if not is_address or " " in value:
        raise ValueError("an http or https address")
    return str(value)


def proxy_address(value: Any) -> str:
    if not web_address(value):
        raise ValueError("an http or https address")
    return str(value)


def help_address(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"mailto:[^\s@]+@[^\s@]+", value):
        return value
    try:
        return web_address(value)
    except ValueError as error:
        raise ValueError(f"{error}, or mailto: and one of mail") from None


HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Headers that a server computes for each response.
OF_THE_SERVER = frozenset(
    {"connection", "content-length", "content-type", "date", "transfer-encoding"}
)


def tornado_settings(value: Any) -> dict[str, Any]:
    found = mapping(value)
    if headers := found.get("headers"):
        found["headers"] = _headers(headers)
    for key in ("cookie_options", "xsrf_cookie_kwargs"):
        _check_cookie_options(key, found.get(key) or {})
    for key in ("slow_spawn_timeout", "slow_stop_timeout"):
        if key in found:
            try:
                found[key] = number(found[key])
            except ValueError as error:
                raise ValueError(f"{error} as {key!r}") from None
    return found


def _headers(value: Any) -> dict[str, str]:
    found = {}
    for name, content in mapping(value).items():
        if isinstance(content, int) and not isinstance(content, bool):
            content = str(content)
        if isinstance(content, bytes):
            content = content.decode("latin-1")
        if not HEADER_NAME.fullmatch(name) or name.lower() in OF_THE_SERVER:
            raise ValueError(f"headers that a site can set, not {name!r}")
        try:
            found[name] = line(content)
            content.encode("latin-1")
        except ValueError:
            raise ValueError(f"one line of Latin text as header {name!r}") from None
    return found


def _check_cookie_options(key: str, value: Any) -> None:
    options = {name.lower(): content for name, content in mapping(value).items()}
    same_site = str(options.get("samesite", "Lax")).capitalize()
    if same_site not in ("Strict", "Lax", "None"):
        raise ValueError(f"'Strict', 'Lax' or 'None' as SameSite in {key!r}")
    if options.get("domain") is not None:
        line(options["domain"])


def pattern(value: Any) -> str:
    try:
        re.compile(text(value))
    except re.error as error:
        raise ValueError(f"a regular expression ({error})") from None
    return str(value)


def invalid_names(value: Any) -> str:
    if value not in ("allow-start", "allow-delete", "autorename"):
        raise ValueError("'allow-start', 'allow-delete' or 'autorename'")
    return str(value)


def encoding(value: Any) -> str:
    try:
        "".encode(text(value))
    except LookupError:
        raise ValueError("an encoding that Python knows, such as 'utf8'") from None
    return str(value)


def names(value: Any) -> frozenset[str]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError("a set of strings")
    found = frozenset(value)
    if not all(isinstance(name, str) and name for name in found):
        raise ValueError("a set of strings")
    return found


def texts_by_text(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(
        isinstance(part, str) for item in value.items() for part in item
    ):
        raise ValueError("a dictionary from strings to strings")
    return dict(value)


def numbers_by_text(value: Any) -> dict[str, int]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError("a dictionary from strings to whole numbers")
    return {key: whole(number) for key, number in value.items()}


def routes(value: Any) -> dict[str, str]:
    """Accept routes; a path without its last slash gets one.

    The beginnings of paths are checked later, when hosts are known.
    """
    found = {}
    for path, target in texts_by_text(value).items():
        if not web_address(target):
            raise ValueError(f"an http or https address as the target of {path!r}")
        found[path if path.endswith("/") else f"{path}/"] = target
    return found


def mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError("a dictionary with strings as keys")
    return dict(value)


def token(value: Any) -> str:
    """Accept a token; JupyterHub accepts bytes, too."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise ValueError("a token in UTF-8") from None
    return line(value)


def tokens(value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        value = {
            token(key) if isinstance(key, bytes) else key: owner
            for key, owner in value.items()
        }
    found = texts_by_text(value)
    for secret, owner in found.items():
        if not TOKEN_MIN_LENGTH <= len(secret) <= TOKEN_MAX_LENGTH:
            # The token must not appear in a log, so its owner is named instead.
            raise ValueError(
                f"tokens of {TOKEN_MIN_LENGTH} to {TOKEN_MAX_LENGTH} characters; that "
                f"of {owner!r} has {len(secret)} (make one with `openssl rand -hex 32`)"
            )
        if CONTROL.search(secret):
            raise ValueError(
                f"tokens of one line; that of {owner!r} has a control character, "
                "maybe the end of a file's line (read it with .strip())"
            )
        if not owner:
            raise ValueError("a name for each token")
    return found


def groups(value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, Mapping):
        raise ValueError("a dictionary from group names to their members")
    found: dict[str, dict[str, Any]] = {}
    for name, spec in value.items():
        if not isinstance(name, str) or not name:
            raise ValueError("strings as group names")
        # The list form is JupyterHub's older one and sets no properties.
        group = dict(spec) if isinstance(spec, Mapping) else {"users": spec}
        if unknown := set(group) - {"users", "properties"}:
            raise ValueError(
                f"the keys `users` and `properties`; {name!r} has {_list(unknown)}"
            )
        try:
            group["users"] = _in_order(group.get("users", ()))
        except ValueError:
            raise ValueError(f"a list of user names in group {name!r}") from None
        if "properties" in group:
            group["properties"] = mapping(group["properties"])
        found[name] = group
    return found


def roles(value: Any) -> tuple[dict[str, Any], ...]:
    found = []
    seen: set[str] = set()
    for role in _dictionaries(value):
        name = role.get("name")
        if not isinstance(name, str) or not ROLE_NAME.fullmatch(name):
            raise ValueError(
                "role names of 3 to 255 characters: lower-case letters, digits and "
                f"-_.~, beginning with a letter, ending with a letter or digit; "
                f"not {name!r}"
            )
        if name in seen:
            raise ValueError(f"each role once; {name!r} is there twice")
        seen.add(name)
        allowed = {"name", "description", "scopes", "users", "services", "groups"}
        if unknown := set(role) - allowed:
            raise ValueError(
                f"the keys {_list(allowed)}; {name!r} has {_list(unknown)}"
            )
        if name == "admin" and {"description", "scopes"} & set(role):
            raise ValueError(
                "only members for 'admin': its scopes and description are fixed"
            )
        role = dict(role)
        for key in ("scopes", "users", "services", "groups"):
            if key in role:
                try:
                    role[key] = _in_order(role[key])
                except ValueError:
                    raise ValueError(
                        f"a list of strings as {key} of {name!r}"
                    ) from None
        text(role.get("description", ""))
        found.append(role)
    return tuple(found)


SERVICE_FIELDS: dict[str, Callable[[Any], Any]] = {
    "name": text,
    "url": line,
    "api_token": token,
    "admin": flag,
    "command": lambda value: [value] if isinstance(value, str) else list(value),
    "environment": mapping,
    "cwd": text,
    "user": text,
    "oauth_client_id": line,
    "oauth_redirect_uri": line,
    "oauth_client_allowed_scopes": lambda value: _in_order(value),
    "oauth_no_confirm": flag,
    "display": flag,
    "info": mapping,
    "timeout": whole,
}


def services(value: Any) -> tuple[dict[str, Any], ...]:
    found = []
    seen: set[str] = set()
    for declared in _dictionaries(value):
        service = dict(declared)
        name = service.get("name")
        if not isinstance(name, str) or not is_service_name(name):
            raise ValueError(
                "a name for each service, without slashes, percent escapes or outer "
                f"blanks; not {name!r}"
            )
        if name in seen:
            raise ValueError(f"each service once; {name!r} is there twice")
        seen.add(name)
        if "oauth_roles" in service:
            service.setdefault("oauth_client_allowed_scopes", service["oauth_roles"])
            del service["oauth_roles"]
        if unknown := set(service) - set(SERVICE_FIELDS):
            raise ValueError(
                f"fields that services have; {name!r} has {_list(unknown)}, "
                f"known are {_list(SERVICE_FIELDS)}"
            )
        for key, kind in SERVICE_FIELDS.items():
            if service.get(key) is None:
                service.pop(key, None)
                continue
            try:
                service[key] = kind(service[key])
            except (ValueError, TypeError) as error:
                raise ValueError(f"{error} as {key!r} of service {name!r}") from None
        if "url" in service and urlsplit(service["url"]).scheme not in {
            "http",
            "https",
        }:
            raise ValueError(f"an http or https address as url of service {name!r}")
        if not service.get("oauth_client_id", SERVICE_PREFIX).startswith(
            SERVICE_PREFIX
        ):
            raise ValueError(
                f"an oauth_client_id that begins with {SERVICE_PREFIX!r} in {name!r}"
            )
        found.append(service)
    return tuple(found)


def is_service_name(name: str) -> bool:
    """Tell whether a service of this name can have an address of its own."""
    return bool(
        name
        and name.strip() == name
        and "/" not in name
        and not re.search(r"%[0-9A-Fa-f]{2}", name)
        and name.strip(".")
    )


def _dictionaries(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list | tuple) or not all(
        isinstance(item, Mapping) for item in value
    ):
        raise ValueError("a list of dictionaries")
    return list(value)


def _in_order(value: Any) -> list[str]:
    """Accept the same as `names`, and keep the order of ordered values."""
    found = names(value)
    return (
        sorted(found)
        if isinstance(value, set | frozenset)
        else list(dict.fromkeys(value))
    )


def _list(words: Iterable[Any]) -> str:
    return ", ".join(repr(word) for word in sorted(map(str, words)))


def setting(
    place: str, accepts: Callable[[Any], Any], default: Any, says: str = ""
) -> Any:
    """Describe a field that the file can set, at `c.<place>`.

    Several places, separated by `|`, are the setting and its older names.
    """
    metadata = {"places": place.split("|"), "accepts": accepts, "says": says}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class HubConfig:
    """The declared configuration of one hub; names are JupyterHub's."""

    # Addresses. All except public_url are computed by `_addresses`.
    bind_url: str = "http://:8000"
    base_url: str = "/"
    hub_ip: str = "127.0.0.1"
    hub_port: int = 8081
    hub_connect_url: str = "http://127.0.0.1:8081"
    public_url: str = setting(
        "JupyterHub.public_url",
        public_address,
        "",
        "The address at which people reach the hub, with its path.",
    )
    subdomain_host: str = setting(
        "JupyterHub.subdomain_host",
        host_address,
        "",
        "The hub's `https://HOST[:PORT]`, below which each user's servers and each "
        "service get a host of their own.",
    )
    subdomain_hook: str | Callable[..., str] = setting(
        "JupyterHub.subdomain_hook",
        domain_hook,
        "idna",
        "How these hosts are made of names: `idna`, `legacy`, or a function that is "
        "given `name`, `domain` and `kind` (`user` or `service`).",
    )
    cookie_host_prefix_enabled: bool = setting(
        "JupyterHub.cookie_host_prefix_enabled",
        flag,
        False,
        "Whether login cookies are called `__Host-…`, which no other host can set; "
        "needs https.",
    )
    ssl_key: str = setting(
        "JupyterHub.ssl_key", text, "", "Key file with which the proxy speaks HTTPS."
    )
    ssl_cert: str = setting(
        "JupyterHub.ssl_cert", text, "", "Certificate file to go with `ssl_key`."
    )
    proxy_api_url: str = setting(
        "ConfigurableHTTPProxy.api_url",
        proxy_address,
        "http://127.0.0.1:8001",
        "Where the proxy listens for routes.",
    )
    proxy_auth_token: str = setting(
        "ConfigurableHTTPProxy.auth_token|JupyterHub.proxy_auth_token",
        line,
        "",
        "The proxy's secret; generated into the data folder if empty.",
    )
    proxy_should_start: bool = setting(
        "Proxy.should_start",
        flag,
        True,
        "Whether the hub starts the proxy, or finds it running.",
    )
    proxy_log_level: str = setting(
        "ConfigurableHTTPProxy.log_level",
        proxy_log_level,
        "warn",
        "What the proxy reports, and what is worse: `debug`, `info` (each call of its "
        "API), `warn`, `error`.",
    )
    extra_routes: dict[str, str] = setting(
        "Proxy.extra_routes",
        routes,
        {},
        "More routes for the proxy: from paths, which begin with `/`, to targets.",
    )
    cleanup_proxy: bool = setting(
        "JupyterHub.cleanup_proxy",
        flag,
        True,
        "Whether the proxy ends with the hub; otherwise the next start adopts it.",
    )
    cleanup_servers: bool = setting(
        "JupyterHub.cleanup_servers",
        flag,
        True,
        "Whether servers end with the hub; otherwise the next start adopts them.",
    )

    # Sign-in
    authenticator_class: str = "local"
    dummy_password: str = setting(
        "DummyAuthenticator.password", text, "", "With `dummy`: everybody's password."
    )
    pam_service: str = setting(
        "PAMAuthenticator.service",
        line,
        "login",
        "With `pam`: the service in `/etc/pam.d` whose rules decide.",
    )
    pam_encoding: str = setting(
        "PAMAuthenticator.encoding",
        encoding,
        "utf8",
        "With `pam`: how names and passwords are encoded for the system.",
    )
    pam_check_account: bool = setting(
        "PAMAuthenticator.check_account",
        flag,
        True,
        "With `pam`: whether the system is also asked if the account may come in.",
    )
    pam_normalize_username: bool = setting(
        "PAMAuthenticator.pam_normalize_username",
        flag,
        False,
        "With `pam`: whether a name is replaced by the one of the account that the "
        "system finds by it.",
    )
    pam_allowed_groups: frozenset[str] = setting(
        "PAMAuthenticator.allowed_groups|PAMAuthenticator.group_whitelist",
        names,
        frozenset(),
        "With `pam`: groups of the system whose members may sign in.",
    )
    pam_admin_groups: frozenset[str] = setting(
        "PAMAuthenticator.admin_groups",
        names,
        frozenset(),
        "With `pam`: groups of the system whose members are made administrators when "
        "they sign in.",
    )
    admin_users: frozenset[str] = setting(
        "Authenticator.admin_users|JupyterHub.admin_users",
        names,
        frozenset(),
        "Users who are made administrators at every start; none is ever demoted.",
    )
    allowed_users: frozenset[str] = setting(
        "Authenticator.allowed_users|Authenticator.whitelist",
        names,
        frozenset(),
        "Users who may sign in; they are created at every start.",
    )
    blocked_users: frozenset[str] = setting(
        "Authenticator.blocked_users|Authenticator.blacklist",
        names,
        frozenset(),
        "Users who may not sign in, and lose roles and groups at every start.",
    )
    allow_all: bool = setting(
        "Authenticator.allow_all",
        flag,
        False,
        "Whether everybody who can sign in is admitted.",
    )
    allow_existing_users: bool = setting(
        "Authenticator.allow_existing_users",
        flag,
        False,
        "Whether people with an account may sign in (yes, if `allowed_users` is set).",
    )
    auto_login_oauth2_authorize: bool = setting(
        "Authenticator.auto_login_oauth2_authorize",
        flag,
        False,
        "Whether who comes from a server or service goes straight to single sign-on.",
    )
    username_pattern: str = setting(
        "Authenticator.username_pattern", pattern, "", "What a name must begin with."
    )
    username_map: dict[str, str] = setting(
        "Authenticator.username_map", texts_by_text, {}, "Names that stand for others."
    )

    # Declared rows, reconciled at every start
    api_tokens: dict[str, str] = setting(
        "JupyterHub.api_tokens", tokens, {}, "Tokens, each with the user it belongs to."
    )
    service_tokens: dict[str, str] = setting(
        "JupyterHub.service_tokens", tokens, {}, "Tokens, each with its service."
    )
    services: tuple[dict[str, Any], ...] = setting(
        "JupyterHub.services", services, (), "Programs with an account of their own."
    )
    load_groups: dict[str, dict[str, Any]] = setting(
        "JupyterHub.load_groups", groups, {}, "Groups and members, only ever added to."
    )
    load_roles: tuple[dict[str, Any], ...] = setting(
        "JupyterHub.load_roles", roles, (), "Roles: scopes, and exactly who holds them."
    )
    custom_scopes: dict[str, dict[str, Any]] = setting(
        "JupyterHub.custom_scopes", mapping, {}, "Scopes that services give meaning to."
    )
    extra_user_scopes: frozenset[str] = setting(
        "JupyterHub.extra_user_scopes",
        names,
        frozenset(),
        "Added to the role `user`, unless `load_roles` defines that role.",
    )

    # Limits and behaviour
    allow_named_servers: bool = setting(
        "JupyterHub.allow_named_servers", flag, False, "Whether users may name servers."
    )
    named_server_limit_per_user: int | Callable[[Any], Any] = setting(
        "JupyterHub.named_server_limit_per_user",
        whole_or_function,
        0,
        "How many; 0: no limit. A function is given an object with `current_user`.",
    )
    allow_existing_invalid_named_servers: str = setting(
        "JupyterHub.allow_existing_invalid_named_servers",
        invalid_names,
        "allow-start",
        "What becomes of named servers whose names no new one may have: `allow-start`, "
        "`allow-delete` (they don't start any more), or `autorename`, at the start.",
    )
    concurrent_spawn_limit: int = setting(
        "JupyterHub.concurrent_spawn_limit",
        whole,
        100,
        "How many servers may be starting at a time; 0: no limit.",
    )
    active_server_limit: int = setting(
        "JupyterHub.active_server_limit",
        whole,
        0,
        "How many servers may run or be starting or stopping; 0: no limit.",
    )
    spawn_throttle_retry_range: tuple[float, float] = setting(
        "JupyterHub.spawn_throttle_retry_range",
        seconds_range,
        (30.0, 60.0),
        "Seconds after which those who start too many are told to ask again.",
    )
    implicit_spawn_seconds: float = setting(
        "JupyterHub.implicit_spawn_seconds",
        number,
        0.0,
        "Seconds until the page of a stopped server starts it by itself; 0: never.",
    )
    default_server_name: str = setting(
        "JupyterHub.default_server_name",
        text,
        "",
        "The server that Start starts.",
    )
    token_expires_in_max_seconds: int = setting(
        "JupyterHub.token_expires_in_max_seconds",
        whole,
        0,
        "The longest life of a token that is requested; 0: no limit.",
    )
    token_limit_per_user: int = setting(
        "Hub.token_limit_per_user",
        whole,
        500,
        "How many tokens a user may have, those of servers and clients apart; "
        "0: no limit.",
    )
    server_limit_per_user: int = setting(
        "Hub.server_limit_per_user",
        whole,
        500,
        "How many named servers a user may have, whatever "
        "`named_server_limit_per_user` says: all of them stand in one answer; "
        "0: no limit.",
    )
    token_limits_by_role: dict[str, int] = setting(
        "Hub.token_limits_by_role",
        numbers_by_text,
        {},
        "Other limits for those who hold a role; the highest counts, 0 is no limit.",
    )
    audit_retention_days: int = setting(
        "Hub.audit_retention_days",
        whole,
        365,
        "Days for which events stay in the audit log; 0: for ever.",
    )
    oauth_token_expires_in: int = setting(
        "JupyterHub.oauth_token_expires_in", whole, 14 * 86400, "Life of OAuth tokens."
    )
    oauth_require_pkce: bool = setting(
        "JupyterHub.oauth_require_pkce", flag, False, "Whether OAuth needs PKCE."
    )
    api_page_default_limit: int = setting(
        "JupyterHub.api_page_default_limit",
        whole,
        50,
        "Rows of a page unless asked.",
    )
    api_page_max_limit: int = setting(
        "JupyterHub.api_page_max_limit", whole, 200, "The most rows that a page has."
    )
    activity_resolution: int = setting(
        "JupyterHub.activity_resolution",
        whole,
        30,
        "Seconds by which activity must be newer to be written.",
    )
    last_activity_interval: int = setting(
        "JupyterHub.last_activity_interval", whole, 300, "Seconds between proxy checks."
    )
    service_check_interval: int = setting(
        "JupyterHub.service_check_interval",
        whole,
        60,
        "Seconds between two looks at whether services answer; 0: none.",
    )
    active_user_window: int = setting(
        "JupyterHub.active_user_window",
        whole,
        1800,
        "Seconds for which the administration counts a person as active.",
    )
    authenticate_prometheus: bool = setting(
        "JupyterHub.authenticate_prometheus",
        flag,
        True,
        "Whether metrics need a token.",
    )
    redirect_to_server: bool = setting(
        "JupyterHub.redirect_to_server", flag, True, "Whether / leads to one's server."
    )
    default_url: str | Callable[[Any], Any] = setting(
        "JupyterHub.default_url",
        text_or_function,
        "",
        "Where people land after signing in. A function is given an object with "
        "`current_user`, which is None before the sign-in.",
    )
    cookie_max_age_days: float = setting(
        "JupyterHub.cookie_max_age_days", number, 14.0, "Days that a sign-in lasts."
    )
    shutdown_on_logout: bool = setting(
        "JupyterHub.shutdown_on_logout", flag, False, "Whether logout stops servers."
    )
    use_legacy_stopped_server_status_code: bool = setting(
        "JupyterHub.use_legacy_stopped_server_status_code",
        flag,
        False,
        "Whether calls to stopped servers get 503 instead of 424.",
    )
    template_vars: dict[str, Any] = setting(
        "JupyterHub.template_vars",
        mapping,
        {},
        "HTML at the top of pages: `announcement`, and in its place on one page "
        "`announcement_login`, `announcement_home` or `announcement_spawn`; and "
        "`logo_url`, where the mark leads. A function is given the user, or None.",
    )
    tornado_settings: dict[str, Any] = setting(
        "JupyterHub.tornado_settings",
        tornado_settings,
        {},
        "`headers` of every answer; `cookie_options` (`SameSite`, `Secure`, `Domain`) "
        "of the hub's cookies and `xsrf_cookie_kwargs` of one of them; "
        "`slow_spawn_timeout` and `slow_stop_timeout`, seconds for which a call waits.",
    )
    log_level: str = setting(
        "JupyterHub.log_level",
        log_level,
        "",
        "What is logged, if `HUB_LOG_LEVEL` does not say so.",
    )
    logo_file: str = setting(
        "JupyterHub.logo_file", text, "", "A picture in place of the hub's own mark."
    )
    site_name: str = setting(
        "Hub.site_name", line, "", "What pages and titles call this hub."
    )
    help_url: str = setting(
        "Hub.help_url",
        help_address,
        "",
        "Where people find help: an address on the web, or `mailto:` and one of mail.",
    )
    footer: str = setting(
        "Hub.footer", text, "", "HTML at the foot of every page, such as an imprint."
    )
    spawner_class: str = SPAWNERS["default"]

    # Culling
    cull_idle_timeout: int = setting(
        "Hub.cull_idle_timeout",
        whole,
        0,
        "Seconds of inactivity after which the hub stops a server; 0: never.",
    )
    cull_every: int = setting(
        "Hub.cull_every",
        whole,
        0,
        "Seconds between two looks for idle servers; 0: half of the timeout.",
    )
    cull_max_age: int = setting(
        "Hub.cull_max_age",
        whole,
        0,
        "Seconds after which a server is stopped even if it is used; 0: never.",
    )
    cull_concurrency: int = setting(
        "Hub.cull_concurrency",
        whole,
        10,
        "How many idle servers are being stopped at a time; 0: all at once.",
    )
    cull_default_servers: bool = setting(
        "Hub.cull_default_servers",
        flag,
        True,
        "Whether default servers are stopped when idle.",
    )
    cull_named_servers: bool = setting(
        "Hub.cull_named_servers",
        flag,
        True,
        "Whether named servers are stopped when idle.",
    )
    cull_remove_named_servers: bool = setting(
        "Hub.cull_remove_named_servers",
        flag,
        False,
        "Whether idle named servers are also removed.",
    )
    cull_users: bool = setting(
        "Hub.cull_users",
        flag,
        False,
        "Whether idle users are deleted as well, for hubs with temporary accounts.",
    )
    cull_admin_users: bool = setting(
        "Hub.cull_admin_users",
        flag,
        True,
        "Whether that concerns administrators, too.",
    )

    # All sections of the file, for Spawner classes and others.
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    remarks: tuple[str, ...] = ()


def declared_fields() -> Iterable[Field[Any]]:
    """Yield the fields of `HubConfig` that a configuration file can set."""
    return (each for each in fields(HubConfig) if "places" in each.metadata)


def declared_places() -> frozenset[str]:
    """Return every setting that the hub reads from a file, as `Section.name`."""
    places = (each.metadata["places"] for each in declared_fields())
    return ADDRESSES | CLASSES | frozenset(chain.from_iterable(places))


def load_config(
    path: Path | None, *, keep_servers: bool = False, homes: Path | None = None
) -> HubConfig:
    """Read a configuration file; without one, JupyterHub's defaults apply.

    One default may differ: `keep_servers` lets servers outlive the hub if the file does
    not set that. Without a file a few more differ, see `unconfigured`, and servers have
    their homes in `homes`.

    Raises ConfigError with one line that names the file and line, or the setting.
    """
    if path is None:
        return build_config(unconfigured(homes), keep_servers=keep_servers)
    file = read_file(path)
    hub = build_config(file, keep_servers=keep_servers)
    if "authenticator_class" in file.get("JupyterHub", {}):
        return hub
    return replace(hub, remarks=(WITHOUT_PAM, *hub.remarks))


WITHOUT_PAM = (
    "c.JupyterHub.authenticator_class: not set; JupyterHub would use PAM, this hub "
    "keeps passwords itself; set 'pam' or 'local'"
)


def unconfigured(homes: Path | None) -> Config:
    """Return the configuration of a hub without a file, for a first look."""
    config = Config()
    config.JupyterHub.spawner_class = "simple"
    # A new operator sees the home page first and starts a server by a button; with a
    # file, JupyterHub's default applies, which starts a server at sign-in.
    config.JupyterHub.redirect_to_server = False
    config.JupyterHub.allow_named_servers = True
    if homes:
        template = str(homes).replace("{", "{{").replace("}", "}}")
        config.SimpleLocalProcessSpawner.home_dir_template = f"{template}/{{username}}"
    if os.geteuid() == 0:
        # Without this option, JupyterLab refuses to run as root.
        config.SimpleLocalProcessSpawner.args = ["--allow-root"]
    return config


def build_config(file: Config, *, keep_servers: bool = False) -> HubConfig:
    """Convert the sections of a configuration to a `HubConfig`."""
    reader = _Reader(file)
    way_in = reader.way_in
    known = KNOWN_AUTHENTICATORS[way_in.short]
    found: dict[str, Any] = {"authenticator_class": way_in.short}
    for each in declared_fields():
        owner = each.metadata["places"][0].partition(".")[0]
        if owner.endswith("Authenticator") and owner not in (*known, "Authenticator"):
            # The section of another authenticator.
            continue
        default = each.default_factory() if callable(each.default_factory) else None
        value = reader.take(each.metadata["places"], each.metadata["accepts"], default)
        if value is not None:
            found[each.name] = value
    found |= _addresses(reader)
    found["public_url"] = _public_url(found)
    _check_route_hosts(found)
    found["spawner_class"] = _spawner_class(reader)
    config = HubConfig(**found)
    config = replace(
        config,
        service_tokens=_service_tokens(config),
        api_page_max_limit=max(config.api_page_max_limit, 1),
        **_who_may_enter(config, found),
    )
    if "oauth_token_expires_in" not in found:
        lifetime = int(config.cookie_max_age_days * 86400)
        config = replace(config, oauth_token_expires_in=lifetime)
    if keep_servers and "cleanup_servers" not in found:
        config = replace(config, cleanup_servers=False)
    return replace(config, raw=file, remarks=reader.remarks(config))


# Sections from which others inherit, nearest first.
LINEAGES = (("JupyterHub", "Application"), ("ConfigurableHTTPProxy", "Proxy"))
ADDRESSES = frozenset(
    f"JupyterHub.{name}"
    for name in (
        *("bind_url", "base_url", "ip", "port", "hub_bind_url", "hub_ip", "hub_port"),
        *("hub_connect_ip", "hub_connect_port", "hub_connect_url"),
    )
)
CLASSES = frozenset({"JupyterHub.authenticator_class", "JupyterHub.spawner_class"})


class _Reader:
    """Returns the values of a file, and keeps track of unused ones."""

    def __init__(self, file: Config) -> None:
        self.file = file
        self.taken: set[str] = set()
        self.way_in = authenticators.find(
            self.first("JupyterHub.authenticator_class", None)
        )

    def first(self, place: str, default: Any = None) -> Any:
        """Return the value at `Section.name`, and mark it as used.

        Sections inherit as classes do: the nearest one that has a value wins, and
        changes such as `.add()` are made to the value of the next one.
        """
        section, _, name = place.partition(".")
        value = None
        for each in reversed(self.lineage(section)):
            if each not in self.file or name not in self.file[each]:
                continue
            self.taken.add(f"{each}.{name}")
            found = self.file[each][name]
            if isinstance(found, LazyConfigValue):
                # Merging changes its operands, so the file's own value is read again.
                found = copy.deepcopy(found)
                if value is not None:
                    found = found.merge_into(value)
            value = found
        return default if value is None else value

    def lineage(self, section: str) -> tuple[str, ...]:
        """Return the sections that this one inherits from, nearest first."""
        if section.endswith("Authenticator"):
            return self.way_in.lineage
        return next((each for each in LINEAGES if section in each), (section,))

    def spelt(self, place: str) -> str:
        """Return the place in the file of the value for `Section.name`."""
        section, _, name = place.partition(".")
        for each in self.lineage(section):
            if each in self.file and name in self.file[each]:
                return f"{each}.{name}"
        return place

    def take(
        self, places: Sequence[str], accepts: Callable[[Any], Any], empty: Any
    ) -> Any:
        """Return the value at the first of several places that has one."""
        outcome = None
        for place in places:
            value = self.first(place)
            if value is None:
                continue
            if isinstance(value, LazyConfigValue):
                # `c.Authenticator.admin_users.add("ada")`: changes to the default.
                if accepts in (services, roles):
                    empty = []
                elif accepts is names:
                    empty = set()
                value = value.get_value(empty)
            try:
                checked = accepts(value)
            except ValueError as error:
                raise ConfigError(f"c.{self.spelt(place)}: expected {error}") from None
            if outcome is None:
                outcome = checked
        return outcome

    def settings_of(self, lineage: Iterable[str]) -> dict[str, Any]:
        """Return all settings of the sections of a lineage."""
        found: dict[str, Any] = {}
        for section in reversed([*lineage]):
            found |= self.file.get(section, {})
        return found

    def remarks(self, hub: HubConfig) -> tuple[str, ...]:
        """Return remarks on all unused settings, with what to do instead."""
        spawner = self.file.get("JupyterHub", {}).get("spawner_class")
        return (
            *remarks.of_authenticator_class(
                self.way_in, self.settings_of(self.way_in.lineage)
            ),
            *remarks.of_scopes(hub.custom_scopes, hub.load_roles),
            *remarks.of_pages(hub.template_vars),
            *remarks.of_answers(hub.tornado_settings),
            *remarks.unused(
                self.file,
                self.taken,
                declared_places(),
                way_in=self.way_in,
                spawner=_sections_of_spawner(spawner or hub.spawner_class),
            ),
        )


def _sections_of_spawner(value: Any) -> tuple[str, ...]:
    """Return the sections that a spawner class reads, as far as they are known."""
    if isinstance(value, type):
        return tuple(each.__name__ for each in value.__mro__)
    return (str(value).replace(":", ".").rpartition(".")[2],)


# Characters that Django does not escape in the paths of pages.
SAFE_IN_PATHS = "/~:@!$&'()*+,;="


def _addresses(reader: _Reader) -> dict[str, Any]:
    """Compute the addresses of proxy and hub from the several settings for them."""
    found: dict[str, Any] = {}

    bind = _url(reader, "JupyterHub.bind_url", "http://:8000")
    ip = reader.take(["JupyterHub.ip"], line, None)
    number_ = reader.take(["JupyterHub.port"], port, None)
    base = reader.take(["JupyterHub.base_url"], line, None)
    host = bind.hostname or "" if ip is None else ip
    if number_ is None:
        number_ = _port(bind, "JupyterHub.bind_url")
    base = (bind.path if base is None else base).strip("/")
    if re.search(r"%2f|%3c|%3e|[<>?#]", base, re.IGNORECASE):
        raise ConfigError(
            "c.JupyterHub.base_url: expected a path without ?, #, <, > and without "
            "slashes that are escaped"
        )
    # The setting may be escaped or not; the hub stores it escaped.
    base_url = f"/{quote(unquote(base), safe=SAFE_IN_PATHS)}/" if base else "/"
    found["base_url"] = base_url
    scheme = "https" if reader.first("JupyterHub.ssl_key") else bind.scheme
    found["bind_url"] = f"{scheme}://{_host(host)}:{number_}{base_url}"

    hub_ip = reader.take(["JupyterHub.hub_ip"], line, None)
    hub_port = reader.take(["JupyterHub.hub_port"], port, None)
    hub_bind = _url(reader, "JupyterHub.hub_bind_url", "http://127.0.0.1:8081")
    if hub_ip is None:
        hub_ip = hub_bind.hostname or ""
    if hub_port is None:
        hub_port = hub_bind.port or 8081
    hub_ip = {"": "0.0.0.0", "*": "0.0.0.0"}.get(hub_ip, hub_ip)  # noqa: S104
    found |= {"hub_ip": hub_ip, "hub_port": hub_port}

    reached_at = reader.take(["JupyterHub.hub_connect_ip"], line, None)
    reached_port = reader.take(["JupyterHub.hub_connect_port"], port, None)
    if not reached_at:
        # Servers may run in containers and on other machines, where a loopback address
        # is their own.
        everywhere = hub_ip in EVERYWHERE
        reached_at = socket.gethostname() if everywhere else hub_ip
    found["hub_connect_url"] = f"http://{_host(reached_at)}:{reached_port or hub_port}"
    if reader.take(["JupyterHub.hub_connect_url"], web_address, None):
        # Its path is always the hub's, whatever the setting contains.
        connect = _url(reader, "JupyterHub.hub_connect_url", "")
        found["hub_connect_url"] = f"{connect.scheme}://{connect.netloc}"
    return found


# A hub that listens there is reached at any address of the machine.
EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104


def _url(reader: _Reader, place: str, default: str) -> Any:
    value = reader.take([place], line, None)
    try:
        url = urlsplit(default if value is None else value)
        url.port  # noqa: B018 - asking for it is what checks it
    except ValueError as error:
        raise ConfigError(f"c.{place}: {error}") from None
    if url.scheme not in {"http", "https"}:
        raise ConfigError(
            f"c.{place}: expected an http or https address, got {value!r}"
        )
    return url


def _port(url: Any, place: str) -> int:
    if url.port is not None:
        return int(url.port)
    return {"http": 80, "https": 443}[url.scheme]


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _spawner_class(reader: _Reader) -> str:
    """Return the import path of the spawner class."""
    place = "JupyterHub.spawner_class"
    value = reader.first(place, "default")
    if isinstance(value, type):
        # A class is imported already; the file itself may define it.
        return _import_path(value)
    try:
        return resolve(str(value).replace(":", "."))
    except UnknownSpawner as error:
        raise ConfigError(f"c.{place}: {error}") from None


def _import_path(value: type) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _service_tokens(config: HubConfig) -> dict[str, str]:
    """Return the tokens of `services` and `service_tokens` together."""
    together = dict(config.service_tokens)
    for service in config.services:
        token = service.get("api_token")
        if token is None:
            continue
        try:
            tokens({token: service["name"]})
        except ValueError as error:
            raise ConfigError(f"c.JupyterHub.services: expected {error}") from None
        if together.get(token, service["name"]) != service["name"]:
            raise ConfigError(
                f"c.JupyterHub.services: the api_token of {service['name']!r} is also "
                f"that of {together[token]!r}; each needs its own"
            )
        together[token] = service["name"]
    for token in together.keys() & config.api_tokens.keys():
        raise ConfigError(
            f"c.JupyterHub.api_tokens: a token of {config.api_tokens[token]!r} is also "
            f"that of the service {together[token]!r}; each needs its own"
        )
    return together


def _who_may_enter(config: HubConfig, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of who may sign in that the file leaves open.

    JupyterHub's rule for the dummy authenticator applies: open to all unless a setting
    says otherwise. Local accounts are created by an administrator, so having one is
    enough unless there is a list.
    """
    silent = not found.keys() & {"allow_all", "allowed_users", "allow_existing_users"}
    outcome: dict[str, Any] = {}
    if config.authenticator_class == "dummy" and silent:
        outcome["allow_all"] = True
    if "allow_existing_users" not in found:
        outcome["allow_existing_users"] = bool(config.allowed_users) or (
            config.authenticator_class in {"local", "pam"} and silent
        )
    if config.allowed_users:
        outcome["allowed_users"] = config.allowed_users | config.admin_users
    return outcome


def _public_url(found: dict[str, Any]) -> str:
    """Return the public address with the hub's path; empty if none is configured."""
    address, base = found.get("public_url", ""), found["base_url"]
    if not address:
        host = found.get("subdomain_host", "")
        return f"{host}{base}" if host else ""
    address = address.rstrip("/") + "/"
    if not urlsplit(address).path.strip("/"):
        return address.rstrip("/") + str(base)
    if not address.endswith(base):
        raise ConfigError(
            f"c.JupyterHub.public_url: expected an address that ends in {base!r}, the "
            f"path in c.JupyterHub.bind_url or base_url; not {address!r}"
        )
    return str(address)


def _check_route_hosts(found: dict[str, Any]) -> None:
    """Refuse routes that the proxy could not distinguish by host, or by path alone."""
    by_host = bool(found.get("subdomain_host"))
    for path in found.get("extra_routes", ()):
        if path != "/" and path.startswith("/") == by_host:
            raise ConfigError(
                f"c.Proxy.extra_routes: expected {path!r} to begin with "
                + ("a host, as c.JupyterHub.subdomain_host is set" if by_host else "/")
            )


def subdomains(config: HubConfig) -> list[str]:
    """Return the hosts of users and services for a content security policy."""
    if not config.subdomain_host:
        return []
    parts = urlsplit(config.subdomain_host)
    if callable(config.subdomain_hook):
        # A function of the configuration may choose other hosts.
        return [f"{parts.scheme}:"]
    return [f"{parts.scheme}://*.{parts.netloc}"]
