"""The networks from which a token may be used, as lists of CIDR."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, Final

from scopes.refusals import Forbidden, Invalid
from web.addresses import plain_address

MOST: Final = 64

Network = IPv4Network | IPv6Network


class WrongNetwork(Forbidden):
    """A token was presented from an address outside its networks."""


def check_networks(values: Any) -> list[str] | None:
    """Return networks as they are stored, or refuse them; null is no limit."""
    if values is None:
        return None
    if not isinstance(values, list | tuple):
        raise Invalid('networks must be null or a list such as ["192.0.2.0/24"]')
    if not values:
        raise Invalid("Without any network nobody could use the token: leave them out")
    if len(values) > MOST:
        raise Invalid(f"{len(values)} networks are too many: at most {MOST}")
    return list(dict.fromkeys(str(_parsed(value)) for value in values))


def contains(networks: Sequence[str], address: str) -> bool:
    """Return whether an address is in one of the networks."""
    found = _address(address)
    return found is not None and any(
        found in network for network in _networks(tuple(networks))
    )


def covers(outer: Sequence[str] | None, inner: Sequence[str] | None) -> bool:
    """Return whether all addresses of `inner` are in `outer`; null is all addresses."""
    if outer is None:
        return True
    if inner is None:
        return False
    return all(
        any(_is_within(one, other) for other in _networks(tuple(outer)))
        for one in _networks(tuple(inner))
    )


def overlap(one: Sequence[str] | None, other: Sequence[str] | None) -> list[str] | None:
    """Return the networks that are in both lists; null is all addresses."""
    if one is None or other is None:
        known = other if one is None else one
        return None if known is None else list(known)
    common: list[str] = []
    for mine in _networks(tuple(one)):
        for theirs in _networks(tuple(other)):
            if _is_within(mine, theirs):
                common.append(str(mine))
            elif _is_within(theirs, mine):
                common.append(str(theirs))
    return list(dict.fromkeys(common))


def require(networks: Sequence[str], address: str) -> None:
    """Raise `WrongNetwork` unless the address is in one of the networks.

    Only who has the right secret gets this message.
    """
    if contains(networks, address):
        return
    raise WrongNetwork(
        f"This token may be used from {listed(networks)} only, and this request comes"
        f" from {address or 'an unknown address'}. Its owner can change its networks."
    )


def listed(networks: Collection[str]) -> str:
    """Return networks as a short text."""
    some = list(networks)[:5]
    more = len(networks) - len(some)
    return ", ".join(some) + (f" and {more} more" if more else "") or "nowhere"


@lru_cache(maxsize=4096)
def network_around(address: str) -> str:
    """Return the network of an address, a /24 or a /48; empty if there is none."""
    found = _address(address)
    if found is None:
        return ""
    length = 24 if isinstance(found, IPv4Address) else 48
    return str(ip_network(f"{found}/{length}", strict=False))


def _parsed(value: Any) -> Network:
    if not isinstance(value, str) or len(value) > 64:
        raise Invalid("A network is a text such as 192.0.2.0/24 or 2001:db8::/32")
    try:
        return ip_network(value.strip())
    except ValueError:
        pass
    try:
        meant = ip_network(value.strip(), strict=False)
    except ValueError:
        raise Invalid(
            f"{value!r} is no network: write one as 192.0.2.0/24 or 2001:db8::/32"
        ) from None
    raise Invalid(f"{value!r} is an address within a network: write {meant}")


@lru_cache(maxsize=1024)
def _networks(values: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(value) for value in values)


@lru_cache(maxsize=4096)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(plain_address(text).partition("%")[0])
    except ValueError:
        return None


def _is_within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network):
        return inner.subnet_of(outer)
    return False
