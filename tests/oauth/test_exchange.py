"""The exchange of tokens by RFC 8693: narrower ones, and those of CI systems."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts.models import User
from audit.models import Actor
from hubsite.config.publishers import publishers as read_publishers
from oauth import publishers
from oauth.exchange import issue_narrower
from oauth.metadata import DEVICE_CODE
from oauth.models import SpentAssertion
from scopes.refusals import Unavailable
from services.models import Service
from tests.factories import make_role, make_token, make_user
from tests.oauth.conftest import TOKEN, SignIn
from tokens import leaks
from tokens.actions import changes, pausing, revocation, rotation
from tokens.models import APIToken, CreatedVia
from tokens.states import in_state
from tokens.verification import verify

pytestmark = pytest.mark.django_db

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
FORM = "application/x-www-form-urlencoded"
BY = Actor.system("test")


def send(fields: dict[str, Any], **extra: Any) -> Any:
    kept = {key: value for key, value in fields.items() if value is not None}
    return Client().post(TOKEN, urlencode(kept), content_type=FORM, **extra)


def exchange(secret: str, **fields: Any) -> Any:
    return send(
        {
            "grant_type": GRANT,
            "subject_token": secret,
            "subject_token_type": ACCESS,
            **fields,
        }
    )


def narrowed(secret: str, **fields: Any) -> str:
    reply = exchange(secret, **fields)
    assert reply.status_code == 200, reply.content
    return str(reply.json()["access_token"])


# Narrower tokens


def test_a_token_is_exchanged_for_a_narrower_one(ada: User) -> None:
    parent, secret = make_token(ada, expires_in=86_400)

    reply = exchange(secret, scope="read:users list:groups", expires_in="600")

    assert reply.status_code == 200
    assert reply["Cache-Control"] == "no-store"
    body = reply.json()
    bearer = verify(body.pop("access_token"))
    assert body == {
        "issued_token_type": ACCESS,
        "token_type": "Bearer",
        "expires_in": 600,
        "scope": "read:users list:groups",
    }
    assert bearer and bearer.owner_name == "ada"
    assert bearer.access.has("read:users") and not bearer.access.has("admin:users")
    token = APIToken.objects.get(pk=bearer.token_id)
    assert (token.created_via, token.purpose) == ("exchange", "program")
    assert token.note == f"Exchanged for {parent}"
    assert token.exchange.parent == parent


def test_it_ends_no_later_than_its_parent(ada: User) -> None:
    soon, secret = make_token(ada, expires_in=300)
    forever = make_token(ada)[1]

    for fields in ({}, {"expires_in": "100000"}):
        bearer = verify(narrowed(secret, **fields))
        assert bearer
        token = APIToken.objects.get(pk=bearer.token_id)
        assert soon.expires_at - timedelta(seconds=2) < token.expires_at
        assert token.expires_at <= soon.expires_at
    assert exchange(forever).json()["expires_in"] == 3600


@pytest.mark.parametrize(
    "scope",
    [
        "admin:users",
        "inherit",
        "servers!user",
        "read:users!user=grace",
        "read:users!group=data301",
        "read:users",
        "no:such",
        "read:users!user servers!user",
    ],
)
def test_scopes_beyond_the_parent_are_refused(
    ada: User, alan: User, scope: str
) -> None:
    secret = make_token(alan, scopes=["read:users!user"])[1]
    before = APIToken.objects.count()

    reply = exchange(secret, scope=scope)

    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_scope")
    assert APIToken.objects.count() == before


def test_a_token_for_a_group_covers_none_for_its_members(
    grace: User, alan: User
) -> None:
    secret = make_token(grace, scopes=["read:users!group=data301"])[1]

    assert exchange(secret, scope="read:users:name!group=data301").status_code == 200
    refused = exchange(secret, scope="read:users!user=alan")

    assert refused.json()["error"] == "invalid_scope"


CHANGES: dict[str, Callable[[APIToken], object]] = {
    "revoked": lambda parent: revocation.revoke_token(parent, by=BY),
    "disabled": lambda parent: pausing.disable_tokens(rows(parent), by=BY),
    "frozen": lambda parent: rows(parent).update(frozen_at=timezone.now()),
    "narrowed": lambda parent: rows(parent).update(scopes=["read:users!user"]),
    "limited": lambda parent: rows(parent).update(networks=["192.0.2.0/24"]),
    "shortened": lambda parent: rows(parent).update(
        expires_at=timezone.now() + timedelta(minutes=1)
    ),
    "deleted": lambda parent: parent.delete(),
    "owner": lambda parent: User.objects.update(is_active=False),
}


def rows(parent: APIToken) -> Any:
    return APIToken.objects.filter(pk=parent.pk)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_parent_ends_it_at_once(mallory: User, change: str) -> None:
    parent, secret = make_token(mallory)
    child = narrowed(secret, scope="read:users!user")
    assert verify(child)

    CHANGES[change](parent)

    assert verify(child) is None


def test_a_parent_that_is_enabled_again_has_its_child_again(mallory: User) -> None:
    parent, secret = make_token(mallory)
    child = narrowed(secret)
    pausing.disable_tokens(rows(parent), by=BY)
    assert verify(child) is None

    pausing.enable_tokens(rows(parent), by=BY)

    assert verify(child)


def test_a_lost_role_counts_for_both(alan: User) -> None:
    role = make_role("extra", "read:groups", users=[alan])
    secret = make_token(alan)[1]
    child = narrowed(secret, scope="read:groups")
    assert verify(child).access.has("read:groups")

    role.users.remove(alan)

    assert not verify(child).access.has("read:groups")


def test_an_application_keeps_its_narrower_token_to_itself(
    sign_in: SignIn, visitor: User
) -> None:
    obtained = sign_in.token()["access_token"]

    child = verify(narrowed(obtained, scope="read:users!user"))

    assert child and child.client_id == "service-portal"
    assert child.session_id == verify(obtained).session_id
    assert not child.access.has("tokens")
    # Ending the application's access ends all of its tokens.
    obtained = APIToken.objects.exclude(client_id="")
    revocation.revoke_token(obtained.get(exchange=None), by=BY)
    assert not obtained.filter(revoked_at=None).exists()


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"subject_token": None}, "invalid_request"),
        ({"subject_token_type": None}, "invalid_request"),
        ({"subject_token_type": "urn:other"}, "invalid_request"),
        ({"requested_token_type": "urn:other"}, "invalid_request"),
        ({"actor_token": "x", "actor_token_type": ACCESS}, "invalid_request"),
        ({"audience": "elsewhere"}, "invalid_target"),
        ({"resource": "https://elsewhere.example"}, "invalid_target"),
        ({"expires_in": "0"}, "invalid_request"),
        ({"expires_in": "-1"}, "invalid_request"),
        ({"expires_in": "soon"}, "invalid_request"),
        ({"expires_in": "9" * 30}, "invalid_request"),
        ({"subject_token": "unknown-token"}, "invalid_grant"),
        ({"subject_token": f"hub_{'0' * 12}_{'0' * 60}"}, "invalid_grant"),
        ({"subject_token": "ü\0"}, "invalid_grant"),
    ],
)
def test_requests_that_are_refused(
    mallory: User, fields: dict[str, Any], error: str
) -> None:
    secret = make_token(mallory)[1]

    reply = exchange(secret, **fields)

    assert (reply.status_code, reply.json()["error"]) == (400, error)
    assert APIToken.objects.count() == 1


def test_tokens_that_can_not_be_exchanged(mallory: User) -> None:
    limited = make_token(mallory, rate_limit=5)[1]
    elsewhere = make_token(mallory, networks=["192.0.2.0/24"])[1]
    child = narrowed(make_token(mallory)[1])

    for secret in (limited, elsewhere, child):
        reply = exchange(secret)
        assert (reply.status_code, reply.json()["error"]) == (400, "invalid_grant")


def test_networks_go_along(mallory: User) -> None:
    secret = make_token(mallory, networks=["127.0.0.0/8"])[1]

    bearer = verify(narrowed(secret))

    assert bearer and list(bearer.networks or ()) == ["127.0.0.0/8"]


SCOPES = ("read:users", "read:users:name", "servers", "read:servers", "tokens")
FILTERS = ("", "!user", "!user=alan", "!group=data301", "!server=alan/")
raws = st.lists(
    st.builds("{}{}".format, st.sampled_from(SCOPES), st.sampled_from(FILTERS)),
    min_size=1,
    max_size=4,
    unique=True,
)


@pytest.fixture
def both(data301: Any) -> User:
    user = make_user("hopper", scopes=SCOPES, groups=[data301])
    make_user("alan", groups=[data301])
    return user


def test_an_exchange_only_narrows(both: User) -> None:
    @hypothesis_settings(max_examples=40)
    @given(raws, raws)
    def property_(held: list[str], wanted: list[str]) -> None:
        secret = make_token(both, scopes=held)[1]
        reply = exchange(secret, scope=" ".join(wanted))
        if reply.status_code == 200:
            child = verify(reply.json()["access_token"])
            parent = verify(secret)
            assert child and parent
            assert parent.access.covers(child.access.scopes)
        else:
            assert reply.json()["error"] == "invalid_scope"

    property_()


# Keyless


class Issuer:
    """An OpenID provider with one key, on this machine."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.key_id = "first"
        self.asked = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                text = json.dumps(issuer.document(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def document(self, path: str) -> dict[str, Any]:
        if path.endswith("openid-configuration"):
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        public = self.key.public_key()
        described = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(public))
        odd = {"kty": "unknown", "kid": "odd"}
        return {"keys": [odd, {**described, "kid": self.key_id, "use": "sig"}]}

    def sign(self, **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": "hub",
            "sub": "repo:lab/pipeline:ref:refs/heads/main",
            "repository": "lab/pipeline",
            "iat": now,
            "exp": now + 300,
            "jti": f"job-{now}",
            **changes,
        }
        kept = {key: value for key, value in claims.items() if value is not None}
        header = {"kid": self.key_id}
        return jwt.encode(kept, self.key, "ES256", headers=header)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def provider() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.close()


@pytest.fixture
def issuer(provider: Issuer, settings: Any, ci: Service) -> Iterator[Issuer]:
    publishers.forget()
    rule = {
        "issuer": provider.url,
        "audience": "hub",
        "subject": "repo:lab/pipeline:*",
        "claims": {"repository": "lab/pipeline"},
        "service": "ci",
        "scopes": ["list:users", "read:users:name"],
        "name": "Pipeline",
    }
    settings.HUB = replace(settings.HUB, trusted_publishers=read_publishers([rule]))
    provider.asked = 0
    yield provider
    publishers.forget()


def keyless(token: str, **fields: Any) -> Any:
    return exchange(token, subject_token_type=ID_TOKEN, **fields)


def test_a_ci_gets_a_token_for_fifteen_minutes(issuer: Issuer, ci: Service) -> None:
    reply = keyless(issuer.sign())

    assert reply.status_code == 200, reply.content
    body = reply.json()
    assert body["expires_in"] == 900
    assert body["scope"] == "list:users read:users:name"
    bearer = verify(body["access_token"])
    assert bearer and (bearer.owner_kind, bearer.owner_name) == ("service", "ci")
    token = APIToken.objects.get()
    assert token.note == "Pipeline: repo:lab/pipeline:ref:refs/heads/main"
    assert (token.created_via, token.purpose) == ("exchange", "service")
    # It can be narrowed further, as other tokens can.
    assert verify(narrowed(body["access_token"], scope="list:users"))


def test_its_scopes_and_life_can_be_narrowed(issuer: Issuer) -> None:
    reply = keyless(issuer.sign(), scope="list:users", expires_in="60")
    assert (reply.json()["scope"], reply.json()["expires_in"]) == ("list:users", 60)

    again = keyless(issuer.sign(jti="2"), scope="admin:users")
    assert again.json()["error"] == "invalid_scope"
    long = keyless(issuer.sign(jti="3"), expires_in="100000")
    assert long.json()["expires_in"] == 900


def test_a_signed_token_is_good_for_one_exchange(issuer: Issuer) -> None:
    for jti in ("once", None):
        token = issuer.sign(jti=jti)
        assert keyless(token).status_code == 200
        replay = keyless(token)
        assert (replay.status_code, replay.json()["error"]) == (400, "invalid_grant")
    # The same id in another token is a replay as well.
    assert keyless(issuer.sign(jti="once", nonce="other")).status_code == 400
    assert APIToken.objects.count() == 2
    with time_machine.travel(timezone.now() + timedelta(hours=1), tick=False):
        assert keyless(issuer.sign(jti="later")).status_code == 200
    assert SpentAssertion.objects.count() == 1


NOW = int(time.time())


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "elsewhere"},
        {"aud": None},
        {"sub": "repo:lab/other:ref:refs/heads/main"},
        {"sub": "xrepo:lab/pipeline:ref"},
        {"sub": None},
        {"repository": "lab/other"},
        {"repository": None},
        {"repository": 7},
        {"iss": "http://127.0.0.1:9"},
        {"iss": None},
        {"exp": NOW - 3600, "iat": NOW - 7200},
        {"exp": None},
        {"exp": NOW + 10 * 86_400},
        {"exp": "soon"},
        {"exp": 1e300},
        {"iat": NOW + 7200, "exp": NOW + 9000},
        {"nbf": NOW + 3600},
        {"iat": None},
    ],
)
def test_signed_tokens_that_are_refused(
    issuer: Issuer, changes: dict[str, Any]
) -> None:
    reply = keyless(issuer.sign(**changes))

    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_grant")
    assert not APIToken.objects.exists()
    assert not SpentAssertion.objects.exists()


