"""The public addresses of the hub, the same for all their uses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as settings_of_tests
from django.test import Client
from jupyterhub import utils as jupyterhub

from accounts.models import User
from controller.proxy.routes import lasting_routes, routes_by_spec, server_route
from hubsite.config.response_settings import CookieOptions
from tests.factories import PASSWORD, make_server, make_service, make_token, make_user
from tests.web.conftest import Browser
from web.hosts import idna_hook, legacy_hook, local_path, service_origin, user_origin

pytestmark = pytest.mark.django_db

PUBLIC = "https://hub.example"
ATTACK = {
    "sec-fetch-site": "same-origin",
    "sec-fetch-mode": "cors",
    "sec-fetch-dest": "empty",
}
# Each way to learn that people come by https, to a host of another name.
WAYS = ["HUB_PUBLIC_URL", "the proxy"]


class BehindProxy(Browser):
    """A browser whose requests say what a proxy has told of them."""

    def request(self, **request: Any) -> Any:
        told = {"wsgi.url_scheme": "https", "HTTP_HOST": "hub.example"}
        return super().request(**{**request, **told})


@pytest.fixture(params=WAYS)
def https(request: Any, settings: Any, browser: Browser) -> Browser:
    """A browser that comes by https, and a hub that learns so in one way or another."""
    if request.param == "HUB_PUBLIC_URL":
        settings.PUBLIC_URL = PUBLIC
    else:
        browser = BehindProxy()
    make_user("ada", admin=True, password=PASSWORD)
    return browser


def cookies_of(response: Any) -> dict[str, Any]:
    return {cookie.key: cookie for cookie in response.cookies.values()}


def test_all_cookies_are_for_https(https: Browser) -> None:
    page = https.get("/hub/login")
    assert cookies_of(page)["_xsrf"]["secure"]

    cookies = cookies_of(https.sign_in("ada"))

    assert set(cookies) >= {"jupyterhub-hub-login", "jupyterhub-session-id", "_xsrf"}
    assert all(cookie["secure"] for cookie in cookies.values())


def test_no_cookie_is_for_https_alone_where_people_come_by_http(
    browser: Browser,
) -> None:
    make_user("ada", password=PASSWORD)

    cookies = cookies_of(browser.sign_in("ada"))

    assert not any(cookie["secure"] for cookie in cookies.values())


@pytest.mark.parametrize(
    ("wanted", "location"),
    [
        (f"{PUBLIC}/hub/token?a=b", "/hub/token?a=b"),
        ("http://hub.example/hub/token", "/hub/spawn"),
        ("https://evil.example/hub/token", "/hub/spawn"),
        ("https://hub.example@evil.example/hub/token", "/hub/spawn"),
        ("https://ada.hub.example/hub/token", "/hub/spawn"),
        ("//hub.example/hub/token", "/hub/token"),
        ("//evil.example/hub/token", "/hub/spawn"),
    ],
)
def test_an_absolute_next_address_of_the_hub_is_kept(
    https: Browser, wanted: str, location: str
) -> None:
    response = https.sign_in("ada", path=f"/hub/login?next={wanted}")

    assert response["Location"] == location


def test_lines_to_copy_name_the_public_address(https: Browser) -> None:
    https.force_login(User.objects.get(name="ada"))

    answers = {"note": "x", "expires_in": "3600", "permissions": "read"}
    form = {"_xsrf": https.xsrf_of(https.get("/hub/token/new")), **answers}
    page = https.post("/hub/token/new", form)

    assert f"{PUBLIC}/hub/api" in page.content.decode()
    assert "http://" not in page.content.decode()


def test_links_for_others_name_the_public_address(https: Browser) -> None:
    person = make_user("grace")
    https.force_login(User.objects.get(name="ada"))

    path = f"/hub/admin/accounts/user/{person.pk}"
    page = https.get(f"{path}/change/")
    form = {"_xsrf": https.xsrf_of(page)}
    invited = https.post(f"{path}/invite/", form)

    found = re.search(r'value="(https?://[^"]+)"', invited.content.decode())
    assert found
    assert found[1].startswith(f"{PUBLIC}/hub/")


def test_browsers_are_held_to_https(settings: Any, client: Client) -> None:
    # Tests have no public address as the hub starts, from which this follows.
    settings.SECURE_HSTS_SECONDS = 60
    assert "Strict-Transport-Security" not in client.get("/hub/login").headers

    settings.PUBLIC_URL = PUBLIC

    assert "Strict-Transport-Security" in client.get("/hub/login").headers


def test_the_api_has_the_public_addresses(bearer: Any, settings: Any) -> None:
    settings.PUBLIC_URL = PUBLIC
    ada = make_user("ada", admin=True)
    make_server(ada, "lab")
    _, secret = make_token(ada)

    told = bearer(secret).get("/hub/api/users/ada?include_stopped_servers=1").json()

    lab = told["servers"]["lab"]
    assert lab["url"] == "/user/ada/lab/"
    assert lab["full_url"] == f"{PUBLIC}/user/ada/lab/"
    assert lab["full_progress_url"].startswith(f"{PUBLIC}/hub/api/users/ada/servers/")


# Hosts of users and services


@pytest.fixture
def subdomains(settings: Any) -> None:
    settings.HUB = replace(settings.HUB, subdomain_host="https://hub.example:8443")
    settings.PUBLIC_URL = "https://hub.example:8443/"


NAMES = [
    *("ada", "Ada", "a_b", "ä", "ada@example.org", "a--b", "123", "-a", "a-", "~"),
    *("x" * 64, "名前", "user.name", "a b", "ß", "%41", "a~b_c", "xn--abc", "ABC-1"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["user", "service"])
def test_hosts_are_called_as_in_jupyterhub(name: str, kind: str) -> None:
    for ours, theirs in (
        (idna_hook, jupyterhub.subdomain_hook_idna),
        (legacy_hook, jupyterhub.subdomain_hook_legacy),
    ):
        assert ours(name, "hub.example", kind) == theirs(name, "hub.example", kind)


def test_a_function_of_the_operator_names_hosts(settings: Any) -> None:
    def hook(name: str, domain: str, kind: str) -> str:
        return f"{kind}-{name}.{domain}"

    settings.PUBLIC_URL = "https://hub.example/"
    settings.HUB = replace(
        settings.HUB, subdomain_host="https://hub.example", subdomain_hook=hook
    )

    assert user_origin("ada") == "https://user-ada.hub.example"
    assert service_origin("x") == "https://service-x.hub.example"


def test_routes_are_for_hosts(subdomains: None) -> None:
    make_service("grader", url="http://127.0.0.1:9000")

    assert set(lasting_routes()) == {
        "/",
        "/grader--service.hub.example/services/grader",
    }
    assert server_route("ada", "lab") == "/ada.hub.example/user/ada/lab"


def test_routes_are_listed_by_host(subdomains: None) -> None:
    class Proxy:
        def routes(self) -> dict[str, Any]:
            return {
                "/": {"target": "http://127.0.0.1:8081", "hub": True},
                "/ä.hub.example/user/ä": {"target": "http://127.0.0.1:9", "user": "ä"},
            }

    proxy: Any = Proxy()
    assert set(routes_by_spec(proxy)) == {"/", "%C3%A4.hub.example/user/%C3%A4/"}


def test_the_api_has_the_hosts_of_servers(subdomains: None, bearer: Any) -> None:
    ada = make_user("ada", admin=True)
    make_server(ada, "", ready=True, url="http://127.0.0.1:9000")
    make_server(ada, "lab")
    _, secret = make_token(ada)

    told = bearer(secret).get("/hub/api/users/ada?include_stopped_servers=1").json()

    host = "https://ada.hub.example:8443"
    assert told["server"] == f"{host}/user/ada/"
    lab = told["servers"]["lab"]
    assert lab["url"] == lab["full_url"] == f"{host}/user/ada/lab/"
    assert lab["progress_url"].startswith("/hub/api/")
    assert lab["full_progress_url"].startswith("https://hub.example:8443/hub/api/")


def test_the_id_of_the_session_is_for_all_hosts_and_the_session_for_one(
    subdomains: None, browser: Browser
) -> None:
    make_user("ada", password=PASSWORD)

    cookies = cookies_of(browser.sign_in("ada"))

    assert cookies["jupyterhub-session-id"]["domain"] == "hub.example"
    for name in ("jupyterhub-hub-login", "_xsrf"):
        assert not cookies[name]["domain"]

    gone = cookies_of(browser.get("/hub/logout"))
    assert gone["jupyterhub-session-id"]["domain"] == "hub.example"


def test_a_server_that_does_not_run_is_asked_for_at_the_hub(subdomains: None) -> None:
    response = Client().get("/user/ada/lab?x=1", headers={"host": "ada.hub.example"})

    assert response.status_code == 302
    assert response["Location"] == "https://hub.example:8443/hub/user/ada/lab?x=1"


def test_a_server_that_runs_is_led_to_at_its_host(subdomains: None, as_: Any) -> None:
    ada = make_user("ada")
    make_server(ada, ready=True, url="http://127.0.0.1:9000")

    response = as_(ada).get("/hub/user/ada/lab")

    assert response["Location"].startswith("https://ada.hub.example:8443/user/ada/lab")


def test_a_service_is_led_to_at_its_host_and_once(subdomains: None) -> None:
    def ask(host: str, path: str = "/services/grader/x%20y?a=b") -> str:
        return Client().get(path, headers={"host": host})["Location"]

    there = "https://grader--service.hub.example:8443"
    assert ask("hub.example:8443") == f"{there}/services/grader/x%20y?a=b"
    assert ask("hub.example:8443", "/services/") == (
        "https://hub.example:8443/hub/services/"
    )
    # The proxy sends here what it has no route for.
    assert ask("grader--service.hub.example:8443") == (
        "https://hub.example:8443/hub/services/grader/x%20y?a=b"
    )


@pytest.mark.parametrize("path", ["/hub/login", "/hub/token", "/hub/home?a=b"])
def test_pages_of_the_hub_are_not_shown_at_the_host_of_a_server(
    subdomains: None, path: str
) -> None:
    headers = {"host": "mallory.hub.example:8443"}
    response = Client().get(path, headers=headers)

    assert response["Location"] == f"https://hub.example:8443{path}"
    assert Client().post(path, headers=headers).status_code == 404


def test_a_next_address_at_the_host_of_a_server_is_kept(
    subdomains: None, rf: Any
) -> None:
    request = rf.get("/hub/login", secure=True, headers={"host": "hub.example:8443"})

    there = "https://ada.hub.example:8443/user/ada/lab?x=1"
    assert local_path(request, there) == "/user/ada/lab?x=1"
    assert local_path(request, "https://ada.hub.example.evil/user/ada/") == ""
    assert local_path(request, "https://evilhub.example/user/ada/") == ""


# Cookies of this very host


def test_login_cookies_are_of_this_very_host(tmp_path: Path) -> None:
    config = tmp_path / "config.py"
    config.write_text("c.JupyterHub.cookie_host_prefix_enabled = True\n")
    names = ("NAME", "PATH", "SECURE", "DOMAIN")
    script = "from django.conf import settings as s; import json; "
    script += "print(json.dumps([getattr(s, 'SESSION_COOKIE_' + n) for n in %r]))"
    env = os.environ | {
        "HUB_CONFIG": str(config),
        "HUB_DATA_DIR": str(tmp_path / "data"),
        "DJANGO_SETTINGS_MODULE": "hubsite.settings",
    }

    done = subprocess.run(
        [sys.executable, "-c", script % (names,)],
        env=env,
        cwd=settings_of_tests.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )

    told = ["__Host-jupyterhub-hub-login", "/", True, None]
    assert json.loads(done.stdout) == told


def test_a_login_cookie_of_this_very_host_signs_in_and_out(
    browser: Browser, settings: Any
) -> None:
    settings.SESSION_COOKIE_NAME = name = "__Host-jupyterhub-hub-login"
    settings.SESSION_COOKIE_PATH, settings.SESSION_COOKIE_SECURE = "/", True
    settings.HUB = replace(settings.HUB, cookie_host_prefix_enabled=True)
    make_user("ada", password=PASSWORD)

    cookies = cookies_of(browser.sign_in("ada"))

    for each in (name, "__Host-jupyterhub-known-browser"):
        cookie = cookies[each]
        assert (cookie["path"], cookie["secure"], cookie["domain"]) == ("/", True, "")
    assert "jupyterhub-known-browser" not in cookies
    assert browser.get("/hub/home").status_code == 200
    gone = cookies_of(browser.get("/hub/logout"))[name]
    assert (gone["path"], gone["secure"], gone["max-age"]) == ("/", True, 0)


def test_options_of_the_site_leave_such_cookies_valid() -> None:
    options = {"cookie_options": {"Domain": "hub.example", "Secure": False}}
    cookie: Any = SimpleCookie({"__Host-x": "1"})["__Host-x"]
    cookie["secure"] = True

    CookieOptions(options).apply("__Host-x", cookie)

    assert (cookie["secure"], cookie["domain"]) == (True, "")


# Pages are for people


PAGES = ["/hub/token", "/hub/home", "/hub/shares", "/hub/admin/", "/hub/profile"]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("mode", ["cors", "no-cors", "same-origin"])
def test_a_script_of_another_page_reads_no_page(
    path: str, mode: str, browser: Browser
) -> None:
    browser.force_login(make_user("ada", admin=True))

    response = browser.get(path, headers={**ATTACK, "sec-fetch-mode": mode})

    assert response.status_code == 403
    assert "/hub/token/new" not in response.content.decode()


def test_a_script_of_another_page_reads_no_api(browser: Browser) -> None:
    browser.force_login(make_user("ada"))

    for mode in ("cors", "no-cors", "same-origin"):
        headers = {**ATTACK, "sec-fetch-mode": mode}
        assert browser.get("/hub/api/user", headers=headers).status_code == 403


@pytest.mark.parametrize("path", PAGES)
def test_people_programs_and_scripts_of_the_hub_read_pages(
    path: str, browser: Browser
) -> None:
    browser.force_login(make_user("ada", admin=True))
    browser.get("/hub/home")
    proof = {"x-xsrftoken": browser.cookies["_xsrf"].value}
    navigation = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}

    for headers in ({}, navigation, {**ATTACK, **proof}):
        assert browser.get(path, headers=headers, follow=True).status_code == 200


def test_a_script_is_shown_nothing_in_the_place_of_a_stopped_server(
    browser: Browser,
) -> None:
    browser.force_login(make_user("ada"))

    headers = {**ATTACK, "accept": "text/html"}
    response = browser.get("/hub/user/ada/lab", headers=headers)

    assert response.status_code == 424
    assert "ada" not in response.content.decode()


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(
    "path",
    [
        *("/hub/nothing", "/hub/token", "/hub/token/new", "/hub/error/503"),
        *("/hub/api/oauth2/authorize", "/hub/security/csp-report", "/hub/api/docs/"),
        *("/hub/metrics", "/hub/login", "/hub/user/grace/", "/hub/admin/nothing"),
    ],
)
def test_no_error_page_shows_scripts_the_value_for_forms(
    path: str, method: str, browser: Browser
) -> None:
    browser.force_login(make_user("ada", admin=True))
    value = browser.xsrf_of(browser.get("/hub/home"))

    call = getattr(browser, method)
    response = call(path, headers={**ATTACK, "accept": "text/html"})

    told = f"{response.headers} {response.cookies} {response.content.decode()}"
    assert value not in told
    assert "_xsrf" not in told.replace("'_xsrf' argument missing", "")


def test_images_and_static_files_are_not_pages(browser: Browser) -> None:
    browser.force_login(make_user("ada"))
    image = {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}

    for path in ("/hub/logo", "/hub/static/mark.png"):
        headers = {**image, "sec-fetch-site": "same-origin"}
        assert browser.get(path, headers=headers).status_code == 200


def test_strangers_may_be_anybodys_script(browser: Browser) -> None:
    assert browser.get("/hub/login", headers=ATTACK).status_code == 200
