"""Checks before the hub serves requests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from accounts.models import User
from hubsite.config.file import ConfigError
from hubsite.process.prepare import (
    is_current,
    own_apps,
    welcome_path,
    what_administration_lacks,
)
from tests.factories import make_user

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


def test_a_pattern_that_refuses_the_first_administrator_is_named(
    settings: Any,
) -> None:
    settings.HUB = replace(settings.HUB, username_pattern="[a-z]+[.][a-z]+")

    assert welcome_path() == ""
    (remark,) = what_administration_lacks(settings.HUB)
    assert "admin_users" in remark and "username_pattern" in remark
    assert not User.objects.exists()


def test_an_administrator_whom_the_pattern_admits_gets_the_link(
    settings: Any,
) -> None:
    settings.HUB = replace(settings.HUB, username_pattern="[a-z]+[.][a-z]+")
    make_user("ada.lovelace", admin=True)

    assert welcome_path()
    assert what_administration_lacks(settings.HUB) == []
