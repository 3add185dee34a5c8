"""The rights of one request, and the only module that compares scopes.

A scope without a filter reaches everything. A **filter** reaches the objects that match
it: a model declares in `scope_filters` which of its names are compared, and `allows`,
`limit` and `visible` all read that declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeVar

from django.db.models import CharField, F, Func, Q, Value

from scopes.caches import remembered
from scopes.definitions import INHERIT
from scopes.expansion import Identity, client_access, expand, identify
from scopes.grammar import RawScope
from scopes.refusals import Forbidden, NotFound
from scopes.visible_keys import TABLES

if TYPE_CHECKING:
    from django.db.models import Model, QuerySet

__all__ = [
    "EMPTY",
    "Access",
    "Identity",
    "Target",
    "View",
    "client_access",
    "expand",
    "identify",
    "token_access",
]

M = TypeVar("M", bound="Model")

# Filters by kind; an empty mapping reaches nothing, None reaches everything.
Filters = Mapping[str, frozenset[str]]
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Pairs(Collection[Pair]):
    """All pairs of some users and some groups, without listing them all."""

    users: frozenset[str]
    groups: frozenset[str]

    def __contains__(self, pair: object) -> bool:
        return (
            isinstance(pair, tuple)
            and len(pair) == 2
            and pair[0] in self.users
            and pair[1] in self.groups
        )

    def __iter__(self) -> Iterator[Pair]:
        return product(self.users, self.groups)

    def __len__(self) -> int:
        return len(self.users) * len(self.groups)


# Returns those of some (user, group) pairs that are memberships at this moment.
Members = Callable[[Pairs], Collection[Pair]]

_NOTHING: Final[Filters] = MappingProxyType({})

# Bytes of memory for cached accesses.
MEMORY: Final = 32_000_000


def _nobody(_pairs: Pairs) -> Collection[Pair]:
    return ()


@dataclass(frozen=True, slots=True)
class Target:
    """An object given by its names for filters, whether or not it exists.

    It may replace a model instance everywhere. `group` of a user or server are the
    groups of the user; a callable is called only if nothing else decides.
    """

    scope_filters: ClassVar[dict[str, str]] = {
        "user": "user",
        "server": "server",
        "service": "service",
        "group": "group",
    }

    user: str | None = None
    server: str | None = None
    service: str | None = None
    group: str | Collection[str] | Callable[[], Collection[str]] = ()


class View:
    """The visible keys of a model, computed once for many objects.

    `fixed` is the result for every object if filters do not matter, else None.
    """

    __slots__ = ("_answers", "_base", "_gate", "_groups", "fixed")

    def __init__(self, access: Access, table: str) -> None:
        definition = TABLES[table]
        self._base: frozenset[str] = frozenset()
        by_filters: dict[frozenset[tuple[str, frozenset[str]]], frozenset[str]] = {}
        for scope, keys in definition.grants().items():
            filters = access.reach(scope)
            if filters is None:
                self._base |= keys
            elif filters:
                same = frozenset(filters.items())
                by_filters[same] = by_filters.get(same, frozenset()) | keys
        self._groups: tuple[tuple[Filters, frozenset[str]], ...] = tuple(
            (dict(filters), keys)
            for filters, keys in by_filters.items()
            if not keys <= self._base
        )
        self._gate: Filters | None = (
            access.reach(definition.gate) if definition.gate else None
        )
        self.fixed: frozenset[str] | None = None
        if self._gate is not None and not self._gate:
            self.fixed = frozenset()
        elif self._gate is None and not self._groups:
            self.fixed = self._base

    def keys(self, obj: object) -> frozenset[str]:
        """Return the visible keys of `obj`; empty if the object is not visible."""
        if self.fixed is not None:
            return self.fixed
        if self._gate is not None and not _answers(obj, self._gate):
            return frozenset()
        shown = self._base
        for filters, keys in self._groups:
            if _answers(obj, filters):
                shown |= keys
        return shown


class Open(NamedTuple):
    """A scope that is held if the user is in any of the groups."""

    scope: str
    user: str
    groups: frozenset[str]


class Overlap(NamedTuple):
    """The intersection of two accesses.

    `scopes` are certain; those of `open` depend on memberships.
    """

    scopes: frozenset[str]
    open: tuple[Open, ...]

    @property
    def weight(self) -> int:
        """Return the estimated bytes of this object in memory."""
        return sum(200 + len(text) for text in self.scopes) + 300 * len(self.open)

    def settle(self, members: Members) -> Access:
        """Resolve `open` by asking for memberships, once and only if necessary."""
        return Access.of(self.settled(members))

    def settled(self, members: Members) -> frozenset[str]:
        """Return the scopes of `settle`, without caching an `Access`."""
        if not self.open:
            return self.scopes
        groups_of: dict[str, set[str]] = {}
        for user, group in members(pairs_of(self.open)):
            groups_of.setdefault(user, set()).add(group)
        return self.scopes.union(
            entry.scope
            for entry in self.open
            if not entry.groups.isdisjoint(groups_of.get(entry.user, ()))
        )


def pairs_of(entries: Iterable[Open]) -> Pairs:
    """Return the pairs whose memberships `entries` depend on."""
    entries = tuple(entries)
    groups = {id(entry.groups): entry.groups for entry in entries}
    return Pairs(
        frozenset(entry.user for entry in entries),
        frozenset().union(*groups.values()),
    )


class Access:
    """What one request may do.

    Built once from expanded scopes; every later question is answered from memory. Rows
    outside its reach behave as if they did not exist. Construct one with `of`, which
    returns the same object for the same scopes. Only scopes that a request asks for are
    constructed directly, because they may be refused and are not worth caching.
    """

    __slots__ = ("_hash", "_held", "_views", "scopes", "weight")

    scopes: frozenset[str]

    def __init__(self, expanded: frozenset[str]) -> None:
        scopes = _reduced(expanded)
        gathered: dict[str, dict[str, set[str]] | None] = {}
        for text in scopes:
            scope = RawScope.parse(text)
            if scope.kind is None:
                gathered[scope.name] = None
                continue
            found = gathered.setdefault(scope.name, {})
            if found is not None and scope.value:
                found.setdefault(scope.kind, set()).add(scope.value)
        held: dict[str, dict[str, frozenset[str]] | None] = {
            name: None
            if filters is None
            else {kind: frozenset(values) for kind, values in filters.items()}
            for name, filters in gathered.items()
        }
        # Most scopes of a principal share one filter, and thousands of accesses are
        # cached.
        shared: dict[object, dict[str, frozenset[str]] | None] = {None: None}
        for name, filters in held.items():
            same = None if filters is None else frozenset(filters.items())
            held[name] = shared.setdefault(same, filters)
        self._held = held
        self.scopes = scopes
        self._hash = hash(self.scopes)
        self._views: dict[str, View] = {}
        # Bytes, estimated: each scope is stored as text and in parts.
        self.weight = sum(map(len, scopes)) * 2 + 200 * len(scopes)

    @staticmethod
    def of(expanded: Iterable[str]) -> Access:
        """Return the access of `expanded` scopes, cached and without overlaps."""
        return _access(_reduced(frozenset(expanded)))

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Access) and self.scopes == other.scopes
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Access.of({sorted(self.scopes)})"

    # Questions

    def has(self, *scopes: str) -> bool:
        """Return whether any of `scopes` is held, with or without a filter."""
        return any(scope in self._held for scope in scopes)

    def reach(self, *scopes: str) -> Filters | None:
        """Return the filters of `scopes`: None reaches everything, {} nothing."""
        if len(scopes) == 1:
            return self._held.get(scopes[0], _NOTHING)
        union: dict[str, frozenset[str]] = {}
        for scope in scopes:
            filters = self._held.get(scope, _NOTHING)
            if filters is None:
                return None
            for kind, values in filters.items():
                union[kind] = union.get(kind, frozenset()) | values
        return union

    def allows(self, *scopes: str, obj: object = None) -> bool:
        """Return whether any of `scopes` reaches `obj`, a model instance or a `Target`.

        Without an object: whether any of them reaches everything.
        """
        filters = self.reach(*scopes)
        return filters is None or (obj is not None and _answers(obj, filters))

    def limit(self, *scopes: str, queryset: QuerySet[M]) -> QuerySet[M]:
        """Keep the rows that any of `scopes` reaches."""
        filters = self.reach(*scopes)
        if filters is None:
            return queryset
        condition = _condition(queryset.model, filters)
        return queryset.none() if condition is None else queryset.filter(condition)

    def view(self, table: str) -> View:
        """Return the visible keys for many objects of one kind."""
        view = self._views.get(table)
        if view is None:
            view = self._views[table] = View(self, table)
        return view

    def visible(self, table: str, obj: object) -> frozenset[str]:
        """Return the visible keys of `obj`; empty if the object is not visible."""
        return self.view(table).keys(obj)

    def limit_shown(self, table: str, key: str, queryset: QuerySet[M]) -> QuerySet[M]:
        """Keep the rows in which this key is visible.

        Filtering rows by a key reveals the key's value in each of them.
        """
        return self.limit(*TABLES[table].keys[key], queryset=queryset)

    # Checks at the edges (API, page, admin, command line)

    def require(self, *scopes: str) -> None:
        """Refuse unless any of `scopes` is held without a filter.

        For actions without a single object: reading the hub's details, creating users
        in bulk.
        """
        if not self.allows(*scopes):
            raise _refusal(scopes)

    def require_for(self, obj: object, *scopes: str) -> None:
        """Refuse unless any of `scopes` reaches `obj`, which the URL names.

        A caller whose scope reaches other objects only gets the response for a missing
        object, so that names can't be probed. So call this before looking up the
        object.
        """
        if not self.has(*scopes):
            raise _refusal(scopes)
        if not self.allows(*scopes, obj=obj):
            raise NotFound("No access to resources or resources not found")

    def require_list(self, *scopes: str, model: type[Model]) -> None:
        """Refuse unless any of `scopes` can reach rows of `model`."""
        filters = self.reach(*scopes)
        if filters is not None and not any(
            kind in filters for kind, _ in _lookups(model)
        ):
            raise _refusal(scopes)

    # Algebra

    def joined(self, expanded: Iterable[str]) -> Access:
        """Return an access with more scopes, as `/user` adds the identify scopes."""
        return Access.of(self.scopes.union(expanded))

    def overlap(self, other: Access) -> Overlap:
        """Return the intersection of both, with memberships left open."""
        return _overlap(self, other)

    def intersect(self, other: Access, members: Members = _nobody) -> Access:
        """Return the intersection of both.

        `members` is called, once, only if a user or server of one side might be in a
        group of the other.
        """
        return _overlap(self, other).settle(members)

    def lacking(
        self, expanded: Iterable[str], members: Members = _nobody
    ) -> frozenset[str]:
        """Return those of `expanded` that this access does not fully reach."""
        wanted = Access(frozenset(expanded))
        return wanted.scopes - wanted.overlap(self).settled(members)

    def covers(self, expanded: Iterable[str], members: Members = _nobody) -> bool:
        """Return whether this access reaches everything that `expanded` would."""
        return not self.lacking(expanded, members)

    def may_hand_out(
        self,
        expanded: Callable[[], Iterable[str]],
        by: str,
        members: Members = _nobody,
    ) -> bool:
        """Return whether the scope `by` may be used to give somebody all of `expanded`.

        Without a filter it may, because launchers issue tokens for everybody. With a
        filter it may not give more than its holder has. Otherwise the leader of a group
        could add an administrator to the group and act as that administrator.
        """
        return self.reach(by) is None or self.covers(expanded(), members)


def token_access(
    raws: Iterable[str],
    owner: Access,
    identity: Identity,
    client: Identity | None = None,
    members: Members = _nobody,
) -> Access:
    """Return the access of a token: its own scopes, limited by its owner's current
    ones.

    `identity` is the owner's. Scopes that the owner has lost are dropped from the token
    silently. `members` is not called for the owner, whose groups are known.
    """
    return token_overlap(raws, owner, identity, client).settle(members)


def token_overlap(
    raws: Iterable[str],
    owner: Access,
    identity: Identity,
    client: Identity | None = None,
) -> Overlap:
    """Return the access of a token, with memberships of others left open."""
    written = frozenset(raws)
    if INHERIT in written:
        return Overlap(owner.scopes, ())
    own = expand(written, identity, client) | identify(identity)
    if client is not None:
        own |= client_access(client)
    common = Access(own).overlap(owner)
    if identity.kind != "user" or not common.open:
        return common
    held = {
        entry.scope
        for entry in common.open
        if entry.user == identity.name and not entry.groups.isdisjoint(identity.groups)
    }
    others = (entry for entry in common.open if entry.user != identity.name)
    return Overlap(common.scopes | held, tuple(others))


def cut_down(
    wanted: Mapping[str, frozenset[str]], owner: Access, members: Members
) -> set[str]:
    """Limit raw scopes to what `owner` reaches, and keep them raw where possible.

    `wanted` maps each of them to its expanded scopes. `members` is called once for all.
    """
    overlaps = {raw: Access(texts).overlap(owner) for raw, texts in wanted.items()}
    asked = pairs_of(entry for common in overlaps.values() for entry in common.open)
    found = frozenset(members(asked)) if asked else frozenset()
    held: set[str] = set()
    for raw, common in overlaps.items():
        kept = common.settled(lambda _pairs: found)
        if _reduced(wanted[raw]) <= kept:
            held.add(raw)
        else:
            held |= kept
    return held


def _reduced(expanded: frozenset[str]) -> frozenset[str]:
    """Remove filtered scopes that are also held without a filter."""
    idle = {
        text for text in expanded if "!" in text and text.partition("!")[0] in expanded
    }
    return expanded - idle if idle else expanded


@remembered(MEMORY, lambda access: access.weight)
def _access(scopes: frozenset[str]) -> Access:
    return Access(scopes)


EMPTY: Final = Access.of(())


def _refusal(scopes: tuple[str, ...]) -> Forbidden:
    return Forbidden(
        "Action is not authorized with current scopes; requires any of"
        f" [{', '.join(scopes)}]"
    )


def _overlap(one: Access, other: Access) -> Overlap:
    certain: set[str] = set()
    possible: list[Open] = []
    for name, filters in one._held.items():
        if name not in other._held:
            continue
        others = other._held[name]
        if filters is None or others is None:
            certain |= _written(name, others if filters is None else filters)
            continue
        for kind, values in filters.items():
            for value in values & others.get(kind, frozenset()):
                certain.add(f"{name}!{kind}={value}")
        for left, right in ((filters, others), (others, filters)):
            users = left.get("user", frozenset())
            for server in right.get("server", frozenset()):
                if server.partition("/")[0] in users:
                    certain.add(f"{name}!server={server}")
            groups = right.get("group")
            if not groups:
                continue
            for user in users:
                possible.append(Open(f"{name}!user={user}", user, groups))
            for server in left.get("server", frozenset()):
                owner = server.partition("/")[0]
                possible.append(Open(f"{name}!server={server}", owner, groups))
    return Overlap(
        frozenset(certain),
        tuple(entry for entry in possible if entry.scope not in certain),
    )


def _written(name: str, filters: Filters | None) -> set[str]:
    if filters is None:
        return {name}
    return {
        f"{name}!{kind}={value}" for kind, values in filters.items() for value in values
    }


# Matching of filters and objects. A declaration such as `user__groups__name` is the
# lookup of a queryset and the path through attributes at once; one such as
# `user__name/name` joins two names in the same way as the filter's value.

Path = tuple[str, ...]


@lru_cache(maxsize=256)
def _lookups(declaring: type[Any]) -> tuple[tuple[str, tuple[Path, ...]], ...]:
    """Parse a class's declaration, with the costly kind last."""
    declared: dict[str, str] = getattr(declaring, "scope_filters", {})
    return tuple(
        (kind, tuple(tuple(part.split("__")) for part in lookup.split("/")))
        for kind, lookup in sorted(
            declared.items(), key=lambda item: item[0] == "group"
        )
    )


