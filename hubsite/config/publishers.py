"""Trusted publishers in a configuration file: whose signed tokens the hub exchanges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from hubsite.config.values import dictionaries, in_order, line, listed

TEXTS = ("issuer", "audience", "subject", "user", "service", "jwks_url", "name")
KEYS = frozenset((*TEXTS, "claims", "scopes"))
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def publishers(value: Any) -> tuple[dict[str, Any], ...]:
    """Accept rules, each with an issuer, an audience, claims, an owner and scopes.

    `subject` becomes a pattern of the claim `sub`.
    """
    return tuple(publisher(declared) for declared in dictionaries(value))


def publisher(declared: Mapping[str, Any]) -> dict[str, Any]:
    rule = dict(declared)
    if unknown := set(rule) - KEYS:
        raise ValueError(f"the keys {listed(KEYS)}; one has {listed(unknown)}")
    for key in TEXTS:
        if key in rule:
            rule[key] = line(rule[key])
    for key in ("issuer", "audience", "scopes"):
        if not rule.get(key):
            raise ValueError(f"{key!r} in each trusted publisher")
    issuer = rule["issuer"]
    for address in (issuer, rule.get("jwks_url", issuer)):
        if not is_safe(address):
            raise ValueError(f"https addresses of publishers, not {address!r}")
    if bool(rule.get("user")) == bool(rule.get("service")):
        raise ValueError(f"either 'user' or 'service' for publisher {issuer!r}")
    claims = rule.get("claims", {})
    if not isinstance(claims, Mapping) or not all(
        isinstance(name, str) and isinstance(pattern, str | int | bool)
        for name, pattern in claims.items()
    ):
        raise ValueError(f"claims of publisher {issuer!r} as names and patterns")
    claims = dict(claims)
    if subject := rule.pop("subject", ""):
        claims["sub"] = subject
    # Otherwise everybody who has an account there could have a token.
    if not any(pattern not in ("", "*") for pattern in claims.values()):
        raise ValueError(f"a 'subject' or 'claims' for publisher {issuer!r}")
    rule["claims"] = claims
    rule["scopes"] = in_order(rule["scopes"])
    return rule


def is_safe(address: str) -> bool:
    """Return whether keys may be read there: by https, or from this machine."""
    parts = urlsplit(address)
    return bool(parts.hostname) and (
        parts.scheme == "https"
        or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    )
