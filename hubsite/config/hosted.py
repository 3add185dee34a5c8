"""The effects of the classes and functions that a configuration names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.spawners.classes import BUILT_IN
from hubsite.config import spawner_sections
from hubsite.config.hub_config import HubConfig

# Functions of spawners, which JupyterHub's Spawner classes call themselves.
SPAWNER_HOOKS = frozenset(
    {
        *("pre_spawn_hook", "post_stop_hook", "auth_state_hook"),
        *("progress_ready_hook", "options_form", "options_from_form"),
        *("apply_user_options", "modify_pod_hook", "after_pod_created_hook"),
        *("environment", "profile_list", "escape", "pre_spawn_start"),
    }
)
# Settings of the hub that may be functions, with what the hub gives them.
HUB_FUNCTIONS = {
    "default_url": "called at each redirect to the first page",
    "named_server_limit_per_user": "called before a named server is added",
    "subdomain_hook": "called for each user's and service's host",
}


def hosted(hub: HubConfig) -> dict[str, str]:
    """Return the effects of classes and hooks, by `Section.name`.

    Settings with a remark are included; the remark takes precedence.
    """
    sections = hub.raw
    return {
        "JupyterHub.authenticator_class": authenticator(hub),
        "JupyterHub.spawner_class": spawner(hub.spawner_class),
        "JupyterHub.proxy_class": proxy(hub),
        **dict(_hooks(sections)),
        **dict(spawner_sections.unread(hub)),
    }


def authenticator(hub: HubConfig) -> str:
    if hub.is_hosted:
        return f"hosted unmodified, in a process of its own: {hub.hosted_class}"
    return f"built in: {hub.authenticator_class!r}"


def spawner(path: str) -> str:
    short = next((name for name, each in BUILT_IN.items() if each == path), "")
    words = f"hosted unmodified: {path}"
    return f"{words} (JupyterHub's default)" if short == "default" else words


def proxy(hub: HubConfig) -> str:
    if hub.is_proxy_hosted:
        return f"hosted unmodified, in a process of its own: {hub.proxy_class}"
    if hub.proxy_should_start:
        return "configurable-http-proxy, which the hub starts"
    return f"an external configurable-http-proxy at {hub.proxy_api_url}"


def _hooks(sections: Mapping[str, Mapping[str, Any]]) -> Any:
    for section, settings in sections.items():
        for name, value in settings.items():
            if section == "JupyterHub":
                if callable(value) and name in HUB_FUNCTIONS:
                    yield f"{section}.{name}", HUB_FUNCTIONS[name]
            elif section.endswith("Authenticator") and callable(value):
                yield f"{section}.{name}", "hosted: the authenticator calls it"
            elif "Spawner" in section and name in SPAWNER_HOOKS and _calls(value):
                yield f"{section}.{name}", "hosted: the spawner calls it"


def _calls(value: Any) -> bool:
    """Return whether a setting is a function, or holds one."""
    if isinstance(value, Mapping):
        return any(map(callable, value.values()))
    return callable(value)