def _answers(obj: object, filters: Filters) -> bool:
    """Return whether `obj` matches any of `filters`."""
    # Not type(obj), because `request.user` is a lazy object that wraps a user.
    declaring: Any = obj.__class__
    for kind, paths in _lookups(declaring):
        values = filters.get(kind)
        if values and any(name in values for name in _names(obj, paths)):
            return True
    return False


def _names(obj: object, paths: tuple[Path, ...]) -> Iterator[str]:
    if len(paths) == 1:
        yield from _follow(obj, paths[0])
        return
    parts = [next(_follow(obj, path), None) for path in paths]
    if None not in parts:
        yield "/".join(str(part) for part in parts)


def _follow(value: Any, path: Path) -> Iterator[str]:
    if value is None:
        return
    if path:
        value = getattr(value, path[0])
        path = path[1:]
        if value is not None and hasattr(value, "all"):
            for each in value.all():
                yield from _follow(each, path)
        else:
            yield from _follow(value, path)
        return
    if callable(value):
        value = value()
    if isinstance(value, str):
        yield value
    else:
        yield from value


def _condition(model: type[Model], filters: Filters) -> Q | None:
    """Return the condition for rows that match `filters`; None for no row."""
    condition: Q | None = None
    for kind, paths in _lookups(model):
        values = filters.get(kind)
        if not values:
            continue
        found = (
            _is_one_of(model, paths[0], values)
            if len(paths) == 1
            else _is_joined(model, paths, values)
        )
        condition = found if condition is None else condition | found
    return condition


