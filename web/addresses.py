"""The client's address and scheme, where a trusted proxy forwards the request.

`X-Forwarded-For`, `-Proto` and `-Host` can be written by anybody. They count when the
connection comes from an address in `settings.TRUSTED_PROXIES`, and are removed from
the request otherwise, so that no later code reads them by mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

Network = IPv4Network | IPv6Network

FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST")


class ForwardedHeaders:
    """Applies forwarding headers to a WSGI environment, or removes them."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self.trusted: list[Network] = [ip_network(network) for network in trusted]

    def apply(self, environ: dict[str, Any]) -> None:
        """Set the client's address and scheme from the headers of a trusted proxy."""
        if not any(key in environ for key in FORWARDED):
            return
        if not self.is_trusted(environ["REMOTE_ADDR"]):
            for key in FORWARDED:
                environ.pop(key, None)
            return
        # Each proxy appends the address that it saw, so the client is the last one
        # that isn't itself a trusted proxy.
        for hop in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            try:
                address = plain_address(hop)
            except ValueError:
                break
            environ["REMOTE_ADDR"] = address
            if not self.is_trusted(address):
                break
        scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").split(",")[0].strip()
        if scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme

    def is_trusted(self, address: str) -> bool:
        try:
            client = ip_address(address)
        except ValueError:
            return False
        return any(client in network for network in self.trusted)


def plain_address(text: str) -> str:
    """Return an address in its one spelling; IPv4 without the IPv6 prefix.

    A proxy that listens for IPv6 and IPv4 at once knows 10.0.0.1 as ::ffff:10.0.0.1.
    """
    address = ip_address(text.strip())
    return str(getattr(address, "ipv4_mapped", None) or address)
