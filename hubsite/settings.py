"""Django settings, in Django's order; the values that can be configured come first.

`jupyterhub_config.py` describes the hub (`HUB`, see `hubsite/config/hub_config.py`).
Variables `HUB_*` describe its site (`SITE`, see `hubsite/config/environment.py`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import dj_database_url
from csp.constants import NONCE, NONE, SELF, UNSAFE_INLINE
from django.utils.functional import SimpleLazyObject

from hubsite import logging as hub_logging
from hubsite.config import secrets
from hubsite.config.addresses import subdomains
from hubsite.config.environment import (
    authenticator_address,
    proxy_socket,
    read_environment,
    socket_path,
)
from hubsite.config.file import ConfigError
from hubsite.config.hub_config import HubConfig
from hubsite.config.load import load_config
from hubsite.config.response_settings import frame_ancestors, site_headers
from web.cache import redis_cache

BASE_DIR = Path(__file__).resolve().parent.parent

SITE = read_environment()
DATA_DIR = SITE.data_dir
HUB: HubConfig = load_config(
    SITE.config, keep_servers=SITE.keep_servers, homes=DATA_DIR / "homes"
)
JUPYTERHUB_VERSION = "6.1.1"
# Without escapes, because Django matches decoded paths.
HUB_PREFIX = f"{HUB.base_url}hub/"
HUB_PATH = unquote(HUB_PREFIX)
# Only its scheme and host are used; see web/hosts.py.
PUBLIC_URL = SITE.public_url or HUB.public_url.rstrip("/")
IS_HTTPS = PUBLIC_URL.startswith("https:")
TRUSTED_PROXIES = SITE.trusted_proxies
PROXY_SOCKET = proxy_socket(
    SITE.proxy_socket,
    DATA_DIR,
    # Proxies of other programs can't reach a Unix socket.
    is_ours=HUB.proxy_should_start and not HUB.is_proxy_hosted,
)
# The Unix socket of a hosted class of proxies.
PROXY_HOST_SOCKET = socket_path(DATA_DIR, "proxy-host.sock")

# The site's data on pages.
SITE_NAME = SITE.site_name or HUB.site_name or "Hub"
HELP_URL = SITE.help_url or HUB.help_url
FOOTER = SITE.footer or HUB.footer
LOGO_FILE = SITE.logo_file
if LOGO_FILE is None and HUB.logo_file:
    LOGO_FILE = Path(HUB.logo_file).absolute()
LOG_LEVEL = SITE.log_level or HUB.log_level or "INFO"
SITE_HEADERS = site_headers(HUB.tornado_settings)
# Origins that may show pages of the hub in a frame.
FRAME_ANCESTORS = frame_ancestors(HUB.tornado_settings)

# Whether pages are rendered in the site's own templates, which were written for
# JupyterHub, and the sites from which these load something, by directive.
SITE_TEMPLATES = bool(HUB.template_paths)
TEMPLATE_SITES: dict[str, list[str]] = {}
JUPYTERHUB_FILES: Path | None = None
if SITE_TEMPLATES:
    # Others do not pay for Jinja.
    from hubsite.site_pages import scan

    TEMPLATE_SITES = scan.sites(
        scan.scan(HUB.template_paths, HUB.jinja_environment_options), HUB.template_vars
    )
if SITE_TEMPLATES or HUB.is_hosted:
    # Pages of a hosted class extend JupyterHub's own templates.
    from hubsite.site_pages.files import data_files

    JUPYTERHUB_FILES = data_files(HUB.data_files_path)

# -------------------------------------------------------------------------- secrets

SECRET_KEY = SITE.secret_key or secrets.keep(DATA_DIR / "secrets" / "secret_key")
SECRET_KEY_FALLBACKS = SITE.secret_key_fallbacks
# The first key signs the tags of new tokens, all keys verify tags.
TAG_KEY_FILE = DATA_DIR / "secrets" / "tag_key"
TOKEN_TAG_KEYS: list[bytes] = [
    key.encode() for key in SITE.tag_keys or secrets.keep_several(TAG_KEY_FILE)
]
# The key of the lookup keys of imported secrets. It must not change, because their rows
# could not be found any more, so it is stored apart from the other keys.
TOKEN_HANDLE_KEY = secrets.keep(DATA_DIR / "secrets" / "handle_key").encode()
# The first key signs the checkpoints of the audit log, all keys verify them. The key is
# generated at its first use, because most programs sign and verify none.
AUDIT_KEYS: Any = SimpleLazyObject(
    lambda: [
        key.encode()
        for key in SITE.audit_keys or [secrets.keep(DATA_DIR / "secrets" / "audit_key")]
    ]
)
# Where the process of a hosted authenticator listens, and the key of calls to it.
AUTHENTICATOR_ADDRESS = authenticator_address(SITE.authenticator_address, DATA_DIR)
AUTHENTICATOR_KEY = secrets.derived(SECRET_KEY, "authenticator")
# The secret for changes of the proxy's routes. It is stored, so that the next hub can
# change the routes of a proxy that outlives this one.
PROXY_AUTH_TOKEN = (
    HUB.proxy_auth_token
    or os.environ.get("CONFIGPROXY_AUTH_TOKEN")
    or secrets.keep(DATA_DIR / "secrets" / "proxy_auth_token")
)

# ------------------------------------------------------------------------- the core

DEBUG = False
# As in JupyterHub, every host name is accepted; links in mails use PUBLIC_URL.
ALLOWED_HOSTS = ["*"]

INSTALLED_APPS = [
    "hubsite.apps.HubAdminConfig",
    # Before Django's apps, because the command of the first app is the one that runs.
    "accounts",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    # Loaded only with a provider, because its client takes 6 MB.
    *(["allauth.socialaccount.providers.openid_connect"] if SITE.oidc_url else []),
    "allauth.usersessions",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "web",
    "audit",
    "services",
    "tokens",
    "oauth",
    "servers",
    "sharing",
    "controller",
    "api",
    "moving",
    "hubsite",
]

MIDDLEWARE = [
    "hubsite.middleware.HubMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    *(["hubsite.site_pages.middleware.NonceMiddleware"] if SITE_TEMPLATES else []),
    "hubsite.cookies.SessionCookieMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.hosting.refresh.RefreshMiddleware",
    "web.xsrf.XSRFMiddleware",
    "hubsite.sessions.ActivityMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "hubsite.pages.unavailable.UnavailableMiddleware",
]

ROOT_URLCONF = "hubsite.urls"
WSGI_APPLICATION = "hubsite.wsgi.application"
APPEND_SLASH = False
# The longest body that is read; `web.asgi` refuses longer ones before Django. A bulk
# call with a thousand long names takes a quarter of it.
DATA_UPLOAD_MAX_MEMORY_SIZE = 10_000_000
BODY_SECONDS = SITE.body_seconds
WEB_THREADS = SITE.web_threads

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # An operator's own templates of mails come first.
        "DIRS": [DATA_DIR / "templates", BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "hubsite.pages.context.hub",
            ],
            # `{% csrf_token %}` uses the field name of JupyterHub's rules.
            "builtins": [
                "web.templatetags.xsrf",
                "hubsite.templatetags.site_pages",
            ],
        },
    }
]

# ------------------------------------------------------------------------- database


# Seconds until a connection to PostgreSQL is closed, and until a statement there stops
# waiting for a lock.
CONNECTION_AGE = 300
LOCK_TIMEOUT = 10


def database(url: str) -> dict[str, Any]:
    """Return Django's settings for the database; connections are kept open."""
    if not url:
        url = f"sqlite:///{DATA_DIR / 'hub.sqlite3'}"
    try:
        found: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=None))
    except Exception:
        # The address may contain a password, so the message does not repeat it.
        raise ConfigError(
            "HUB_DATABASE_URL: expected sqlite:///PATH or postgresql://USER@HOST/NAME"
        ) from None
    options: dict[str, Any] = found.setdefault("OPTIONS", {})
    if found["ENGINE"].endswith("sqlite3"):
        found["ENGINE"] = "database.sqlite3"
        # Parallel tests would share a file, because only Django's own engine gives each
        # a file of its own.
        found["TEST"] = {"NAME": ":memory:"}
        # A transaction that reads first and writes later can't get the write lock if
        # another one wrote in between, so transactions take the lock at once.
        options.setdefault("transaction_mode", "IMMEDIATE")
        options.setdefault("timeout", 20)
        options.setdefault(
            "init_command", "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
        )
    elif found["ENGINE"].endswith("postgresql"):
        found["ENGINE"] = "database.postgresql"
        # After a failover the name of the host may lead to another server.
        found["CONN_MAX_AGE"] = CONNECTION_AGE
        found["CONN_HEALTH_CHECKS"] = True
        # A statement that waits for a lock fails after this time.
        options["options"] = (
            f"-c lock_timeout={LOCK_TIMEOUT}s {options.get('options', '')}".strip()
        )
        # Hot statements are prepared at their second use and then only executed.
        options.setdefault("server_side_binding", True)
        options.setdefault("prepare_threshold", 1)
        options.setdefault("connect_timeout", 5)
        # If the server's host is gone, this is noticed within half a minute, even if
        # the network drops all packets. The kernel's default is 15 minutes.
        options.setdefault("keepalives", 1)
        options.setdefault("keepalives_idle", 10)
        options.setdefault("keepalives_interval", 3)
        options.setdefault("keepalives_count", 3)
        options.setdefault("tcp_user_timeout", 20_000)
    else:
        raise ConfigError("HUB_DATABASE_URL: only SQLite and PostgreSQL are supported")
    return found


