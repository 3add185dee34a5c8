"""What `jupyterhub_config.py` says, as one frozen object.

Rooms to the left of this one read it as `settings.HUB`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class HubConfig:
    """The declared configuration of one hub; names are JupyterHub's."""

    # Addresses
    bind_url: str = "http://:8000"
    base_url: str = "/"
    hub_ip: str = "127.0.0.1"
    hub_port: int = 8081
    public_url: str = ""
    proxy_api_url: str = "http://127.0.0.1:8001"
    proxy_auth_token: str = ""
    proxy_should_start: bool = True

    # Sign-in (c.JupyterHub.authenticator_class, c.Authenticator, c.DummyAuthenticator)
    authenticator_class: str = "local"
    dummy_password: str = ""
    admin_users: frozenset[str] = frozenset()
    allowed_users: frozenset[str] = frozenset()
    blocked_users: frozenset[str] = frozenset()
    allow_all: bool = False
    allow_existing_users: bool = False
    username_pattern: str = ""
    username_map: dict[str, str] = field(default_factory=dict)

    # Declared rows, reconciled at every start
    api_tokens: dict[str, str] = field(default_factory=dict)
    service_tokens: dict[str, str] = field(default_factory=dict)
    services: tuple[dict[str, Any], ...] = ()
    load_groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    load_roles: tuple[dict[str, Any], ...] = ()
    custom_scopes: dict[str, dict[str, Any]] = field(default_factory=dict)
    extra_user_scopes: frozenset[str] = frozenset()

    # Limits and habits
    allow_named_servers: bool = False
    named_server_limit_per_user: int = 0
    token_expires_in_max_seconds: int = 0
    api_page_default_limit: int = 50
    api_page_max_limit: int = 200
    activity_resolution: int = 30
    authenticate_prometheus: bool = True
    redirect_to_server: bool = True
    default_url: str = ""
    cookie_max_age_days: float = 14.0
    use_legacy_stopped_server_status_code: bool = False
    spawner_class: str = "simple"