def _is_one_of(model: type[Model], path: Path, values: frozenset[str]) -> Q:
    found = Q(**{f"{'__'.join(path)}__in": sorted(values)})
    if not _leads_to_many(model, path):
        return found
    # A join over members would return a row once for each matching group.
    return Q(pk__in=model._base_manager.filter(found).values("pk"))


def _is_joined(
    model: type[Model], paths: tuple[Path, ...], values: frozenset[str]
) -> Q:
    # Rows with the first name come from an index; the joined names are compared for
    # those rows only. One condition for each value would be more than SQLite allows.
    first, *rest = ("__".join(path) for path in paths)
    owners = sorted({value.partition("/")[0] for value in values})
    parts = [F(first), *(part for name in rest for part in (Value("/"), F(name)))]
    joined = Func(
        *parts,
        template="(%(expressions)s)",
        arg_joiner=" || ",
        output_field=CharField(),
    )
    rows = model._base_manager.alias(joined_names=joined).filter(
        **{f"{first}__in": owners, "joined_names__in": sorted(values)}
    )
    return Q(pk__in=rows.values("pk"))


def _leads_to_many(model: type[Model], path: Path) -> bool:
    current: Any = model
    for part in path:
        field = current._meta.get_field(part)
        if field.many_to_many or field.one_to_many:
            return True
        current = field.related_model
    return False