DATABASES = {"default": database(SITE.database_url)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The cache counts sign-in attempts for rate limits, so all processes must share it.
# The table is shared by processes on all machines.
REDIS_URL = SITE.redis_url
CACHES: dict[str, Any] = {
    "default": redis_cache(REDIS_URL)
    if REDIS_URL
    else {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "hub_cache",
        # So that many invented names do not remove the counts of other names.
        "OPTIONS": {"MAX_ENTRIES": 50_000},
    }
}

# -------------------------------------------------------------------------- Sign-in

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.HubBackend"]
# Web processes share the memory and the cores for hashing.
WEB_PROCESSES = SITE.workers
# New digests are of the first one.
PASSWORD_HASHERS = [
    "accounts.hashing.PasswordHasher",
    "accounts.hashing.ImportedPasswordHasher",
]
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {
        "NAME": "django.contrib.auth.password_validation."
        "UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("name", "email")},
    },
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": HUB.password_min_length},
    },
    *(
        [{"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"}]
        if HUB.password_refuse_common
        else []
    ),
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = f"{HUB_PREFIX}login"
LOGIN_REDIRECT_URL = f"{HUB_PREFIX}home"
LOGOUT_REDIRECT_URL = LOGIN_URL

ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_FORMS = {
    "login": "accounts.forms.SignInForm",
    "reauthenticate": "accounts.forms.ReauthenticateForm",
    "change_password": "accounts.forms.ChangePasswordForm",
    "reset_password": "accounts.forms.ResetPasswordForm",
    "reset_password_from_key": "accounts.forms.ResetPasswordKeyForm",
}
ACCOUNT_USER_MODEL_USERNAME_FIELD = "name"
ACCOUNT_USER_MODEL_EMAIL_FIELD = "email"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_PRESERVE_USERNAME_CASING = True
ACCOUNT_SESSION_REMEMBER = True
# `accounts/attempts.py` counts wrong passwords, on the page and in the API. These
# limits are for codes of second factors, by the user whose password was right.
ACCOUNT_RATE_LIMITS = {
    "login": "",
    "login_failed": "5/5m/key",
}