def test_forged_signatures_are_refused(issuer: Issuer) -> None:
    right = jwt.decode(issuer.sign(), options={"verify_signature": False})
    thief = ec.generate_private_key(ec.SECP256R1())
    known = {"kid": issuer.key_id}
    forged = [
        jwt.encode(right, thief, "ES256", headers=known),
        jwt.encode(right, thief, "ES256", headers={"kid": "unknown"}),
        jwt.encode(right, thief, "ES256"),
        jwt.encode(right, None, "none", headers=known),
        jwt.encode(right, "shared secret" * 4, "HS256", headers=known),
        f"{issuer.sign()[:-4]}AAAA",
        "a.b.c",
        "no token",
        "x" * 20_000,
    ]

    for token in forged:
        reply = keyless(token)
        assert (reply.status_code, reply.json()["error"]) == (400, "invalid_grant")

    # Unknown keys make the hub ask again, but not each time.
    assert issuer.asked <= 2
    assert not APIToken.objects.exists()


def test_new_keys_are_read_after_a_while(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keyless(issuer.sign(jti="a")).status_code == 200
    before = issuer.key, issuer.key_id
    issuer.key, issuer.key_id = ec.generate_private_key(ec.SECP256R1()), "second"
    try:
        assert keyless(issuer.sign(jti="b")).status_code == 400
        monkeypatch.setattr(publishers, "PAUSE", 0.0)
        assert keyless(issuer.sign(jti="c")).status_code == 200
    finally:
        issuer.key, issuer.key_id = before


def test_an_issuer_that_does_not_answer_is_no_refusal(
    issuer: Issuer, settings: Any
) -> None:
    (rule,) = settings.HUB.trusted_publishers
    rule = {**rule, "jwks_url": "http://127.0.0.1:9/keys"}
    settings.HUB = replace(settings.HUB, trusted_publishers=(rule,))

    for _ in range(2):
        reply = keyless(issuer.sign())
        assert reply.status_code == 503
        assert reply.json()["error"] == "temporarily_unavailable"
        assert reply["Retry-After"] == "30"


def test_a_user_who_has_left_gets_none(
    issuer: Issuer, settings: Any, mallory: User
) -> None:
    (rule,) = settings.HUB.trusted_publishers
    rule = {**rule, "user": "mallory", "service": "", "scopes": ["read:users!user"]}
    settings.HUB = replace(settings.HUB, trusted_publishers=(rule,))
    assert keyless(issuer.sign(jti="a")).status_code == 200
    User.objects.filter(pk=mallory.pk).update(is_active=False)

    reply = keyless(issuer.sign(jti="b"))

    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_grant")


def test_without_publishers_no_signed_token_is_read(provider: Issuer) -> None:
    provider.asked = 0

    assert keyless(provider.sign()).json()["error"] == "invalid_grant"

    assert provider.asked == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": ""},
        {"issuer": "http://ci.example"},
        {"issuer": "ci.example"},
        {"audience": ""},
        {"scopes": []},
        {"scopes": "admin"},
        {"subject": ""},
        {"subject": "*"},
        {"claims": ["a"]},
        {"claims": {"a": 1.5}},
        {"user": "ada"},
        {"service": ""},
        {"jwks_url": "http://keys.example"},
        {"other": 1},
    ],
)
def test_rules_that_stop_the_start(changes: dict[str, Any]) -> None:
    rule = {
        "issuer": "https://ci.example",
        "audience": "hub",
        "subject": "repo:lab/*",
        "service": "ci",
        "scopes": ["list:users"],
    }
    assert read_publishers([rule])

    with pytest.raises(ValueError, match=r"\w"):
        read_publishers([rule | changes])


