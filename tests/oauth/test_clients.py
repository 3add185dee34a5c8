"""Clients are created, changed and deleted with their services."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from accounts.models import User
from oauth.actions import (
    check_redirect_uri,
    matches,
    revoke_abandoned,
    update_clients,
)
from oauth.models import OAuthClient
from scopes.refusals import Invalid
from servers.models import Server
from services.actions import create_service, delete_service
from services.models import Service
from tests.conftest import API
from tests.factories import (
    BY,
    make_client,
    make_role,
    make_server,
    make_service,
    make_token,
)
from tokens import digests
from tokens.actions.importing import import_token
from tokens.actions.issuing import issue_token
from tokens.actions.pausing import disable_tokens, freeze_tokens
from tokens.actions.revocation import revoke_tokens
from tokens.actions.rotation import rotate_token
from tokens.models import APIToken, CreatedVia, PreviousSecret, Purpose
from tokens.networks import WrongNetwork

pytestmark = pytest.mark.django_db
SECRET = "a-secret-of-the-service"


def follow(*services: Service, **secrets: str) -> None:
    by_name = {service.name: service for service in services}
    tokens = {
        name: import_token(by_name[name], secret, by=BY)
        for name, secret in secrets.items()
    }
    update_clients(services, tokens, by=BY)


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


def test_the_secret_is_that_of_the_services_token(ada: User) -> None:
    service = create_service(
        "lab", by=BY, access=ada.access, url="http://127.0.0.1:9", api_token=SECRET
    )

    token = APIToken.objects.get()
    assert (token.service, token.purpose) == (service, Purpose.SERVICE)
    assert OAuthClient.objects.get().secret == token


def test_a_rotation_leaves_both_secrets_valid_for_a_while() -> None:
    client = make_client("lab", SECRET)
    assert client.secret is not None
    now = timezone.now()

    _, after = rotate_token(client.secret, by=BY, overlap=60, now=now)

    client = read_again(client)
    assert matches(client, SECRET) and matches(client, after)
    PreviousSecret.objects.update(ends_at=now)
    assert not matches(client, SECRET, "192.0.2.1") and matches(client, after)
    # The use of the earlier secret is an alarm.
    assert PreviousSecret.objects.get().tripped_address == "192.0.2.1"


def test_the_configuration_may_still_have_the_earlier_secret(ada: User) -> None:
    service = make_service("lab", url="http://127.0.0.1:9")
    follow(service, lab=SECRET)
    token = APIToken.objects.get()
    rotate_token(token, by=BY)

    follow(service, lab=SECRET)

    assert OAuthClient.objects.get().secret == token
    assert matches(OAuthClient.objects.get(), SECRET)


@pytest.mark.parametrize(
    "end",
    [
        lambda tokens: disable_tokens(tokens, by=BY),
        lambda tokens: freeze_tokens(tokens, by=BY, reason="a test"),
        lambda tokens: revoke_tokens(tokens, by=BY),
        lambda tokens: tokens.update(expires_at=timezone.now()),
        lambda tokens: tokens.all().delete(),
    ],
    ids=["disabled", "frozen", "revoked", "expired", "deleted"],
)
def test_a_stopped_token_is_no_secret(end: Any) -> None:
    client = make_client("lab", SECRET)
    assert matches(client, SECRET)

    end(APIToken.objects.filter(pk=client.secret_id))

    assert not matches(read_again(client), SECRET)


def test_a_server_of_a_deactivated_user_is_no_client(alan: User) -> None:
    client = make_client("alan", SECRET, server="alan/", identifier="x")
    assert matches(client, SECRET)

    User.objects.update(is_active=False)

    assert not matches(read_again(client), SECRET)


def test_networks_of_the_token_limit_the_client() -> None:
    client = make_client("lab", SECRET)
    APIToken.objects.update(networks=["192.0.2.0/24"])

    assert matches(read_again(client), SECRET, "192.0.2.7")
    with pytest.raises(WrongNetwork):
        matches(read_again(client), SECRET, "198.51.100.7")
    assert not matches(read_again(client), "another-secret", "198.51.100.7")


def test_a_wrong_secret_costs_no_hash(monkeypatch: Any) -> None:
    client = make_client("lab", SECRET)
    _, other = make_token(client.service)
    calls: list[int] = []
    monkeypatch.setattr(digests, "matches", lambda *both: calls.append(1))

    for secret in ("another-secret", other, "hub_" + "x" * 60, "ä" * 20, ""):
        assert not matches(client, secret)

    assert calls == []


def read_again(client: OAuthClient) -> OAuthClient:
    return OAuthClient.objects.get(pk=client.pk)


@pytest.mark.django_db(transaction=True)
def test_earlier_clients_get_the_tokens_with_their_secrets(alan: User) -> None:
    """The migrations link all clients whose secret is known, and hash nothing."""
    brought, rotated, run = (
        make_client(name, service=make_service(name))
        for name in ("brought", "rotated", "run")
    )
    import_token(brought.service, "secret-brought", by=BY)
    token = import_token(rotated.service, "secret-rotated", by=BY)
    key = token.public_id
    rotate_token(token, by=BY)
    issue_token(run.service, by=BY, via=CreatedVia.SERVICE)
    server = make_server(alan)
    own, _ = issue_token(alan, by=BY, via=CreatedVia.SERVER)
    Server.objects.filter(pk=server.pk).update(token=own)
    of_server = make_client("x", server="alan/", identifier="jupyterhub-user-alan")
    stray = make_client("stray")
    expected = {
        brought.pk: APIToken.objects.get(service=brought.service).pk,
        rotated.pk: token.pk,
        run.pk: APIToken.objects.get(service=run.service).pk,
        of_server.pk: own.pk,
        stray.pk: None,
    }
    try:
        MigrationExecutor(connection).migrate(
            [("oauth", "0005_spent_assertions"), ("servers", "0005_purpose_of_tokens")]
        )
        handles = {brought.pk: APIToken.objects.get(pk=expected[brought.pk]).public_id}
        handles[rotated.pk] = key
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE oauth_oauthclient SET handle = 'unknown',"
                " digest = '$argon2id$' WHERE id <> %s",
                [stray.pk],
            )
            for pk, handle in handles.items():
                cursor.execute(
                    "UPDATE oauth_oauthclient SET handle = %s WHERE id = %s",
                    [handle, pk],
                )
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(executor.loader.graph.leaf_nodes())

    assert dict(OAuthClient.objects.values_list("pk", "secret")) == expected
