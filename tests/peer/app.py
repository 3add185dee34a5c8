"""The stand-in for JupyterHub's application, and for a test's own `MockHub`."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import ClassVar
from urllib.parse import quote

import requests
from jupyterhub.tests.utils import add_user
from traitlets.config import Config

from tests.peer.hub import BridgeError, Hub
from tests.peer.standins.orm import Service, User
from tests.peer.standins.rows import Session, not_portable
from tests.peer.standins.servers import api, server_path

# The stand-in for the application that the running test is about.
current: SimpleNamespace = SimpleNamespace(app=None)

# Settings of the running application, and where a configuration file says them.
SETTINGS = {
    name: f"JupyterHub.{name}"
    for name in (
        *("allow_named_servers", "named_server_limit_per_user"),
        *("concurrent_spawn_limit", "active_server_limit"),
        *("api_page_default_limit", "api_page_max_limit"),
        *("token_expires_in_max_seconds", "authenticate_prometheus"),
        *("default_url", "shutdown_on_logout", "template_vars"),
    )
}
TORNADO = ("slow_spawn_timeout", "slow_stop_timeout")
IGNORED = {"admin_access"}

# Attributes of the application that are settings.
OF_APP = (
    "default_server_name",
    "user_redirect_hook",
    "use_legacy_stopped_server_status_code",
)
# Those of the authenticator that this hub knows.
OF_AUTHENTICATOR = (
    *("username_pattern", "admin_users", "allowed_users", "blocked_users"),
    *("username_map", "allow_all", "auto_login", "manage_groups", "manage_roles"),
    *("reset_managed_roles_on_startup", "enable_auth_state", "refresh_pre_spawn"),
    *("refresh_pre_stop", "auth_refresh_strict", "auth_refresh_age"),
)
UNKNOWN_TO_THE_HUB = {
    *("manage_roles", "reset_managed_roles_on_startup", "enable_auth_state"),
    *("refresh_pre_spawn", "refresh_pre_stop", "auth_refresh_strict"),
    *("auth_refresh_age", "auto_login"),
}
SPAWNERS = {
    f"jupyterhub.tests.mocking.{name}": f"tests.peer.spawners.{name}"
    for name in ("SlowSpawner", "InstrumentedSpawner")
}


class Authenticator:
    """What tests set of the authenticator; everything else they can't."""

    def __init__(self):
        self.__dict__["set"] = {}

    def __setattr__(self, name, value):
        if name == "auth_state":
            self.__dict__[name] = value
            return
        if name in UNKNOWN_TO_THE_HUB:
            not_portable(
                f"c.Authenticator.{name}, which this hub reports as having no effect"
            )
        if name not in OF_AUTHENTICATOR:
            not_portable(f"authenticator.{name} is replaced")
        self.set[name] = value

    def __getattr__(self, name):
        if name in self.__dict__["set"]:
            return self.__dict__["set"][name]
        if name in UNKNOWN_TO_THE_HUB:
            not_portable(
                f"c.Authenticator.{name}, which this hub reports as having no effect"
            )
        return not_portable(f"authenticator.{name}")


class Users:
    """The mapping of users, by id, name or row."""

    def __init__(self, app):
        self.app = app

    @property
    def settings(self):
        return self.app.tornado_settings

    def __getitem__(self, key):
        if isinstance(key, User):
            return key
        if isinstance(key, int):
            return User.of(self.app.peer, key)
        user = User.find(self.app.db, key)
        if user is None:
            raise KeyError(key)
        return user

    def __contains__(self, key):
        try:
            self[key]
        except KeyError:
            return False
        return True

    def delete(self, key):
        self.app.db.delete(self[key])

    def count_active_users(self):
        return self.app.peer.ask("counts")


class ServiceMap:
    """The services of the hub, by name."""

    def __init__(self, app):
        self.app = app

    def __contains__(self, name):
        return Service.find(self.app.db, name) is not None

    def __getitem__(self, name):
        service = Service.find(self.app.db, name)
        if service is None:
            raise KeyError(name)
        specs = {spec["name"]: spec for spec in self.app.services}
        if name in specs:
            service.spec = specs[name]
        return service

    def clear(self):
        """Forget objects; there are none."""


