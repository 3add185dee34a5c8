"""Conditions about addresses within networks, on both databases.

PostgreSQL has a type for addresses. SQLite has none: connections there have the
function `within_networks`, which remembers what it computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

from django.db import connection
from django.db.models import BooleanField, F, Func, Q

Network = IPv4Network | IPv6Network

# The name of the function in SQLite, and texts that PostgreSQL can read as an address.
FUNCTION: Final = "within_networks"
_ADDRESS_WITHIN: Final = (
    "(CASE WHEN {0} ~ %s THEN {0}::inet <<= %s::inet ELSE false END)"
)
# The list is null for most rows; a JSON null is no list.
_ANY_LISTED: Final = (
    "EXISTS (SELECT 1 FROM jsonb_array_elements_text(CASE WHEN jsonb_typeof({0})"
    " = 'array' THEN {0} ELSE '[]' END) AS each(value)"
    " WHERE {1}each.value::inet <<= ANY (%s::inet[]))"
)
ADDRESS: Final = r"^([0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)(/[0-9]+)?$"


def address_within(column: str, network: Network) -> Q:
    """Match rows whose column has an address in a network."""
    if connection.vendor == "postgresql":
        return Q(_Condition(column, _ADDRESS_WITHIN, [ADDRESS, str(network)]))
    if isinstance(network, IPv4Network) and network.prefixlen in (0, 8, 16, 24):
        # Whole parts of an address are compared as text, which is fast.
        whole = {f"{column}__startswith": _beginning(network)}
        return Q(**whole, **{f"{column}__contains": "."}) & ~Q(
            **{f"{column}__contains": ":"}
        )
    # The text of an address begins with whole parts of its network, so that few
    # addresses are left for the function.
    return Q(**{f"{column}__startswith": _beginning(network)}) & Q(
        _Condition(column, f"{FUNCTION}({{0}}, %s)", [str(network)])
    )


def any_listed_within(column: str, networks: Sequence[str]) -> Q:
    """Match rows whose column, a JSON list of networks, has one within these."""
    return _any_listed(column, networks, "")


def any_listed_outside(column: str, networks: Sequence[str]) -> Q:
    """Match rows whose column, a JSON list of networks, has one outside of these."""
    return _any_listed(column, networks, "NOT ")


def _any_listed(column: str, networks: Sequence[str], negated: str) -> Q:
    listed = Q(**{f"{column}__isnull": False})
    if connection.vendor == "postgresql":
        sql = _ANY_LISTED.format("{0}", negated)
        return listed & Q(_Condition(column, sql, [list(networks)]))
    sql = (
        "EXISTS (SELECT 1 FROM json_each({0}) AS each"  # noqa: S608 - words of ours
        f" WHERE {negated}{FUNCTION}(each.value, %s))"
    )
    return listed & Q(_Condition(column, sql, [" ".join(networks)]))


class _Condition(Func):
    """A condition about one column, for which `{0}` stands in the SQL."""

    output_field = BooleanField()
    conditional = True

    def __init__(self, column: Any, sql: str, parameters: list[Any]) -> None:
        super().__init__(F(column) if isinstance(column, str) else column)
        self.sql, self.parameters = sql, parameters

    def as_sql(  # type: ignore[override]
        self, compiler: Any, connection: Any, **context: Any
    ) -> Any:
        column, own = compiler.compile(self.get_source_expressions()[0])
        return self.sql.replace("{0}", column), [*own, *self.parameters]


@lru_cache(maxsize=65_536)
def is_within(text: str, networks: str) -> bool:
    """Return whether an address or a network is within one of some, given as a text."""
    return any(_is_in(text, each) for each in _parsed(networks))


def _is_in(text: str, outer: Network) -> bool:
    try:
        if "/" not in text:
            return ip_address(text) in outer
        inner = ip_network(text, strict=False)
    except ValueError:
        return False
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network):
        return inner.subnet_of(outer)
    return False


@lru_cache(maxsize=256)
def _parsed(networks: str) -> tuple[Network, ...]:
    return tuple(ip_network(each) for each in networks.split())


def _beginning(network: Network) -> str:
    """Return the beginning that the texts of all addresses in a network have."""
    if isinstance(network, IPv4Network):
        whole = str(network.network_address).split(".")[: network.prefixlen // 8]
        return "".join(f"{part}." for part in whole[:3])
    if network.prefixlen < 16:
        return ""
    # Zeros at the start may be left out, so only the first part is certain.
    first = network.network_address.exploded.partition(":")[0].lstrip("0")
    return f"{first}:" if first else ""
