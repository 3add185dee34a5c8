"""`manage.py controller`: what starts, watches and stops notebook servers."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from hubsite.config.environment import forget_secrets
from hubsite.config.file import ConfigError
from hubsite.process.command_line import add_place_options
from hubsite.process.loading import while_loading
from hubsite.process.prepare import is_current


class Command(BaseCommand):
    """Runs one controller; of several one leads, and the others stand by."""

    help = (
        "Start, watch and stop notebook servers. SIGTERM leaves them running, "
        "SIGUSR1 stops them first."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_place_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if not is_current():
            raise ConfigError(
                "The database is not up to date: start with `manage.py hub`, or "
                "with `manage.py web --prepare`"
            )
        with while_loading():
            from controller.background_tasks import TASK_GROUP
            from controller.process import serve

        forget_secrets()
        status = serve(TASK_GROUP)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        # Threads may still wait for a database that does not answer.
        os._exit(status)
