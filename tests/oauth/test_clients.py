"""Clients are created, changed and deleted with their services."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction

from accounts.models import User
from oauth.actions import (
    check_redirect_uri,
    matches,
    revoke_abandoned,
    update_clients,
)
from oauth.models import OAuthClient
from scopes.refusals import Invalid
from services.actions import create_service, delete_service
from services.models import Service
from tests.conftest import API
from tests.factories import BY, make_client, make_role, make_service, make_token
from tokens.models import APIToken

pytestmark = pytest.mark.django_db
SECRET = "a-secret-of-the-service"


def follow(*services: Service, **secrets: str) -> None:
    update_clients(services, secrets, by=BY)


def test_a_service_with_an_address_is_a_client(ada: User) -> None:
    service = create_service(
        "lab", by=BY, access=ada.access, url="http://127.0.0.1:9", api_token=SECRET
    )

    client = OAuthClient.objects.get(service=service)
    assert client.identifier == "service-lab"
    assert client.redirect_uri == "/services/lab/oauth_callback"
    assert client.description == "JupyterHub service lab"
    assert matches(client, SECRET)
    assert not matches(client, "another-secret")
    assert SECRET not in str(OAuthClient.objects.values().get())


def test_a_service_without_any_of_it_is_none() -> None:
    follow(make_service("plain"))

    assert not OAuthClient.objects.exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"oauth_client_id": "service-lab"},
        {"oauth_no_confirm": True},
        {"url": "http://127.0.0.1:9", "oauth_client_id": "lab"},
        {"oauth_redirect_uri": "//evil.example/x"},
        {"oauth_redirect_uri": "/\\evil.example"},
        {"oauth_redirect_uri": "javascript:alert(1)"},
        {"oauth_redirect_uri": "https://a.example/#here"},
        {"oauth_redirect_uri": "callback"},
        {"oauth_redirect_uri": "https://a.example/\r\nX: y"},
    ],
)
def test_half_a_client_is_refused(ada: User, fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        create_service("lab", by=BY, access=ada.access, **fields)

    assert not Service.objects.exists()


@pytest.mark.parametrize("uri", ["/x", "https://a.example/x?y=z", "app.scheme:/cb"])
def test_addresses_that_codes_may_go_to(uri: str) -> None:
    check_redirect_uri(uri)


def test_two_services_are_not_one_client(ada: User) -> None:
    make_client("lab")

    with pytest.raises(Invalid, match="belongs to another service"):
        create_service(
            "other",
            by=BY,
            access=ada.access,
            oauth_client_id="service-lab",
            oauth_redirect_uri="/x",
        )


def test_following_again_changes_nothing(django_assert_max_num_queries: Any) -> None:
    service = make_service("lab", url="http://127.0.0.1:9")
    follow(service, lab=SECRET)
    before = OAuthClient.objects.values().get()

    with django_assert_max_num_queries(4):
        follow(service, lab=SECRET)

    assert OAuthClient.objects.values().get() == before


def test_a_changed_service_changes_its_client(alan: User) -> None:
    service = make_service("lab", url="http://127.0.0.1:9")
    make_role("reads", "list:users", "read:groups")
    follow(service, lab=SECRET)
    token, _ = make_token(alan, client_id="service-lab", scopes=[])
    service.oauth_client_allowed_scopes = ["reads", "tokens!user"]
    service.oauth_redirect_uri = "https://lab.example/back"

    follow(service, lab="another-secret")

    client = OAuthClient.objects.get()
    assert client.allowed_scopes == ["list:users", "read:groups", "tokens!user"]
    assert client.redirect_uri == "https://lab.example/back"
    assert matches(client, "another-secret")
    token.refresh_from_db()
    assert token.revoked_at is None


def test_another_identifier_is_another_client(alan: User) -> None:
    one = make_service("one", url="http://127.0.0.1:9")
    two = make_service("two", url="http://127.0.0.1:9")
    follow(one, two, one=SECRET, two=SECRET)
    token, _ = make_token(alan, client_id="service-one", scopes=[])
    one.oauth_client_id, two.oauth_client_id = "service-two", "service-one"

    follow(one, two, one=SECRET, two=SECRET)

    found = OAuthClient.objects.values_list("service__name", "identifier")
    assert dict(found) == {"one": "service-two", "two": "service-one"}
    token.refresh_from_db()
    assert token.revoked_at


def test_a_service_takes_its_client_and_tokens_along(ada: User, alan: User) -> None:
    service = create_service(
        "lab", by=BY, access=ada.access, url="http://127.0.0.1:9", api_token=SECRET
    )
    make_token(alan, client_id="service-lab", scopes=[])
    kept, _ = make_token(alan)

    delete_service(service, by=BY)

    assert not OAuthClient.objects.exists()
    assert APIToken.objects.get(revoked_at=None) == kept


def test_tokens_that_no_client_owns_end(alan: User) -> None:
    make_client("lab")
    kept = [make_token(alan)[0], make_token(alan, client_id="service-lab")[0]]
    make_token(alan, client_id="service-gone")

    assert revoke_abandoned(by=BY) == 1

    assert list(APIToken.objects.filter(revoked_at=None)) == kept


def test_created_through_the_api(bearer: Any, ada: User) -> None:
    caller = bearer(make_token(ada)[1])

    created = caller.post(
        f"{API}/services/lab",
        {"oauth_redirect_uri": "https://lab.example/cb", "api_token": SECRET},
    )
    refused = caller.post(f"{API}/services/half", {"oauth_no_confirm": True})

    assert created.status_code == 201
    assert matches(OAuthClient.objects.get(), SECRET)
    assert refused.status_code == 400
    assert not Service.objects.filter(name="half").exists()


def test_a_client_is_one_thing() -> None:
    for fields in ({"server": ""}, {"server": "a/", "service": make_service("s")}):
        with pytest.raises(IntegrityError), transaction.atomic():
            OAuthClient.objects.create(identifier="x", redirect_uri="/x", **fields)


def test_secrets_are_kept_as_argon2id() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        make_client("lab", digest="sha512:16384:salt:digest")
