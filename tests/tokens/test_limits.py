"""The most tokens of a user, for every way to request one."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from accounts.models import User
from scopes.refusals import Conflict
from tests.conftest import API, BearerClient
from tests.factories import (
    BY,
    make_group,
    make_role,
    make_service,
    make_token,
)
from tokens.actions.importing import import_token
from tokens.actions.revocation import revoke_token
from tokens.models import APIToken, Purpose

pytestmark = pytest.mark.django_db

WORDS = "User alan has 3 active tokens"


@pytest.fixture(autouse=True)
def limit(settings: Any) -> None:
    settings.HUB = replace(settings.HUB, token_limit_per_user=3)


@pytest.fixture
def full(alan: User) -> list[APIToken]:
    """Give Alan as many tokens as one user may have."""
    return [make_token(alan)[0] for _ in range(3)]


def test_the_limit_is_500_by_default() -> None:
    from hubsite.config.hub_config import HubConfig

    assert HubConfig().token_limit_per_user == 500


def test_one_more_is_refused(full: Any, alan: User) -> None:
    with pytest.raises(Conflict, match=f"{WORDS}.* revoke some"):
        make_token(alan)

    assert APIToken.objects.count() == 3


def test_the_api_refuses(full: Any, ada: User, alan: User) -> None:
    reply = BearerClient(make_token(ada)[1]).post(f"{API}/users/alan/tokens", {})

    assert reply.status_code == 409
    assert WORDS in reply.json()["message"]
    assert APIToken.objects.owned_by(alan).count() == 3


def test_the_page_refuses(full: Any, alan: User, as_: Any) -> None:
    form = {"note": "", "expires_in": "3600", "permissions": "everything"}
    reply = as_(alan).post("/hub/token/new", form)

    assert reply.status_code == 400
    assert WORDS in reply.content.decode()


def test_the_admin_refuses(full: Any, ada: User, as_: Any) -> None:
    form = {"kind": "user", "owner": "alan", "note": "x", "expires_in": "3600"}
    reply = as_(ada).post("/hub/admin/tokens/apitoken/add/", form)

    assert WORDS in reply.content.decode()
    assert APIToken.objects.count() == 3


def test_the_command_line_refuses(full: Any) -> None:
    errors = StringIO()

    with pytest.raises(SystemExit):
        call_command("token", "alan", stderr=errors)

    assert WORDS in errors.getvalue()


def test_a_revoked_token_makes_room(full: list[APIToken], alan: User) -> None:
    revoke_token(full[0], by=BY)

    make_token(alan)


def test_an_expired_token_makes_room(full: list[APIToken], alan: User) -> None:
    APIToken.objects.filter(pk=full[0].pk).update(expires_at=timezone.now())

    make_token(alan)


def test_tokens_that_nobody_asked_for_are_not_counted(alan: User) -> None:
    for number in range(5):
        make_token(alan, client_id="service-portal", scopes=["read:users!user"])
        make_token(alan, purpose=Purpose.SERVER, limited=False)
        import_token(alan, f"brought-secret-{number}", by=BY)

    for _ in range(3):
        make_token(alan)
    with pytest.raises(Conflict):
        make_token(alan)


def test_a_full_user_still_gets_tokens_for_servers_and_clients(
    full: Any, alan: User
) -> None:
    make_token(alan, client_id="service-portal", scopes=["read:users!user"])
    make_token(alan, limited=False)


def test_a_note_does_not_make_a_token_one_of_a_server(alan: User) -> None:
    for _ in range(3):
        make_token(alan, note="Server at /user/alan/")

    with pytest.raises(Conflict):
        make_token(alan)


def test_services_have_as_many_as_they_need() -> None:
    service = make_service()

    for _ in range(5):
        make_token(service)


@pytest.mark.parametrize("by_group", [False, True])
def test_a_role_raises_the_limit(
    full: Any, alan: User, settings: Any, by_group: bool
) -> None:
    settings.HUB = replace(settings.HUB, token_limits_by_role={"robots": 4, "no": 9})
    if by_group:
        make_role("robots", groups=[make_group("machines", users=[alan])])
    else:
        make_role("robots", users=[alan])

    make_token(alan)
    with pytest.raises(Conflict, match="has 4 active tokens"):
        make_token(alan)


def test_a_role_lifts_the_limit(full: Any, alan: User, settings: Any) -> None:
    settings.HUB = replace(settings.HUB, token_limits_by_role={"robots": 0})
    make_role("robots", users=[alan])

    for _ in range(3):
        make_token(alan)


def test_nothing_is_counted_without_a_limit(
    full: Any, alan: User, settings: Any
) -> None:
    settings.HUB = replace(settings.HUB, token_limit_per_user=0)

    make_token(alan)


# Lists


def listed(client: Any, query: str = "", **headers: str) -> dict[str, Any]:
    reply = client.get(f"{API}/users/alan/tokens{query}", headers=headers)
    assert reply.status_code == 200
    return reply.json()


@pytest.fixture
def pages(settings: Any) -> None:
    settings.HUB = replace(
        settings.HUB,
        api_page_default_limit=2,
        api_page_max_limit=3,
        token_limit_per_user=0,
    )


def test_a_list_of_tokens_has_an_end(pages: None, alan: User, ada: User) -> None:
    tokens = [str(make_token(alan)[0]) for _ in range(5)]
    client = BearerClient(make_token(ada)[1])

    answer = listed(client)
    assert answer.keys() == {"api_tokens"}
    assert [token["id"] for token in answer["api_tokens"]] == tokens[:3]
    rest = listed(client, "?offset=3&limit=100")
    assert [token["id"] for token in rest["api_tokens"]] == tokens[3:]


def test_a_client_that_accepts_pages_gets_the_address_of_the_next_one(
    pages: None, alan: User, ada: User
) -> None:
    for _ in range(5):
        make_token(alan)
    client = BearerClient(make_token(ada)[1])

    answer = listed(client, accept="application/jupyterhub-pagination+json")

    assert len(answer["api_tokens"]) == 2
    assert answer["_pagination"]["total"] == 5
    assert answer["_pagination"]["next"]["offset"] == 2


def test_a_page_is_shorter_if_its_tokens_have_many_scopes(
    alan: User, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.tokens.MOST_SCOPES_SHOWN", 3)
    for _ in range(3):
        make_token(alan, scopes=["read:users!user", "servers!user"])
    client = BearerClient(make_token(ada)[1])

    answer = listed(client, accept="application/jupyterhub-pagination+json")

    assert len(answer["api_tokens"]) == 1
    assert answer["_pagination"]["next"]["offset"] == 1
