"""Classes that check what is typed into the form, as they do in JupyterHub."""

from __future__ import annotations

import pytest
from allauth.core.context import request_context
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.test import RequestFactory

from accounts.models import User
from audit.models import Event
from tests.factories import make_token, make_user
from tests.web.test_profile import code_for

pytestmark = pytest.mark.django_db

HEAD = """
import hmac
from tornado import web
from jupyterhub.auth import Authenticator
c = get_config()
"""
LISTED = (
    HEAD
    + """
PEOPLE = {"ada": ("a-long-password", True), "grace": ("another-password", False)}

class UserList(Authenticator):
    async def authenticate(self, handler, data):
        password, admin = PEOPLE.get(data["username"].lower(), ("", False))
        if password and hmac.compare_digest(password, data["password"]):
            return {"name": data["username"], "admin": admin}

c.JupyterHub.authenticator_class = UserList
"""
)
WORDS = (
    HEAD
    + """
class Speaking(Authenticator):
    async def authenticate(self, handler, data):
        if data["username"] == "gone":
            raise web.HTTPError(410, "The course is over")
        if data["username"] == "away":
            raise web.HTTPError(503, "The directory is away")
        raise ValueError("a text for the operator only")

c.JupyterHub.authenticator_class = Speaking
c.Authenticator.allow_all = True
"""
)


def test_a_class_of_the_file_signs_people_in(host, browser, another_browser):
    host(f"{LISTED}c.Authenticator.allow_all = True")

    assert browser.sign_in("Ada", "a-long-password").status_code == 302
    assert another_browser.sign_in("grace", "another-password").status_code == 302

    assert User.objects.get(name="ada").admin
    assert not User.objects.get(name="grace").admin
    assert browser.get("/hub/home").status_code == 200


def test_a_wrong_password_is_refused_as_everywhere(host, browser):
    host(f"{LISTED}c.Authenticator.allow_all = True")

    reply = browser.sign_in("ada", "wrong")

    assert reply.status_code == 403
    assert "Invalid username or password" in reply.content.decode()
    assert 'value="ada"' in reply.content.decode()
    assert not User.objects.exists()
    assert Event.objects.filter(action="session.refuse").exists()


def test_failures_are_limited(host, browser):
    host(f"{LISTED}c.Authenticator.allow_all = True")

    for _ in range(5):
        browser.sign_in("ada", "wrong")
    reply = browser.sign_in("ada", "a-long-password")

    assert reply.status_code == 403
    assert "Too many failed attempts" in reply.content.decode()


@pytest.mark.parametrize(
    "spelling", ["ada", "ada\x01", "a\u00adda", "\uff21\uff24\uff21", "ad\u0301a"]
)
def test_failures_count_for_all_spellings_of_a_name(host, browser, spelling):
    host(f"{LISTED}c.Authenticator.allow_all = True")

    for number in range(5):
        browser.sign_in("ada" + "\x02" * number, "wrong")
    reply = browser.sign_in(spelling, "a-long-password")

    assert reply.status_code == 403
    assert "Too many failed attempts" in reply.content.decode()


FIELDS = "username=ada&password={}"
PARTS = "".join(
    f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
    for name, value in (("username", "ada"), ("password", "{}"))
)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-www-form-urlencodedx", FIELDS),
        ("application/x-www-form-urlencoded, text/plain", FIELDS),
        ("application/x-www-form-urlencoded; charset=utf-8", FIELDS),
        ("multipart/form-datax; boundary=x", f"{PARTS}--x--\r\n"),
        ("multipart/form-data; boundary=x", f"{PARTS}--x--\r\n"),
    ],
)
def test_the_class_reads_no_form_that_the_hub_does_not_read(
    host, browser, content_type, body
):
    host(f"{LISTED}c.Authenticator.allow_all = True")
    value = browser.xsrf_of(browser.get("/hub/login"))

    def send(password: str) -> int:
        return browser.generic(
            *("POST", "/hub/login", body.format(password), content_type),
            headers={"X-XSRFToken": value},
        ).status_code

    for _ in range(5):
        send("wrong")

    # Otherwise passwords could be guessed without limit.
    assert send("a-long-password") != 302
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("lines", "enter"),
    [
        ("", set()),
        ("c.Authenticator.any_allow_config = True", set()),
        ("c.Authenticator.allow_all = True", {"ada", "grace"}),
        ("c.UserList.allowed_users = {'Grace'}", {"grace"}),
        ("c.Authenticator.admin_users = {'ada'}", set()),
        (
            "c.Authenticator.allowed_users = {'grace'}\n"
            "c.Authenticator.admin_users = {'ada'}",
            {"ada", "grace"},
        ),
        (
            "c.Authenticator.allow_all = True\n"
            "c.Authenticator.blocked_users = {'grace'}",
            {"ada"},
        ),
        (
            "c.Authenticator.allow_all = True\n"
            "c.Authenticator.username_pattern = '[b-z]+'",
            {"grace"},
        ),
    ],
)
def test_the_class_decides_who_enters(host, browser, another_browser, lines, enter):
    host(LISTED + lines)

    browser.sign_in("ada", "a-long-password")
    another_browser.sign_in("grace", "another-password")

    assert set(User.objects.values_list("name", flat=True)) == enter