USERSESSIONS_ADAPTER = "accounts.sessions.UserSessionsAdapter"

MFA_ADAPTER = "accounts.second_factor.MFAAdapter"
MFA_FORMS = {
    "authenticate": "accounts.forms.AuthenticateForm",
    "reauthenticate": "accounts.forms.MFAReauthenticateForm",
    "activate_totp": "accounts.forms.ActivateTOTPForm",
    "add_webauthn": "accounts.forms.AddWebAuthnForm",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
# The hub verifies no e-mail addresses, so a verified one can't be required.
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = SITE_NAME
# The codes of the half-minutes before and after are accepted as well, because clocks of
# telephones differ and people type slowly. accounts/forms.py accepts each code once.
MFA_TOTP_TOLERANCE = 1
# Browsers offer passkeys on https only, and on localhost.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not IS_HTTPS

SOCIALACCOUNT_ADAPTER = "accounts.single_sign_on.SocialAccountAdapter"
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
SOCIALACCOUNT_PROVIDERS: dict[str, Any] = {
    "openid_connect": {
        "APPS": [
            {
                "provider_id": "oidc",
                "name": SITE.oidc_name,
                "client_id": SITE.oidc_client_id,
                "secret": SITE.oidc_client_secret,
                "settings": {
                    "server_url": SITE.oidc_url,
                    "username_claim": SITE.oidc_username_claim,
                    "owns_names": SITE.oidc_owns_names,
                },
            }
        ]
        if SITE.oidc_url
        else [],
        "OAUTH_PKCE_ENABLED": True,
    }
}

# ------------------------------------------------------------- sessions and cookies

# With the prefix, browsers accept the cookie only from this host, for the path `/` and
# over https.
IS_HOST_COOKIE = HUB.cookie_host_prefix_enabled
SESSION_COOKIE_NAME = f"{'__Host-' if IS_HOST_COOKIE else ''}jupyterhub-hub-login"
SESSION_COOKIE_PATH = "/" if IS_HOST_COOKIE else HUB_PREFIX
SESSION_COOKIE_AGE = int(HUB.cookie_max_age_days * 86400)
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = IS_HTTPS or IS_HOST_COOKIE
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

# ------------------------------------------------------------------------- security

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 365 * 86400 if IS_HTTPS else 0
# With hosts of servers below the hub's host, these use its scheme. Other hosts below
# the hub's are not the hub's to decide about.
SECURE_HSTS_INCLUDE_SUBDOMAINS = IS_HTTPS and bool(HUB.subdomain_host)
X_FRAME_OPTIONS = "DENY"
# Warnings of `manage.py check --deploy` about protection that the hub has in another
# form. Without https, warnings about https remain.
SILENCED_SYSTEM_CHECKS = [
    "security.W002",  # Every response has `frame-ancestors`, see FRAME_ANCESTORS.
    "security.W003",  # `web.xsrf` protects forms, with the names of JupyterHub.
    "security.W005",  # HSTS holds for hosts below where these are the hub's own.
    "security.W008",  # The proxy for https redirects pages, see the guide.
    "security.W021",  # Preloading is for the owner of the domain to decide.
]

CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        # Browsers apply this to redirects after a form as well. Single sign-on
        # redirects to the provider, and from there to further sites. After a sign-in,
        # the hub redirects to hosts of servers and services, too.
        "form-action": [
            SELF,
            *([f"{SITE.oidc_url.partition(':')[0]}:"] if SITE.oidc_url else []),
            *subdomains(HUB),
        ],
        "base-uri": [NONE],
        "frame-ancestors": FRAME_ANCESTORS,
        "report-uri": f"{HUB_PREFIX}security/csp-report",
    }
}

