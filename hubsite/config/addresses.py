"""Addresses of the proxy and the hub, from the several settings that can state them."""

from __future__ import annotations

import re
import socket
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from hubsite.config.file import ConfigError
from hubsite.config.hub_config import HubConfig
from hubsite.config.reader import Reader
from hubsite.config.values import line, port, web_address

# Characters that Django does not escape in the paths of pages.
SAFE_IN_PATHS = "/~:@!$&'()*+,;="


def read_addresses(reader: Reader) -> dict[str, Any]:
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
    api_ip = reader.take(["JupyterHub.proxy_api_ip"], line, None)
    api_port = reader.take(["JupyterHub.proxy_api_port"], port, None)
    if api_ip or api_port:
        host = _host(api_ip or "127.0.0.1")
        found["proxy_api_url"] = f"http://{host}:{api_port or number_ + 1}"
    return found


# A hub that listens there is reached at any address of the machine.
EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104


def _url(reader: Reader, place: str, default: str) -> Any:
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


def full_public_url(found: dict[str, Any]) -> str:
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


def check_route_hosts(found: dict[str, Any]) -> None:
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
