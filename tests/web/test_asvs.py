"""Requirements of OWASP's ASVS 5.0, by their numbers.

`docs/explanation/security.md` lists all that apply, with their tests. Here are those of
tokens, sessions, headers and cookies in their shortest form.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.contrib.sessions.models import Session
from django.test import Client

from accounts.actions import deactivate_users
from accounts.models import User
from hubsite.logging import conceal
from oauth.device_actions import letters_of, new_user_code
from tests.factories import BY, PASSWORD, make_token, make_user
from tokens import digests, format, keys
from tokens.actions.revocation import revoke_token
from tokens.models import APIToken
from tokens.verification import verify

pytestmark = pytest.mark.django_db

API = "/hub/api"
ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "explanation" / "security.md"
ROOMS = (
    *("scopes", "database", "web", "audit", "accounts", "services", "tokens", "oauth"),
    *("servers", "sharing", "controller", "api", "moving", "hubsite", "client"),
)
ROW = re.compile(r"^\| (\d+\.\d+\.\d+) \| .* \| (.+) \|$", re.MULTILINE)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


# The table


def test_every_test_in_the_table_exists() -> None:
    rows = ROW.findall(TABLE.read_text())
    assert len(rows) > 60
    for item, cell in rows:
        named = NAMED.findall(cell)
        assert named, item
        for file, name in named:
            assert f"def {name}(" in (ROOT / file).read_text(), (item, file, name)


def test_every_requirement_here_is_in_the_table() -> None:
    text = TABLE.read_text()
    for name in re.findall(r"def (test_asvs_\w+)", Path(__file__).read_text()):
        if name != "test_asvs_":
            assert f"::{name}`" in text, name


# V3: cookies and headers


@pytest.fixture
def session_cookie(browser: Any) -> Any:
    make_user("ada", password=PASSWORD)
    return browser.sign_in("ada").cookies[configured.SESSION_COOKIE_NAME]


def test_asvs_3_3_2_session_cookies_have_a_same_site_rule(session_cookie: Any) -> None:
    assert session_cookie["samesite"] == "Lax"


def test_asvs_3_3_4_scripts_do_not_read_session_cookies(session_cookie: Any) -> None:
    assert session_cookie["httponly"]


@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize("path", ["/hub/login", f"{API}/", f"{API}/user"])
def test_asvs_3_4_1_every_response_has_hsts(
    path: str, below: bool, settings: Any
) -> None:
    settings.IS_HTTPS, settings.SECURE_HSTS_SECONDS = True, 31_536_000
    settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = below

    sent = Client().get(path)["Strict-Transport-Security"]

    assert sent == "max-age=31536000" + ("; includeSubDomains" if below else "")


def test_asvs_3_4_2_no_foreign_origin_reads_the_api(ada: User, bearer: Any) -> None:
    _, secret = make_token(ada)
    reply = bearer(secret).get(f"{API}/user", headers={"origin": "https://evil.test"})
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_asvs_3_4_3_pages_have_a_content_security_policy() -> None:
    policy = Client().get("/hub/login")["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/hub/login", f"{API}/", "/hub/health"])
def test_asvs_3_4_4_browsers_guess_no_types(path: str) -> None:
    assert Client().get(path)["X-Content-Type-Options"] == "nosniff"


def test_asvs_3_4_5_no_address_goes_to_other_sites() -> None:
    assert Client().get("/hub/login")["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/hub/login", f"{API}/", f"{API}/user"])
def test_asvs_3_4_6_no_other_site_frames_the_hub(path: str) -> None:
    assert "frame-ancestors" in Client().get(path)["Content-Security-Policy"]


def test_asvs_3_4_8_windows_of_other_sites_are_apart() -> None:
    assert Client().get("/hub/login")["Cross-Origin-Opener-Policy"] == "same-origin"


def test_asvs_3_5_1_a_forged_request_issues_no_token(alan: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alan)
    reply = client.post(f"{API}/users/alan/tokens", content_type="application/json")
    assert reply.status_code == 403
    assert not APIToken.objects.exists()


@pytest.mark.parametrize("change", ["rotate", "enable", "unfreeze"])
def test_asvs_3_5_3_reading_changes_nothing(
    change: str, alan: User, bearer: Any
) -> None:
    token, secret = make_token(alan)
    _, manager = make_token(alan)
    reply = bearer(manager).get(f"{API}/tokens/{token}/{change}")
    assert reply.status_code == 405
    assert verify(secret) is not None


def test_asvs_4_1_2_programs_are_not_redirected_to_https() -> None:
    guide = (ROOT / "docs" / "how-to" / "operate.md").read_text()
    assert "location /hub/api/ { return 403; }" in guide


# V6, V11: secrets


def test_asvs_6_5_2_weak_secrets_get_a_password_hash() -> None:
    digest = digests.digest("a-secret-that-somebody-chose", APIToken.Origin.IMPORTED)
    assert re.match(r"\$argon2id\$v=19\$m=19456,t=2,p=1\$", digest)


def test_asvs_6_5_3_secrets_are_random() -> None:
    made = {format.generate(keys.prefix(), keys.tag_keys())[0] for _ in range(200)}
    assert len(made) == 200


def test_asvs_6_5_4_codes_of_people_have_enough_entropy() -> None:
    codes = [letters_of(new_user_code()) for _ in range(200)]
    letters = set("".join(codes))
    assert len(codes[0]) * math.log2(len(letters)) > 20


def test_asvs_11_4_1_no_broken_hash_is_used() -> None:
    broken = re.compile(r"\b(md5|sha1|SHA1|MD5)\(")
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            assert not broken.search(file.read_text()), file


def test_asvs_11_4_2_passwords_are_argon2id() -> None:
    user = make_user("person", password=PASSWORD)
    assert "argon2id$" in user.password


def test_asvs_11_5_1_a_secret_has_256_bits() -> None:
    secret, public_id = format.generate(keys.prefix(), keys.tag_keys())
    rest = secret.split(f"{public_id}_")[1]
    # 64 bits of tag and 32 of checksum take 11 and 6 characters.
    assert (len(rest) - 11 - 6) * math.log2(62) >= 256


# V7: sessions


def test_asvs_7_2_3_a_session_has_an_unguessable_key(as_: Any, ada: User) -> None:
    key = as_(ada).session.session_key
    assert len(key) * math.log2(36) > 128


def test_asvs_7_2_4_each_sign_in_has_a_new_session(as_: Any, ada: User) -> None:
    browser = as_(ada)
    first = browser.session.session_key
    browser.force_login(make_user("second"))
    assert browser.session.session_key != first
    assert not Session.objects.filter(pk=first).exists()


def test_asvs_7_4_1_an_ended_session_is_refused(as_: Any, ada: User) -> None:
    browser, copy = as_(ada), Client()
    copy.cookies[configured.SESSION_COOKIE_NAME] = browser.session.session_key
    assert copy.get("/hub/token").status_code == 200

    browser.logout()

    assert copy.get("/hub/token").status_code == 302


def test_asvs_7_4_2_a_deactivated_account_has_no_session_and_no_token(
    as_: Any, alan: User, bearer: Any
) -> None:
    browser, (_, secret) = as_(alan), make_token(alan)
    assert browser.get("/hub/token").status_code == 200
    assert bearer(secret).get(f"{API}/user").status_code == 200

    deactivate_users(User.objects.filter(pk=alan.pk), by=BY)

    assert browser.get("/hub/token").status_code == 302
    assert bearer(secret).get(f"{API}/user").status_code == 403


# V8: changes count at once


def test_asvs_8_3_2_a_lost_role_counts_at_once(bearer: Any) -> None:
    user = make_user("reader", scopes=["read:hub"])
    _, secret = make_token(user)
    assert bearer(secret).get(f"{API}/info").status_code == 200

    user.roles.clear()

    assert bearer(secret).get(f"{API}/info").status_code == 403


def test_asvs_8_3_2_a_revoked_token_is_refused_at_once(alan: User, bearer: Any) -> None:
    token, secret = make_token(alan)
    assert bearer(secret).get(f"{API}/user").status_code == 200

    revoke_token(token, by=BY)

    assert bearer(secret).get(f"{API}/user").status_code == 403


# V13, V14, V16: what others see


def test_asvs_13_4_2_nothing_is_in_debug_mode() -> None:
    assert not configured.DEBUG


@pytest.mark.parametrize("path", ["/hub/login", f"{API}/", f"{API}/user"])
def test_asvs_13_4_4_trace_is_not_supported(path: str) -> None:
    assert Client().trace(path).status_code in (403, 405)


def test_asvs_13_4_5_metrics_are_not_for_strangers() -> None:
    assert Client().get("/hub/metrics").status_code in (302, 403)


@pytest.mark.parametrize("name", ["token", "access_token", "api_token"])
def test_asvs_14_2_1_no_token_in_an_address_counts(name: str, ada: User) -> None:
    _, secret = make_token(ada)
    assert Client().get(f"{API}/user?{name}={secret}").status_code == 403


def test_asvs_14_3_2_no_cache_keeps_a_new_secret(alan: User, bearer: Any) -> None:
    token, secret = make_token(alan)
    rotated = bearer(secret).post(f"{API}/tokens/{token}/rotate", {})
    assert rotated["Cache-Control"] == "no-store"
    issued = bearer(rotated.json()["token"]).post(f"{API}/users/alan/tokens", {})
    assert "no-store" in issued["Cache-Control"]


def test_asvs_16_2_5_logs_have_no_secret(alan: User) -> None:
    _, secret = make_token(alan)
    line = conceal(None, "info", {"event": f"GET /hub/api/user?token={secret}"})
    assert secret not in str(line)


def test_asvs_16_5_1_refusals_do_not_say_why(alan: User, bearer: Any) -> None:
    token, secret = make_token(alan)
    unknown = bearer("hub_" + "0" * 80).get(f"{API}/user")
    revoke_token(token, by=BY)
    assert bearer(secret).get(f"{API}/user").content == unknown.content