def test_names_are_mapped_and_hooks_called(host, browser):
    host(
        LISTED
        + """
async def hook(authenticator, handler, authentication):
    authentication["admin"] = handler.request.headers["User-Agent"] == "main"
    return authentication

c.Authenticator.allow_all = True
c.Authenticator.username_map = {"grace": "hopper"}
c.Authenticator.post_auth_hook = hook
"""
    )

    browser.defaults["HTTP_USER_AGENT"] = "main"
    assert browser.sign_in("Grace", "another-password").status_code == 302

    assert User.objects.get().name == "hopper"
    assert User.objects.get().admin


def test_a_deactivated_account_stays_closed(host, browser):
    host(f"{LISTED}c.Authenticator.allow_all = True")
    make_user("grace", is_active=False)

    assert browser.sign_in("grace", "another-password").status_code == 403
    assert browser.get("/hub/home").status_code == 302


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("gone", 410, "The course is over"),
        ("away", 503, "The directory is away"),
        ("other", 500, "An administrator of this hub finds the reason"),
    ],
)
def test_errors_of_the_class_are_shown_as_jupyterhub_shows_them(
    host, browser, name, status, words
):
    host(WORDS)

    reply = browser.sign_in(name, "x")

    text = reply.content.decode()
    assert (reply.status_code, words in text) == (status, True)
    assert "a text for the operator only" not in text
    assert 'name="password"' in text


def test_a_script_gets_a_page_instead_of_the_form(host, browser):
    host(WORDS)
    page = browser.get("/hub/login")

    reply = browser.post(
        "/hub/login",
        {"username": "gone", "password": "x", "_xsrf": browser.xsrf_of(page)},
        headers={"Sec-Fetch-Mode": "cors"},
    )

    assert reply.status_code == 410
    assert "The course is over" in reply.content.decode()
    assert 'name="password"' not in reply.content.decode()


def test_everything_that_is_sent_reaches_the_class(host, browser):
    host(
        HEAD
        + """
class Echo(Authenticator):
    async def authenticate(self, handler, data):
        raise web.HTTPError(418, repr(sorted(data.items())).replace("%", "%%"))

c.JupyterHub.authenticator_class = Echo
c.Authenticator.allow_all = True
"""
    )

    reply = browser.submit(
        "/hub/login", username=" Ada ", password=" x ", course="b&amp", empty=""
    )

    text = reply.content.decode()
    assert reply.status_code == 418
    for field in ("'Ada'", "' x '", "'course'", "'empty'"):
        assert field.replace("'", "&#x27;") in text
    assert "_xsrf&#x27;" not in text


def test_a_form_without_the_value_is_not_sent_to_the_class(host, browser):
    host(f"{LISTED}c.Authenticator.allow_all = True")

    reply = browser.post(
        "/hub/login", {"username": "grace", "password": "another-password"}
    )

    assert reply.status_code == 403
    assert "Try again" in reply.content.decode()
    assert not User.objects.exists()


def test_the_class_has_a_page_of_its_own(host, browser):
    host(
        LISTED
        + """
c.Authenticator.allow_all = True
UserList.custom_html = '''<form action="{{ authenticator_login_url }}"
method="post"><p class="here">{{ login_error or "" }}|{{ username }}|{{ next }}|
{{ login_url }}|{{ authenticator.__class__.__name__ }}</p>
<input type="hidden" name="_xsrf" value="{{ xsrf }}"><input name="username"></form>'''
"""
    )

    page = browser.get("/hub/login?next=%2Fhub%2Ftoken").content.decode()
    assert "|%2Fhub%2Ftoken|" in page and "/hub/login|UserList" in page
    assert 'name="password"' not in page

    reply = browser.sign_in("grace", "wrong")
    assert "Invalid username or password|grace|" in reply.content.decode()
    assert browser.sign_in("grace", "another-password").status_code == 302


def test_a_code_is_asked_for_if_the_class_wants_one(host, browser):
    host(
        HEAD
        + """
class WithCode(Authenticator):
    async def authenticate(self, handler, data):
        return data["username"] if data["otp"] == "123" else None

c.JupyterHub.authenticator_class = WithCode
c.Authenticator.allow_all = True
c.Authenticator.request_otp = True
c.Authenticator.otp_prompt = "Number of the day:"
"""
    )

    assert "Number of the day" in browser.get("/hub/login").content.decode()
    fields = {"username": "ada", "password": "x"}
    assert browser.submit("/hub/login", otp="1", **fields).status_code == 403
    assert browser.submit("/hub/login", otp="123", **fields).status_code == 302


