"""Django settings: what the environment may say on top, Django's order below.

`jupyterhub_config.py` describes the hub (`HUB`, see `config.py`); variables
`HUB_*` describe the site it runs on. A variable that ends in `_FILE` names a file
with the value, for secrets. An odd value stops the start and names itself.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import dj_database_url
from csp.constants import NONCE, NONE, SELF
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hubsite import logging as hub_logging
from hubsite import secrets
from hubsite.config import ConfigError, HubConfig, load_config

BASE_DIR = Path(__file__).resolve().parent.parent

# ----------------------------------------------------------------- the environment

Words = Annotated[list[str], NoDecode]


class Site(BaseSettings):
    """The machine and the services around this hub, from variables `HUB_*`."""

    model_config = SettingsConfigDict(env_prefix="HUB_", extra="forbid")

    config: Path | None = Field(None, description="The `jupyterhub_config.py`.")
    data_dir: Path = Field(
        BASE_DIR / "data", description="Folder of database, secrets and logs."
    )
    database_url: str = Field(
        "", description="`postgresql://…`; SQLite in the data folder if empty."
    )
    redis_url: str = Field("", description="Cache; a database table if empty.")
    secret_key: SecretStr | None = Field(
        None, description="Signs sessions; generated into the data folder if empty."
    )
    secret_key_fallbacks: Words = Field(
        [], description="Older secret keys that still verify, separated by commas."
    )
    tag_keys: Words = Field(
        [],
        description="Keys of the tag in tokens, separated by commas: the first signs, "
        "all verify.",
    )
    public_url: str = Field(
        "", description="The address at which people reach the hub."
    )
    trusted_proxies: Words = Field(
        ["127.0.0.1", "::1"],
        description="Addresses and networks whose X-Forwarded-* is believed.",
    )
    keep_servers: bool = Field(
        False,
        description="Whether servers outlive the hub if `cleanup_servers` is not set; "
        "`start.py` sets it.",
    )
    workers: int = Field(1, ge=1, le=256, description="Web processes.")
    proxy_command: str = Field(
        "", description="How configurable-http-proxy is called; found if empty."
    )
    controller_metrics: str = Field(
        "",
        description="Where the controller serves its own metrics (`HOST:PORT`), for "
        "one that runs on another machine than the web processes.",
    )
    email_host: str = Field("", description="Mail server; none is sent if empty.")
    email_port: int = Field(587, ge=1, le=65535, description="Its port.")
    email_user: str = Field("", description="Name to sign in with there, if any.")
    email_password: SecretStr = Field(SecretStr(""), description="Password to it.")
    email_tls: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="`starttls`, `tls` from the start, or `none`."
    )
    email_from: str = Field("hub@localhost", description="Sender of mails.")
    oidc_url: str = Field("", description="OpenID Connect: the provider's address.")
    oidc_name: str = Field("Single sign-on", description="Text on its button.")
    oidc_client_id: str = Field("", description="What the provider calls this hub.")
    oidc_client_secret: SecretStr = Field(
        SecretStr(""), description="The secret that goes with it."
    )
    oidc_username_claim: str = Field(
        "preferred_username", description="The claim that holds the name of a person."
    )
    oidc_owns_names: bool = Field(
        True,
        description="Whether a name there signs in to the account of that name here; "
        "set it to false if people may choose their name there.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`, and what is worse."
    )
    log_format: Literal["auto", "text", "json"] = Field(
        "auto",
        description="`text`, `json`, or `auto`: text on a terminal and JSON elsewhere.",
    )

    @field_validator(
        "secret_key_fallbacks", "tag_keys", "trusted_proxies", mode="before"
    )
    @classmethod
    def split_at_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [word.strip() for word in value.split(",") if word.strip()]
        return value

    @field_validator("public_url", "oidc_url")
    @classmethod
    def be_an_address(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
            raise ValueError("expected an http or https address")
        return value.rstrip("/")

    @field_validator("data_dir", "config")
    @classmethod
    def be_absolute(cls, value: Path | None) -> Path | None:
        return value and value.expanduser().absolute()


def read_environment() -> Site:
    """Return the site's settings, or stop with the variable that is wrong."""
    from_files: dict[str, Any] = {}
    for name in Site.model_fields:
        variable = f"HUB_{name.upper()}_FILE"
        if path := os.environ.get(variable):
            try:
                from_files[name] = Path(path).read_text("utf-8").strip()
            except OSError as error:
                raise ConfigError(f"{variable}: {error.strerror}: {path}") from None
    try:
        return Site(**from_files)
    except ValidationError as error:
        first = error.errors()[0]
        variable = f"HUB_{str(first['loc'][0]).upper()}"
        raise ConfigError(f"{variable}: {first['msg']}") from None


