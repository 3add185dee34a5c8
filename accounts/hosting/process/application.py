"""What JupyterHub gives to an authenticator class and its handlers.

One `Hosted` has an instance of the class and a tornado application with its handlers.
It belongs to one thread and its event loop (see `lanes`). Plugins that ask for a
database session get one of a private SQLite in memory with JupyterHub's tables, which
contain the facts that came with the current call.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlparse

import jinja2
from jupyterhub import orm
from jupyterhub._data import DATA_FILES_PATH
from jupyterhub.auth import Authenticator
from jupyterhub.handlers.login import LoginHandler, LogoutHandler
from jupyterhub.objects import Hub
from jupyterhub.user import User, UserDict
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import StaticPool
from tornado import web
from traitlets import Any as AnyTrait
from traitlets.config import Application, Config

log = logging.getLogger("hub.authenticator")
# Not registered, so that no configuration of logging gives it an output.
quiet = logging.Logger("quiet")
quiet.addHandler(logging.NullHandler())


class Repeated(logging.Filter):
    """Drops the log lines about settings that each further instance would repeat."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(self.thread, "is_repeating", False)


repeated = Repeated()
log.addFilter(repeated)


@dataclass(frozen=True)
class Place:
    """The hub's configuration and addresses, for a class that runs for the hub."""

    config: Config
    authenticator_class: Any
    base_url: str = "/"
    hub_ip: str = "127.0.0.1"
    hub_port: int = 8081
    hub_connect_url: str = ""
    public_url: str = ""
    subdomain_host: str = ""
    cookie_secret: bytes = field(default=b"", repr=False)
    settings: dict[str, Any] = field(default_factory=dict)


class KnownUser(User):
    """A user with the facts that the hub sent with the call.

    Auth state is neither encrypted nor stored here: the hub does that.
    """

    auth_state: Any = None
    user_info: Any = None
    # Whether the class or one of its handlers has saved auth state in this call.
    has_saved = False

    async def get_auth_state(self) -> Any:
        # A copy, because classes change what they get and then save the result.
        return deepcopy(self.auth_state)

    async def save_auth_state(self, auth_state: Any) -> None:
        self.auth_state = deepcopy(auth_state)
        self.has_saved = True


class KnownUsers(UserDict):
    """Users by id, name or row, as JupyterHub's handlers look them up."""

    def from_orm(self, orm_user: Any) -> Any:
        return KnownUser(orm_user, self.settings)


class JupyterHub(Application):
    """The application: parent of the class, with settings that classes read.

    The name is JupyterHub's because traitlets looks for settings by the names of an
    object's parents (`c.JupyterHub.LDAPAuthenticator`).
    """

    db: Any = AnyTrait()
    users: Any = AnyTrait()
    hub: Any = AnyTrait()
    authenticator: Any = AnyTrait()
    tornado_settings: Any = AnyTrait()
    tornado_application: Any = AnyTrait()
    template_paths: Any = AnyTrait()

    def __init__(self, place: Place, **kwargs: Any) -> None:
        # Most settings of the section are the hub's, and no traits of this object.
        super().__init__(log=quiet, **kwargs)
        self.place = place
        self.hosted: Any = None
        self.base_url = place.base_url
        self.hub_prefix = f"{place.base_url}hub/"
        self.subdomain_host = place.subdomain_host
        self.public_url = place.public_url
        self.log = log
        paths = self.config.JupyterHub.get("template_paths", [])
        self.template_paths = [*paths] if isinstance(paths, list | tuple) else []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"`app.{name}` is not available in this hub; available: authenticator, "
            "base_url, config, db, hub, hub_prefix, log, public_url, subdomain_host, "
            "template_paths, tornado_settings, users"
        )


# Tables of JupyterHub that get rows of a call.
FILLED = frozenset({"users", "groups", "user_group_map", "spawners"})


