"""`manage.py authenticator`: the process of a hosted authenticator, without Django."""

from __future__ import annotations

import argparse
import asyncio
import logging.config
import os
import sys
from collections.abc import Sequence
from typing import Any, cast

from traitlets.config.loader import Config

from hubsite import logging as hub_logging
from hubsite.config import secrets
from hubsite.config.environment import (
    Site,
    authenticator_address,
    forget_secrets,
    read_environment,
)
from hubsite.config.file import ConfigError
from hubsite.config.hub_config import HubConfig
from hubsite.config.load import load_config
from hubsite.process.loading import while_loading


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--check",
        action="store_true",
        help="only tell whether the class accepts its settings",
    )


def run_host(argv: Sequence[str] = ()) -> int:
    """Serve until a signal ends this process; return the exit status."""
    parser = argparse.ArgumentParser("manage.py authenticator", allow_abbrev=False)
    add_options(parser)
    options = parser.parse_args(argv)
    with while_loading():
        from accounts.hosting.process.server import serve, try_settings
    try:
        site = read_environment()
        hub = load_config(site.config)
    except ConfigError as error:
        return _fail(str(error))
    if not hub.is_hosted:
        return _fail(
            f"c.JupyterHub.authenticator_class is {hub.authenticator_class!r}, which "
            "the hub has itself; nothing is to be run"
        )
    level = site.log_level or hub.log_level or "INFO"
    if options.check:
        logging.basicConfig(level="WARNING", format="%(levelname)s: %(message)s")
    else:
        logging.config.dictConfig(hub_logging.configure(site.log_format, level))
    for noisy in ("alembic", "tornado.application"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    secret = site.secret_key or secrets.keep(site.data_dir / "secrets" / "secret_key")
    forget_secrets()
    place = place_of(site, hub, secret)
    status = 0
    try:
        if options.check:
            asyncio.run(try_settings(place))
        else:
            address = authenticator_address(site.authenticator_address, site.data_dir)
            key = secrets.derived(secret, "authenticator")
            status = asyncio.run(serve(place, address, key))
    except Exception as error:
        # The class refuses its settings, or can't be imported.
        name = hub.hosted_class
        logging.getLogger("hub.authenticator").debug("failed", exc_info=error)
        # One line, which ends the output.
        words = " ".join(str(error).split()) or type(error).__name__
        return _fail(f"The authenticator {name!r} can't start: {words}")
    # Threads may still wait for a directory that does not answer.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def place_of(site: Site, hub: HubConfig, secret: str) -> Any:
    """Return what the class may know of the hub."""
    from accounts.hosting.process.application import Place

    options: dict[str, Any] = {
        key: hub.tornado_settings[key]
        for key in ("cookie_options", "headers")
        if key in hub.tornado_settings
    }
    options |= {
        "default_url": hub.default_url,
        "redirect_to_server": hub.redirect_to_server,
    }
    return Place(
        config=cast(Config, hub.raw),
        authenticator_class=hub.raw.get("JupyterHub", {}).get("authenticator_class"),
        base_url=hub.base_url,
        hub_ip=hub.hub_ip,
        hub_port=hub.hub_port,
        hub_connect_url=hub.hub_connect_url,
        public_url=site.public_url or hub.public_url,
        subdomain_host=hub.subdomain_host,
        cookie_secret=bytes.fromhex(secrets.derived(secret, "authenticator cookies")),
        settings=options,
    )


def _fail(reason: str) -> int:
    print(f"ERROR: {reason}", file=sys.stderr)
    return 1