# What a token of an exchange can't do


def test_it_gets_no_secret_that_would_outlive_it(ada: User, bearer: Any) -> None:
    other, _ = make_token(ada)
    _, secret = make_token(ada)
    child = bearer(narrowed(secret))
    before = list(APIToken.objects.order_by("pk").values("pk", "digest"))

    for path, body in (
        ("users/ada/tokens", {}),
        ("users/ada/tokens", {"expires_in": 60}),
        (f"tokens/{other}/rotate", {}),
        ("services/lab", {"api_token": "a-secret-of-a-service"}),
    ):
        reply = child.post(f"/hub/api/{path}", body)
        assert reply.status_code == 403, path
        assert "exchange" in reply.json()["message"]

    assert list(APIToken.objects.order_by("pk").values("pk", "digest")) == before
    assert not Service.objects.filter(name="lab").exists()
    assert bearer(secret).post("/hub/api/users/ada/tokens", {}).status_code == 201


def test_a_token_of_a_ci_issues_none(
    issuer: Issuer, settings: Any, bearer: Any, ada: User
) -> None:
    (rule,) = settings.HUB.trusted_publishers
    rule = {**rule, "user": "ada", "service": "", "scopes": ("inherit",)}
    settings.HUB = replace(settings.HUB, trusted_publishers=(rule,))
    secret = keyless(issuer.sign()).json()["access_token"]

    reply = bearer(secret).post("/hub/api/users/ada/tokens", {})

    assert reply.status_code == 403
    assert APIToken.objects.count() == 1


