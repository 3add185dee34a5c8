"""`manage.py purge_audit`: delete old events from the audit log, and record that."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actions import purge_events
from audit.models import Actor, Event


class Command(BaseCommand):
    """Deletes events in batches; the hub may run meanwhile or not."""

    help = "Delete events that are older than some days from the audit log."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than",
            type=int,
            metavar="DAYS",
            help="days for which events stay; c.Hub.audit_retention_days if left out",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="only say how many there are"
        )
        parser.add_argument("-f", "--config", metavar="CONFIG")
        parser.add_argument("--data-dir", metavar="DIR")

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["older_than"]
        if days is None:
            days = settings.HUB.audit_retention_days
        if days is None or days < 1:
            raise CommandError(
                "Say for how many days events stay, for example --older-than 365"
            )
        before = timezone.now() - timedelta(days=days)
        if options["dry_run"]:
            number = Event.objects.filter(at__lt=before).count()
            self.stdout.write(f"{number} events are older than {days} days")
            return
        number = purge_events(before, by=Actor.system("command line"))
        self.stdout.write(f"Deleted {number} events that were older than {days} days")
