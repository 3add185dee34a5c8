"""The entry point of the command line: `manage.py COMMAND [-f CONFIG] [--data-dir
DIR]`.

Settings are read before a command gets its options, so the two options that decide the
place of settings are stored in the environment beforehand.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from hubsite.process.loading import while_loading

DEFAULT_CONFIG = "jupyterhub_config.py"
OWN_COMMANDS = frozenset(
    {
        *(
            "hub",
            "web",
            "controller",
            "proxy",
            "stop",
            "token",
            "purge_audit",
            "routes",
        ),
        *("changepassword", "audit", "leak_drill", "revocation_drill"),
        *("tag_keys", "check_config", "authenticator"),
        *("import_jupyterhub", "export_jupyterhub"),
    }
)


def add_place_options(parser: argparse.ArgumentParser) -> None:
    """Add the two options that each command of the hub has."""
    parser.add_argument(
        "-f",
        "--config",
        metavar="CONFIG",
        help=f"configuration file; {DEFAULT_CONFIG} here, if there is one",
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", help="folder of database, secrets and logs"
    )


def settle_places(config: str | None, data_dir: str | None) -> None:
    """Store both places in the environment, from which settings are read.

    Exits as JupyterHub does when a requested file is missing.
    """
    if config:
        if not Path(config).is_file():
            sys.exit(f"ERROR: Failed to find specified config file: {config}")
        os.environ["HUB_CONFIG"] = str(Path(config).absolute())
    elif "HUB_CONFIG" not in os.environ and Path(DEFAULT_CONFIG).is_file():
        os.environ["HUB_CONFIG"] = str(Path(DEFAULT_CONFIG).absolute())
    if data_dir:
        os.environ["HUB_DATA_DIR"] = str(Path(data_dir).absolute())


def run(argv: Sequence[str]) -> None:
    """Run one command; an unusable configuration ends it with one line."""
    if find_spec("django") is None:
        sys.exit(
            "ERROR: This Python has none of the hub's packages: run "
            "`python3 start.py setup` once, then `.venv/bin/python manage.py ...`"
        )
    command = argv[1] if len(argv) > 1 else ""
    if command in OWN_COMMANDS and not {"-h", "--help"} & set(argv):
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        add_place_options(parser)
        options, rest = parser.parse_known_args(argv[2:])
        settle_places(options.config, options.data_dir)
        if command == "hub" and not rest:
            # The supervisor runs as long as the hub does and needs no Django, which
            # would cost memory for nothing.
            from hubsite.process.supervisor import supervise

            sys.exit(supervise())
        if command == "check_config":
            from hubsite.process.check_config import check_config

            sys.exit(check_config(rest))
        if command == "authenticator":
            from hubsite.process.authenticator import run_host

            sys.exit(run_host(rest))
    with while_loading():
        import django
        from django.db import OperationalError

        from hubsite.config.file import ConfigError
        from hubsite.process.command_help import HubManagement
        from scopes.refusals import Refusal

    try:
        with while_loading():
            django.setup()
        HubManagement(list(argv)).execute()
    except ConfigError as error:
        sys.exit(f"ERROR: {error}")
    except OperationalError as error:
        reason = str(error).partition("\n")[0]
        sys.exit(f"ERROR: The database can't be used: {reason}")
    except PermissionError as error:
        sys.exit(
            f"ERROR: {error.strerror}: {error.filename}; who has started this hub?"
        )
    except Refusal as refusal:
        # Commands handle refusals of their own actions; this one occurred while apps
        # were loaded.
        sys.exit(f"ERROR: c.JupyterHub.custom_scopes: {refusal.for_people}")
