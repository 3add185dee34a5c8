"""Load a configuration file, or the defaults of a hub that has no file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from traitlets.config.loader import Config

from hubsite.config.addresses import check_route_hosts, full_public_url, read_addresses
from hubsite.config.file import ConfigError, read_file
from hubsite.config.hub_config import HubConfig, declared_fields
from hubsite.config.native import sign_up_fields
from hubsite.config.reader import Reader, proxy_class, spawner_class
from hubsite.config.services import tokens
from hubsite.config.unsupported import KNOWN_AUTHENTICATORS
from hubsite.config.values import crypt_keys, listed

KEYS_VARIABLE = "JUPYTERHUB_CRYPT_KEY"


def load_config(
    path: Path | None, *, keep_servers: bool = False, homes: Path | None = None
) -> HubConfig:
    """Read a configuration file; without one, JupyterHub's defaults apply.

    One default may differ: `keep_servers` lets servers outlive the hub if the file does
    not set that. Without a file a few more differ, see `unconfigured`, and servers have
    their homes in `homes`.

    Raises ConfigError with one line that names the file and line, or the setting.
    """
    if path is None:
        return build_config(unconfigured(homes), keep_servers=keep_servers)
    return build_config(read_file(path), keep_servers=keep_servers)


def unconfigured(homes: Path | None) -> Config:
    """Return the configuration of a hub without a file, for a first look."""
    config = Config()
    config.JupyterHub.authenticator_class = "local"
    config.JupyterHub.spawner_class = "simple"
    # A new operator sees the home page first and starts a server by a button; with a
    # file, JupyterHub's default applies, which starts a server at sign-in.
    config.JupyterHub.redirect_to_server = False
    config.JupyterHub.allow_named_servers = True
    if homes:
        template = str(homes).replace("{", "{{").replace("}", "}}")
        config.SimpleLocalProcessSpawner.home_dir_template = f"{template}/{{username}}"
    if os.geteuid() == 0:
        # Without this option, JupyterLab refuses to run as root.
        config.SimpleLocalProcessSpawner.args = ["--allow-root"]
    return config


def build_config(file: Config, *, keep_servers: bool = False) -> HubConfig:
    """Convert the sections of a configuration to a `HubConfig`."""
    reader = Reader(file)
    way_in = reader.way_in
    known = KNOWN_AUTHENTICATORS.get(way_in.short, ())
    found: dict[str, Any] = {
        "authenticator_class": way_in.short,
        "hosted_class": way_in.named,
    }
    for each in declared_fields():
        owner = each.metadata["places"][0].partition(".")[0]
        if owner.endswith("Authenticator") and owner not in (*known, "Authenticator"):
            # The section of another authenticator.
            continue
        default = each.default_factory() if callable(each.default_factory) else None
        value = reader.take(each.metadata["places"], each.metadata["accepts"], default)
        if value is not None:
            found[each.name] = value
    if way_in.is_native:
        found |= sign_up_fields(reader, found)
    found |= read_addresses(reader)
    found.setdefault("crypt_keys", _keys_of_environment())
    found["public_url"] = full_public_url(found)
    check_route_hosts(found)
    found["spawner_class"] = spawner_class(reader)
    found["proxy_class"] = proxy_class(reader)
    config = HubConfig(**found)
    of_services = _tokens_of_services(config)
    config = replace(
        config,
        service_tokens=of_services,
        api_tokens=_tokens_of_users(config, of_services, reader),
        api_page_max_limit=max(config.api_page_max_limit, 1),
        **_who_may_enter(config, found),
    )
    _check_managed(config)
    if "oauth_token_expires_in" not in found:
        lifetime = int(config.cookie_max_age_days * 86400)
        config = replace(config, oauth_token_expires_in=lifetime)
    if config.proxy_debug:
        config = replace(config, proxy_log_level="debug")
    if keep_servers and "cleanup_servers" not in found:
        config = replace(config, cleanup_servers=False)
    return replace(config, raw=file, remarks=reader.remarks(config))


def _who_may_enter(config: HubConfig, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of who may sign in that the file leaves open.

    JupyterHub's rule for the dummy authenticator applies: open to all unless a setting
    says otherwise. Local accounts are created by an administrator, so having one is
    enough unless there is a list.
    """
    silent = not found.keys() & {"allow_all", "allowed_users", "allow_existing_users"}
    outcome: dict[str, Any] = {}
    if config.authenticator_class == "dummy" and silent:
        outcome["allow_all"] = True
    if "allow_existing_users" not in found:
        outcome["allow_existing_users"] = bool(config.allowed_users) or (
            config.authenticator_class == "local" and silent
        )
    if config.allowed_users:
        outcome["allowed_users"] = config.allowed_users | config.admin_users
    return outcome


def _keys_of_environment() -> tuple[bytes, ...]:
    """Return the keys for auth state in the environment, which are separated by `;`."""
    given = os.environ.get(KEYS_VARIABLE, "")
    try:
        return crypt_keys([each for each in given.split(";") if each.strip()])
    except ValueError as error:
        raise ConfigError(f"{KEYS_VARIABLE}: expected {error}") from None


def _check_managed(config: HubConfig) -> None:
    """Refuse what contradicts an authenticator that keeps state or manages rights."""
    if config.enable_auth_state and not config.crypt_keys:
        raise ConfigError(
            "c.Authenticator.enable_auth_state: auth_state is enabled, but encryption "
            f"is not available: set {KEYS_VARIABLE}, for instance to the output of "
            "`openssl rand -hex 32`"
        )
    if config.manage_groups and config.load_groups:
        raise ConfigError(
            "c.JupyterHub.load_groups: with c.Authenticator.manage_groups the "
            "authenticator manages all groups; leave out one of both"
        )
    if config.manage_roles:
        giving = [
            role["name"]
            for role in config.load_roles
            if role.get("users") or role.get("groups")
        ]
        if giving:
            raise ConfigError(
                "c.JupyterHub.load_roles: with c.Authenticator.manage_roles the "
                "authenticator gives roles to users and groups; leave these out of "
                f"{listed(giving)}"
            )


def _tokens_of_services(config: HubConfig) -> dict[str, str]:
    """Return the tokens of `services` and `service_tokens` together."""
    together = dict(config.service_tokens)
    for service in config.services:
        token = service.get("api_token")
        if token is None:
            continue
        try:
            tokens({token: service["name"]})
        except ValueError as error:
            raise ConfigError(f"c.JupyterHub.services: expected {error}") from None
        if together.get(token, service["name"]) != service["name"]:
            raise ConfigError(
                f"c.JupyterHub.services: the api_token of {service['name']!r} is also "
                f"that of {together[token]!r}; each needs its own"
            )
        together[token] = service["name"]
    return together


def _tokens_of_users(
    config: HubConfig, of_services: Mapping[str, str], reader: Reader
) -> dict[str, str]:
    """Return `api_tokens` without those of services, which own them in JupyterHub."""
    for token in config.api_tokens.keys() & of_services.keys():
        reader.contradictions.append(
            f"c.JupyterHub.api_tokens: a token of {config.api_tokens[token]!r} belongs "
            f"to the service {of_services[token]!r} only, as in JupyterHub; leave it "
            "out here"
        )
    return {
        token: name
        for token, name in config.api_tokens.items()
        if token not in of_services
    }
