"""The settings of a hub's site, from environment variables `HUB_*`.

A variable that ends in `_FILE` contains the path of a file with the value, for secrets.
A wrong value stops the start with the variable's name, but without the value, which may
be a secret.
"""

from __future__ import annotations

import hashlib
import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import traitlets
from traitlets import HasTraits, TraitError, TraitType, Unicode

from hubsite.config.file import ConfigError

PREFIX = "HUB_"
DEFAULT_DATA_DIR = Path(__file__).resolve().parents[2] / "data"

# The least characters of a key: those of 128 random bits in hexadecimal.
KEY_LENGTH = 32
KEY_WORDS = f"at least {KEY_LENGTH} characters, as `openssl rand -hex 32` prints"

# The most bytes in the path of a Unix socket.
SOCKET_PATH_LIMIT = 100


# Types of values, and their form in a variable


class Text(Unicode[str, str]):
    """Any text, unchanged."""

    def from_string(self, text: str) -> str:
        # Not traitlets' own conversion, which removes quotes and expands `~`.
        return text


class Place(traitlets.Path):
    """A file or folder; a relative one starts at the hub's working folder."""

    def from_string(self, text: str) -> Path:
        return Path(text).expanduser().absolute()


class Words(traitlets.List[str]):
    """Words separated by commas."""

    def from_string(self, text: str) -> list[str]:
        return [word.strip() for word in text.split(",") if word.strip()]


class Secret(Text):
    """A text that child processes must not inherit."""

    is_secret = True


class SecretWords(Words):
    """Secrets separated by commas."""

    is_secret = True


class Key(Secret):
    """A secret that others can't guess, or none."""

    info_text = KEY_WORDS

    def validate(self, obj: Any, value: Any) -> str:
        if value and len(value) < KEY_LENGTH:
            self.error(obj, value)
        return str(value)


class Keys(SecretWords):
    """Secrets that others can't guess, separated by commas."""

    def validate(self, obj: Any, value: Any) -> Any:
        if any(len(key) < KEY_LENGTH for key in value):
            self.error(obj, value)
        return super().validate(obj, value)

    def info(self) -> str:
        return KEY_WORDS


class Networks(Words):
    """Addresses and networks, separated by commas."""

    def validate(self, obj: Any, value: Any) -> Any:
        for each in value:
            ip_network(each)
        return super().validate(obj, value)

    def info(self) -> str:
        return "addresses or networks such as 10.0.0.0/8, separated by commas"


class Flag(traitlets.Bool[bool, bool]):
    """Yes or no."""

    info_text = "true or false"

    def from_string(self, text: str) -> bool:
        if text.lower() in ("true", "t", "yes", "y", "on", "1"):
            return True
        if text.lower() in ("false", "f", "no", "n", "off", "0"):
            return False
        raise ValueError(text)


class Number(traitlets.Int[int, int]):
    """A whole number between two others."""

    def info(self) -> str:
        return f"a whole number from {self.min} to {self.max}"


class Choice(traitlets.Enum[str]):
    """One of a few words."""

    def info(self) -> str:
        return f"one of {', '.join(self.values or ())}"

    def from_string(self, text: str) -> str:
        return self.validate(None, text)


class Address(Text):
    """An address on the web, or an empty text."""

    info_text = "an http or https address"

    def validate(self, obj: Any, value: Any) -> str:
        if value and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
            self.error(obj, value)
        return str(value.rstrip("/"))


