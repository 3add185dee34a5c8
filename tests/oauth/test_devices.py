"""Sign-in of terminals and notebooks by RFC 8628."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
import time_machine
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from oauth import device_actions
from oauth.models import DeviceRequest, OAuthClient
from scopes.definitions import INHERIT
from tests.conftest import API
from tests.factories import PASSWORD, make_role, make_token, make_user
from tests.oauth.conftest import SECRET, TOKEN
from tokens.models import APIToken
from tokens.verification import verify

pytestmark = pytest.mark.django_db

BEGIN = f"{API}/oauth2/device_authorization"
PAGE = "/hub/device"
DECIDE = "/hub/device/decide"
FORM = "application/x-www-form-urlencoded"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"

Travel = Callable[[float], None]


def send(path: str, fields: dict[str, Any], **extra: Any) -> Any:
    kept = {key: value for key, value in fields.items() if value is not None}
    return Client().post(path, urlencode(kept), content_type=FORM, **extra)


def begin(**fields: Any) -> dict[str, Any]:
    reply = send(BEGIN, {"client_id": "hub-token", **fields})
    assert reply.status_code == 200, reply.content
    body: dict[str, Any] = reply.json()
    return body


def poll(codes: dict[str, Any], **changes: Any) -> Any:
    fields = {
        "grant_type": DEVICE_CODE,
        "client_id": "hub-token",
        "device_code": codes["device_code"],
        **changes,
    }
    return send(TOKEN, fields)


def decide(browser: Client, codes: dict[str, Any], **fields: Any) -> Any:
    fields = {"user_code": codes["user_code"], "expires_in": "86400", **fields}
    if "deny" not in fields:
        fields["approve"] = "1"
    return browser.post(DECIDE, fields)


@pytest.fixture
def travel() -> Any:
    """Return a function that moves the clock forward by seconds."""
    with time_machine.travel(timezone.now()) as traveller:
        yield lambda seconds: traveller.shift(timedelta(seconds=seconds))


@pytest.fixture
def browser(as_: Any, mallory: User) -> Client:
    client: Client = as_(mallory)
    return client


# The program's first question


def test_a_program_gets_two_codes() -> None:
    reply = send(BEGIN, {"client_id": "hub-token", "device_name": "laptop"})

    assert reply.status_code == 200
    assert reply["Cache-Control"] == "no-store"
    body = reply.json()
    assert re.fullmatch(r"[BCDFGHJKLMNPQRSTVWXZ]{4}-[B-Z]{4}", body["user_code"])
    assert len(body["device_code"]) >= 40
    assert body["verification_uri"] == "http://testserver/hub/device"
    assert body["verification_uri_complete"].endswith(f"?user_code={body['user_code']}")
    assert (body["expires_in"], body["interval"]) == (600, 5)
    row = DeviceRequest.objects.get()
    stored = f"{row.handle} {row.user_handle}"
    assert body["device_code"] not in stored and body["user_code"] not in stored


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"client_id": None}, 400, "invalid_request"),
        ({"client_id": "two words"}, 400, "invalid_request"),
        ({"client_id": "n" * 65}, 400, "invalid_request"),
        ({"client_id": "nul\0"}, 400, "invalid_request"),
        ({"scope": "no:such:scope"}, 400, "invalid_scope"),
        ({"scope": " ".join(f"read:users!user=u{n}" for n in range(1001))}, 400, "*"),
        ({"client_id": "service-portal"}, 400, "unauthorized_client"),
        (
            {"client_id": "service-portal", "client_secret": SECRET},
            400,
            "unauthorized_client",
        ),
        (
            {"client_id": "service-portal", "client_secret": "no"},
            401,
            "invalid_client",
        ),
    ],
)
def test_what_a_program_may_not_ask(
    portal: OAuthClient, fields: dict[str, Any], status: int, error: str
) -> None:
    reply = send(BEGIN, {"client_id": "hub-token", **fields})

    assert reply.status_code == status
    assert error in ("*", reply.json()["error"])
    assert not DeviceRequest.objects.exists()


def test_a_hub_may_do_without(settings: Any, browser: Client) -> None:
    codes = begin()
    assert "device_authorization_endpoint" in metadata()
    settings.HUB = replace(settings.HUB, device_sign_in=False)

    assert send(BEGIN, {"client_id": "x"}).json()["error"] == "unauthorized_client"
    assert poll(codes).json()["error"] == "unauthorized_client"
    assert browser.get(PAGE).status_code == 404
    assert decide(browser, codes, preset="everything").status_code == 404
    assert "device_authorization_endpoint" not in metadata()
    assert DEVICE_CODE not in metadata()["grant_types_supported"]


def metadata() -> dict[str, Any]:
    body: dict[str, Any] = (
        Client().get("/.well-known/oauth-authorization-server").json()
    )
    return body


def test_one_network_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_actions, "MOST_OF_A_NETWORK", 2)
    begin()
    begin()

    refused = send(BEGIN, {"client_id": "hub-token"})

    assert (refused.status_code, refused.json()["error"]) == (429, "slow_down")
    assert int(refused["Retry-After"]) > 0
    elsewhere = send(BEGIN, {"client_id": "hub-token"}, REMOTE_ADDR="198.51.100.7")
    assert elsewhere.status_code == 200


# The person's decision


def test_the_page_says_who_asks_from_where_and_for_what(browser: Client) -> None:
    codes = begin(
        device_name="ada's <laptop>", scope="read:users!user admin:users tokens!user"
    )

    page = browser.get(PAGE, {"user_code": codes["user_code"].lower()})

    assert page.status_code == 200
    assert "no-store" in page["Cache-Control"]
    text = page.content.decode()
    assert codes["user_code"] in text
    assert "hub-token" in text
    assert "ada&#x27;s &lt;laptop&gt;" in text
    assert "127.0.0.1" in text
    assert 'value="read:users!user" checked' in text
    assert "See users with their groups and activity (only your own)" in text
    # Mallory can't give away what belongs to administrators.
    assert 'value="admin:users"' not in text
    assert "You do not have these permissions yourself" in text
    assert 'name="_xsrf"' in text
    assert codes["device_code"] not in text
    assert not DeviceRequest.objects.exclude(approved_at=None).exists()


def test_strangers_sign_in_first_and_come_back() -> None:
    codes = begin()

    reply = Client().get(PAGE, {"user_code": codes["user_code"]})

    assert reply.status_code == 302
    assert reply["Location"].startswith("/hub/login?next=%2Fhub%2Fdevice%3Fuser_code")


def test_a_forged_form_approves_nothing(mallory: User) -> None:
    codes = begin()
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(mallory)

    assert decide(browser, codes, preset="everything").status_code == 403

    assert poll(codes).json()["error"] == "authorization_pending"


def test_an_approved_program_gets_an_ordinary_token(
    browser: Client, mallory: User, bearer: Any, travel: Travel
) -> None:
    codes = begin(device_name="laptop", scope="read:users!user tokens!user")
    assert poll(codes).json()["error"] == "authorization_pending"

    reply = decide(browser, codes, scopes=["read:users!user"])
    assert (reply.status_code, reply["Location"]) == (302, PAGE)
    travel(5)
    answer = poll(codes)

    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    body = answer.json()
    assert body.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 86400)
    assert body["scope"] == "read:users!user"
    token = APIToken.objects.get()
    assert token.user == mallory
    assert token.scopes == ["read:users!user"]
    assert token.note == "hub-token on laptop"
    assert token.client_id == "" and token.session_id is None
    assert bearer(body["access_token"]).get(f"{API}/user").json()["name"] == "mallory"
    assert not DeviceRequest.objects.exists()
    approved = Event.objects.get(action="device.approve")
    assert approved.sentence == "mallory approved a device for user mallory"
    assert approved.detail["device"] == "laptop"


def test_a_program_that_names_no_scopes_gets_what_the_person_chooses(
    browser: Client, mallory: User
) -> None:
    everything, reading = begin(), begin()

    assert decide(browser, everything, preset="everything").status_code == 302
    assert decide(browser, reading, preset="read").status_code == 302

    body = poll(everything).json()
    assert verify(body["access_token"]).access == mallory.access
    assert body["scope"] == INHERIT
    narrow = verify(poll(reading).json()["access_token"]).access
    assert narrow.has("read:users") and not narrow.has("servers")


def test_a_token_without_an_end_has_no_expires_in(browser: Client) -> None:
    codes = begin()
    decide(browser, codes, preset="read", expires_in="never")

    assert "expires_in" not in poll(codes).json()


def test_a_denied_program_gets_nothing(browser: Client, travel: Travel) -> None:
    codes = begin()

    assert decide(browser, codes, deny="1").status_code == 302

    for _ in range(2):
        reply = poll(codes)
        assert (reply.status_code, reply.json()["error"]) == (400, "access_denied")
    assert not APIToken.objects.exists()
    assert Event.objects.filter(action="device.deny").exists()
    # A decision is final.
    assert decide(browser, codes, preset="everything").status_code == 400
    assert poll(codes).json()["error"] == "access_denied"


@pytest.mark.parametrize(
    "fields",
    [
        {"scopes": []},
        {"scopes": ["admin:users"]},
        {"scopes": ["servers!user"]},
        {"scopes": ["read:users!user"], "expires_in": "soon"},
        {"scopes": ["read:users!user"], "expires_in": "-5"},
        {"preset": "everything"},
    ],
)
def test_a_form_grants_no_more_than_the_page_showed(
    browser: Client, fields: dict[str, Any]
) -> None:
    codes = begin(scope="read:users!user admin:users")

    page = decide(browser, codes, **fields)

    assert page.status_code == 400
    assert "Nothing was approved" in page.content.decode()
    assert poll(codes).json()["error"] == "authorization_pending"


def test_whoever_may_issue_no_tokens_gives_none(as_: Any) -> None:
    guest = make_user("guest", roles=[], scopes=["read:users!user"])
    codes = begin()

    page = as_(guest).get(PAGE, {"user_code": codes["user_code"]})
    assert 'name="approve"' not in page.content.decode()
    assert decide(as_(guest), codes, preset="read").status_code == 400

    assert poll(codes).json()["error"] == "authorization_pending"
    assert decide(as_(guest), codes, deny="1").status_code == 302


def test_wrong_codes_are_limited(browser: Client, as_: Any, ada: User) -> None:
    codes = begin()
    for _ in range(5):
        page = browser.get(PAGE, {"user_code": "BBBB-BBBB"})
        assert page.status_code == 400
        assert "No program waits with this code" in page.content.decode()

    refused = browser.get(PAGE, {"user_code": codes["user_code"]})

    assert refused.status_code == 429
    assert "Too many failed attempts" in refused.content.decode()
    assert decide(browser, codes, preset="everything").status_code == 429
    # Others are not disturbed.
    other = as_(ada).get(PAGE, {"user_code": codes["user_code"]})
    assert other.status_code == 200


@pytest.mark.parametrize("code", ["", "\0", "ü" * 30, "B" * 500, "BCDF-GHJK"])
def test_odd_codes_are_unknown(browser: Client, code: str) -> None:
    assert browser.get(PAGE, {"user_code": code}).status_code == 400


def test_right_codes_are_no_failures(browser: Client) -> None:
    codes = begin()

    for _ in range(8):
        page = browser.get(PAGE, {"user_code": codes["user_code"]})
        assert page.status_code == 200


# The program's further questions


def test_a_program_that_asks_too_often_slows_down(
    browser: Client, travel: Travel
) -> None:
    codes = begin()
    answers = []
    for seconds in (0, 1, 6, 10, 14, 20):
        travel(seconds)
        answers.append(poll(codes).json()["error"])

    assert answers == [
        "authorization_pending",
        "slow_down",
        "slow_down",
        "slow_down",
        "slow_down",
        "slow_down",
    ]
    travel(30)
    assert poll(codes).json()["error"] == "authorization_pending"
    decide(browser, codes, preset="read")
    assert poll(codes).status_code == 200


def test_a_request_expires(browser: Client, travel: Travel) -> None:
    codes = begin()
    approved = begin()
    decide(browser, approved, preset="read")
    travel(601)

    for each in (codes, approved):
        reply = poll(each)
        assert (reply.status_code, reply.json()["error"]) == (400, "expired_token")
    assert browser.get(PAGE, {"user_code": codes["user_code"]}).status_code == 400
    assert decide(browser, codes, preset="everything").status_code == 400
    assert not APIToken.objects.exists()
    travel(601)
    begin()
    # The rows are gone, and with them the knowledge of the codes.
    assert DeviceRequest.objects.count() == 1
    assert poll(codes).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"device_code": "unknown"}, 400, "invalid_grant"),
        ({"device_code": None}, 400, "invalid_request"),
        ({"client_id": "other"}, 400, "invalid_grant"),
        ({"client_id": None}, 400, "invalid_request"),
        ({"client_id": "service-portal"}, 400, "unauthorized_client"),
    ],
)
def test_a_code_is_for_its_program_alone(
    portal: OAuthClient,
    browser: Client,
    changes: dict[str, Any],
    status: int,
    error: str,
) -> None:
    codes = begin()
    decide(browser, codes, preset="read")

    refused = poll(codes, **changes)

    assert (refused.status_code, refused.json()["error"]) == (status, error)
    assert poll(codes).status_code == 200


def test_a_code_is_good_for_one_token(browser: Client) -> None:
    codes = begin()
    decide(browser, codes, preset="read")

    assert poll(codes).status_code == 200
    again = poll(codes)

    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert APIToken.objects.count() == 1


def test_what_changed_since_the_approval_counts(
    browser: Client, mallory: User, settings: Any
) -> None:
    first, second, third = begin(), begin(scope="servers!user"), begin()
    decide(browser, first, preset="everything")
    decide(browser, second, scopes=["servers!user"])
    decide(browser, third, preset="everything")
    make_token(mallory)
    settings.HUB = replace(settings.HUB, token_limit_per_user=1)

    full = poll(first)
    assert (full.status_code, full.json()["error"]) == (400, "invalid_grant")
    assert "as many as one user may have" in full.json()["error_description"]
    settings.HUB = replace(settings.HUB, token_limit_per_user=0)
    assert poll(first).status_code == 200
    make_role("user").users.remove(mallory)
    lost = poll(second)
    assert (lost.status_code, lost.json()["error"]) == (400, "invalid_grant")
    User.objects.filter(pk=mallory.pk).update(is_active=False)
    gone = poll(third)
    assert (gone.status_code, gone.json()["error"]) == (400, "invalid_grant")


@pytest.mark.django_db(transaction=True)
def test_of_many_processes_one_gets_the_token(browser: Client) -> None:
    codes = begin()
    decide(browser, codes, preset="read")

    def fetch(_: int) -> int:
        try:
            status: int = poll(codes).status_code
            return status
        finally:
            connections.close_all()

    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        statuses = [fetch(number) for number in range(4)]
    else:
        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(fetch, range(4)))

    assert sorted(statuses) == [200, 400, 400, 400]
    assert APIToken.objects.count() == 1


def test_a_powerful_token_needs_a_fresh_sign_in(as_: Any) -> None:
    admin = make_user("ada", admin=True, password=PASSWORD)
    codes, own = begin(scope="admin:users"), begin(scope="servers!user")

    reply = decide(as_(admin), codes, scopes=["admin:users"])

    assert reply.status_code == 302
    assert "/reauthenticate" in reply["Location"]
    assert f"user_code%3D{codes['user_code']}" in reply["Location"]
    assert poll(codes).json()["error"] == "authorization_pending"
    assert decide(as_(admin), own, scopes=["servers!user"])["Location"] == PAGE
    assert poll(own).status_code == 200


def test_a_date_of_ones_own(browser: Client) -> None:
    codes = begin()
    day = (timezone.now() + timedelta(days=20)).date().isoformat()

    assert decide(browser, codes, preset="read", expires_in="date", expires_on=day)

    assert 19 * 86400 < poll(codes).json()["expires_in"] <= 21 * 86400


def test_the_row_says_how_the_token_came_to_be(browser: Client, mallory: User) -> None:
    codes = begin()
    decide(browser, codes, preset="read")

    send_from = "198.51.100.9"
    reply = send(
        TOKEN,
        {
            "grant_type": DEVICE_CODE,
            "client_id": "hub-token",
            "device_code": codes["device_code"],
        },
        REMOTE_ADDR=send_from,
    )

    assert reply.status_code == 200
    token = APIToken.objects.get()
    assert (token.purpose, token.created_via) == ("program", "device")
    assert (token.created_by, token.created_address) == ("mallory", send_from)
