"""Rows of the hub's database, and queries for them in SQLAlchemy's form."""

from __future__ import annotations

import base64

import pytest

from tests.peer.hub import BridgeError, Hub, Ref


def not_portable(what: str):
    """End the running test as one that asks for JupyterHub's inside."""
    pytest.skip(f"not portable: {what}")


# Queries


class Condition:
    def __init__(self, test):
        self.test = test


class BoundColumn:
    """`orm.User.name` as it stands in a query."""

    def __init__(self, model, name):
        self.model, self.name = model, name

    def __eq__(self, other):
        return Condition(lambda row: getattr(row, self.name) == other)

    def __ne__(self, other):
        return Condition(lambda row: getattr(row, self.name) != other)

    __hash__ = None

    def asc(self):
        return (self.name, False)

    def desc(self):
        return (self.name, True)


class Query:
    def __init__(self, db, model, tests=(), order=None):
        self.db, self.model, self.tests, self.sorting = db, model, tests, order

    def filter(self, *conditions):
        tests = (*self.tests, *(each.test for each in conditions))
        return Query(self.db, self.model, tests, self.sorting)

    def filter_by(self, **values):
        def test(row):
            return all(getattr(row, key) == value for key, value in values.items())

        return Query(self.db, self.model, (*self.tests, test), self.sorting)

    def order_by(self, order):
        return Query(self.db, self.model, self.tests, order)

    def all(self):
        rows = self.model.rows(self.db.hub)
        rows = [row for row in rows if all(test(row) for test in self.tests)]
        if self.sorting:
            name, down = self.sorting
            rows.sort(key=lambda row: getattr(row, name), reverse=down)
        return rows

    def __iter__(self):
        return iter(self.all())

    def first(self):
        return next(iter(self.all()), None)

    def one(self):
        (row,) = self.all()
        return row

    def one_or_none(self):
        rows = self.all()
        assert len(rows) < 2
        return rows[0] if rows else None

    def count(self):
        return len(self.all())


class Session:
    """The database session."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def query(self, model):
        return Query(self, model)

    def add(self, row):
        row.flush(self.hub)

    def add_all(self, rows):
        for row in rows:
            self.add(row)

    def delete(self, row):
        if row._id is not None and self.hub.ask("exists", row.kind, row._id):
            self.hub.ask("delete", row)

    def commit(self):
        pass

    rollback = flush = close = commit

    def refresh(self, row):
        pass

    expire = refresh

    def execute(self, statement):
        """Take the creation of a table by which locks are looked for."""


# Rows

KINDS: dict[str, type] = {}


def wrap(hub, value):
    """Return the stand-ins for what the bridge told."""
    if isinstance(value, Ref):
        return KINDS[value[0]].of(hub, value[1])
    if isinstance(value, list):
        return [wrap(hub, each) for each in value]
    if isinstance(value, dict):
        return {key: wrap(hub, each) for key, each in value.items()}
    return value


def with_bytes(value):
    """Undo how JSON keeps what was sent as a file."""
    if isinstance(value, dict):
        if value.get("__jupyterhub_bytes__"):
            return base64.b64decode(value["data"])
        return {key: with_bytes(each) for key, each in value.items()}
    return value


class Collection(list):
    """Rows that belong to a row; what is appended and removed here is so there."""

    def __init__(self, owner, name, rows):
        super().__init__(rows)
        self.owner, self.name = owner, name

    def append(self, row):
        row.flush(self.owner._hub)
        self.owner._hub.ask("join", self.owner, self.name, row)
        super().append(row)

    def extend(self, rows):
        for row in rows:
            self.append(row)

    def remove(self, row):
        if row not in self:
            raise ValueError(f"{row} not in {self.name}")
        self.owner._hub.ask("leave", self.owner, self.name, row)
        super().remove(row)


class Kind(type):
    """`orm.User.name` is a column."""

    def __getattr__(cls, name):
        if name in cls.__dict__.get("fields", ()):
            return BoundColumn(cls, name)
        raise AttributeError(name)


class Row(metaclass=Kind):
    kind = ""
    fields: frozenset[str] = frozenset()
    collections: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()

    def __init_subclass__(cls):
        KINDS[cls.kind] = cls

    def __init__(self, **values):
        object.__setattr__(self, "_hub", None)
        object.__setattr__(self, "_id", None)
        object.__setattr__(self, "_values", values)

    @classmethod
    def of(cls, hub, pk):
        known = hub.__dict__.setdefault("identities", {})
        row = known.get((cls.kind, pk))
        if row is None:
            row = cls()
            object.__setattr__(row, "_hub", hub)
            object.__setattr__(row, "_id", pk)
            known[cls.kind, pk] = row
        return row

    @classmethod
    def rows(cls, hub):
        return wrap(hub, hub.ask("rows", cls.kind))

    @property
    def peer_ref(self):
        if self._id is None:
            not_portable(f"a {self.kind} that is used before it is in the database")
        return (self.kind, self._id)

    def flush(self, hub):
        """Store a new row."""
        if self._id is not None:
            return
        ref = hub.ask("create", self.kind, self._values)
        self._stored(hub, ref[1])

    def _stored(self, hub, pk):
        object.__setattr__(self, "_hub", hub)
        object.__setattr__(self, "_id", pk)
        hub.__dict__.setdefault("identities", {})[self.kind, pk] = self

    def __getattr__(self, name):
        if name in self.collections or name in self.fields:
            if self._id is None:
                return self._values.get(name, [] if name in self.collections else None)
            try:
                value = wrap(self._hub, self._hub.ask("read", self, name))
                if name == "state" and value is None:
                    # No state is null here.
                    value = {}
                if name == "user_options":
                    value = with_bytes(value)
            except BridgeError as error:
                if error.kind == "DoesNotExist":
                    return [] if name in self.collections else self._seen.get(name)
                raise
            if name in self.collections:
                return Collection(self, name, value)
            self._seen[name] = value
            return value
        if name == "_seen":
            object.__setattr__(self, "_seen", {})
            return self._seen
        if name.startswith("__"):
            raise AttributeError(name)
        return not_portable(f"{self.kind}.{name}")

    def __delattr__(self, name):
        """Take back what a test has put into the place of a method."""
        self.__dict__.pop(name, None)

    def __setattr__(self, name, value):
        if name in self.own or isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        elif name not in self.fields and name not in self.collections:
            not_portable(f"{self.kind}.{name} is set")
        elif self._id is None:
            self._values[name] = value
        else:
            if isinstance(value, Row):
                value = value.orm_user if hasattr(type(value), "orm_user") else value
            self._hub.ask("write", self, name, value)

    def __repr__(self):
        return f"<{self.kind} {self._id}>"


class Named:
    @classmethod
    def find(cls, db, name):
        return wrap(db.hub, db.hub.ask("find", cls.kind, name))
