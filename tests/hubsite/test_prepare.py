"""Checks before the hub serves requests."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from hubsite.config.file import ConfigError
from hubsite.process.prepare import is_current, own_apps

pytestmark = pytest.mark.django_db

MIGRATED = sorted(
    app.label
    for app in apps.get_app_configs()
    if Path(app.path).parent == settings.BASE_DIR
    and (Path(app.path) / "migrations").is_dir()
)


@pytest.mark.parametrize("label", MIGRATED)
def test_a_migration_that_is_newer_than_the_code_is_refused(label: str) -> None:
    assert is_current()
    MigrationRecorder(connection).record_applied(label, "9999_from_the_future")

    with pytest.raises(ConfigError, match=rf"newer version \({label}\.9999"):
        is_current()


def test_every_application_of_the_hub_is_its_own() -> None:
    assert own_apps() >= set(MIGRATED)
    assert {"oauth", "tokens", "servers", "accounts"} <= set(MIGRATED)
    assert "allauth" not in own_apps() and "sessions" not in own_apps()


def test_a_migration_of_a_library_is_not_ours_to_judge() -> None:
    MigrationRecorder(connection).record_applied("account", "9999_from_the_future")

    assert is_current()
