"""The last use of tokens and the last activity of users."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import time_machine
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from services.models import Service
from tests.factories import make_token
from tokens import activity
from tokens.models import APIToken, Purpose
from tokens.verification import verify

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> Any:
    with time_machine.travel(NOON, tick=False) as travelling:
        yield travelling


def seen(row: APIToken | User) -> datetime | None:
    row.refresh_from_db()
    return row.last_activity


def test_a_use_is_written_by_the_flush_and_not_by_the_request(
    alan: User, clock: Any, django_assert_num_queries: Any
) -> None:
    token, secret = make_token(alan)
    verify(secret)
    assert seen(token) is None

    activity.flush()

    assert seen(token) == NOON
    assert seen(alan) == NOON
    with django_assert_num_queries(0):
        activity.flush()


def test_one_write_within_the_resolution(
    alan: User, clock: Any, django_assert_num_queries: Any
) -> None:
    _, secret = make_token(alan)
    verify(secret)
    activity.flush()

    clock.move_to(NOON + timedelta(seconds=29))
    verify(secret)
    with django_assert_num_queries(0):
        activity.flush()
    clock.move_to(NOON + timedelta(seconds=30))
    verify(secret)
    activity.flush()

    assert seen(alan) == NOON + timedelta(seconds=30)


@pytest.mark.parametrize(("resolution", "writes"), [(30, 4), (10, 4), (90, 3)])
def test_a_token_in_constant_use_is_written_once_in_a_minute(
    alan: User, clock: Any, settings: Any, resolution: int, writes: int
) -> None:
    """Last use, address, networks, days and operations together, in one round."""
    settings.HUB = replace(settings.HUB, activity_resolution=resolution)
    token, secret = make_token(alan)
    written = []
    for second in range(0, 181, 5):
        clock.move_to(NOON + timedelta(seconds=second))
        verify(secret)
        with CaptureQueriesContext(connection) as queries:
            activity.flush()
        if any('"tokens_apitoken" SET' in each["sql"] for each in queries):
            written.append(second)

    assert len(written) == writes
    assert all(b - a >= 60 for a, b in pairwise(written))
    assert seen(token) is not None


def test_what_another_process_wrote_is_respected(alan: User, clock: Any) -> None:
    token, secret = make_token(alan)
    recent = NOON - timedelta(seconds=10)
    APIToken.objects.update(last_activity=recent)

    verify(secret)
    activity.flush()

    assert seen(token) == recent
    activity.forget()
    clock.move_to(NOON + timedelta(seconds=50))
    verify(secret)
    activity.flush()
    assert seen(token) == NOON + timedelta(seconds=50)


def test_never_moves_back(alan: User, clock: Any) -> None:
    token, secret = make_token(alan)
    future = NOON + timedelta(hours=1)
    APIToken.objects.update(last_activity=future)

    verify(secret)
    activity.flush()

    assert seen(token) == future


def test_every_use_counts_without_a_resolution(
    alan: User, clock: Any, settings: Any
) -> None:
    settings.HUB = replace(settings.HUB, activity_resolution=0)
    token, secret = make_token(alan)
    for seconds in (0, 1):
        clock.move_to(NOON + timedelta(seconds=seconds))
        verify(secret)
        activity.flush()

    assert seen(token) == NOON + timedelta(seconds=1)


def test_servers_and_services_do_not_count_as_their_user(
    alan: User, ci: Service, clock: Any
) -> None:
    of_server, server_secret = make_token(alan, purpose=Purpose.SERVER)
    of_service, service_secret = make_token(ci)

    verify(server_secret)
    verify(service_secret)
    activity.flush()

    assert seen(of_server) == seen(of_service) == NOON
    assert seen(alan) is None


def test_note_of_a_server_does_not_make_a_token_of_a_server(
    alan: User, clock: Any
) -> None:
    _, secret = make_token(alan, note="Server at /user/alan/")

    verify(secret)
    activity.flush()

    assert seen(alan) == NOON


def test_refused_tokens_leave_no_trace(alan: User, clock: Any) -> None:
    token, secret = make_token(alan)
    APIToken.objects.update(disabled_at=NOON)

    verify(secret)
    activity.flush()

    assert seen(token) is None


def test_what_could_not_be_written_is_written_later(
    alan: User, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, secret = make_token(alan)
    verify(secret)

    def fail(self: activity.Recorder, uses: Any) -> None:
        raise DatabaseError("locked")

    with monkeypatch.context() as broken:
        broken.setattr(activity.Recorder, "write", fail)
        activity.flush()
    assert seen(token) is None
    activity.flush()

    assert seen(token) == NOON


def test_a_reader_does_not_wait_long_for_a_writer(alan: User, clock: Any) -> None:
    token, secret = make_token(alan)
    verify(secret)

    with activity._flushing:
        activity.flush(patience=0.001)
    assert seen(token) is None
    activity.flush()

    assert seen(token) == NOON


@pytest.mark.django_db(transaction=True)
def test_the_background_thread_flushes(transactional_db: None) -> None:
    token, secret = make_token()
    activity.start(interval=0.01)
    activity.start(interval=0.01)
    try:
        verify(secret)
        for _ in range(500):
            if not activity.tokens.pending:
                break
            activity._stopped.wait(0.01)
    finally:
        activity.stop()

    assert seen(token) is not None


def test_a_report_is_written_to_the_moment(alan: User, clock: Any) -> None:
    activity.users.note(alan.pk, NOON.timestamp())
    activity.flush()
    later = NOON + timedelta(seconds=1, microseconds=1)

    activity.users.report(alan.pk, later)
    activity.users.report(alan.pk, NOON)
    activity.flush()

    assert seen(alan) == later
    activity.users.report(alan.pk, NOON)
    activity.flush()
    assert seen(alan) == later


def test_a_report_that_could_not_be_written_gives_way_to_a_later_one(
    alan: User, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(uses: Any) -> None:
        activity.users.report(alan.pk, NOON - timedelta(seconds=1))
        raise DatabaseError

    activity.users.report(alan.pk, NOON)
    with monkeypatch.context() as broken:
        broken.setattr(activity.users, "write", fail)
        activity.flush()
    assert seen(alan) is None

    activity.flush()

    assert seen(alan) == NOON


@pytest.mark.parametrize("year", [1, 1969])
def test_odd_times_may_be_reported(alan: User, year: int) -> None:
    activity.users.report(alan.pk, datetime(year, 1, 1, microsecond=1, tzinfo=UTC))
    activity.flush()

    assert seen(alan) == datetime(year, 1, 1, microsecond=1, tzinfo=UTC)
