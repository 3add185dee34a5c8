"""`manage.py reference`: write the reference pages from the code."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from hubsite.reference import write_reference


class Command(BaseCommand):
    help = "Write docs/reference from the settings, scopes and endpoints in the code."

    def handle(self, *args: Any, **options: Any) -> None:
        changed = write_reference(settings.BASE_DIR / "docs" / "reference")
        for page in changed:
            self.stdout.write(f"wrote {page.relative_to(settings.BASE_DIR)}")
        if not changed:
            self.stdout.write("nothing changed")