class NoStatistics:
    """Takes the figures of older releases of JupyterHub, and drops them."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self


@dataclass(frozen=True)
class Accounts:
    """Names of all accounts of the hub, for a class that admits all of them.

    `count` and `last` (the highest id) show whether the hub has the same accounts.
    """

    names: frozenset[str] = frozenset()
    count: int = -1
    last: int = -1


class Known:
    """What all lanes of the process share."""

    def __init__(self) -> None:
        self.accounts = Accounts()


class Hosted:
    """One instance of the class, with the application that answers for it."""

    def __init__(
        self, place: Place, authenticator_class: Any, known: Known | None = None
    ) -> None:
        self.place = place
        self.known = known or Known()
        self.app = JupyterHub(place, config=place.config)
        self.app.hosted = self
        self.app.db = self.db = session()
        self.app.hub = Hub(
            base_url=self.app.hub_prefix,
            ip=place.hub_ip,
            port=place.hub_port,
            connect_url=place.hub_connect_url,
            public_host=place.subdomain_host,
            routespec=self.app.hub_prefix,
        )
        self.authenticator = authenticator_class(
            parent=self.app, _deprecated_db_session=self.db
        )
        self.app.authenticator = self.authenticator
        self.settle_names()
        settings = self.settings()
        self.app.users = self.users = KnownUsers(lambda: self.db, settings)
        settings["users"] = self.users
        self.app.tornado_settings = settings
        self.application = web.Application(self.handlers(), **settings)
        self.app.tornado_application = self.application

    def settle_names(self) -> None:
        """Normalise configured names, as JupyterHub does at its start."""
        found = self.authenticator
        older = self.place.config.JupyterHub.get("admin_users")
        if older and not found.admin_users:
            found.admin_users = set(older)
        for place in ("admin_users", "allowed_users"):
            names = getattr(found, place)
            setattr(found, place, {found.normalize_username(name) for name in names})
        if found.allowed_users and found.admin_users:
            found.allowed_users |= found.admin_users
        self.configured = frozenset(found.allowed_users)
        self.accounts = Accounts()

    def admit_accounts(self) -> None:
        """Let people with an account in, if the class says so (`allow_existing_users`).

        As in JupyterHub, they are among `allowed_users` then.
        """
        accounts = self.known.accounts
        if self.authenticator.allow_existing_users and self.accounts is not accounts:
            self.authenticator.allowed_users = {*self.configured, *accounts.names}
            self.accounts = accounts

    @cached_property
    def own_handlers(self) -> list[tuple[Any, ...]]:
        """The class's handlers, with paths below the hub's prefix."""
        return [tuple(each) for each in self.authenticator.get_handlers(self.app)]

    @cached_property
    def authenticators(self) -> list[Any]:
        """The class's instance, and others that answer at paths of their own.

        A class that joins several gives each of its handlers the instance that the
        handler is of. All lanes have the same order.
        """
        found = [self.authenticator]
        for _, handler, *_ in self.own_handlers:
            own = getattr(handler, "authenticator", None)
            if isinstance(own, Authenticator) and all(own is not one for one in found):
                found.append(own)
        return found

    def number_of(self, authenticator: Any) -> int:
        """Return the place of an instance among `authenticators`; 0 if it has none."""
        numbers = enumerate(self.authenticators)
        return next((n for n, each in numbers if each is authenticator), 0)

    def saved_states(self) -> dict[str, Any]:
        """Return the auth state that was saved in this call, by the names of users."""
        return {
            user.name: user.auth_state for user in self.users.values() if user.has_saved
        }

    def handlers(self) -> list[Any]:
        prefix = self.app.hub_prefix.rstrip("/")
        # As in JupyterHub, the class's own handlers come before the others.
        default = [(r"/login", LoginHandler), (r"/logout", LogoutHandler)]
        return [
            (prefix + path if path.startswith("/") else f"{prefix}/{path}", *rest)
            for path, *rest in [*self.own_handlers, *default]
        ]

    def settings(self) -> dict[str, Any]:
        place, app = self.place, self.app
        prefix = app.hub_prefix
        public: Any = urlparse(place.public_url) if place.public_url else ""
        return {
            "app": app,
            "authenticator": self.authenticator,
            "base_url": place.base_url,
            "config": place.config,
            "cookie_secret": place.cookie_secret,
            "db": self.db,
            "default_url": "",
            "domain": public.hostname if public else "",
            "eventlog": None,
            "hub": app.hub,
            "jinja2_env": environment(app.template_paths, is_async=True),
            "jinja2_env_sync": environment(app.template_paths, is_async=False),
            "log": log,
            "log_function": lambda handler: None,
            "login_url": f"{prefix}login",
            "logout_url": self.authenticator.logout_url(prefix),
            "oauth_provider": None,
            "proxy": None,
            "public_url": public,
            "redirect_to_server": True,
            "services": {},
            "statsd": NoStatistics(),
            "static_path": os.path.join(DATA_FILES_PATH, "static"),
            "static_url_prefix": f"{prefix}static/",
            "subdomain_host": place.subdomain_host,
            "template_vars": {},
            "version_hash": "",
            # Forms of the hub's own page are checked by the hub.
            "xsrf_cookies": False,
            "xsrf_cookie_kwargs": {"path": prefix},
            **place.settings,
        }

    def put_users(self, facts: Iterable[dict[str, Any]]) -> None:
        """Replace the users of the private database by those of this call.

        Keys of a user: `name`, `admin`, `groups` (names), `auth_state`, `user_info`.
        """
        # What a plugin left behind in the call before belongs to nobody.
        self.db.rollback()
        self.db.expunge_all()
        self.users.clear()
        for table in reversed(orm.Base.metadata.sorted_tables):
            if table.name in FILLED:
                self.db.execute(table.delete())
        self.db.commit()
        for each in facts:
            self.put_user(each)

    def put_user(self, facts: dict[str, Any]) -> Any:
        """Add a user of this call; return what classes get as `user`."""
        row = orm.User(name=facts["name"], admin=bool(facts.get("admin")))
        self.db.add(row)
        for name in facts.get("groups") or ():
            group = orm.Group.find(self.db, name)
            if group is None:
                group = orm.Group(name=name)
                self.db.add(group)
            row.groups.append(group)
        self.db.commit()
        user = KnownUser(row, self.application.settings)
        user.auth_state = facts.get("auth_state")
        user.user_info = facts.get("user_info")
        dict.__setitem__(self.users, row.id, user)
        return user


def session() -> Any:
    """Return a session of an empty database with JupyterHub's tables."""
    engine = create_engine(
        "sqlite://",
        connect_args={"check_same_thread": False},
        poolclass=StaticPool,
    )
    orm.Base.metadata.create_all(engine)
    # As JupyterHub's own sessions, which keep what they have read.
    return sessionmaker(bind=engine, expire_on_commit=False)()


def environment(paths: list[str], *, is_async: bool) -> jinja2.Environment:
    """Return the templates of JupyterHub, after those of the site and of plugins."""
    base = os.path.join(DATA_FILES_PATH, "templates")
    loader = jinja2.ChoiceLoader(
        [
            jinja2.PrefixLoader({"templates": jinja2.FileSystemLoader([base])}, "/"),
            jinja2.FileSystemLoader([*paths, base]),
        ]
    )
    return jinja2.Environment(loader=loader, autoescape=True, enable_async=is_async)
