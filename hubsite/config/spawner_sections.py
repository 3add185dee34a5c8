"""What the configured class of spawners makes of the sections of spawners.

The class is imported, which a start leaves to the controller, so only
`manage.py check_config` asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controller.spawners.classes import UnknownSpawner, load
from hubsite.config.hub_config import HubConfig
from hubsite.config.remarks import is_of_spawners

# A class that starts servers by other classes, whose sections then count.
WRAPPER = "WrapSpawner"
# Sections of a spawner's helpers, with the class that has such helpers.
HELPERS = {"Reflector": "KubeSpawner", "Pool": "KubeSpawner"}


def unread(hub: HubConfig) -> Iterator[tuple[str, str]]:
    """Yield what happens to settings that the class does not read, by their places."""
    try:
        spawner = load(_named(hub))
    except UnknownSpawner:
        return
    lineage = {each.__name__ for each in spawner.__mro__}
    for section, settings in hub.raw.items():
        helped = next((HELPERS[end] for end in HELPERS if section.endswith(end)), "")
        if not is_of_spawners(section) or {section, helped, WRAPPER} & lineage:
            continue
        for name in settings:
            yield (
                f"{section}.{name}",
                f"not read, as in JupyterHub: servers start by {spawner.__name__}",
            )


def remarks(hub: HubConfig) -> Iterator[str]:
    """Yield remarks on a class that can't be used, and on settings that it lacks."""
    try:
        spawner = load(_named(hub))
    except UnknownSpawner as error:
        yield f"c.JupyterHub.spawner_class: no server can start: {error}"
        return
    known = set(spawner.class_trait_names(config=True))
    lineage = {each.__name__ for each in spawner.__mro__}
    for section, settings in sorted(hub.raw.items()):
        if not is_of_spawners(section) or section not in lineage:
            continue
        for name in sorted(settings.keys() - known):
            yield (
                f"c.{section}.{name}: has no effect; {spawner.__name__} has no such "
                "setting"
            )


def _named(hub: HubConfig) -> Any:
    given = hub.raw.get("JupyterHub", {}).get("spawner_class")
    return given if isinstance(given, type) else hub.spawner_class
