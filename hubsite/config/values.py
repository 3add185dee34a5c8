"""Kinds of values in a configuration file.

Each function takes a value and returns the value in the form that the hub keeps, or
raises ValueError with the words after "expected".

JupyterHub's traitlets cast some values: 0 and 1 to booleans, 5.0 to 5, bytes to text,
and one string for a list or set of strings to its only element. So do these functions.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

KEY_BYTES = 32


# Types of settings. Each takes a value and returns it in the form that the hub uses, or
# raises ValueError with the text after "expected".
def flag(value: Any) -> bool:
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    if not isinstance(value, bool):
        raise ValueError("True or False")
    return value


def whole(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("a whole number, 0 or more")
    return value


def positive(value: Any) -> int:
    if not whole(value):
        raise ValueError("a whole number, 1 or more")
    return int(value)


def limit_or_function(value: Any) -> Any:
    """Accept a limit; JupyterHub takes a negative number for none, like 0."""
    if callable(value):
        return value
    return 0 if isinstance(value, int) and value < 0 else whole(value)


def token_use(value: Any) -> str | int:
    """Accept `off`, `complete` or a number, of which 0 and 1 mean the same."""
    if value in ("off", "complete") and isinstance(value, str):
        return value
    try:
        number = whole(value)
    except ValueError:
        raise ValueError("'off', 'complete' or a whole number") from None
    return {0: "off", 1: "complete"}.get(number, number)


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
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise ValueError("a string in UTF-8") from None
    if not isinstance(value, str):
        raise ValueError("a string")
    return value


def text_or_function(value: Any) -> Any:
    return value if callable(value) else text(value)


def signup_mode(value: Any) -> str:
    if value not in ("off", "approval", "open"):
        raise ValueError("'off', 'approval' or 'open'")
    return str(value)


def three_texts(value: Any) -> tuple[str, ...]:
    """Accept sender, subject and text of a mail."""
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise ValueError("three strings: sender, subject and text")
    sender, subject, body = line(value[0]), line(value[1]), text(value[2])
    if "{approval_url}" not in body:
        raise ValueError("a text with {approval_url}, in whose place the link stands")
    return (sender, subject, body)


# Line ends and control characters, which no header or address may contain.
CONTROL = re.compile("[\x00-\x1f\x7f]")


def line(value: Any) -> str:
    """Accept a string that can be part of a header or an address."""
    value = text(value)
    if CONTROL.search(value):
        raise ValueError(
            "a string of one line without control characters; read a file with .strip()"
        )
    return str(value)


def proxy_log_level(value: Any) -> str:
    level = text(value)
    if level not in ("debug", "info", "warn", "error"):
        raise ValueError("'debug', 'info', 'warn' or 'error'")
    return level


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
    value = line(value)
    if not value:
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
    address = web_address(value)
    if not address:
        raise ValueError("an http or https address")
    return address


def command(value: Any) -> tuple[str, ...]:
    """Accept a program with its arguments, or the program alone, as JupyterHub does."""
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(
        isinstance(word, str) for word in words
    ):
        raise ValueError("a list of strings")
    return tuple(words)


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
    value = text(value)
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"a regular expression ({error})") from None
    return str(value)


def invalid_names(value: Any) -> str:
    if value not in ("allow-start", "allow-delete", "autorename"):
        raise ValueError("'allow-start', 'allow-delete' or 'autorename'")
    return str(value)


def names(value: Any) -> frozenset[str]:
    """Accept names; one string is one name, as for a trait of JupyterHub."""
    return several_names([value] if isinstance(value, str) else value)


def several_names(value: Any) -> frozenset[str]:
    """Accept names in a part of a setting, where a string is no list of one name."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError("a set of strings")
    found = frozenset(value)
    if not all(isinstance(name, str) and name for name in found):
        raise ValueError("a set of strings")
    return found


def folders(value: Any) -> tuple[str, ...]:
    if isinstance(value, str | Path):
        value = [value]
    if not isinstance(value, list | tuple) or not all(
        isinstance(path, str | Path) and str(path) for path in value
    ):
        raise ValueError("a list of folders")
    return tuple(map(str, value))


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


def networks(value: Any) -> tuple[str, ...]:
    """Accept addresses of machines or networks."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple | set | frozenset):
        raise ValueError("a list of addresses")
    for each in value:
        try:
            ip_network(text(each))
        except ValueError:
            raise ValueError(
                f"addresses of machines or networks, not {each!r}"
            ) from None
    return tuple(sorted(value))


def routespec(value: Any) -> str:
    """Accept the beginning of paths, which ends in a slash."""
    return line(value).rstrip("/") + "/"


def mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError("a dictionary with strings as keys")
    return dict(value)


def dictionaries(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list | tuple) or not all(
        isinstance(item, Mapping) for item in value
    ):
        raise ValueError("a list of dictionaries")
    return list(value)


def in_order(value: Any) -> list[str]:
    """Accept the same as `several_names`, and keep the order of ordered values."""
    found = several_names(value)
    return (
        sorted(found)
        if isinstance(value, set | frozenset)
        else list(dict.fromkeys(value))
    )


def listed(words: Iterable[Any]) -> str:
    return ", ".join(repr(word) for word in sorted(map(str, words)))


def crypt_keys(value: Any) -> tuple[bytes, ...]:
    """Accept keys of 32 bytes: as they are, in hexadecimal digits or in base64."""
    if not isinstance(value, list | tuple):
        raise ValueError("a list of keys of 32 bytes")
    return tuple(crypt_key(each) for each in value)


def crypt_key(value: Any) -> bytes:
    try:
        key = value.encode("ascii") if isinstance(value, str) else bytes(value)
        if len(key) == 2 * KEY_BYTES:
            key = binascii.unhexlify(key)
        elif len(key) == 44:
            key = base64.urlsafe_b64decode(key)
    except (TypeError, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        # The key itself must not be shown.
        raise ValueError("keys of 32 bytes, in hexadecimal digits or base64")
    return key