class App:
    """What the tests take for the running application."""

    subdomain_host = ""
    public_url = ""
    internal_ssl = False
    external_certs: ClassVar[dict] = {}
    db_query_count = 0
    default_server_name = ""
    user_redirect_hook = None
    use_legacy_stopped_server_status_code = False
    oauth_token_expires_in = 14 * 86400

    def __init__(self, folder: Path) -> None:
        self.peer = Hub(folder)
        self.peer.prepare = self.peer.on_demand = self.settle
        self.base_url = self.peer.base_url
        self.db = Session(self.peer)
        self.users = Users(self)
        self._service_map = ServiceMap(self)
        self.services: list[dict] = []
        self.service_tokens: dict[str, str] = {}
        self.authenticator = Authenticator()
        self.config = Config()
        self.config.Spawner = Config()
        self.log = logging.getLogger("peer")
        self.log.setLevel(logging.DEBUG)
        self.oauth_provider = SimpleNamespace(
            _validator=SimpleNamespace(require_pkce=False)
        )
        from jupyterhub.tests.mocking import MockSpawner

        self.tornado_settings: dict = {
            "spawner_class": MockSpawner,
            "allow_named_servers": False,
            "named_server_limit_per_user": 0,
            "login_url": f"{self.base_url}hub/login",
            "logout_url": f"{self.base_url}hub/logout",
            "oauth_no_confirm_list": set(),
        }
        hub_path = f"{self.base_url}hub/"
        self.hub = SimpleNamespace(
            url=self.peer.hub_url,
            base_url=hub_path,
            cookie_name="jupyterhub-hub-login",
            routespec=self.base_url,
        )
        self.proxy = Proxy(self)
        # What is looked at now and then is looked at when a test says so.
        still = SimpleNamespace(start=lambda: None, stop=lambda: None)
        self._periodic_callbacks = {"last_activity": still}
        self.hub_ip, self.hub_port = "127.0.0.1", self.peer.hub_port
        self.ip, self.port = "127.0.0.1", self.peer.port

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return not_portable(f"app.{name}")

    # The configuration

    def settle(self) -> None:
        config: dict[str, object] = {
            "Peer.control": str(self.peer.folder / "control"),
        }
        settings = self.tornado_settings
        if "authenticator" in settings:
            not_portable("an authenticator of the test's own")
        for name, value in settings.items():
            if name in SETTINGS:
                place = SETTINGS[name]
                config[place] = (
                    0 if value is None and name.startswith("token_") else value
                )
        # A machine on which others work must not make a start a slow one.
        tornado = {"slow_spawn_timeout": 60, "slow_stop_timeout": 60}
        tornado |= {key: settings[key] for key in TORNADO if key in settings}
        config["JupyterHub.tornado_settings"] = tornado
        if settings.get("allow_invalid_named_server_start", True) is False:
            config["JupyterHub.allow_existing_invalid_named_servers"] = "allow-delete"
        spawner = settings["spawner_class"]
        path = f"{spawner.__module__}.{spawner.__qualname__}"
        config["JupyterHub.spawner_class"] = SPAWNERS.get(path, path)
        for name in OF_APP:
            value = getattr(self, name)
            if value != getattr(App, name):
                config[f"JupyterHub.{name}"] = value
        for name, value in self.authenticator.set.items():
            if value is False and name == "manage_groups":
                continue
            config[f"Authenticator.{name}"] = value
        for name, value in self.config.Spawner.items():
            config[f"Spawner.{name}"] = value
        if self.proxy.extra_routes:
            config["ConfigurableHTTPProxy.extra_routes"] = self.proxy.extra_routes
        if self.oauth_provider._validator.require_pkce:
            config["JupyterHub.oauth_require_pkce"] = True
        declared = []
        for spec in self.services:
            if is_declared(spec):
                spec = dict(spec)
                client = spec.get("oauth_client_id") or f"service-{spec['name']}"
                if client in settings["oauth_no_confirm_list"]:
                    spec["oauth_no_confirm"] = True
                declared.append(spec)
        if declared:
            config["JupyterHub.services"] = declared
        config.update(self.extra)
        config.update(self.peer.__dict__.get("of_spawners", {}))
        if "Spawner.cmd" in config and os.geteuid() == 0:
            # Without this word, a real server refuses to be run by root.
            config["Spawner.args"] = ["--allow-root"]
        to_start = self.peer.__dict__.pop("to_start", {})
        if to_start or self.has_started:
            config["JupyterHub.allow_named_servers"] = True
            config["JupyterHub.tornado_settings"] = {"slow_spawn_timeout": 0.5}
            config["JupyterHub.spawner_class"] = "tests.peer.spawners.MockSpawner"
            self.has_started = True
        self.peer.config = config
        changes = self.peer.services_changed
        self.peer.settle()
        if declared and self.peer.services_changed != changes:
            self._wait_for_services(declared)
        for spawner in to_start.values():
            self._start(spawner)

    has_started = False

    def _wait_for_services(self, declared):
        """Wait until the services that the hub starts are there."""
        end = time.monotonic() + 120
        for spec in declared:
            service = Service.find(self.db, spec["name"])
            while "command" in spec and not service.pid and time.monotonic() < end:
                time.sleep(0.05)
            while "command" in spec and "url" in spec and time.monotonic() < end:
                try:
                    requests.get(
                        f"http://127.0.0.1:{self.peer.port}{service.prefix}env",
                        timeout=20,
                    ).raise_for_status()
                    break
                except requests.RequestException:
                    time.sleep(0.1)

    def _start(self, spawner):
        gated = spawner._control("gate").exists()
        path = server_path(spawner.user, spawner.name)
        requests.post(
            f"{self.peer.hub_url}api/{path}",
            headers={"Authorization": f"token {self.peer.admin_token()}"},
            timeout=100,
        ).raise_for_status()
        end = time.monotonic() + 90
        while not (spawner.ready or gated) and time.monotonic() < end:
            time.sleep(0.05)

    # What else a fixture has in the configuration.
    extra: Mapping[str, object] = MappingProxyType({})

    # Doings

    async def login_user(self, name):
        from jupyterhub.tests.mocking import MockHub

        cookies = await MockHub.login_user(self, name)
        if self.quotes_cookies:
            # The test takes the quotes away that Tornado puts around such a cookie.
            for cookie in cookies:
                if cookie.name == self.hub.cookie_name:
                    cookie.value = f'"{cookie.value}"'
        return cookies

    def tell_log(self):
        """Pass on what the hub has logged, to tests that look for it."""
        path = self.peer.folder / "hub.log"
        with path.open() as file:
            file.seek(self.log_read)
            for line in file.read().splitlines():
                if '"hubsite.access"' not in line and "[ConfigProxy]" not in line:
                    self.log.info(line)
            self.log_read = file.tell()

    quotes_cookies = False
    log_read = 0

    def session_factory(self):
        return self.db

    def init_services(self):
        """Make the services that the tests have listed."""
        restart = False
        before = self.peer.config.get("JupyterHub.services", [])
        for spec in self.services:
            if spec["name"] in {each["name"] for each in before}:
                # Declared once more, with less of it.
                spec.setdefault("info", {})
            if is_declared(spec):
                restart = True
                continue
            service = Service.find(self.db, spec["name"])
            if service is None:
                service = Service(name=spec["name"])
                service.flush(self.peer)
            self._bring_token(service, spec.get("api_token"))
        if restart:
            self.settle()

    async def init_api_tokens(self):
        for token, name in self.service_tokens.items():
            service = Service.find(self.db, name)
            if service is None:
                service = Service(name=name)
                service.flush(self.peer)
            self._bring_token(service, token)

    async def init_role_assignment(self):
        """Done when the hub started."""

    async def initialize(self, arguments):
        """Done when the hub starts."""

    async def start(self):
        await asyncio.to_thread(self.settle)
        add_user(self.db, name="admin", admin=True)

    def _bring_token(self, service, token):
        if token:
            try:
                self.peer.ask("adopt_token", service, token, "")
            except BridgeError as error:
                raise ValueError(str(error)) from error


