"""The client's address of a request, also from the headers of proxies in front.

Everybody can send a header such as `X-Forwarded-For`, also a notebook on the hub's
machine. So these headers count only on connections from a known proxy: through the
hub's Unix socket, which only the proxy may open, or from an address in the
configuration. They are removed from all other requests.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.conf import settings

Environ = dict[str, Any]

# Set in the environment of a request that came through the hub's Unix socket.
THROUGH_SOCKET = "hub.through_socket"

# The WSGI key of a header that only proxies may send.
FORWARDED = "HTTP_FORWARDED"
FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"
FORWARDED_HOST = "HTTP_X_FORWARDED_HOST"
SCHEMES = ("HTTP_X_SCHEME", "HTTP_X_FORWARDED_PROTO")
HEADERS = (
    *(FORWARDED, FORWARDED_FOR, FORWARDED_HOST, *SCHEMES),
    *("HTTP_X_FORWARDED_PORT", "HTTP_X_REAL_IP"),
)
HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
# Parameters of one hop in `Forwarded`; a value may be quoted.
PARAMETER = re.compile(r'\s*([a-z]+)\s*=\s*("[^"]*"|[^\s;,"]*)\s*', re.IGNORECASE)

logger = structlog.get_logger(__name__)


class ForwardedHeaders:
    """Applies forwarding headers to a WSGI environment, or removes them."""

    def __init__(self, networks: Iterable[str]) -> None:
        self.networks: list[IPv4Network | IPv6Network] = [
            ip_network(network) for network in networks
        ]
        # Whether an unknown proxy has been logged.
        self.has_warned = False

    def apply(self, environ: Environ) -> None:
        """Apply the forwarding headers of a known proxy; remove them from others.

        Only known proxies may state the client's address, each the address before it.
        Scheme and host are those at the first proxy. They concern the client's own
        browser only, so a false value misleads nobody else.
        """
        if not any(key in environ for key in HEADERS):
            return
        if not environ.get(THROUGH_SOCKET) and not self.knows(environ["REMOTE_ADDR"]):
            for key in HEADERS:
                environ.pop(key, None)
            return
        hops = forwarded_hops(environ)
        self.settle_address(environ, hops)
        if scheme := forwarded_scheme(environ, hops):
            environ["wsgi.url_scheme"] = scheme
        if host := forwarded_host(environ, hops):
            environ["HTTP_HOST"] = host

    def settle_address(self, environ: Environ, hops: list[dict[str, str]]) -> None:
        """Set the client's address: the last in the chain that is no known proxy's."""
        chain = environ.get(FORWARDED_FOR, "").split(",")
        if FORWARDED_FOR not in environ:
            chain = [hop.get("for", "") for hop in hops]
        for position in range(len(chain) - 1, -1, -1):
            try:
                address = plain_address(chain[position])
            except ValueError:
                return
            environ["REMOTE_ADDR"] = address
            if not self.knows(address):
                if position:
                    self.warn(address)
                return

    def knows(self, address: str) -> bool:
        """Return whether an address belongs to a proxy in the configuration."""
        if not self.networks:
            return False
        try:
            client = ip_address(address)
        except ValueError:
            return False
        return any(client in network for network in self.networks)

    def warn(self, address: str) -> None:
        """Log once that headers of an unknown proxy, or a forger, are ignored."""
        if not self.has_warned:
            self.has_warned = True
            logger.warning(
                "X-Forwarded-For from an address that HUB_TRUSTED_PROXIES does not "
                "name is not used; if a proxy of yours has this address, name it",
                address=address,
            )


def is_named_proxy(address: str) -> bool:
    """Return whether the operator has named an address as that of a front server."""
    try:
        client = ip_address(plain_address(address))
    except ValueError:
        return False
    named: list[str] = settings.TRUSTED_PROXIES or []
    return any(client in ip_network(network) for network in named)


def known_networks() -> list[str]:
    """Return the networks of known proxies.

    Without a setting and without the Unix socket, the proxy's machine from the
    configuration is used, or this machine for a proxy of a hosted class; and the
    proxies in front of that, as JupyterHub's setting names them.
    """
    named: list[str] | None = settings.TRUSTED_PROXIES
    if named is not None:
        return named
    return [*_networks_of_proxy(), *settings.HUB.trusted_downstream_ips]


def _networks_of_proxy() -> list[str]:
    """Return the addresses of the hub's proxy, if no socket identifies it."""
    if settings.PROXY_SOCKET:
        return []
    host = urlsplit(settings.HUB.proxy_api_url).hostname or "127.0.0.1"
    if settings.HUB.is_proxy_hosted:
        host = "127.0.0.1"
    if host in ("localhost", "127.0.0.1", "::1"):
        return ["127.0.0.1", "::1"]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(address[0]).partition("%")[0] for *_, address in found})


def forwarded_hops(environ: Environ) -> list[dict[str, str]]:
    """Read the header `Forwarded` (RFC 7239): the parameters that each hop added."""
    hops = []
    for hop in environ.get(FORWARDED, "").split(",") if FORWARDED in environ else ():
        found = (PARAMETER.fullmatch(part) for part in hop.split(";"))
        pairs = (match.groups() for match in found if match)
        hops.append({name.lower(): value.strip('"') for name, value in pairs})
    return hops


def forwarded_scheme(environ: Environ, hops: list[dict[str, str]]) -> str:
    """Return the scheme of the request to the outermost proxy, or nothing."""
    said = [hops[0].get("proto", "")] if hops else []
    said += [environ.get(key, "").partition(",")[0] for key in SCHEMES]
    schemes = (text.strip().lower() for text in said)
    return next((scheme for scheme in schemes if scheme in ("http", "https")), "")


def forwarded_host(environ: Environ, hops: list[dict[str, str]]) -> str:
    """Return the host of the request to the outermost proxy, or nothing."""
    said = [hops[0].get("host", "")] if hops else []
    said.append(environ.get(FORWARDED_HOST, "").partition(",")[0])
    hosts = (text.strip() for text in said)
    return next((host for host in hosts if HOST.fullmatch(host)), "")


def plain_address(text: str) -> str:
    """Return an address in its normal form, mapped IPv4 addresses as IPv4.

    A proxy that listens on IPv6 and IPv4 at once sees 10.0.0.1 as ::ffff:10.0.0.1,
    and in `Forwarded` an address may have brackets and a port.
    """
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    address = ip_address(text)
    return str(getattr(address, "ipv4_mapped", None) or address)