# Variables that give the hub away to whoever reads them.
SECRET_VARIABLES = (
    *("HUB_DATABASE_URL", "HUB_REDIS_URL", "HUB_SECRET_KEY"),
    *("HUB_SECRET_KEY_FALLBACKS", "HUB_TAG_KEYS", "HUB_EMAIL_PASSWORD"),
    *("HUB_OIDC_CLIENT_SECRET", "CONFIGPROXY_AUTH_TOKEN"),
)


def forget_secrets() -> None:
    """Take secrets out of the environment: what a process starts inherits that.

    Spawners for batch systems run commands as the owners of servers, and those may
    read the environment of their own processes.
    """
    for name in SECRET_VARIABLES:
        os.environ.pop(name, None)


def unknown_variables() -> list[str]:
    """Name the variables that look like ours and mean nothing.

    Kubernetes sets some for each service; what it makes of one called `hub` is not
    a misspelling.
    """
    known = {f"HUB_{name.upper()}" for name in Site.model_fields}
    known |= {f"{name}_FILE" for name in known} | {"HUB_KEEPER_PID"}
    kubernetes = re.compile(r"HUB_(SERVICE|PORT)(_.*)?")
    return sorted(
        name
        for name in os.environ
        if name.startswith("HUB_")
        and name not in known
        and not kubernetes.fullmatch(name)
        and not name.startswith("HUB_TEST_")
    )


SITE = read_environment()
DATA_DIR = SITE.data_dir
HUB: HubConfig = load_config(
    SITE.config, keep_servers=SITE.keep_servers, homes=DATA_DIR / "homes"
)
HUB_VERSION = "6.1.1"
HUB_PREFIX = f"{HUB.base_url}hub/"
PUBLIC_URL = SITE.public_url or HUB.public_url.rstrip("/")
TRUSTED_PROXIES = SITE.trusted_proxies

# -------------------------------------------------------------------------- secrets

SECRET_KEY = (
    SITE.secret_key.get_secret_value()
    if SITE.secret_key
    else secrets.keep(DATA_DIR / "secrets" / "secret_key")
)
SECRET_KEY_FALLBACKS = SITE.secret_key_fallbacks
# The first signs the tags of tokens that are issued, all of them verify.
TOKEN_TAG_KEYS: list[bytes] = [
    key.encode()
    for key in SITE.tag_keys or [secrets.keep(DATA_DIR / "secrets" / "tag_key")]
]
# Finds secrets that others brought: their handle is made with it. It must not
# change, or their rows are found no more; so it is kept apart from the rest.
TOKEN_HANDLE_KEY = secrets.keep(DATA_DIR / "secrets" / "handle_key").encode()
# What the proxy asks of whoever changes its routes. It is kept, so that a proxy which
# outlives the hub can be told of routes by the next one.
PROXY_AUTH_TOKEN = (
    HUB.proxy_auth_token
    or os.environ.get("CONFIGPROXY_AUTH_TOKEN")
    or secrets.keep(DATA_DIR / "secrets" / "proxy_auth_token")
)

# ------------------------------------------------------------------------- the core

