"""Find the class of a spawner by its name, without importing it.

`c.JupyterHub.spawner_class` names an entry point of the group `jupyterhub.spawners`, in
whatever case, or a class by its import path.
"""

from __future__ import annotations

import importlib
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from typing import Any, Final

GROUP: Final = "jupyterhub.spawners"
# Known here, because a look at the installed packages takes a while.
BUILT_IN: Final = {
    "default": "jupyterhub.spawner.LocalProcessSpawner",
    "localprocess": "jupyterhub.spawner.LocalProcessSpawner",
    "simple": "jupyterhub.spawner.SimpleLocalProcessSpawner",
}


class UnknownSpawner(ValueError):
    """A spawner class that is not installed; the text lists the installed ones."""


def resolve(name: str) -> str:
    """Return the import path of an installed spawner class, by name or path.

    The class is not imported, so that a hub that starts no server does not pay for the
    import. So only the first start shows whether the module has such a class.
    """
    short = name.lower()
    if short in BUILT_IN:
        return BUILT_IN[short]
    if "." in name:
        module, _, _ = name.rpartition(".")
        if not _exists(module):
            raise UnknownSpawner(f"{name!r} is not installed: no module {module!r}")
        return name
    named = {each.name: each.value for each in entry_points(group=GROUP)} | BUILT_IN
    if short not in named:
        known = ", ".join(sorted(named))
        raise UnknownSpawner(
            f"no spawner of the name {name!r} is installed; there are {known}, "
            "or an import path"
        )
    return named[short].replace(":", ".")


def load(name: str | type) -> Any:
    """Return a spawner class; a name is imported."""
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
    """Tell whether there is a module, without importing any of its parents."""
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