if SITE_TEMPLATES:
    # The site's templates have scripts and styles of their own, with the nonce of the
    # page, and attributes with styles.
    directives = CONTENT_SECURITY_POLICY["DIRECTIVES"]
    directives["style-src"] = [SELF, NONCE]
    directives["style-src-attr"] = [UNSAFE_INLINE]
    for directive, origins in TEMPLATE_SITES.items():
        directives[directive] = [*directives.get(directive, [SELF]), *origins]

# ----------------------------------------------------------------------------- mail

EMAIL_BACKEND = (
    "django.core.mail.backends.smtp.EmailBackend"
    if SITE.email_host
    else "django.core.mail.backends.dummy.EmailBackend"
)
EMAIL_HOST = SITE.email_host
EMAIL_PORT = SITE.email_port
EMAIL_HOST_USER = SITE.email_user
EMAIL_HOST_PASSWORD = SITE.email_password
EMAIL_USE_TLS = SITE.email_tls == "starttls"
EMAIL_USE_SSL = SITE.email_tls == "tls"
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = SITE.email_from
# An anonymous client who causes a mail also chooses the request's host name. So links
# in mails use PUBLIC_URL, and without it no mail has a link.
MAILS_LINKS = bool(EMAIL_HOST and PUBLIC_URL)
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
# Nobody else can be made to get a mail, so unknown addresses get none.
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False