DEBUG = False
# JupyterHub answers under every name; links in mails are made of PUBLIC_URL.
ALLOWED_HOSTS = ["*"]

INSTALLED_APPS = [
    "hubsite.apps.HubAdminConfig",
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
    "allauth.socialaccount.providers.openid_connect",
    "allauth.usersessions",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "audit",
    "accounts",
    "services",
    "tokens",
    "oauth",
    "servers",
    "api",
    "hubsite",
]

MIDDLEWARE = [
    "hubsite.middleware.HubMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "hubsite.xsrf.XSRFMiddleware",
    "hubsite.sessions.ActivityMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]

ROOT_URLCONF = "hubsite.urls"
WSGI_APPLICATION = "hubsite.wsgi.application"
APPEND_SLASH = False
# The longest body that is read; the bridge refuses longer ones before Django sees
# them. A thousand long names, as one bulk call may bring, are a quarter of it.
DATA_UPLOAD_MAX_MEMORY_SIZE = 10_000_000

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "hubsite.context.hub",
            ],
            # `{% csrf_token %}` emits the field name that JupyterHub's rules ask for.
            "builtins": ["hubsite.templatetags.xsrf"],
        },
    }
]

# ------------------------------------------------------------------------- database


def database(url: str) -> dict[str, Any]:
    """Describe the database; connections are kept, since making one costs most."""
    if not url:
        url = f"sqlite:///{DATA_DIR / 'hub.sqlite3'}"
    try:
        found: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=None))
    except Exception:
        # The address may hold a password, so the message does not repeat it.
        raise ConfigError(
            "HUB_DATABASE_URL: expected sqlite:///PATH or postgresql://USER@HOST/NAME"
        ) from None
    options: dict[str, Any] = found.setdefault("OPTIONS", {})
    if found["ENGINE"].endswith("sqlite3"):
        found["ENGINE"] = "hubsite.sqlite3"
        # Parallel tests would share a file here, as they know Django's engine only.
        found["TEST"] = {"NAME": ":memory:"}
        # A transaction that reads first and writes later can't be given the write
        # lock when somebody else wrote in between; taking it at once can.
        options.setdefault("transaction_mode", "IMMEDIATE")
        options.setdefault("timeout", 20)
        options.setdefault(
            "init_command", "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
        )
    elif found["ENGINE"].endswith("postgresql"):
        # Hot statements are prepared at their second use and then only executed.
        options.setdefault("server_side_binding", True)
        options.setdefault("prepare_threshold", 1)
        options.setdefault("connect_timeout", 5)
        # A server whose host is gone is noticed within half a minute, even if the
        # network swallows everything, and not within the quarter of an hour that
        # the kernel would wait.
        options.setdefault("keepalives", 1)
        options.setdefault("keepalives_idle", 10)
        options.setdefault("keepalives_interval", 3)
        options.setdefault("keepalives_count", 3)
        options.setdefault("tcp_user_timeout", 20_000)
    else:
        raise ConfigError("HUB_DATABASE_URL: only SQLite and PostgreSQL are supported")
    return found


DATABASES = {"default": database(SITE.database_url)}
if DATABASES["default"]["ENGINE"] == "hubsite.sqlite3":
    # Django REST framework looks whether there are PostgreSQL's own types of columns,
    # and so loads its driver, which would take a sixth of a start and 9 MB.
    sys.modules.setdefault("django.contrib.postgres", cast(Any, None))
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Rate limits of sign-in count in the cache, so every process must share it. The
# table does that for each of them, on whichever machine it runs.
CACHES: dict[str, Any] = {
    "default": (
        {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": SITE.redis_url,
        }
        if SITE.redis_url
        else {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": "hub_cache",
        }
    )
}

# -------------------------------------------------------------------------- Sign-in

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.HubBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {
        "NAME": "django.contrib.auth.password_validation."
        "UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("name", "email")},
    },
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
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
# A whole class signs in from one address within a minute; whoever guesses is held
# up by name, and by address only when it goes far beyond a class's typing errors.
ACCOUNT_RATE_LIMITS = {
    "login": "600/m/ip",
    "login_failed": "100/5m/ip,5/5m/key",
}

