"""Sign in by OpenID Connect, with a provider in this process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers import registry
from django.urls import include, path

from accounts.models import User
from tests.factories import PASSWORD, make_user
from tests.hubsite.conftest import ROOT

pytestmark = pytest.mark.django_db
OIDC = "allauth.socialaccount.providers.openid_connect"
urlpatterns = [
    path("hub/accounts/", include("accounts.single_sign_on_urls")),
    path("", include("hubsite.urls")),
]
ISSUER = "https://id.example"
START = "/hub/accounts/oidc/oidc/login/"


class Provider:
    """Vouches for one person; speaks what the hub's client asks of it."""

    def __init__(self) -> None:
        self.person = {
            "sub": "1",
            "preferred_username": "Grace",
            "email": "g@x.example",
        }

    def answer(self, url: str) -> requests.Response:
        place = urlsplit(url).path
        response = requests.Response()
        response.status_code = 200
        response.headers["Content-Type"] = "application/json"
        content: dict[str, Any] = {
            "/.well-known/openid-configuration": {
                "issuer": ISSUER,
                "authorization_endpoint": f"{ISSUER}/authorize",
                "token_endpoint": f"{ISSUER}/token",
                "userinfo_endpoint": f"{ISSUER}/me",
                "jwks_uri": f"{ISSUER}/keys",
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
            },
            "/token": {
                "access_token": "an-access-token",
                "token_type": "Bearer",
                "id_token": self.id_token(),
            },
            "/me": self.person,
        }[place]
        response._content = requests.compat.json.dumps(content).encode()
        return response

    def id_token(self) -> str:
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": "hub", "iat": now, "exp": now + 60}
        return jwt.encode({**claims, **self.person}, "k" * 32, algorithm="HS256")


