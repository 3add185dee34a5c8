"""Reads settings by section and name; sections inherit as traitlets' classes do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from traitlets.config.loader import Config, LazyConfigValue

from controller.classes import UnknownClass
from controller.proxy import classes as proxies
from controller.spawners import classes as spawners
from hubsite.config import authenticators, native, remarks
from hubsite.config.file import ConfigError
from hubsite.config.hub_config import HubConfig, declared_places
from hubsite.config.roles import roles
from hubsite.config.services import services
from hubsite.config.values import folders, names

# Sections from which others inherit, nearest first.
LINEAGES = (("JupyterHub", "Application"), ("ConfigurableHTTPProxy", "Proxy"))


class Reader:
    """Returns the values of a file, and keeps track of unused ones."""

    def __init__(self, file: Config) -> None:
        self.file = file
        self.taken: set[str] = set()
        # Remarks on settings of which one makes another one ineffective.
        self.contradictions: list[str] = []
        self.way_in = authenticators.find(
            self.first("JupyterHub.authenticator_class", None), file
        )

    def first(self, place: str, default: Any = None) -> Any:
        """Return the value at `Section.name`, and mark it as used.

        Sections inherit as classes do: the nearest one that has a value wins, and
        changes such as `.add()` are made to the value of the next one.
        """
        section, _, name = place.partition(".")
        value = None
        for each in reversed(self.lineage(section)):
            if each not in self.file or name not in self.file[each]:
                continue
            self.taken.add(f"{each}.{name}")
            found = self.file[each][name]
            if isinstance(found, LazyConfigValue):
                # Merging changes its operands, so the file's own value is read again.
                found = copy.deepcopy(found)
                if value is not None:
                    found = found.merge_into(value)
            value = found
        return default if value is None else value

    def lineage(self, section: str) -> tuple[str, ...]:
        """Return the sections that this one inherits from, nearest first."""
        if section == native.SECTION and not self.way_in.is_native:
            return ()
        if section.endswith("Authenticator"):
            return self.way_in.lineage
        return next((each for each in LINEAGES if section in each), (section,))

    def spelt(self, place: str) -> str:
        """Return the place in the file of the value for `Section.name`."""
        section, _, name = place.partition(".")
        for each in self.lineage(section):
            if each in self.file and name in self.file[each]:
                return f"{each}.{name}"
        return place

    def take(
        self, places: Sequence[str], accepts: Callable[[Any], Any], empty: Any
    ) -> Any:
        """Return the value at the first of several places that has one.

        An empty list of names gives way to that of an older setting, as in JupyterHub.
        """
        outcome = None
        for place in places:
            value = self.first(place)
            if value is None:
                continue
            if isinstance(value, LazyConfigValue):
                # `c.Authenticator.admin_users.add("ada")`: changes to the default.
                if accepts in (services, roles, folders):
                    empty = []
                elif accepts is names:
                    empty = set()
                value = value.get_value(empty)
            try:
                checked = accepts(value)
            except ValueError as error:
                raise ConfigError(f"c.{self.spelt(place)}: expected {error}") from None
            if outcome is None or outcome == frozenset():
                outcome = checked
        return outcome

    def remarks(self, hub: HubConfig) -> tuple[str, ...]:
        """Return remarks on all unused settings, with what to do instead."""
        given = self.file.get("JupyterHub", {})
        own = [*_sections_of_class(given.get("spawner_class") or hub.spawner_class)]
        if hub.is_proxy_hosted:
            own += _sections_of_class(given.get("proxy_class") or hub.proxy_class)
            own += remarks.sections_of_proxies(self.file)
        return (
            *(
                native.of_others(self.way_in.named or self.way_in.short, self.taken)
                if self.way_in.short != "local"
                else ()
            ),
            *(
                native.of_subclass(self.first("JupyterHub.authenticator_class"))
                if self.way_in.is_native
                else ()
            ),
            *remarks.of_groups(hub.load_groups),
            *self.contradictions,
            *remarks.of_scopes(hub.custom_scopes, hub.load_roles),
            *remarks.of_pages(
                hub.template_vars, hub.template_paths, hub.jinja_environment_options
            ),
            *remarks.of_answers(hub.tornado_settings, is_hosted=hub.is_hosted),
            *remarks.unused(
                self.file,
                self.taken,
                declared_places(),
                way_in=self.way_in,
                hosted=own,
                keeps_auth_state=hub.enable_auth_state,
            ),
        )


def _sections_of_class(value: Any) -> tuple[str, ...]:
    """Return the sections that a class reads, as far as they are known."""
    if isinstance(value, type):
        return tuple(each.__name__ for each in value.__mro__)
    return (str(value).replace(":", ".").rpartition(".")[2],)


def spawner_class(reader: Reader) -> str:
    """Return the import path of the spawner class."""
    return _class_at(reader, "JupyterHub.spawner_class", spawners.resolve)


def proxy_class(reader: Reader) -> str:
    """Return the import path of the class of proxies."""
    return _class_at(reader, "JupyterHub.proxy_class", proxies.resolve)


def _class_at(reader: Reader, place: str, resolve: Callable[[str], str]) -> str:
    value = reader.first(place, "default")
    if isinstance(value, type):
        # A class is imported already; the file itself may define it.
        return f"{value.__module__}.{value.__qualname__}"
    try:
        return resolve(str(value).replace(":", "."))
    except UnknownClass as error:
        raise ConfigError(f"c.{place}: {error}") from None