USERSESSIONS_ADAPTER = "accounts.adapter.UserSessionsAdapter"

MFA_ADAPTER = "accounts.adapter.MFAAdapter"
MFA_FORMS = {
    "authenticate": "accounts.forms.AuthenticateForm",
    "reauthenticate": "accounts.forms.MFAReauthenticateForm",
    "activate_totp": "accounts.forms.ActivateTOTPForm",
    "add_webauthn": "accounts.forms.AddWebAuthnForm",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Hub"
# Browsers offer passkeys on https only, and on a machine's own address.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not PUBLIC_URL.startswith("https:")

SOCIALACCOUNT_ADAPTER = "accounts.adapter.SocialAccountAdapter"
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
SOCIALACCOUNT_PROVIDERS: dict[str, Any] = {
    "openid_connect": {
        "APPS": [
            {
                "provider_id": "oidc",
                "name": SITE.oidc_name,
                "client_id": SITE.oidc_client_id,
                "secret": SITE.oidc_client_secret.get_secret_value(),
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

SESSION_COOKIE_NAME = "jupyterhub-hub-login"
SESSION_COOKIE_PATH = HUB_PREFIX
SESSION_COOKIE_AGE = int(HUB.cookie_max_age_days * 86400)
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = PUBLIC_URL.startswith("https:")
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

# ------------------------------------------------------------------------- security

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 365 * 86400 if SESSION_COOKIE_SECURE else 0
X_FRAME_OPTIONS = "DENY"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        # Browsers hold the redirects after a form to this as well, and single
        # sign-on redirects to the provider, and from there to whom that trusts.
        "form-action": [SELF, f"{SITE.oidc_url.partition(':')[0]}:"]
        if SITE.oidc_url
        else [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "report-uri": f"{HUB_PREFIX}security/csp-report",
    }
}

# ----------------------------------------------------------------------------- mail

EMAIL_BACKEND = (
    "django.core.mail.backends.smtp.EmailBackend"
    if SITE.email_host
    else "django.core.mail.backends.dummy.EmailBackend"
)
EMAIL_HOST = SITE.email_host
EMAIL_PORT = SITE.email_port
EMAIL_HOST_USER = SITE.email_user
EMAIL_HOST_PASSWORD = SITE.email_password.get_secret_value()
EMAIL_USE_TLS = SITE.email_tls == "starttls"
EMAIL_USE_SSL = SITE.email_tls == "tls"
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = SITE.email_from
# A stranger who asks for a mail also chooses what the request calls this host. So
# links in mails are made of PUBLIC_URL, and without it no mail has one.
MAILS_LINKS = bool(EMAIL_HOST and PUBLIC_URL)
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
# Nobody can sign up here, so there is nothing to write to whom we do not know.
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False

# --------------------------------------------------------------- language and times

LANGUAGE_CODE = "en"
USE_I18N = True
TIME_ZONE = "UTC"
USE_TZ = True

# --------------------------------------------------------------------- static files

STATIC_URL = f"{HUB_PREFIX}static/"
# Served from the packages that bring them: there is no step to forget.
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 3600

# ------------------------------------------------------------------------------ API

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "api.schema.HubSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Hub API",
    "DESCRIPTION": (
        "The REST API of this hub; clients of JupyterHub's API work unchanged. "
        "Send `Authorization: token <secret>` (or `Bearer`)."
    ),
    "VERSION": HUB_VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": f"{HUB_PREFIX}api",
    # Shapes are written by hand, so there are no enumerations to find names for.
    "POSTPROCESSING_HOOKS": [],
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
        }
    },
}

# -------------------------------------------------------------------------- logging

LOGGING = hub_logging.configure(SITE.log_format, SITE.log_level)
