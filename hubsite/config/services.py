"""Services and API tokens in a configuration file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from hubsite.config.values import (
    CONTROL,
    dictionaries,
    flag,
    in_order,
    line,
    listed,
    mapping,
    text,
    texts_by_text,
    whole,
)

TOKEN_MIN_LENGTH = 8
TOKEN_MAX_LENGTH = 128
SERVICE_PREFIX = "service-"


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
    "oauth_client_allowed_scopes": lambda value: in_order(
        [value] if isinstance(value, str) else value
    ),
    "oauth_no_confirm": flag,
    "display": flag,
    "info": mapping,
    "timeout": whole,
}


def services(value: Any) -> tuple[dict[str, Any], ...]:
    found = []
    seen: set[str] = set()
    for declared in dictionaries(value):
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
                f"fields that services have; {name!r} has {listed(unknown)}, "
                f"known are {listed(SERVICE_FIELDS)}"
            )
        for key, kind in SERVICE_FIELDS.items():
            if service.get(key) is None or service[key] == "":
                # JupyterHub takes empty text for none, such as an unset variable.
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
    """Return whether a service of this name can have an address of its own."""
    return bool(
        name
        and name.strip() == name
        and "/" not in name
        and not re.search(r"%[0-9A-Fa-f]{2}", name)
        and name.strip(".")
    )