# --------------------------------------------------------------- language and times

LANGUAGE_CODE = "en"
USE_I18N = True
TIME_ZONE = "UTC"
USE_TZ = True

# --------------------------------------------------------------------- static files

STATIC_URL = f"{HUB_PREFIX}static/"
# Served from the packages directly, without a separate step of deployment.
WHITENOISE_STATIC_PREFIX = unquote(STATIC_URL)
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 3600
# Scripts and styles that templates written for JupyterHub name with `static_url`.
STATICFILES_FINDERS = [
    "hubsite.static_files.JupyterHubFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
]
STATICFILES_DIRS = [JUPYTERHUB_FILES / "static"] if JUPYTERHUB_FILES else []

# ------------------------------------------------------------------------------ API

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "api.openapi.schema.HubSchema",
    "EXCEPTION_HANDLER": "api.exceptions.exception_handler",
    "FORMAT_SUFFIX_KWARG": None,
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Hub API",
    "DESCRIPTION": (
        "The REST API of this hub; clients of JupyterHub's API work unchanged. "
        "Send `Authorization: token <secret>` (or `Bearer`)."
    ),
    "VERSION": JUPYTERHUB_VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    # The check ignores `DEFAULT_SCHEMA_CLASS`'s own generator; api/openapi has checks.
    "ENABLE_DJANGO_DEPLOY_CHECK": False,
    "SCHEMA_PATH_PREFIX": "",
    "SCHEMA_PATH_PREFIX_INSERT": f"{HUB_PATH}api",
    # The few enumerations are described where they are used.
    "POSTPROCESSING_HOOKS": [],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "TAGS": [
        {"name": "users"},
        {"name": "groups"},
        {"name": "tokens"},
        {"name": "services"},
        {"name": "servers"},
        {"name": "shares"},
        {"name": "hub"},
        {"name": "older", "description": "What few clients still use."},
    ],
    "APPEND_COMPONENTS": {
        "securitySchemes": {
            "token": {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": "`token <secret>` or `Bearer <secret>`",
            },
            "session": {
                "type": "apiKey",
                "in": "cookie",
                "name": SESSION_COOKIE_NAME,
                "description": "The session of a browser with someone signed in.",
            },
            "client": {
                "type": "http",
                "scheme": "basic",
                "description": "The id and the secret of an OAuth client.",
            },
        }
    },
}

# -------------------------------------------------------------------------- logging

LOG_FILES = SITE.log_files
LOGGING = hub_logging.configure(SITE.log_format, LOG_LEVEL)
