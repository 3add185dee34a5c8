"""The list of visitors for the owner of a server."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from audit.actions import record
from audit.models import Actor, Event
from servers.access_log import opened_by_others, opened_server
from tests.factories import make_user

pytestmark = pytest.mark.django_db


def open_server(who: User, path: str) -> Event:
    return record(Actor("user", who.name), "server.open", "server", path)


def test_owner_sees_who_else_opened_which_server(
    ada: User, alan: User, mallory: User
) -> None:
    open_server(ada, "alan/")
    open_server(mallory, "alan/lab")
    open_server(alan, "alan/lab")
    open_server(ada, "mallory/")
    record(Actor("user", "ada"), "server.stop", "server", "alan/")
    make_user("alan2")
    open_server(ada, "alan2/")

    found = [(act.actor_name, opened_server(act)) for act in opened_by_others(alan)]

    assert found == [("mallory", "lab"), ("ada", "")]


def test_who_takes_a_name_over_does_not_learn_what_was_before(
    ada: User, alan: User
) -> None:
    open_server(ada, "alan/")
    alan.created = timezone.now() + timedelta(seconds=1)

    assert not opened_by_others(alan).exists()
