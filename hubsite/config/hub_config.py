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

from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from itertools import chain
from typing import Any

from controller.spawners.classes import BUILT_IN as SPAWNERS
from hubsite.config.roles import groups, roles
from hubsite.config.services import services, tokens
from hubsite.config.values import (
    domain_hook,
    encoding,
    flag,
    help_address,
    host_address,
    invalid_names,
    line,
    log_level,
    mapping,
    names,
    number,
    numbers_by_text,
    pattern,
    proxy_address,
    proxy_log_level,
    public_address,
    routes,
    seconds_range,
    text,
    text_or_function,
    texts_by_text,
    token_use,
    tornado_settings,
    whole,
    whole_or_function,
)


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

    # Addresses. All except public_url are computed by `read_addresses`.
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
    audit_token_use: str | int = setting(
        "Hub.audit_token_use",
        token_use,
        "off",
        'Which uses of API tokens are events of the audit log: `"off"`, `"complete"`, '
        "or a number: the first use of each token and then one in so many.",
    )
    oauth_token_expires_in: int = setting(
        "JupyterHub.oauth_token_expires_in", whole, 14 * 86400, "Life of OAuth tokens."
    )
    oauth_require_pkce: bool = setting(
        "JupyterHub.oauth_require_pkce", flag, False, "Whether OAuth needs PKCE."
    )
    device_sign_in: bool = setting(
        "Hub.device_sign_in",
        flag,
        True,
        "Whether programs may get tokens by a code that a person confirms in the "
        "browser (RFC 8628).",
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


ADDRESSES = frozenset(
    f"JupyterHub.{name}"
    for name in (
        *("bind_url", "base_url", "ip", "port", "hub_bind_url", "hub_ip", "hub_port"),
        *("hub_connect_ip", "hub_connect_port", "hub_connect_url"),
    )
)
CLASSES = frozenset({"JupyterHub.authenticator_class", "JupyterHub.spawner_class"})
