"""NativeAuthenticator's settings, for the hub's own sign-up and passwords.

The plugin itself is not run: it fails on JupyterHub 6.1, and its pages and its table
are in the hub. So a class of this name is the hub's `local` with a sign-up, and its
settings are the values of `c.Hub.…` of the same meaning.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from hubsite.config.values import flag, text

SECTION = "NativeAuthenticator"
NAMES = frozenset({"native", f"nativeauthenticator.{SECTION}"})
PACKAGE = "nativeauthenticator."
# The file of FirstUseAuthenticator, unless another one is named.
FIRSTUSE_FILE = "passwords.dbm"
# The seconds of the plugin's first delay.
DELAY = 600

# Settings of the plugin that are read here, and have no field of their own.
READ = frozenset(
    f"{SECTION}.{name}"
    for name in (
        *("enable_signup", "open_signup", "import_from_firstuse"),
        "firstuse_db_path",
    )
)

ADVICE: dict[str, str] = {
    f"{SECTION}.allow_2fa": (
        "not needed; everybody may set up a second factor on the page Profile"
    ),
    f"{SECTION}.recaptcha_key": (
        "is not supported; sign-ups are limited by network, and an operator decides "
        "unless open_signup is set"
    ),
    f"{SECTION}.recaptcha_secret": "is not supported; see recaptcha_key",
    f"{SECTION}.secret_key": "not needed; links are signed with HUB_SECRET_KEY",
}

# Settings of the hub that mean something with local passwords only.
OWN = frozenset(
    f"Hub.{name}"
    for name in (
        *("signup", "signup_gives_listed_names", "signup_ask_email"),
        *("signup_terms", "signup_self_approval"),
        *("signup_mail", "signup_mail_server", "password_min_length"),
        *("password_refuse_common", "firstuse_passwords", "delete_firstuse_passwords"),
    )
)


def is_native(name: str, lineage: tuple[str, ...]) -> bool:
    """Return whether a class is the plugin's, or a subclass."""
    return name in NAMES or name.lower() == "native" or SECTION in lineage


def sign_up_fields(reader: Any, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that follow from several of the plugin's settings."""
    fields: dict[str, Any] = {}

    def taken(name: str, accepts: Any, default: Any) -> Any:
        value = reader.take([f"{SECTION}.{name}"], accepts, None)
        return default if value is None else value

    enabled, is_open = (
        taken("enable_signup", flag, True),
        taken("open_signup", flag, False),
    )
    if "signup" not in found:
        mode = "open" if is_open else "approval"
        fields["signup"] = mode if enabled else "off"
    if "signup_gives_listed_names" not in found:
        fields["signup_gives_listed_names"] = True
    if found.get("signup_self_approval"):
        # As in the plugin: without an address there is nothing to compare.
        fields["signup_ask_email"] = True
    if found.get("failed_logins_allowed") and "failed_login_delay" not in found:
        fields["failed_login_delay"] = DELAY
    path = taken("firstuse_db_path", text, FIRSTUSE_FILE)
    if taken("import_from_firstuse", flag, False):
        fields["firstuse_passwords"] = path
    return fields


def of_others(method: str, taken: Collection[str]) -> Iterator[str]:
    """Yield what only local passwords have, for a file with another method."""
    if unused := sorted(place for place in OWN if place in taken):
        places = ", ".join(f"c.{place}" for place in unused)
        have = "has" if len(unused) == 1 else "have"
        yield f"{places}: {have} no effect; people sign in by {method!r}"


def of_subclass(value: Any) -> Iterator[str]:
    """Yield a remark on the methods of a subclass, which are not called."""
    if not isinstance(value, type) or value.__module__.startswith(PACKAGE):
        return
    methods: dict[str, None] = {}
    for each in value.__mro__:
        if each.__module__.startswith((PACKAGE, "jupyterhub.")) or each is object:
            break
        methods |= dict.fromkeys(
            name
            for name, found in vars(each).items()
            if callable(found) and not name.startswith("__")
        )
    if methods:
        yield (
            f"c.JupyterHub.authenticator_class: {value.__name__} of "
            f"{SECTION} is the hub's own sign-up and passwords; of its methods "
            f"{', '.join(sorted(methods))} none is called"
        )
