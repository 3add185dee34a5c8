"""Hubs with named servers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest


@pytest.fixture
def named(settings: Any) -> None:
    """Let every user have up to two named servers."""
    settings.HUB = replace(
        settings.HUB, allow_named_servers=True, named_server_limit_per_user=2
    )
