"""The classes of spawners, by the names in `c.JupyterHub.spawner_class`."""

from __future__ import annotations

from typing import Final

from controller.classes import Kind, UnknownClass

BUILT_IN: Final = {
    "default": "jupyterhub.spawner.LocalProcessSpawner",
    "localprocess": "jupyterhub.spawner.LocalProcessSpawner",
    "simple": "jupyterhub.spawner.SimpleLocalProcessSpawner",
}
UnknownSpawner = UnknownClass

_KIND = Kind("spawner", "jupyterhub.spawners", BUILT_IN)
resolve, load = _KIND.resolve, _KIND.load
