"""What was imported, so that a repeated import keeps what is newer here."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone


class ImportRun(models.Model):
    """One import of a database.

    `source` is its address without a password. A run without `finished_at` was
    interrupted, or goes on.
    """

    source = models.CharField(max_length=1023)
    release = models.CharField(max_length=64)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    counts = models.JSONField(default=dict)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return self.source


class ImportedRow(models.Model):
    """The memory of one row of a JupyterHub database that was imported.

    `key` is its name there, or a keyed hash of the digest of a secret. `target` is the
    id of the row here. If that row is gone, it was deleted here since, and a repeated
    import does not bring it back.
    """

    KINDS: ClassVar[tuple[str, ...]] = (
        *("user", "group", "role", "service", "server", "token", "share", "code"),
        *("state", "password"),
    )

    kind = models.CharField(max_length=8)
    key = models.CharField(max_length=1023)
    target = models.BigIntegerField()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("kind", "key"), name="imported_row_is_unique"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"