def is_declared(spec):
    return bool(set(spec) - {"name", "api_token"})


class Proxy:
    """JupyterHub's client of the proxy, for the routes that the hub has made."""

    def __init__(self, app):
        self.app = app
        self.extra_routes: dict = {}
        self.public_url = f"http://127.0.0.1:{app.peer.port}{app.peer.base_url}"
        # A process of the hub's, if there is one, is not JupyterHub's object.
        self.proxy_process = None

    @property
    def api_url(self):
        return self.app.peer.ask("proxy")[0]

    @property
    def auth_token(self):
        return self.app.peer.ask("proxy")[1]

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return not_portable(f"app.proxy.{name}")

    def _call(self, method, path=""):
        return requests.request(
            method,
            f"{self.api_url}/api/routes{path}",
            headers={"Authorization": f"token {self.auth_token}"},
            timeout=60,
        )

    async def get_all_routes(self):
        self.app.settle()
        found = {}
        for path, data in self._call("GET").json().items():
            target = data.pop("target")
            if "jupyterhub" not in data:
                # Somebody else's, as JupyterHub has it.
                continue
            # The proxy tells of paths without their escapes.
            path = quote(path.rstrip("/") + "/", safe="@!:$&()*+,;=~-._/")
            found[path] = {
                "routespec": path,
                "target": target,
                "data": data,
            }
        return found

    async def delete_user(self, user, name=""):
        self._call("DELETE", user.server_url(name).rstrip("/"))

    async def add_user(self, user, name=""):
        """Done by the hub when a server is ready."""

    async def add_all_services(self, services):
        """Done by the hub when a service is declared, a moment after its start."""
        await self.check_routes({}, services)

    async def check_routes(self, users, services):
        self.app.settle()
        answer = await api(self.app.peer, "POST", "proxy")
        answer.raise_for_status()


