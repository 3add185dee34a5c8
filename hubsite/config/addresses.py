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
    base = reader.take(["JupyterHub.base_url"], line, None)
    scheme, host, number_ = _of_proxy(reader, bind, base)
    base = (bind.path if base is None else base).strip("/")
    if re.search(r"%2f|%3c|%3e|[<>?#]", base, re.IGNORECASE):
        raise ConfigError(
            "c.JupyterHub.base_url: expected a path without ?, #, <, > and without "
            "slashes that are escaped"
        )
    # The setting may be escaped or not; the hub stores it escaped.
    base_url = f"/{quote(unquote(base), safe=SAFE_IN_PATHS)}/" if base else "/"
    found["base_url"] = base_url
    found["bind_url"] = f"{scheme}://{_host(host)}:{number_}{base_url}"

    found |= _of_hub(reader)
    api_ip = reader.take(["JupyterHub.proxy_api_ip"], line, None)
    api_port = reader.take(["JupyterHub.proxy_api_port"], port, None)
    if api_ip or api_port:
        host = _host(api_ip or "127.0.0.1")
        found["proxy_api_url"] = f"http://{host}:{api_port or number_ + 1}"
    return found


# A hub that listens there is reached at any address of the machine.
EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104
PORTS = {"http": 80, "https": 443}


def _of_proxy(reader: Reader, bind: Any, base: str | None) -> tuple[str, str, int]:
    """Return the scheme, host and port at which the proxy listens.

    As in JupyterHub, the proxy speaks HTTPS if it has a certificate, and each of `ip`,
    `port` and `base_url` that differs from its default replaces host and port of
    `bind_url`, by the defaults of what is not set.
    """
    scheme = "https" if reader.first("JupyterHub.ssl_cert") else "http"
    ip = reader.take(["JupyterHub.ip"], line, None)
    number = reader.take(["JupyterHub.port"], port, None)
    named = (bind.hostname or "", bind.port or PORTS[scheme])
    parts = {
        "ip": bool(ip),
        "port": number not in {None, 8000},
        "base_url": bool(base and base.strip("/")),
    }
    listens = (ip or "", number or 8000) if any(parts.values()) else named
    if reader.first("JupyterHub.bind_url") is None:
        return scheme, *listens
    if listens != named:
        given = " and ".join(name for name, is_given in parts.items() if is_given)
        reader.contradictions.append(
            "c.JupyterHub.bind_url: its host and port have no effect beside "
            f"{given}, as in JupyterHub; the proxy listens at "
            f"{scheme}://{_host(listens[0])}:{listens[1]}, so set only one of both"
        )
    elif bind.scheme != scheme:
        reader.contradictions.append(
            f"c.JupyterHub.bind_url: the proxy speaks {scheme}, as in JupyterHub, "
            "because ssl_cert alone decides; set that, or name the public address in "
            "public_url"
        )
    return scheme, *listens


def _of_hub(reader: Reader) -> dict[str, Any]:
    """Return where the hub listens, and where servers and the proxy reach it.

    As in JupyterHub, `hub_bind_url` replaces `hub_ip` and `hub_port`. Without it, the
    hub listens where it is to be reached, unless it listens everywhere.
    """
    hub_ip = reader.take(["JupyterHub.hub_ip"], line, None)
    hub_port = reader.take(["JupyterHub.hub_port"], port, None)
    is_bound = bool(reader.first("JupyterHub.hub_bind_url"))
    if is_bound:
        bind = _url(reader, "JupyterHub.hub_bind_url", "")
        listens = (bind.hostname or "", bind.port or PORTS["http"])
        others = {"hub_ip": (hub_ip, listens[0]), "hub_port": (hub_port, listens[1])}
        for name, (given, used) in others.items():
            if given is not None and given != used:
                reader.contradictions.append(
                    f"c.JupyterHub.{name}: has no effect beside hub_bind_url, as in "
                    "JupyterHub; set only one of both"
                )
    else:
        listens = ("127.0.0.1" if hub_ip is None else hub_ip, hub_port or 8081)
    hub_ip, hub_port = listens
    hub_ip = {"": "0.0.0.0", "*": "0.0.0.0"}.get(hub_ip, hub_ip)  # noqa: S104

    reached_at = reader.take(["JupyterHub.hub_connect_ip"], line, None)
    reached_port = reader.take(["JupyterHub.hub_connect_port"], port, None)
    if not reached_at:
        # Servers may run in containers and on other machines, where a loopback address
        # is their own.
        reached_at = socket.gethostname() if hub_ip in EVERYWHERE else hub_ip
    if reached_port and not is_bound:
        hub_port = reached_port
    reached_port = reached_port or hub_port
    address = f"http://{_host(reached_at)}:{reached_port}"
    if reader.take(["JupyterHub.hub_connect_url"], web_address, None):
        # Its path is always the hub's, whatever the setting contains.
        connect = _url(reader, "JupyterHub.hub_connect_url", "")
        address = f"{connect.scheme}://{connect.netloc}"
        reached_at, reached_port = connect.hostname or "", _port(connect)
    if not is_bound and hub_ip not in EVERYWHERE and address.startswith("http:"):
        hub_ip, hub_port = reached_at, reached_port
    return {"hub_ip": hub_ip, "hub_port": hub_port, "hub_connect_url": address}


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


def _port(url: Any) -> int:
    return int(url.port or PORTS[url.scheme])


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