def test_a_button_leads_to_a_login_service(host, browser):
    host(
        LISTED
        + """
UserList.login_service = "the university"
c.Authenticator.allow_all = True
"""
    )

    page = browser.get("/hub/login").content.decode()

    assert "Sign in with the university" in page
    assert 'name="password"' not in page


def test_cookies_of_the_class_reach_the_browser_and_the_class(host, browser):
    host(
        HEAD
        + """
class Remembers(Authenticator):
    async def authenticate(self, handler, data):
        seen = handler.get_signed_cookie("seen")
        handler.set_signed_cookie("seen", data["username"])
        assert "jupyterhub-hub-login" not in handler.request.cookies
        if seen:
            return seen.decode()

c.JupyterHub.authenticator_class = Remembers
c.Authenticator.allow_all = True
"""
    )

    assert browser.sign_in("grace", "x").status_code == 403
    assert browser.sign_in("ada", "x").status_code == 302
    assert User.objects.get().name == "grace"


def test_another_person_in_the_same_browser_takes_over(host, browser):
    host(f"{LISTED}c.Authenticator.allow_all = True")
    browser.sign_in("ada", "a-long-password")
    page = browser.get("/hub/home")

    reply = browser.post(
        "/hub/login",
        {
            "username": "grace",
            "password": "another-password",
            "_xsrf": browser.cookies["_xsrf"].value,
        },
    )

    assert (page.status_code, reply.status_code) == (200, 302)
    assert "grace" in browser.get("/hub/home").content.decode()
    events = Event.objects.filter(action="session.logout")
    assert [event.actor for event in events] == ["ada"]


def test_a_new_account_that_the_class_can_not_prepare_never_exists(host, browser):
    host(
        LISTED
        + """
class Picky(UserList):
    def add_user(self, user):
        super().add_user(user)
        raise KeyError(f"the system does not know {user.name}")

c.JupyterHub.authenticator_class = Picky
c.Authenticator.allow_all = True
"""
    )

    # JupyterHub refuses the first time only.
    for _ in range(2):
        assert browser.sign_in("grace", "another-password").status_code == 500
        assert not User.objects.exists()


def test_people_with_an_account_enter_if_the_class_says_so(host, browser):
    host(f"{LISTED}c.Authenticator.allow_existing_users = True")

    assert browser.sign_in("grace", "another-password").status_code == 403
    make_user("grace")
    assert browser.sign_in("grace", "another-password").status_code == 302


def test_a_class_may_look_up_accounts(host, browser):
    host(
        HEAD
        + """
from jupyterhub.orm import User
class Known(Authenticator):
    async def authenticate(self, handler, data):
        found = handler.find_user(data["username"])
        row = self.db.query(User).filter_by(name=data["username"]).first()
        assert (found is None) == (row is None)
        if found and found.admin and [group.name for group in found.groups] == ["a"]:
            return found.name

c.JupyterHub.authenticator_class = Known
c.Authenticator.allow_all = True
"""
    )
    from tests.factories import make_group

    make_user("ada", admin=True, groups=[make_group("a")])
    make_user("grace")

    assert browser.sign_in("grace", "x").status_code == 403
    assert browser.sign_in("ada", "x").status_code == 302


# What stays the hub's


def test_a_second_factor_comes_on_top(host, browser):
    host(f"{LISTED}c.Authenticator.allow_all = True")
    secret = generate_totp_secret()
    with request_context(RequestFactory().get("/")):
        TOTP.activate(make_user("grace"), secret)

    reply = browser.sign_in("grace", "another-password")

    assert reply.status_code == 302 and "/2fa/authenticate" in reply["Location"]
    assert browser.get("/hub/home").status_code == 302
    code = code_for(secret)
    assert browser.submit(reply["Location"], code=code).status_code == 302
    assert browser.get("/hub/home").status_code == 200


def test_programs_get_tokens_for_a_password_of_the_class(host, bearer):
    host(f"{LISTED}c.Authenticator.allow_all = True")
    make_user("grace")

    def ask(password: str) -> int:
        auth = {"username": "grace", "password": password}
        client = bearer(None)
        return client.post("/hub/api/users/grace/tokens", {"auth": auth}).status_code

    assert ask("wrong") == 403
    assert ask("another-password") == 201


def test_the_hub_names_the_class(host, bearer):
    host(LISTED)
    ada = make_user("ada", admin=True)
    _, secret = make_token(ada)

    found = bearer(secret).get("/hub/api/info").json()["authenticator"]

    assert found["class"] == "UserList"
