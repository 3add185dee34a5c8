"""Find the authenticator class that a configuration names."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any, Final

GROUP: Final = "jupyterhub.authenticators"
DEFAULT: Final = "pam"


class UnknownClass(Exception):
    """A class that can't be imported; the text says why."""


def load_class(value: Any) -> Any:
    """Return a class by its entry point or import path, or the class itself.

    As in JupyterHub, a short name may have capitals. A path may have `:` before the
    name of the class.
    """
    if isinstance(value, type):
        return value
    name = str(value or DEFAULT)
    named = {each.name.lower(): each for each in entry_points(group=GROUP)}
    try:
        if found := named.get(name.lower()):
            return found.load()
        module, _, attribute = name.replace(":", ".").rpartition(".")
        if not module:
            known = ", ".join(sorted(named))
            raise UnknownClass(
                f"no authenticator of the name {name!r} is installed; there are "
                f"{known}, or an import path"
            )
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as problem:
        raise UnknownClass(f"{name!r} can't be imported: {problem}") from problem
