"""The consent page, and the redirects to clients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from accounts.models import User
from oauth.models import OAuthClient, OAuthCode
from services.models import Service
from tests.factories import make_client, make_role, make_token, make_user
from tests.oauth.conftest import SECRET, SignIn, scopes_on, sent_back

pytestmark = pytest.mark.django_db

REQUIRED = [
    "access:services!service=portal",
    "read:users:groups!user",
    "read:users:name!user",
]


def configure(settings: Any, **changes: Any) -> None:
    settings.HUB = replace(settings.HUB, **changes)


def test_strangers_sign_in_first_and_come_back(sign_in: SignIn) -> None:
    reply = Client().get(sign_in.path())

    assert reply.status_code == 302
    assert reply["Location"] == f"/hub/login?next={quote(sign_in.path(), safe='')}"


def test_a_token_is_no_session(sign_in: SignIn, bearer: Any, visitor: User) -> None:
    _, secret = make_token(visitor)

    assert "/hub/login" in bearer(secret).get(sign_in.path())["Location"]


def test_asks_in_words_for_what_goes_beyond_being_known(sign_in: SignIn) -> None:
    page = sign_in.ask()

    text = page.content.decode()
    assert page.status_code == 200
    assert "JupyterHub service portal" in text
    assert "portal.example" in text
    assert text.count("<li>") >= 2
    assert "See users with their groups and activity (only your own)" in text
    assert scopes_on(page) == sorted([*REQUIRED, "read:users!user", "tokens!user"])
    assert "https://portal.example" in page["Content-Security-Policy"]
    assert "no-store" in page["Cache-Control"]
    assert not OAuthCode.objects.exists()


def test_sends_back_a_code_and_the_state(sign_in: SignIn) -> None:
    reply = sign_in.agree(sign_in.ask())

    assert reply.status_code == 302
    assert reply["Location"].startswith("https://portal.example/callback?code=")
    answer = sent_back(reply)
    assert answer["state"] == "s t/ate"
    assert len(answer["code"]) == 30
    assert answer["code"].isalnum()
    assert answer["code"] not in str(OAuthCode.objects.values().get())


def test_a_forged_consent_is_refused(sign_in: SignIn, visitor: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(visitor)

    reply = browser.post(sign_in.path(), {"scopes": REQUIRED})

    assert reply.status_code == 403
    assert not OAuthCode.objects.exists()


def test_grants_only_what_was_left_in_the_form(sign_in: SignIn) -> None:
    page = sign_in.ask()

    sign_in.agree(page, ["read:users!user"])

    assert OAuthCode.objects.get().scopes == sorted([*REQUIRED, "read:users!user"])


BEYOND = {
    "what the client may ask and did not": "tokens!user",
    "what the client may not ask": "servers!user",
    "what the user holds for all": "read:users",
    "everything": "inherit",
    "no scope": "no:such:scope",
    "no name": "",
    "a role": "user",
}


@pytest.mark.parametrize("scope", BEYOND.values(), ids=BEYOND.keys())
def test_nobody_agrees_to_more_than_was_asked(sign_in: SignIn, scope: str) -> None:
    page = sign_in.ask(scope="read:users!user")

    reply = sign_in.agree(page, [*scopes_on(page), scope], scope="read:users!user")

    assert sent_back(reply) == {"error": "invalid_scope", "state": "s t/ate"}
    assert not OAuthCode.objects.exists()


def test_a_part_of_what_was_asked_may_be_agreed_to(sign_in: SignIn) -> None:
    page = sign_in.ask(scope="read:users!user")

    reply = sign_in.agree(page, ["read:users:activity!user"], scope="read:users!user")

    scopes = OAuthCode.objects.get().scopes
    assert "code" in sent_back(reply)
    assert "read:users:activity!user" in scopes
    assert "read:users!user" not in scopes


@pytest.mark.parametrize("allowed", [["inherit"], ["read:users!user"], []])
@pytest.mark.parametrize("scope", ["", " ", "read:users:name!user "])
def test_a_scope_without_a_name_is_a_mistake(
    sign_in: SignIn, allowed: list[str], scope: str
) -> None:
    OAuthClient.objects.update(allowed_scopes=allowed)

    reply = sign_in.ask(scope=scope)

    if scope.strip():
        assert reply.status_code == 200
    else:
        assert sent_back(reply) == {"error": "invalid_scope", "state": "s t/ate"}


@pytest.mark.parametrize(
    ("allowed", "scope", "status"),
    [
        (["inherit"], "self", 302),
        (["inherit"], "read:users!user", 302),
        (["inherit"], "inherit read:users!user", 302),
        (["inherit"], "inherit", 200),
        (["inherit"], "read:users:name!user", 200),
        (["inherit", "read:users!user"], "read:users!user", 200),
        (["inherit", "read:users!user"], "inherit read:users!user", 200),
        (["read:users!user"], "inherit", 302),
    ],
)
def test_leave_to_ask_for_everything_is_leave_for_that_alone(
    sign_in: SignIn, allowed: list[str], scope: str, status: int
) -> None:
    OAuthClient.objects.update(allowed_scopes=allowed)

    assert sign_in.ask(scope=scope).status_code == status


def test_agreeing_to_nothing_identifies_alone(sign_in: SignIn) -> None:
    sign_in.agree(sign_in.ask(), [])

    assert OAuthCode.objects.get().scopes == REQUIRED


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"client_id": None}, "Missing client_id parameter."),
        ({"client_id": "service-other"}, "Invalid client_id parameter value."),
        ({"client_id": "a\0b"}, "Invalid client_id parameter value."),
        ({"redirect_uri": "https://evil.example/"}, "Mismatching redirect URI."),
        (
            {"redirect_uri": "https://portal.example/callback/"},
            "Mismatching redirect URI.",
        ),
        ({"redirect_uri": "//portal.example/callback"}, "Mismatching redirect URI."),
    ],
)
def test_a_client_that_is_not_known_gets_no_answer(
    sign_in: SignIn, changes: dict[str, Any], words: str
) -> None:
    reply = sign_in.ask(**changes)

    assert reply.status_code == 400
    assert words in reply.content.decode()


def test_a_client_without_a_secret_is_none(as_: Any, mallory: User) -> None:
    sign_in = SignIn(make_client("silent"), as_(mallory))

    assert sign_in.ask().status_code == 400


def test_parameters_come_once(sign_in: SignIn) -> None:
    reply = sign_in.browser.get(f"{sign_in.path()}&client_id=service-portal")

    assert reply.status_code == 400


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (
            {"response_type": None},
            "invalid_request",
            "Missing response_type parameter.",
        ),
        ({"response_type": "token"}, "unsupported_response_type", None),
        ({"response_type": "code token"}, "unsupported_response_type", None),
        (
            {"code_challenge": "c", "code_challenge_method": "S512"},
            "invalid_request",
            "Transform algorithm not supported.",
        ),
        ({"code_challenge": "x\0"}, "invalid_request", "Invalid code_challenge."),
        ({"code_challenge": "x" * 129}, "invalid_request", "Invalid code_challenge."),
        ({"scope": "no:such:scope"}, "invalid_scope", None),
        ({"scope": "admin:users"}, "invalid_scope", None),
        ({"scope": "read:users"}, "invalid_scope", None),
        ({"scope": "inherit"}, "invalid_scope", None),
        ({"scope": "\0"}, "invalid_scope", None),
    ],
)
def test_a_known_client_gets_its_error(
    sign_in: SignIn, changes: dict[str, Any], error: str, words: str | None
) -> None:
    reply = sign_in.ask(**changes)

    assert reply.status_code == 302
    assert reply["Location"].startswith("https://portal.example/callback?error=")
    answer = sent_back(reply)
    assert answer["error"] == error
    assert answer["state"] == "s t/ate"
    if words:
        assert answer["error_description"] == words


def test_pkce_can_be_demanded(sign_in: SignIn, settings: Any) -> None:
    configure(settings, oauth_require_pkce=True)

    refused = sent_back(sign_in.ask())

    assert refused["error"] == "invalid_request"
    assert refused["error_description"] == "Code challenge required."
    assert sign_in.ask(code_challenge="c" * 43).status_code == 200


def test_users_without_access_to_the_service_get_a_reason(
    portal: OAuthClient, alan: User, as_: Any
) -> None:
    reply = SignIn(portal, as_(alan)).ask()

    assert reply.status_code == 403
    text = reply.content.decode()
    assert "You do not have permission to access JupyterHub service portal" in text


def test_what_the_user_lacks_is_dropped(sign_in: SignIn) -> None:
    page = sign_in.ask(scope="tokens!user admin:groups")

    assert scopes_on(page) == sorted([*REQUIRED, "tokens!user"])


def test_what_the_user_holds_in_part_is_given_in_part(
    portal: OAuthClient, as_: Any
) -> None:
    leader = make_user(
        "leader",
        scopes=["access:services", "read:groups!group=math"],
    )
    OAuthClient.objects.update(allowed_scopes=["read:groups"])

    scopes = scopes_on(SignIn(portal, as_(leader)).ask())

    assert "read:groups!group=math" in scopes
    assert "read:groups" not in scopes


def test_everything_replaces_all_else(sign_in: SignIn) -> None:
    OAuthClient.objects.update(allowed_scopes=["inherit"])

    asked = "inherit read:users:name!user"
    assert scopes_on(sign_in.ask(scope=asked)) == ["inherit"]


@pytest.mark.parametrize("scope", ["self", "inherit self", "read:users!user"])
def test_a_client_that_may_inherit_may_ask_for_nothing_else(
    sign_in: SignIn, scope: str
) -> None:
    """As in JupyterHub, where `inherit` is a scope like others in this list."""
    OAuthClient.objects.update(allowed_scopes=["inherit"])

    assert sent_back(sign_in.ask(scope=scope))["error"] == "invalid_scope"


def test_the_scope_of_old_clients_adds_nothing(sign_in: SignIn) -> None:
    assert scopes_on(sign_in.ask(scope="identify")) == REQUIRED


def test_a_role_stands_for_its_scopes(sign_in: SignIn) -> None:
    make_role("reads", "read:users!user")

    assert "read:users!user" in scopes_on(sign_in.ask(scope="reads"))


# Who is not asked


def test_nobody_is_asked_twice_for_the_same(sign_in: SignIn) -> None:
    sign_in.token(scope="tokens!user")

    assert sign_in.ask(scope="tokens!user").status_code == 302
    assert sign_in.ask(scope="read:tokens!user").status_code in (302,)
    assert sign_in.ask().status_code == 200


def test_what_was_revoked_is_asked_again(sign_in: SignIn, visitor: User) -> None:
    sign_in.token()
    for token in visitor.api_tokens.all():
        token.revoked_at = token.created
        token.save()

    assert sign_in.ask().status_code == 200


def test_trusted_services_do_not_ask(sign_in: SignIn) -> None:
    Service.objects.filter(name="portal").update(oauth_no_confirm=True)

    assert "code" in sent_back(sign_in.ask())


@pytest.mark.parametrize(
    ("name", "status"), [("mallory", 302), ("ada", 200), ("alan", 403)]
)
def test_ones_own_server_does_not_ask_and_others_do(
    name: str, status: int, as_: Any, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("mallory")
    person = request.getfixturevalue(name)
    server = make_client(
        "x",
        SECRET,
        identifier="jupyterhub-user-mallory",
        server="mallory/",
        redirect_uri="/user/mallory/oauth_callback",
        description="Server at /user/mallory/",
    )

    reply = SignIn(server, as_(person)).ask()

    assert reply.status_code == status
    if status == 302:
        assert reply["Location"].startswith("/user/mallory/oauth_callback?code=")
        assert OAuthCode.objects.get().scopes[0] == "access:servers!server=mallory/"


def test_queries_do_not_grow_with_tokens(
    sign_in: SignIn, visitor: User, django_assert_max_num_queries: Any
) -> None:
    counts = []
    for number in (1, 9):
        for _ in range(number):
            make_token(visitor, client_id="service-portal", scopes=["read:users!user"])
        with django_assert_max_num_queries(12) as queries:
            sign_in.ask(scope="read:users!user")
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_a_client_asks_for_no_more_scopes_than_the_limit(sign_in: SignIn) -> None:
    names = " ".join(f"read:users!user=user-{n}" for n in range(1_001))

    reply = sign_in.ask(scope=names)

    assert reply.status_code == 302
    assert sent_back(reply)["error"] == "invalid_scope"
    assert not OAuthCode.objects.exists()
