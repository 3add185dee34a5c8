"""Which class a spawner is, found without importing it.

`c.JupyterHub.spawner_class` names an entry point of the group `jupyterhub.spawners`,
or a class by its import path.
"""

from __future__ import annotations

import importlib
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from typing import Any, Final

GROUP: Final = "jupyterhub.spawners"
# Known without a look at what is installed, for that look takes a while.
BUILT_IN: Final = {
    "default": "jupyterhub.spawner.LocalProcessSpawner",
    "localprocess": "jupyterhub.spawner.LocalProcessSpawner",
    "simple": "jupyterhub.spawner.SimpleLocalProcessSpawner",
}


class UnknownSpawner(ValueError):
    """A spawner class that is not installed; the text says what there is."""


def resolve(name: str) -> str:
    """Return the import path of a spawner class that is there, by name or path.

    Nothing of the class is imported: a hub that starts no server need not pay for
    it. So whether its module has such a class, only the first start tells.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if "." in name:
        module, _, _ = name.rpartition(".")
        if not _exists(module):
            raise UnknownSpawner(f"{name!r} is not installed: no module {module!r}")
        return name
    named = {each.name: each.value for each in entry_points(group=GROUP)} | BUILT_IN
    if name not in named:
        known = ", ".join(sorted(named))
        raise UnknownSpawner(
            f"no spawner of the name {name!r} is installed; there are {known}, "
            "or an import path"
        )
    return named[name].replace(":", ".")


def load(name: str | type) -> Any:
    """Return a spawner class, imported if it is not one already."""
    if isinstance(name, type):
        return name
    path = resolve(name)
    module, _, attribute = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as problem:
        raise UnknownSpawner(f"{path} can't be imported: {problem}") from problem
    return found


def _exists(module: str) -> bool:
    """Say whether there is a module, without running any of its parents."""
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
