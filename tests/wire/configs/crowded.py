# ruff: noqa: F821
"""Servers that start slowly, with low limits."""

c.JupyterHub.bind_url = "http://127.0.0.1:__PORT__"
c.JupyterHub.hub_port = __HUB_PORT__
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:__PROXY_API_PORT__"

c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True

c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "__WORKDIR__/home/{username}"
c.Spawner.cmd = ["python3", "__STUB__", "--wait", "4"]

c.JupyterHub.concurrent_spawn_limit = 4
c.JupyterHub.active_server_limit = 6
c.JupyterHub.spawn_throttle_retry_range = (10, 20)

c.JupyterHub.services = [
    {"name": "ops", "admin": True, "api_token": "ops-service-token-8c1f40aa92"},
]
