"""What tokens are for, and how they came to be."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.utils import timezone

from accounts.models import User
from audit.models import Actor
from services.models import Service
from tests.factories import make_server, make_token
from tokens.actions.importing import import_token
from tokens.models import APIToken, CreatedVia, Purpose

BY = Actor("user", "ada", 7, "192.0.2.7")
migration = import_module("tokens.migrations.0006_purpose_of_earlier_tokens")
of_servers = import_module("servers.migrations.0005_purpose_of_tokens")


@pytest.mark.parametrize(
    ("options", "purpose", "via"),
    [
        ({}, "program", "api"),
        ({"via": CreatedVia.PAGE}, "person", "page"),
        ({"via": CreatedVia.ADMIN}, "person", "admin"),
        ({"via": CreatedVia.COMMAND}, "program", "command"),
        ({"via": CreatedVia.OAUTH, "client_id": "service-x"}, "client", "oauth"),
        (
            {"via": CreatedVia.SERVER, "purpose": Purpose.SERVER},
            "server",
            "server",
        ),
    ],
)
def test_a_token_has_a_purpose(
    alan: User, options: dict[str, Any], purpose: str, via: str
) -> None:
    token, _ = make_token(alan, **options)

    assert (token.purpose, token.created_via) == (purpose, via)


def test_a_token_of_a_service_is_for_a_service(ci: Service) -> None:
    token, _ = make_token(ci)
    brought = import_token(ci, "a-secret-of-the-service", by=BY)

    assert token.purpose == brought.purpose == Purpose.SERVICE
    assert brought.created_via == CreatedVia.CONFIG


def test_a_token_has_its_issuer_and_the_address(alan: User) -> None:
    brought = import_token(alan, "a-secret-of-alan", by=BY)

    assert brought.purpose == Purpose.IMPORT
    assert (brought.created_by, brought.created_address) == ("ada", "192.0.2.7")


def fill() -> None:
    with connection.schema_editor(atomic=False) as editor:
        migration.fill(apps, editor)
        editor.execute(of_servers.SET)


@pytest.mark.django_db(transaction=True)
def test_earlier_tokens_get_a_purpose(transactional_db: None) -> None:
    now = timezone.now()
    alan = User.objects.create(name="alan")
    ci = Service.objects.create(name="ci")
    ended = {"revoked_at": now, "expires_at": now}
    wanted = {}
    for number, (owner, fields, purpose, via) in enumerate(
        [
            (alan, {"note": "Requested via token page"}, "person", "page"),
            (alan, {"note": "Requested via api by service x"}, "program", "api"),
            (alan, {"note": "for my script"}, "person", ""),
            # Anybody may write this note.
            (alan, {"note": "Server at /user/alan/"}, "person", ""),
            (alan, {"note": "Server at /user/alan/", **ended}, "server", "server"),
            (alan, {"client_id": "service-x"}, "client", "oauth"),
            (alan, {"origin": "brought"}, "import", ""),
            (alan, {"origin": "brought", "note": "from config"}, "import", "config"),
            (ci, {"origin": "brought", "note": "from config"}, "service", "config"),
            (ci, {"note": "for a script"}, "service", ""),
            (alan, {"note": "Server at /user/alan/lab/"}, "server", "server"),
        ]
    ):
        name = "user" if isinstance(owner, User) else "service"
        token = APIToken.objects.create(
            **{name: owner}, public_id=f"t{number}", digest="$argon2id$", **fields
        )
        wanted[token.pk] = (purpose, via)
    make_server(alan, "lab", token=token)

    fill()

    rows = APIToken.objects.values_list("pk", "purpose", "created_via")
    assert {pk: found for pk, *found in rows} == {
        pk: list(pair) for pk, pair in wanted.items()
    }


def test_a_program_of_the_earlier_version_inserts_rows(alan: User) -> None:
    """Its statements do not name the newer columns."""
    earlier = (
        "user_id, public_id, digest, origin, tag_key, note, scopes, client_id,"
        " created, disabled_by, revoked_by"
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO tokens_apitoken ({earlier})"
            " VALUES (%s, 'old', '$argon2id$', 'minted', '', '', '[]', '', %s, '', '')",
            [alan.pk, timezone.now()],
        )

    token = APIToken.objects.get(public_id="old")
    assert (token.purpose, token.networks, token.last_agent) == ("", None, "")