def test_a_limit_of_requests_that_the_parent_gets_ends_it(mallory: User) -> None:
    parent, secret = make_token(mallory)
    child = narrowed(secret)
    assert verify(child)

    changes.set_limits(parent, networks=None, rate_limit=5, by=BY)
    assert verify(child) is None
    changes.set_limits(parent, networks=None, rate_limit=None, by=BY)
    assert verify(child)


@pytest.mark.parametrize("act", ["disable", "freeze", "revoke"])
def test_changes_of_many_tokens_reach_what_was_exchanged(
    mallory: User, act: str
) -> None:
    """A device's token, one of a program and one that was exchanged."""
    parent, secret = make_token(mallory, via=CreatedVia.DEVICE)
    child = narrowed(secret)
    chosen = APIToken.objects.filter(pk=parent.pk)
    if act == "disable":
        pausing.disable_tokens(chosen, by=BY)
    elif act == "freeze":
        pausing.freeze_tokens(chosen, by=BY, reason="odd")
    else:
        revocation.remove_tokens(chosen, by=BY)

    assert verify(secret) is None and verify(child) is None
    reply = Client().get("/hub/api/user", HTTP_AUTHORIZATION=f"token {child}")
    assert reply.status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        {"disabled_at": timezone.now()},
        {"frozen_at": timezone.now()},
        {"revoked_at": timezone.now()},
        {"scopes": ["read:users!user"]},
        {"networks": ["127.0.0.0/8"]},
        {"rate_limit": 5},
        {"expires_at": timezone.now() + timedelta(seconds=60)},
        {},
    ],
    ids=lambda change: next(iter(change), "unchanged"),
)
def test_lists_say_that_it_stopped_with_its_parent(
    mallory: User, as_: Any, bearer: Any, change: dict[str, Any]
) -> None:
    """The state is that of the verification, on the page and in the API."""
    parent, secret = make_token(mallory, scopes=["tokens!user", "read:users!user"])
    child = narrowed(secret)
    _, other = make_token(mallory)
    APIToken.objects.filter(pk=parent.pk).update(**change)
    token = APIToken.objects.get(exchange__parent=parent)

    works = verify(child) is not None

    assert works == (not change) == (not token.is_stopped)
    stopped = APIToken.objects.filter(in_state("stopped", timezone.now()))
    assert (token in stopped) != works
    shown = bearer(other).get(f"/hub/api/tokens/{token}").json()
    assert shown["state"] == ("active" if works else "stopped")
    page = as_(mallory).get("/hub/token").content.decode()
    assert (">stopped</span>" in page) != works
    listed = bearer(other).get("/hub/api/tokens?user=mallory").json()
    assert {each["id"]: each["state"] for each in listed}[str(token)] == shown["state"]


