"""Find classes by the names that JupyterHub's settings give them, without an import.

A setting such as `c.JupyterHub.spawner_class` names an entry point of a group, in
whatever case, or a class by its import path.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from typing import Any


class UnknownClass(ValueError):
    """A class that is not installed; the text lists the installed ones."""


@dataclass(frozen=True)
class Kind:
    """Classes of one kind: its name, and its group of entry points.

    Those that are `built_in` are known without a look at the installed packages, which
    takes a while.
    """

    noun: str
    group: str
    built_in: Mapping[str, str]

    def resolve(self, name: str) -> str:
        """Return the import path of an installed class, by name or path.

        The class is not imported, so that a process that does not need the class does
        not pay for the import. So only the first use shows whether the module has such
        a class.
        """
        short = name.lower()
        if short in self.built_in:
            return self.built_in[short]
        if "." in name:
            module, _, _ = name.rpartition(".")
            if not _exists(module):
                raise UnknownClass(f"{name!r} is not installed: no module {module!r}")
            return name
        installed = {each.name: each.value for each in entry_points(group=self.group)}
        named = {**installed, **self.built_in}
        if short not in named:
            known = ", ".join(sorted(named))
            raise UnknownClass(
                f"no {self.noun} of the name {name!r} is installed; there are {known}, "
                "or an import path"
            )
        return named[short].replace(":", ".")

    def load(self, name: str | type) -> Any:
        """Return a class; a name is imported."""
        if isinstance(name, type):
            return name
        path = self.resolve(name)
        module, _, attribute = path.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as problem:
            raise UnknownClass(f"{path} can't be imported: {problem}") from problem
        return found


def _exists(module: str) -> bool:
    """Return whether there is a module, without importing any of its parents."""
    path: Any = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            return False
        path = spec.submodule_search_locations
        if path is None:
            break
    return True
