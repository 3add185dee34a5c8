"""Fixtures of callers of the API."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import User
from services.models import Service
from tests.conftest import BearerClient
from tests.factories import make_service, make_token


@pytest.fixture
def api() -> Callable[..., BearerClient]:
    """Return a program with a token of this owner, who may do all they may."""

    def of(owner: User | Service, *scopes: str) -> BearerClient:
        _, secret = make_token(owner, scopes=scopes or None)
        return BearerClient(secret)

    return of


@pytest.fixture
def admin(ada: User, api: Callable[..., BearerClient]) -> BearerClient:
    """Ada's program."""
    return api(ada)


@pytest.fixture
def holding(db: None, api: Callable[..., BearerClient]) -> Callable[..., BearerClient]:
    """Return a service's program that holds exactly these scopes."""
    return lambda *scopes: api(make_service(scopes=scopes))


@pytest.fixture
def configured(settings: Any) -> Callable[..., None]:
    """Return a function that sets options of the hub's configuration."""

    def configure(**options: Any) -> None:
        settings.HUB = dataclasses.replace(settings.HUB, **options)

    return configure
