"""Raw SQL reads, also on connections that break."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from database.statements import first_row
from hubsite.wsgi import application
from web.asgi import ignore

LOST = "the connection is lost"


class Broken:
    """A driver's connection that is of no more use."""

    def execute(self, *arguments: Any, **options: Any) -> Any:
        raise connection.Database.OperationalError(LOST)

    cursor = execute

    def close(self) -> None:
        """Nothing is left to be closed."""


def lose_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the connection behind Django's back: a real one where there is a server."""
    if connection.vendor == "postgresql":
        driver = connection.connection
        with suppress(connection.Database.OperationalError):
            driver.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return
    real = connection.connection
    monkeypatch.setattr(connection, "connection", Broken())
    monkeypatch.setattr(
        connection, "is_usable", lambda: not isinstance(connection.connection, Broken)
    )
    # A database in memory ends with its connection, so that is put back.
    monkeypatch.setattr(connection, "close", lambda: put_back(real))


def put_back(real: Any) -> None:
    connection.connection = real


@pytest.mark.django_db(transaction=True)
def test_a_lost_connection_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_row("SELECT 1", ()) == (1,)
    lose_connection(monkeypatch)

    assert first_row("SELECT 2", ()) == (2,)


@pytest.mark.django_db(transaction=True)
def test_within_a_transaction_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OperationalError), transaction.atomic():
        assert first_row("SELECT 1", ()) == (1,)
        lose_connection(monkeypatch)
        try:
            first_row("SELECT 2", ())
        finally:
            monkeypatch.undo()


@pytest.mark.django_db(transaction=True)
def test_a_call_that_fails_of_it_is_the_last_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call whose credential is no token asks nothing before its view does."""
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/hub/api/oauth2/token",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8081",
        "HTTP_AUTHORIZATION": "Basic YTpi",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "wsgi.url_scheme": "http",
    }
    form = b"grant_type=authorization_code&code=c&redirect_uri=/&client_id=a"
    statuses = []
    for number in range(3):
        if number == 1:
            lose_connection(monkeypatch)
        asked = {**environ, "CONTENT_LENGTH": str(len(form))}
        answer: Any = application({**asked, "wsgi.input": BytesIO(form)}, ignore)
        answer.close()
        statuses.append(answer.status_code)

    first, broken, last = statuses
    assert first < 500
    assert last == first
    if connection.vendor == "postgresql":
        # The back end looks at the connection before it uses one.
        assert broken == first
    else:
        assert broken >= 500


@pytest.mark.django_db
def test_an_error_in_a_statement_is_raised_unchanged() -> None:
    with pytest.raises(Exception, match="nothing_of_the_kind"), transaction.atomic():
        first_row("SELECT * FROM nothing_of_the_kind", ())


@pytest.mark.django_db
def test_who_watches_queries_sees_these(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        first_row("SELECT 1", ())