@pytest.fixture
def provider(settings, monkeypatch):
    """A hub that was started with a provider, as far as one process can be it."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, OIDC]
    settings.ROOT_URLCONF = __name__
    monkeypatch.setattr(registry, "provider_map", {})
    monkeypatch.setattr(registry, "loaded", False)
    settings.SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {
            "APPS": [
                {
                    "provider_id": "oidc",
                    "name": "Campus",
                    "client_id": "hub",
                    "secret": "s",
                    "settings": {
                        "server_url": ISSUER,
                        "username_claim": "preferred_username",
                        "owns_names": True,
                    },
                }
            ],
            "OAUTH_PKCE_ENABLED": True,
        }
    }
    provider = Provider()
    put_in_the_way(monkeypatch, provider.answer)
    return provider


def put_in_the_way(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], requests.Response]
) -> None:
    """Let `answer` answer what is asked of the provider.

    What others in this process ask goes its way: the stand-in for Kubernetes asks from
    a thread of its own, as long as the tests run.
    """
    ask = requests.Session.request

    def request(
        session: requests.Session, method: str, url: str, **options: Any
    ) -> requests.Response:
        if url.startswith(f"{ISSUER}/"):
            return answer(url)
        return ask(session, method, url, **options)

    monkeypatch.setattr(requests.Session, "request", request)


def sign_in(browser, query=""):
    page = browser.get("/hub/login")
    response = browser.post(START + query, {"_xsrf": browser.xsrf_of(page)})
    assert response.status_code == 302, response.content.decode()
    there = urlsplit(response["Location"])
    assert there.netloc == "id.example"
    asked = parse_qs(there.query)
    assert asked["code_challenge_method"] == ["S256"]
    return browser.get(f"{START}callback/", {"code": "c", "state": asked["state"][0]})


def test_the_sign_in_page_offers_it(provider, browser):
    response = browser.get("/hub/login")

    assert "Sign in with Campus" in response.content.decode()


def test_people_come_in_under_their_name_there(provider, browser, configure):
    configure(allow_all=True)

    response = sign_in(browser)

    assert response["Location"] == "/hub/spawn"
    assert "jupyterhub-session-id" in response.cookies
    user = User.objects.get(name="grace")
    assert user.email == "g@x.example"
    assert [role.name for role in user.roles.all()] == ["user"]
    assert not user.has_usable_password()


def test_an_unverified_address_keeps_nobody_from_a_second_factor(
    provider, browser, configure
):
    configure(allow_all=True)
    sign_in(browser)

    page = browser.get("/hub/accounts/2fa/totp/activate/", follow=True)

    assert page.status_code == 200
    assert "verified your email" not in page.content.decode()


def test_an_account_made_for_them_is_theirs(provider, browser):
    make_user("grace")

    assert sign_in(browser)["Location"] == "/hub/spawn"
    assert User.objects.count() == 1


def test_who_they_are_counts_as_shown_for_a_while(provider, browser):
    make_user("grace", password=PASSWORD)
    sign_in(browser)

    assert browser.get("/hub/accounts/2fa/totp/activate/").status_code == 200


def test_the_next_of_the_same_name_does_not_inherit(provider, browser, another_browser):
    make_user("grace")
    sign_in(browser)

    provider.person["sub"] = "2"
    response = sign_in(another_browser)

    assert response.status_code == 403
    assert another_browser.get("/hub/home").status_code == 302


def test_names_are_not_trusted_if_users_choose_them(provider, browser, settings):
    make_user("grace", password=PASSWORD)
    app = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"][0]
    app["settings"]["owns_names"] = False

    response = sign_in(browser)

    assert response.status_code == 403
    assert "may be somebody else&#x27;s here" in response.content.decode()
    assert not SocialAccount.objects.exists()


def test_users_who_are_not_listed_are_refused(provider, browser, configure):
    configure(allowed_users=frozenset({"ada"}))

    response = sign_in(browser)

    assert response.status_code == 403
    assert "not on the list" in response.content.decode()
    assert not User.objects.exists()


def test_blocked_people_stay_out(provider, browser, configure):
    make_user("grace")
    sign_in(browser)
    browser.get("/hub/logout")
    configure(blocked_users=frozenset({"grace"}))

    assert sign_in(browser).status_code == 403


def test_an_impossible_name_makes_no_account(provider, browser, configure):
    configure(allow_all=True)
    provider.person["preferred_username"] = "a/b"

    assert sign_in(browser).status_code == 403
    assert not User.objects.exists()


def test_a_missing_name_makes_no_account(provider, browser, configure):
    configure(allow_all=True)
    del provider.person["preferred_username"]

    response = sign_in(browser)

    assert response.status_code == 403
    assert "“preferred_username”" in response.content.decode()
    assert not User.objects.exists()


def test_a_forged_start_goes_nowhere(provider, browser):
    assert browser.post(START).status_code == 403


def test_leads_to_where_one_wanted(provider, browser):
    make_user("grace")

    assert sign_in(browser, "?next=/hub/token")["Location"] == "/hub/token"


def test_the_button_remembers_where_one_wanted(provider, browser):
    page = browser.get("/hub/login?next=/hub/token").content.decode()

    assert f'action="{START}?process=login&amp;next=%2Fhub%2Ftoken"' in page


AUTHORIZE = "/hub/api/oauth2/authorize?client_id=x&response_type=code&state=a%20b"


def test_visitors_of_servers_are_led_straight_to_it(provider, browser, configure):
    configure(allow_all=True, auto_login_oauth2_authorize=True)

    there = urlsplit(browser.get(AUTHORIZE)["Location"])
    state = parse_qs(there.query)["state"][0]
    back = browser.get(f"{START}callback/", {"code": "c", "state": state})

    assert (there.netloc, there.path) == ("id.example", "/authorize")
    assert back["Location"] == AUTHORIZE
    assert browser.get("/hub/home").status_code == 200


def test_otherwise_they_may_choose(provider, browser, configure):
    assert browser.get(AUTHORIZE)["Location"].startswith("/hub/login?next=")


def test_without_a_way_there_they_get_the_sign_in_page(
    provider, browser, configure, monkeypatch
):
    configure(auto_login_oauth2_authorize=True)
    put_in_the_way(monkeypatch, fail)

    assert browser.get(AUTHORIZE)["Location"].startswith("/hub/login?next=")


def fail(url):
    raise requests.ConnectionError("no route")


def refuse(url):
    response = requests.Response()
    response.status_code = 502
    return response


@pytest.mark.parametrize("away", [fail, refuse])
def test_an_unreachable_provider_is_reported(provider, browser, monkeypatch, away):
    put_in_the_way(monkeypatch, away)
    page = browser.get("/hub/login")

    response = browser.post(START, {"_xsrf": browser.xsrf_of(page)})

    assert response.status_code == 503
    assert "Sign-in failed" in response.content.decode()
    assert "can't be reached" in response.content.decode()


@pytest.mark.parametrize("away", ["/.well-known/openid-configuration", "/token", "/me"])
def test_so_is_one_that_goes_away_meanwhile(provider, browser, monkeypatch, away):
    make_user("grace")
    page = browser.get("/hub/login")
    there = browser.post(START, {"_xsrf": browser.xsrf_of(page)})["Location"]
    state = parse_qs(urlsplit(there).query)["state"][0]

    put_in_the_way(
        monkeypatch, lambda url: (fail if away in url else provider.answer)(url)
    )
    response = browser.get(f"{START}callback/", {"code": "c", "state": state})

    assert response.status_code == 503
    assert "can't be reached" in response.content.decode()
    assert browser.get("/hub/home").status_code == 302


def test_passwords_are_asked_for_on_the_hub(browser, configure):
    configure(auto_login_oauth2_authorize=True)

    assert browser.get(AUTHORIZE)["Location"].startswith("/hub/login?next=")


def test_a_configured_provider_is_there_and_no_other(tmp_path):
    asked = (
        "import sys, django; django.setup()\n"
        "from django.urls import reverse, NoReverseMatch\n"
        "try: print(reverse('openid_connect_login', args=['oidc']))\n"
        "except NoReverseMatch: print('requests' in sys.modules)"
    )
    env = {name: value for name, value in os.environ.items() if name[:4] != "HUB_"}
    env |= {
        "DJANGO_SETTINGS_MODULE": "hubsite.settings",
        "HUB_DATA_DIR": str(tmp_path),
    }
    for more, answer in (({"HUB_OIDC_URL": ISSUER}, START), ({}, "False")):
        ran = subprocess.run(
            [sys.executable, "-c", asked],
            env=env | more,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.strip() == answer


def test_an_account_outlives_its_provider(browser):
    """Whoever signed in through a provider that was taken away can still see that."""
    user = make_user("grace")
    SocialAccount.objects.create(user=user, provider="oidc", uid="1")
    browser.force_login(user)

    page = browser.get("/hub/accounts/3rdparty/")

    assert page.status_code == 200
    user.delete()
    assert not SocialAccount.objects.exists()
