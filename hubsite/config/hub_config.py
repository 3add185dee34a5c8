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

from controller.proxy.classes import OWN as OWN_PROXY
from controller.spawners.classes import BUILT_IN as SPAWNERS
from hubsite.config.native import READ as NATIVE
from hubsite.config.publishers import publishers
from hubsite.config.roles import groups, roles
from hubsite.config.services import services, tokens
from hubsite.config.values import (
    command,
    crypt_keys,
    domain_hook,
    flag,
    folders,
    help_address,
    host_address,
    invalid_names,
    limit_or_function,
    line,
    log_level,
    mapping,
    names,
    networks,
    number,
    numbers_by_text,
    pattern,
    positive,
    proxy_address,
    proxy_log_level,
    public_address,
    routes,
    routespec,
    seconds_range,
    signup_mode,
    text,
    text_or_function,
    texts_by_text,
    three_texts,
    token_use,
    tornado_settings,
    whole,
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


def secret_setting(
    place: str, accepts: Callable[[Any], Any], default: Any, says: str = ""
) -> Any:
    """Describe a field that no message may show."""
    metadata = {"places": place.split("|"), "accepts": accepts, "says": says}
    return field(default=default, metadata=metadata, repr=False)


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
        "The address of the hub for browsers, with its path.",
    )
    subdomain_host: str = setting(
        "JupyterHub.subdomain_host",
        host_address,
        "",
        "The hub's `https://HOST[:PORT]`; each user's servers and each service get "
        "a host of their own below it.",
    )
    subdomain_hook: str | Callable[..., str] = setting(
        "JupyterHub.subdomain_hook",
        domain_hook,
        "idna",
        "The way in which names become hosts: `idna`, `legacy`, or a function with "
        "the arguments `name`, `domain` and `kind` (`user` or `service`).",
    )
    cookie_host_prefix_enabled: bool = setting(
        "JupyterHub.cookie_host_prefix_enabled",
        flag,
        False,
        "Whether the names of login cookies begin with `__Host-`, so that no other "
        "host can set them; needs https.",
    )
    ssl_key: str = setting(
        "JupyterHub.ssl_key", text, "", "File of the proxy's key for HTTPS."
    )
    ssl_cert: str = setting(
        "JupyterHub.ssl_cert", text, "", "File of the certificate for `ssl_key`."
    )
    proxy_api_url: str = setting(
        "ConfigurableHTTPProxy.api_url",
        proxy_address,
        "http://127.0.0.1:8001",
        "The address of the proxy's API.",
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
        "Whether the hub starts the proxy; otherwise it uses a running one.",
    )
    proxy_class: str = OWN_PROXY
    proxy_command: tuple[str, ...] = setting(
        "ConfigurableHTTPProxy.command|JupyterHub.proxy_cmd",
        command,
        (),
        "The command of configurable-http-proxy with its first arguments, unless "
        "`HUB_PROXY_COMMAND` is set; the program that comes with the hub is used if "
        "there is no `configurable-http-proxy` of that name.",
    )
    proxy_log_level: str = setting(
        "ConfigurableHTTPProxy.log_level",
        proxy_log_level,
        "warn",
        "The lowest level of the proxy's log: `debug`, `info` (each call of its "
        "API), `warn`, `error`.",
    )
    proxy_debug: bool = setting(
        "ConfigurableHTTPProxy.debug|JupyterHub.debug_proxy",
        flag,
        False,
        "Whether the level of the proxy's log is `debug`.",
    )
    proxy_concurrency: int = setting(
        "ConfigurableHTTPProxy.concurrency",
        positive,
        10,
        "The most changes of routes that are made at the same time.",
    )
    hub_routespec: str = setting(
        "JupyterHub.hub_routespec",
        routespec,
        "",
        "The beginning of the paths that the proxy sends to the hub; by default the "
        "path in `bind_url`, and `/` with hosts of users and services.",
    )
    trusted_downstream_ips: tuple[str, ...] = setting(
        "JupyterHub.trusted_downstream_ips",
        networks,
        (),
        "Addresses of proxies in front of the hub's proxy, which may state the "
        "client's address, unless `HUB_TRUSTED_PROXIES` is set.",
    )
    extra_routes: dict[str, str] = setting(
        "Proxy.extra_routes",
        routes,
        {},
        "More routes for the proxy: paths, which begin with `/`, with their targets.",
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
    # The name in the file of a class that runs in a process of its own.
    hosted_class: str = ""
    dummy_password: str = setting(
        "DummyAuthenticator.password",
        text,
        "",
        "With `dummy`: the password of all users.",
    )
    signup: str = setting(
        "Hub.signup",
        signup_mode,
        "off",
        "With `local`: who may sign up on the page `/hub/signup`: nobody (`off`), "
        "everybody, and an operator decides (`approval`), or everybody (`open`).",
    )
    signup_gives_listed_names: bool = setting(
        "Hub.signup_gives_listed_names",
        flag,
        False,
        "Whether the first person who signs up with a name of `allowed_users` or "
        "`admin_users` is let in without an operator, as long as nobody uses the "
        "account. With `native` the default is `True`, as in the plugin.",
    )
    signup_ask_email: bool = setting(
        "Hub.signup_ask_email|NativeAuthenticator.ask_email_on_signup",
        flag,
        False,
        "Whether the page of the sign-up asks for a mail address.",
    )
    signup_terms: str = setting(
        "Hub.signup_terms|NativeAuthenticator.tos",
        text,
        "",
        "HTML beside a box that must be ticked to sign up, for example a link to terms "
        "of use.",
    )
    signup_self_approval: str = setting(
        "Hub.signup_self_approval|NativeAuthenticator.allow_self_approval_for",
        pattern,
        "",
        "A regular expression for whole mail addresses, whose owners are let in by a "
        "link in a mail, without an operator.",
    )
    signup_mail: tuple[str, ...] = setting(
        "Hub.signup_mail|NativeAuthenticator.self_approval_email",
        three_texts,
        (),
        "Sender, subject and text of that mail, the text with `{approval_url}`.",
    )
    signup_mail_server: dict[str, str] = setting(
        "Hub.signup_mail_server|NativeAuthenticator.self_approval_server",
        texts_by_text,
        {},
        "Another mail server than `HUB_EMAIL_HOST` for that mail: `url`, `usr` and "
        "`pwd`; it must speak TLS (port 465).",
    )
    password_min_length: int = setting(
        "Hub.password_min_length|NativeAuthenticator.minimum_password_length",
        whole,
        10,
        "With `local`: the least characters of a new password.",
    )
    password_refuse_common: bool = setting(
        "Hub.password_refuse_common|NativeAuthenticator.check_common_password",
        flag,
        True,
        "With `local`: whether common passwords are refused.",
    )
    failed_logins_allowed: int = setting(
        "Hub.failed_logins_allowed|NativeAuthenticator.allowed_failed_logins",
        whole,
        0,
        "Wrong passwords for a name from a network that cost no delay; 0: five.",
    )
    failed_login_delay: int = setting(
        "Hub.failed_login_delay|NativeAuthenticator.seconds_before_next_try",
        whole,
        60,
        "Seconds of the first delay after these; each further wrong password doubles "
        "it, up to a quarter of an hour or this value.",
    )
    firstuse_passwords: str = setting(
        "Hub.firstuse_passwords",
        text,
        "",
        "With `local`: FirstUseAuthenticator's file (`passwords.dbm`), whose "
        "passwords are imported at each start; those of this hub stay.",
    )
    delete_firstuse_passwords: bool = setting(
        "Hub.delete_firstuse_passwords"
        "|NativeAuthenticator.delete_firstuse_db_after_import",
        flag,
        False,
        "Whether the file is deleted after the import.",
    )
    admin_users: frozenset[str] = setting(
        "Authenticator.admin_users|JupyterHub.admin_users",
        names,
        frozenset(),
        "Users who become administrators at every start; nobody loses that role.",
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
        "Whether all users who can sign in are allowed.",
    )
    allow_existing_users: bool = setting(
        "Authenticator.allow_existing_users",
        flag,
        False,
        "Whether users with an account may sign in (yes, if `allowed_users` is set).",
    )
    auto_login_oauth2_authorize: bool = setting(
        "Authenticator.auto_login_oauth2_authorize",
        flag,
        False,
        "Whether users who come from a server or service are redirected to single "
        "sign-on at once.",
    )
    username_pattern: str = setting(
        "Authenticator.username_pattern",
        pattern,
        "",
        "A regular expression for the beginning of names.",
    )
    username_map: dict[str, str] = setting(
        "Authenticator.username_map",
        texts_by_text,
        {},
        "Names that are replaced by others at sign-in.",
    )

    # What authenticators keep and manage
    enable_auth_state: bool = setting(
        "Authenticator.enable_auth_state",
        flag,
        False,
        "Whether the auth state that an authenticator returns is kept, encrypted; "
        "needs a key.",
    )
    crypt_keys: tuple[bytes, ...] = secret_setting(
        "CryptKeeper.keys",
        crypt_keys,
        (),
        "Keys for auth state: the first encrypts, all decrypt. Each has 32 bytes, in "
        "hexadecimal digits or base64. Without the setting, the environment "
        "variable `JUPYTERHUB_CRYPT_KEY` holds them, separated by `;`.",
    )
    manage_groups: bool = setting(
        "Authenticator.manage_groups",
        flag,
        False,
        "Whether the authenticator says in which groups a user is, at each sign-in "
        "and refresh.",
    )
    manage_roles: bool = setting(
        "Authenticator.manage_roles",
        flag,
        False,
        "Whether the authenticator says which roles a user has, at each sign-in and "
        "refresh.",
    )

    # Declared rows, reconciled at every start
    api_tokens: dict[str, str] = setting(
        "JupyterHub.api_tokens", tokens, {}, "Tokens with the users who own them."
    )
    service_tokens: dict[str, str] = setting(
        "JupyterHub.service_tokens",
        tokens,
        {},
        "Tokens with the services that own them.",
    )
    services: tuple[dict[str, Any], ...] = setting(
        "JupyterHub.services", services, (), "Programs with an account of their own."
    )
    load_groups: dict[str, dict[str, Any]] = setting(
        "JupyterHub.load_groups",
        groups,
        {},
        "Groups with their members; existing members stay.",
    )
    load_roles: tuple[dict[str, Any], ...] = setting(
        "JupyterHub.load_roles",
        roles,
        (),
        "Roles with their scopes, and with all their holders.",
    )
    custom_scopes: dict[str, dict[str, Any]] = setting(
        "JupyterHub.custom_scopes", mapping, {}, "Scopes that services define."
    )
    extra_user_scopes: frozenset[str] = setting(
        "JupyterHub.extra_user_scopes",
        names,
        frozenset(),
        "Scopes that are added to the role `user`, unless `load_roles` defines that "
        "role.",
    )

    # Limits and behaviour
    allow_named_servers: bool = setting(
        "JupyterHub.allow_named_servers",
        flag,
        False,
        "Whether users may have named servers.",
    )
    named_server_limit_per_user: int | Callable[[Any], Any] = setting(
        "JupyterHub.named_server_limit_per_user",
        limit_or_function,
        0,
        "The most named servers of a user; 0: no limit. A function gets an object "
        "with `current_user`.",
    )
    allow_existing_invalid_named_servers: str = setting(
        "JupyterHub.allow_existing_invalid_named_servers",
        invalid_names,
        "allow-start",
        "The treatment of named servers whose names are not allowed for new ones: "
        "`allow-start`, `allow-delete` (they can't be started), or `autorename`, at "
        "the start.",
    )
    concurrent_spawn_limit: int = setting(
        "JupyterHub.concurrent_spawn_limit",
        whole,
        100,
        "The most servers that start at the same time; 0: no limit.",
    )
    active_server_limit: int = setting(
        "JupyterHub.active_server_limit",
        whole,
        0,
        "The most servers that run, start or stop; 0: no limit.",
    )
    spawn_throttle_retry_range: tuple[float, float] = setting(
        "JupyterHub.spawn_throttle_retry_range",
        seconds_range,
        (30.0, 60.0),
        "Seconds after which a client may retry a start that a limit has refused.",
    )
    implicit_spawn_seconds: float = setting(
        "JupyterHub.implicit_spawn_seconds",
        number,
        0.0,
        "Seconds until the page of a stopped server starts the server; 0: never.",
    )
    default_server_name: str = setting(
        "JupyterHub.default_server_name",
        text,
        "",
        "The name of the server that *Start* starts.",
    )
    token_expires_in_max_seconds: int = setting(
        "JupyterHub.token_expires_in_max_seconds",
        whole,
        0,
        "The longest lifetime of a requested token in seconds; 0: no limit.",
    )
    token_limit_per_user: int = setting(
        "Hub.token_limit_per_user",
        whole,
        500,
        "The most tokens of a user, without those of servers and clients; 0: no limit.",
    )
    server_limit_per_user: int = setting(
        "Hub.server_limit_per_user",
        whole,
        500,
        "The most named servers of a user, whatever the value of "
        "`named_server_limit_per_user`, because one response contains all of them; "
        "0: no limit.",
    )
    token_limits_by_role: dict[str, int] = setting(
        "Hub.token_limits_by_role",
        numbers_by_text,
        {},
        "Other limits for holders of a role; the highest applies, 0 is no limit.",
    )
    audit_retention_days: int = setting(
        "Hub.audit_retention_days",
        whole,
        365,
        "Days for which events stay in the audit log; 0: always.",
    )
    audit_token_use: str | int = setting(
        "Hub.audit_token_use",
        token_use,
        "off",
        'Which uses of API tokens are events of the audit log: `"off"`, `"complete"`, '
        "or a number: the first use of each token and then one in so many.",
    )
    oauth_token_expires_in: int = setting(
        "JupyterHub.oauth_token_expires_in",
        whole,
        14 * 86400,
        "Seconds for which OAuth tokens are valid.",
    )
    oauth_require_pkce: bool = setting(
        "JupyterHub.oauth_require_pkce",
        flag,
        False,
        "Whether OAuth clients must use PKCE.",
    )
    trusted_publishers: tuple[dict[str, Any], ...] = setting(
        "Hub.trusted_publishers",
        publishers,
        (),
        "CI systems whose signed tokens are exchanged for tokens of a user or service, "
        "valid for 15 minutes (RFC 8693).",
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
        "The number of rows of a page without `limit`.",
    )
    api_page_max_limit: int = setting(
        "JupyterHub.api_page_max_limit", whole, 200, "The most rows of a page."
    )
    activity_resolution: int = setting(
        "JupyterHub.activity_resolution",
        whole,
        30,
        "Seconds by which an activity must be newer than the stored one to be written;"
        " of a token at least 60, unless 0 lets each be written.",
    )
    last_activity_interval: int = setting(
        "JupyterHub.last_activity_interval",
        whole,
        300,
        "Seconds between two reads of activity from the proxy.",
    )
    service_check_interval: int = setting(
        "JupyterHub.service_check_interval",
        whole,
        60,
        "Seconds between two checks whether services respond; 0: no checks.",
    )
    active_user_window: int = setting(
        "JupyterHub.active_user_window",
        whole,
        1800,
        "Seconds after their last activity for which the admin counts users as active.",
    )
    authenticate_prometheus: bool = setting(
        "JupyterHub.authenticate_prometheus",
        flag,
        True,
        "Whether metrics need a token.",
    )
    redirect_to_server: bool = setting(
        "JupyterHub.redirect_to_server",
        flag,
        True,
        "Whether `/` redirects users to their server.",
    )
    default_url: str | Callable[[Any], Any] = setting(
        "JupyterHub.default_url",
        text_or_function,
        "",
        "The first page after sign-in. A function gets an object with "
        "`current_user`, which is None before sign-in.",
    )
    cookie_max_age_days: float = setting(
        "JupyterHub.cookie_max_age_days",
        number,
        14.0,
        "Days for which a sign-in is valid.",
    )
    shutdown_on_logout: bool = setting(
        "JupyterHub.shutdown_on_logout",
        flag,
        False,
        "Whether signing out stops the user's servers.",
    )
    use_legacy_stopped_server_status_code: bool = setting(
        "JupyterHub.use_legacy_stopped_server_status_code",
        flag,
        False,
        "Whether requests to stopped servers get status 503 instead of 424.",
    )
    template_vars: dict[str, Any] = setting(
        "JupyterHub.template_vars",
        mapping,
        {},
        "HTML at the top of pages: `announcement`, and instead of that on one page "
        "`announcement_login`, `announcement_home` or `announcement_spawn`; and "
        "`logo_url`, the target of the logo's link. The site's own templates have all "
        "values. A function gets the user, or None.",
    )
    template_paths: tuple[str, ...] = setting(
        "JupyterHub.template_paths",
        folders,
        (),
        "Folders with the site's own Jinja templates, which extend JupyterHub's by "
        "the names of their blocks.",
    )
    jinja_environment_options: dict[str, Any] = setting(
        "JupyterHub.jinja_environment_options",
        mapping,
        {},
        "With `template_paths`: options of Jinja's environment.",
    )
    data_files_path: str = setting(
        "JupyterHub.data_files_path",
        text,
        "",
        "With `template_paths`: the folder with `static`, whose files are at "
        "`/hub/static/`; JupyterHub's own if empty.",
    )
    tornado_settings: dict[str, Any] = setting(
        "JupyterHub.tornado_settings",
        tornado_settings,
        {},
        "`headers` of every response; `cookie_options` (`SameSite`, `Secure`, "
        "`Domain`) of the hub's cookies and `xsrf_cookie_kwargs` of the XSRF "
        "cookie; `slow_spawn_timeout` and `slow_stop_timeout`, the seconds for "
        "which a call waits.",
    )
    log_level: str = setting(
        "JupyterHub.log_level",
        log_level,
        "",
        "The lowest level of the log, unless `HUB_LOG_LEVEL` is set.",
    )
    logo_file: str = setting(
        "JupyterHub.logo_file", text, "", "An image that replaces the hub's logo."
    )
    site_name: str = setting(
        "Hub.site_name", line, "", "The name of the hub in pages and titles."
    )
    help_url: str = setting(
        "Hub.help_url",
        help_address,
        "",
        "The link *Help*: a web address, or `mailto:` and a mail address.",
    )
    footer: str = setting(
        "Hub.footer",
        text,
        "",
        "HTML at the bottom of every page, for example an imprint.",
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
        "Seconds between two checks for idle servers; 0: half of the timeout.",
    )
    cull_max_age: int = setting(
        "Hub.cull_max_age",
        whole,
        0,
        "Seconds after which a server is stopped even if it is in use; 0: never.",
    )
    cull_concurrency: int = setting(
        "Hub.cull_concurrency",
        whole,
        10,
        "The most idle servers that are stopped at the same time; 0: no limit.",
    )
    cull_default_servers: bool = setting(
        "Hub.cull_default_servers",
        flag,
        True,
        "Whether idle default servers are stopped.",
    )
    cull_named_servers: bool = setting(
        "Hub.cull_named_servers",
        flag,
        True,
        "Whether idle named servers are stopped.",
    )
    cull_remove_named_servers: bool = setting(
        "Hub.cull_remove_named_servers",
        flag,
        False,
        "Whether idle named servers are also deleted.",
    )
    cull_users: bool = setting(
        "Hub.cull_users",
        flag,
        False,
        "Whether idle users are also deleted, for hubs with temporary accounts.",
    )
    cull_admin_users: bool = setting(
        "Hub.cull_admin_users",
        flag,
        True,
        "Whether idle administrators are also deleted.",
    )

    # All sections of the file, for Spawner classes and others.
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    remarks: tuple[str, ...] = ()

    @property
    def is_hosted(self) -> bool:
        """Return whether a class in a process of its own signs people in."""
        return self.authenticator_class == "hosted"

    @property
    def is_proxy_hosted(self) -> bool:
        """Whether the proxy is one of a class, in a process of its own."""
        return self.proxy_class != OWN_PROXY


def declared_fields() -> Iterable[Field[Any]]:
    """Yield the fields of `HubConfig` that a configuration file can set."""
    return (each for each in fields(HubConfig) if "places" in each.metadata)


def declared_places() -> frozenset[str]:
    """Return every setting that the hub reads from a file, as `Section.name`."""
    places = (each.metadata["places"] for each in declared_fields())
    return ADDRESSES | CLASSES | NATIVE | frozenset(chain.from_iterable(places))


ADDRESSES = frozenset(
    f"JupyterHub.{name}"
    for name in (
        *("bind_url", "base_url", "ip", "port", "hub_bind_url", "hub_ip", "hub_port"),
        *("hub_connect_ip", "hub_connect_port", "hub_connect_url"),
        *("proxy_api_ip", "proxy_api_port"),
    )
)
CLASSES = frozenset(
    f"JupyterHub.{kind}_class" for kind in ("authenticator", "spawner", "proxy")
)
