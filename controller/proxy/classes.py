"""The classes of proxies, by the names in `c.JupyterHub.proxy_class`."""

from __future__ import annotations

from typing import Final

from controller.classes import Kind

# The hub itself starts this one and calls its API. All others are hosted, see
# `controller.proxy.hosted_proxy`.
OWN: Final = "jupyterhub.proxy.ConfigurableHTTPProxy"
BUILT_IN: Final = {"default": OWN, "configurable-http-proxy": OWN}

_KIND = Kind("proxy", "jupyterhub.proxies", BUILT_IN)
resolve, load = _KIND.resolve, _KIND.load
