"""Settings of JupyterHub without an effect here, each with advice."""

from __future__ import annotations

from hubsite.config import native

# Authenticators, with the sections that each reads besides `c.Authenticator`.
KNOWN_AUTHENTICATORS: dict[str, tuple[str, ...]] = {
    "local": ("LocalAuthenticator",),
    "dummy": ("DummyAuthenticator",),
    "pam": ("PAMAuthenticator", "LocalAuthenticator"),
    "null": ("NullAuthenticator",),
}

# The short names of JupyterHub's package of authenticators for OAuth, in lower case.
OAUTHENTICATORS = {
    "auth0": "Auth0OAuthenticator",
    "azuread": "AzureAdOAuthenticator",
    "bitbucket": "BitbucketOAuthenticator",
    "cilogon": "CILogonOAuthenticator",
    "generic-oauth": "GenericOAuthenticator",
    "github": "GitHubOAuthenticator",
    "gitlab": "GitLabOAuthenticator",
    "globus": "GlobusOAuthenticator",
    "google": "GoogleOAuthenticator",
    "mediawiki": "MWOAuthenticator",
    "okpy": "OkpyOAuthenticator",
    "openshift": "OpenShiftOAuthenticator",
}
_OWN_KEY = (
    "not needed; the hub signs cookies with a key of its own, in the data folder or in "
    "HUB_SECRET_KEY"
)
# For people who come from a JupyterHub that still read the setting.
FORMER_GROUPS = (
    "JupyterHub 6 has the setting, but its classes do not read it; name the groups in "
    "allowed_groups of `pam`"
)
_HOOK = "is not called by this hub"
_OIDC = "has no effect; people sign in with a password or through HUB_OIDC_*"
_TLS = "has no effect without internal_ssl, which is not supported"
_LOG = "has no effect; set HUB_LOG_LEVEL or HUB_LOG_FORMAT"
_LOG_FILES = "has no effect; the logs are in the folder `logs` of the data folder"
_STATSD = "has no effect, as since JupyterHub 1.0; Prometheus reads hub/metrics"
_DATABASE = "has no effect; name the database in HUB_DATABASE_URL"

ADVICE: dict[str, str] = {
    **native.ADVICE,
    "JupyterHub.admin_access": "not needed; administrators may use all servers",
    "JupyterHub.cookie_secret": _OWN_KEY,
    "JupyterHub.cookie_secret_file": _OWN_KEY,
    "JupyterHub.db_kwargs": _DATABASE,
    "JupyterHub.db_url": (
        "is the database of the old hub, which `manage.py import_jupyterhub` reads; "
        "name this hub's in HUB_DATABASE_URL"
    ),
    "JupyterHub.debug_db": _LOG,
    "JupyterHub.external_ssl_authorities": _TLS,
    "JupyterHub.extra_handlers": "has no effect; run a service with an address instead",
    "JupyterHub.extra_log_file": _LOG_FILES,
    "JupyterHub.extra_log_handlers": _LOG_FILES,
    "JupyterHub.forwarded_host_header": "has no effect; set HUB_TRUSTED_PROXIES",
    "JupyterHub.generate_certs": _TLS,
    "JupyterHub.generate_config": "has no effect; docs/reference lists the settings",
    "JupyterHub.hub_socket_mode": "has no effect; the hub listens on a port",
    "JupyterHub.internal_certs_location": _TLS,
    "JupyterHub.init_spawners_timeout": (
        "not needed; the hub responds while it checks which servers run"
    ),
    "JupyterHub.internal_ssl": (
        "is not supported, so connections between hub, proxy and servers are NOT "
        "encrypted; keep them on one machine or in a private network, or encrypt the "
        "network between the machines (WireGuard, a cluster's encrypted network)"
    ),
    "JupyterHub.log_datefmt": _LOG,
    "JupyterHub.log_format": _LOG,
    "JupyterHub.logging_config": _LOG,
    "JupyterHub.pid_file": "has no effect; the process id is in hub.pid of the data",
    "JupyterHub.recreate_internal_certs": _TLS,
    "JupyterHub.reset_db": "has no effect; delete the database for a new beginning",
    "JupyterHub.show_config": "has no effect",
    "JupyterHub.show_config_json": "has no effect",
    "JupyterHub.trusted_alt_names": _TLS,
    "JupyterHub.statsd_host": _STATSD,
    "JupyterHub.statsd_port": _STATSD,
    "JupyterHub.statsd_prefix": _STATSD,
    "JupyterHub.user_redirect_hook": _HOOK,
    "Authenticator.any_allow_config": "has no effect; set allow_all",
    "Authenticator.auth_refresh_age": _OIDC,
    "Authenticator.auth_refresh_strict": _OIDC,
    "Authenticator.auto_login": _OIDC,
    "Authenticator.delete_invalid_users": "has no effect; delete users in the admin",
    "Authenticator.reset_managed_roles_on_startup": "has no effect",
    "Authenticator.otp_prompt": "has no effect; a second factor is built in",
    "Authenticator.post_auth_hook": _HOOK,
    "Authenticator.reconcile_auth_state_hook": _HOOK,
    "Authenticator.refresh_pre_spawn": _OIDC,
    "Authenticator.refresh_pre_stop": _OIDC,
    "Authenticator.request_otp": "has no effect; a second factor is built in",
    "Authenticator.create_system_users": "has no effect; create system users yourself",
    "Authenticator.add_user_cmd": "has no effect; create system users yourself",
    "Authenticator.uids": "has no effect; create system users yourself",
    "Authenticator.allowed_groups": (
        "has no effect, only `pam` reads it; list users in allowed_users"
    ),
    "Authenticator.group_whitelist": FORMER_GROUPS,
    "Authenticator.admin_groups": (
        "has no effect, only `pam` reads it; give groups roles in load_roles"
    ),
    "CryptKeeper.n_threads": "not needed; the hub encrypts without threads of its own",
    "ConfigurableHTTPProxy.command_umask": (
        "has no effect; the proxy listens on ports, and its log is private"
    ),
}

# Sections of JupyterHub, or of packages that come with it, without an effect here.
SECTIONS: dict[str, str] = {
    "PeriodicMetricsCollector": (
        "has no effect; metrics are computed at each request for them"
    ),
}

# Accepted without an effect, each with the reason why none is necessary.
PLAIN: dict[str, str] = {
    "JupyterHub.answer_yes": "the hub never asks",
    "JupyterHub.config_file": "the file is read already",
    "JupyterHub.confirm_no_ssl": "it has no effect in JupyterHub either",
    "JupyterHub.trust_user_provided_tokens": "the check of a token is cheap",
    "JupyterHub.upgrade_db": "the database is always migrated",
    "ConfigurableHTTPProxy.pid_file": "the process id is stored in the data folder",
    "ConfigurableHTTPProxy.check_running_interval": (
        "a proxy that ends is noticed at once"
    ),
    "JupyterHub.proxy_check_interval": "a proxy that ends is noticed at once",
    "EventLogger.handlers": "it is read when events are emitted",
}