def test_invented_keys_wait_for_nobody(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an issuer is slow, few requests wait, and known keys are used."""
    keys = publishers.Keys(issuer.url)
    known = keys.find("first")
    assert known is not None
    monkeypatch.setattr(publishers, "PAUSE", 0.0)
    monkeypatch.setattr(publishers, "KEPT", 1_000_000.0)
    entered, go = threading.Event(), threading.Event()

    def read() -> dict[str, Any]:
        entered.set()
        assert go.wait(20)
        return {"first": known}

    monkeypatch.setattr(keys, "_read", read)
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(keys.find("invented")))
        for _ in range(publishers.MOST_WAITING)
    ]
    for thread in threads:
        thread.start()
    assert entered.wait(20)
    until = time.monotonic() + 20
    while keys.waiting._value and time.monotonic() < until:  # type: ignore[attr-defined]
        time.sleep(0.01)

    with pytest.raises(Unavailable):
        keys.find("invented")
    assert keys.find("first") is known
    # Also a key that is due to be read again.
    monkeypatch.setattr(publishers, "KEPT", time.monotonic() - keys.read_at)
    assert keys.find("first") is known
    go.set()
    for thread in threads:
        thread.join(20)
    assert found == [None] * publishers.MOST_WAITING


# Rotation of the parent


@pytest.mark.parametrize("overlap", [0, 600])
def test_a_rotation_ends_what_was_exchanged_before(mallory: User, overlap: int) -> None:
    parent, secret = make_token(mallory)
    child = narrowed(secret, expires_in="8640000")

    _, new = rotation.rotate_token(parent, by=BY, overlap=overlap)

    assert (verify(child) is not None) == (overlap > 0)
    assert verify(narrowed(new))
    with time_machine.travel(timezone.now() + timedelta(seconds=601)):
        assert verify(child) is None


def test_an_earlier_secret_is_exchanged_for_its_own_time_only(mallory: User) -> None:
    parent, secret = make_token(mallory)
    rotation.rotate_token(parent, by=BY, overlap=600)

    child = narrowed(secret, expires_in="8640000")

    assert verify(child)
    with time_machine.travel(timezone.now() + timedelta(seconds=601)):
        assert verify(child) is None


def test_a_leaked_earlier_secret_ends_what_was_exchanged_for_it(mallory: User) -> None:
    parent, secret = make_token(mallory)
    before = narrowed(secret)
    _, new = rotation.rotate_token(parent, by=BY, overlap=600)
    during, with_new = narrowed(secret), narrowed(new, expires_in="7200")

    leaks.receive([leaks.Finding(secret)], address="192.0.2.1")
    report = leaks.next_report()
    assert report
    leaks.end_leaked(report, leaks.find_leaked(report))

    assert verify(before) is None and verify(during) is None
    assert verify(with_new) and verify(new)


@pytest.mark.parametrize(
    "fields",
    [
        {"subject_token": "a\0b"},
        {"scope": "read:users\0"},
        {"expires_in": "\u0663"},
        {"subject_token_type": ID_TOKEN, "subject_token": "a.\0.b"},
        {"grant_type": DEVICE_CODE, "client_id": "a\0b", "device_code": "x"},
        {"grant_type": DEVICE_CODE, "client_id": "ab", "device_code": "x\0"},
    ],
)
def test_odd_input_is_refused(mallory: User, fields: dict[str, str]) -> None:
    secret = make_token(mallory)[1]

    assert exchange(secret, **fields).status_code in (400, 401)


@pytest.mark.django_db(transaction=True)
def test_a_rotation_at_the_same_moment_counts() -> None:
    parent, secret = make_token(make_user("mallory"))
    found = verify(secret)
    assert found

    def rotate() -> None:
        rotation.rotate_token(parent, by=BY, overlap=0)
        connection.close()

    thread = threading.Thread(target=rotate)
    # SQLite in memory does not wait for locks.
    waits = connection.vendor != "sqlite" or not connection.is_in_memory_db()
    with transaction.atomic():
        _, child = issue_narrower(
            parent, ["read:users!user"], None, public_id=found.public_id, by=BY
        )
        if waits:
            thread.start()
            # Nothing depends on this time: the rotation waits for this transaction.
            thread.join(0.5)
    if not waits:
        thread.start()
    thread.join()

    assert verify(secret) is None
    assert verify(child) is None