class MockHub:
    """A hub that a test makes for itself, to see what its start does to the rows."""

    made: ClassVar[list[MockHub]] = []
    folder: Path
    KNOWN: ClassVar = {
        *("load_roles", "load_groups", "services", "service_tokens", "api_tokens"),
        *("custom_scopes", "db_url", "internal_certs_location"),
    }

    def __init__(self, **given):
        unknown = set(given) - self.KNOWN
        if unknown:
            not_portable(f"MockHub({', '.join(sorted(unknown))}=)")
        self.given = given
        folder = self.folder / f"own-{len(self.made)}"
        self.peer = Hub(folder, only_rows=True)
        self.peer.keeps_roles = False
        self.peer.on_demand = self.peer.settle
        self.db = Session(self.peer)
        self.authenticator = Authenticator()
        self.authenticator.set["admin_users"] = set()
        self.made.append(self)

    def __setattr__(self, name, value):
        if name in self.KNOWN:
            self.given[name] = value
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return not_portable(f"MockHub.{name}")

    def init_db(self):
        """Done when the hub starts."""

    async def init_role_creation(self):
        config = {
            f"JupyterHub.{name}": value
            for name, value in self.given.items()
            if name not in ("db_url", "internal_certs_location")
        }
        for name, value in self.authenticator.set.items():
            config[f"Authenticator.{name}"] = (
                set(value) if name.endswith("_users") else value
            )
        self.peer.config = config
        if self.peer.running and self.peer.is_changed:
            # What the test has changed is there when the next step is done.
            self.peer.stop()
        try:
            self.peer.settle()
        except RuntimeError as error:
            raise ValueError(str(error)[-500:]) from error

    init_users = init_role_creation
    init_groups = init_role_creation
    init_api_tokens = init_role_creation
    init_role_assignment = init_role_creation
    initialize = init_role_creation

    @classmethod
    def instance(cls, config):
        """Return an application with a proxy that somebody else starts."""
        app = App(cls.folder / f"own-{len(cls.made)}")
        cls.made.append(app)
        proxy = config.ConfigurableHTTPProxy
        app.peer.proxy_api = proxy.api_url
        app.extra = {
            "ConfigurableHTTPProxy.auth_token": proxy.auth_token,
            "ConfigurableHTTPProxy.should_start": proxy.should_start,
        }
        app.http_server = SimpleNamespace(stop=app.peer.end)
        return app

    @classmethod
    def clear_instance(cls):
        """Forget it; the end of the test does."""

    @classmethod
    def end_all(cls):
        for each in cls.made:
            each.peer.remove()
        cls.made.clear()
