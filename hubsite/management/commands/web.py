"""`manage.py web`: the web processes alone, without proxy and supervisor."""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from controller.proxy.addresses import api_url
from controller.proxy.announced_proxy import forget_announced_proxy
from controller.proxy.routes import lasting_routes
from controller.shutdown import SUPERVISOR
from hubsite.config.file import ConfigError
from hubsite.process.command_line import add_place_options
from hubsite.process.prepare import is_current, prepare
from hubsite.process.proxy_socket import open_proxy_socket


class Command(BaseCommand):
    """Serves pages and API until SIGTERM.

    The supervisor asks its first web process to prepare the database and to
    report the outcome. So Django is loaded once at a start, not once for each task; the
    workers are forked from here and share what is loaded.
    """

    help = "Serve pages and API, without the proxy. Migrate first, or use --prepare."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_place_options(parser)
        parser.add_argument(
            "--prepare",
            action="store_true",
            help="first migrate, and store what the configuration declares",
        )
        parser.add_argument(
            "--outcome",
            type=int,
            metavar="FD",
            help="file for the outcome (JSON)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        hub = settings.HUB
        if settings.SITE.workers > 1:
            # First of all: what measures requests finds out while it is loaded
            # whether it shares its figures, and preparing may load it.
            share_metrics()
        outcome = {"remarks": list(hub.remarks), "welcome": ""}
        if options["prepare"]:
            outcome = prepare()
        elif not is_current():
            raise ConfigError(
                "The database is not up to date: start with `manage.py hub`, or "
                "with `manage.py web --prepare`"
            )
        # Before anybody is told of it.
        listeners = open_proxy_socket(settings.PROXY_SOCKET)
        if options["outcome"] is not None:
            if hub.proxy_should_start or hub.is_proxy_hosted:
                forget_announced_proxy()
            with os.fdopen(options["outcome"], "w") as file:
                json.dump(outcome | addresses(), file)
        else:
            for remark in outcome["remarks"]:
                self.stderr.write(remark)
        os.environ.setdefault(SUPERVISOR, str(os.getpid()))
        # It loads the server, which no other outcome of this command needs.
        from hubsite.process.workers import serve

        if options["outcome"] is not None and hub.is_hosted:
            wait_for_authenticator()
        try:
            serve(
                address=hub.hub_ip,
                port=hub.hub_port,
                workers=settings.SITE.workers,
                others=listeners,
            )
        except OSError as error:
            raise ConfigError(
                f"The hub can't listen at {hub.hub_ip}:{hub.hub_port}: "
                f"{error.strerror}; see c.JupyterHub.hub_ip and hub_port"
            ) from error


def wait_for_authenticator() -> None:
    """Wait until the hosted class has accepted its settings, and its process listens.

    So nothing is answered, not even that the hub is healthy, by a hub that does not
    start. The supervisor ends this process if the class refuses its settings.
    """
    from hubsite.process.supervisor import is_listening

    while not is_listening(settings.AUTHENTICATOR_ADDRESS):
        time.sleep(0.05)


def addresses() -> dict[str, Any]:
    """Say where the hub and its proxy listen, for who starts the proxy."""
    hub = settings.HUB
    return {
        "base_url": hub.base_url,
        "bind_url": hub.bind_url,
        "public_url": settings.PUBLIC_URL,
        "hub_url": hub.hub_connect_url,
        "hub_ip": hub.hub_ip,
        "hub_port": hub.hub_port,
        "ssl_key": hub.ssl_key,
        "ssl_cert": hub.ssl_cert,
        "proxy_is_hosted": hub.is_proxy_hosted,
        "proxy_api_url": api_url(),
        "proxy_auth_token": settings.PROXY_AUTH_TOKEN,
        "proxy_should_start": hub.proxy_should_start,
        "proxy_socket": settings.PROXY_SOCKET,
        "host_routing": bool(hub.subdomain_host),
        "proxy_command": settings.SITE.proxy_command or list(hub.proxy_command),
        "proxy_log_level": hub.proxy_log_level,
        "routes": lasting_routes(),
        "cleanup_proxy": hub.cleanup_proxy,
        "cleanup_servers": hub.cleanup_servers,
        "authenticator": settings.AUTHENTICATOR_ADDRESS if hub.is_hosted else "",
    }


def share_metrics() -> None:
    """Give several workers a folder in which their figures meet, empty at a start."""
    folder = settings.DATA_DIR / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