class Site(HasTraits):
    """The settings of the machine and the services around this hub."""

    config = Place(None, allow_none=True, help="The `jupyterhub_config.py`.")
    data_dir = Place(DEFAULT_DATA_DIR, help="Folder of database, secrets and logs.")
    database_url = Secret(help="`postgresql://…`; SQLite in the data folder if empty.")
    redis_url = Secret(help="Cache; a database table if empty.")
    secret_key = Key(help="Signs sessions; generated into the data folder if empty.")
    secret_key_fallbacks = SecretWords(
        help="Older secret keys that still verify, separated by commas."
    )
    tag_keys = Keys(
        help="Keys of the tag in tokens, separated by commas: the first signs, "
        "all verify."
    )
    audit_keys = Keys(
        help="Keys of the checkpoints of the audit log, separated by commas: the first "
        "signs, all verify."
    )
    public_url = Address(help="The address of the hub for browsers.")
    proxy_socket = Text(
        help="Unix socket on which the hub listens for the proxy only; by default in "
        "the data folder if the hub starts the proxy, `off` for none.",
    )
    trusted_proxies = Networks(
        default_value=None,
        allow_none=True,
        help="Addresses and networks of other proxies, whose `X-Forwarded-*` and "
        "`Forwarded` are used. If not set: none with the Unix socket, otherwise the "
        "machine in `c.ConfigurableHTTPProxy.api_url`.",
    )
    keep_servers = Flag(
        False,
        help="Whether servers outlive the hub if `cleanup_servers` is not set; "
        "`start.py` sets it.",
    )
    import_jupyterhub = Flag(
        False,
        help="Whether a start imports the JupyterHub database that "
        "`c.JupyterHub.db_url` names, or `jupyterhub.sqlite` beside the configuration, "
        "if that was not imported yet.",
    )
    authenticator_address = Text(
        help="Unix socket or `HOST:PORT` at which the process of a hosted "
        "`authenticator_class` listens for the hub; by default a socket in the data "
        "folder.",
    )
    workers = Number(1, min=1, max=256, help="Web processes.")
    web_threads = Number(
        8,
        min=2,
        max=256,
        help="Threads of each web process for requests; each keeps a database "
        "connection.",
    )
    body_seconds = Number(
        30,
        min=1,
        max=3600,
        help="Seconds within which the body of a request must arrive; for a large one, "
        "for each 2.5 MB.",
    )
    proxy_command = Text(help="Command of configurable-http-proxy; searched if empty.")
    controller_metrics = Text(
        help="Address of the controller's own metrics (`HOST:PORT`), for a controller "
        "on another machine than the web processes.",
    )
    email_host = Text(help="Mail server; no mail is sent if empty.")
    email_port = Number(587, min=1, max=65535, help="Port of the mail server.")
    email_user = Text(help="User name at the mail server, if needed.")
    email_password = Secret(help="Password at the mail server.")
    email_tls = Choice(
        ["starttls", "tls", "none"],
        "starttls",
        help="Encryption of mail: `starttls`, `tls`, or `none`.",
    )
    email_from = Text("hub@localhost", help="Sender of mails.")
    oidc_url = Address(help="OpenID Connect: the provider's address.")
    oidc_name = Text("Single sign-on", help="Text of the button for single sign-on.")
    oidc_client_id = Text(help="Client id of the hub at the provider.")
    oidc_client_secret = Secret(help="Client secret of the hub at the provider.")
    oidc_username_claim = Text(
        "preferred_username", help="The claim with the name of the user."
    )
    oidc_owns_names = Flag(
        True,
        help="Whether a user of the provider gets the account with the same name; "
        "false if users may choose their names at the provider.",
    )
    site_name = Text(help="Name of the hub in pages; `c.Hub.site_name` if empty.")
    logo_file = Place(
        None,
        allow_none=True,
        help="An image that replaces the hub's logo; `c.JupyterHub.logo_file` if "
        "empty.",
    )
    help_url = Text(help="Address of the link *Help*; `c.Hub.help_url` if empty.")
    footer = Text(
        help="HTML at the bottom of every page, for example an imprint; `c.Hub.footer` "
        "if empty."
    )
    log_level = Choice(
        ["DEBUG", "INFO", "WARNING", "ERROR"],
        None,
        allow_none=True,
        help="Lowest level of the log: `DEBUG`, `INFO`, `WARNING` or `ERROR`; if empty "
        "`c.JupyterHub.log_level`, by default `INFO`.",
    )
    log_files = Number(
        5,
        min=1,
        max=1000,
        help="Number of old files of each log, of 20 MB each.",
    )
    log_format = Choice(
        ["auto", "text", "json"],
        "auto",
        help="`text`, `json`, or `auto`: text on a terminal and JSON elsewhere.",
    )


def variables() -> dict[str, TraitType[Any, Any]]:
    """Return the type of each setting by the name of its variable, in order."""
    traits = vars(Site).items()
    return {
        f"{PREFIX}{name.upper()}": trait
        for name, trait in traits
        if isinstance(trait, TraitType)
    }


def read_environment() -> Site:
    """Return the site's settings, or stop with the name of a wrong variable."""
    site = Site()
    for variable, trait in variables().items():
        text = _value_of(variable)
        # An empty list is a value; any other empty text counts as not set.
        if text is None or not (text or isinstance(trait, Words)):
            continue
        try:
            setattr(site, str(trait.name), trait.from_string(text))
        except (TraitError, ValueError):
            raise ConfigError(f"{variable}: expected {trait.info()}") from None
    return site


def _value_of(variable: str) -> str | None:
    """Return the value of a variable, or of the file that its `_FILE` names."""
    path = os.environ.get(f"{variable}_FILE")
    if not path:
        return os.environ.get(variable)
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{variable}_FILE: {error.strerror}: {path}") from None


def proxy_socket(said: str, data_dir: Path, *, is_ours: bool) -> str:
    """Return the path of the hub's Unix socket for its proxy; empty without a socket.

    The socket distinguishes the proxy from every other process of the machine. A proxy
    that the hub does not start may run elsewhere, so it gets a socket only if one is
    configured.
    """
    if said == "off" or not (said or is_ours):
        return ""
    if said:
        return str(Path(said).expanduser().absolute())
    return socket_path(data_dir, "proxy.sock")


def authenticator_address(said: str, data_dir: Path) -> str:
    """Return where the process of a hosted authenticator listens."""
    if not said:
        return socket_path(data_dir, "authenticator.sock")
    if re.fullmatch(r"[^/\s]+:\d+", said):
        return said
    return str(Path(said).expanduser().absolute())


def socket_path(data_dir: Path, name: str) -> str:
    """Return the path of a Unix socket that belongs to a data folder."""
    path = data_dir / "run" / name
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return str(path)
    # The kernel accepts no longer path; the folder belongs to this user as well.
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return f"/tmp/hub-{os.getuid()}-{digest}/{name}"  # noqa: S108


def forget_secrets() -> None:
    """Remove secrets from the environment, because child processes inherit it.

    Spawners for batch systems run commands as the owners of servers, who may read the
    environment of their own processes.
    """
    for name, trait in variables().items():
        if getattr(trait, "is_secret", False):
            os.environ.pop(name, None)
    os.environ.pop("CONFIGPROXY_AUTH_TOKEN", None)


def unknown_variables() -> list[str]:
    """Return the names of unknown variables that look like the hub's.

    Kubernetes sets some for each service; those of a service called `hub` are not
    reported.
    """
    known = {
        *variables(),
        *(f"{name}_FILE" for name in variables()),
        "HUB_SUPERVISOR_PID",
    }
    kubernetes = re.compile(r"HUB_(SERVICE|PORT)(_.*)?")
    return sorted(
        name
        for name in os.environ
        if name.upper().startswith(PREFIX)
        and name not in known
        and not kubernetes.fullmatch(name)
        and not name.startswith("HUB_TEST_")
    )
