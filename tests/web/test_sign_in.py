"""Sign in with a name and a password."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from accounts.actions import activate_users, deactivate_users
from accounts.models import User
from audit.models import Event
from tests.factories import BY, PASSWORD, make_server, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def person():
    return make_user("ada", password=PASSWORD)


def test_leads_where_servers_start(person, browser):
    response = browser.sign_in("ada")

    assert response.status_code == 302
    assert response["Location"] == "/hub/spawn"


@pytest.mark.parametrize(
    "state", [{"ready": True}, {"pending": "spawn"}, {"pending": "check"}]
)
def test_leads_to_a_server_that_is_there(person, browser, state):
    make_server(person, **state)

    assert browser.sign_in("ada")["Location"] == "/user/ada/"
    assert browser.get("/hub/")["Location"] == "/user/ada/"
    assert browser.get("/hub/login")["Location"] == "/user/ada/"


def test_makes_the_default_server_known(person, browser):
    browser.sign_in("ada")

    server = person.servers.get()
    assert (server.name, server.generation, server.is_active) == ("", 0, False)


def test_leads_to_no_other_server_than_the_default_one(person, browser):
    make_server(person, "lab", ready=True)
    make_server(make_user("grace"), ready=True)

    assert browser.sign_in("ada")["Location"] == "/hub/spawn"


def test_leads_home_where_servers_do_not_start_by_themselves(
    person, browser, configure
):
    configure(redirect_to_server=False)

    assert browser.sign_in("ada")["Location"] == "/hub/home"


def test_leads_to_the_configured_page(person, browser, configure):
    configure(default_url="/hub/token")

    assert browser.sign_in("ada")["Location"] == "/hub/token"


def test_a_function_returns_the_first_page(person, browser, configure):
    def lead(handler):
        if handler.current_user is None:
            return "/hub/api/"
        names = [group.name for group in handler.current_user.groups]
        return "/hub/admin" if handler.current_user.admin else f"/hub/{names}"

    configure(default_url=lead)

    assert browser.get("/hub/")["Location"] == "/hub/api/"
    assert browser.sign_in("ada")["Location"] == "/hub/[]"
    User.objects.filter(name="ada").update(admin=True)
    assert browser.get("/hub/")["Location"] == "/hub/admin"


def test_a_function_may_leave_the_way_to_the_hub(person, browser, configure):
    configure(default_url=lambda handler: None)

    assert browser.sign_in("ada")["Location"] == "/hub/spawn"


def test_the_form_keeps_where_to_go_and_nothing_else(browser):
    page = browser.get("/hub/login?next=/hub/token%3Fa&username=ada&x=1")

    assert 'action="/hub/login?next=%2Fhub%2Ftoken%3Fa"' in page.content.decode()


def test_the_root_follows_addresses_of_the_hub(person, browser):
    browser.sign_in("ada")

    assert browser.get("/hub/?next=/hub/token")["Location"] == "/hub/token"
    assert browser.get("/hub/?next=//evil")["Location"] == "/hub/spawn"


def test_carries_other_parameters_along(person, browser):
    response = browser.sign_in("ada", path="/hub/login?profile=big&x=1")

    assert response["Location"] == "/hub/spawn?profile=big&x=1"


@pytest.mark.parametrize(
    ("target", "arrival"),
    [
        ("/hub/token", "/hub/token"),
        ("/user/ada/lab?x=1", "/user/ada/lab?x=1"),
        ("http://testserver/hub/token?a=b", "/hub/token?a=b"),
        ("http://evil.example/", "/hub/spawn"),
        ("https://testserver/hub/token", "/hub/spawn"),
        ("//evil.example", "/hub/spawn"),
        ("///evil.example", "/hub/spawn"),
        ("/\\evil.example", "/hub/spawn"),
        ("/\tevil.example", "/hub/spawn"),
        ("http:evil.example", "/hub/spawn"),
        ("hub/home", "/hub/spawn"),
        ("javascript:alert(1)", "/hub/spawn"),
        ("http://[", "/hub/spawn"),
        ("?next=//evil.example", "/hub/spawn"),
        ("http://evil@testserver/hub/home", "/hub/spawn"),
        # Paths of this host, as JupyterHub reduces them.
        ("http://testserver//evil.example", "/evil.example"),
        ("//testserver/hub/token", "/hub/token"),
        ("///testserver/hub/token?a=1", "/hub/token?a=1"),
        ("//testserver.evil.example/", "/hub/spawn"),
        ("", "/hub/spawn"),
    ],
)
def test_follows_only_addresses_of_the_hub(person, browser, target, arrival):
    response = browser.sign_in("ada", path=f"/hub/login?next={quote(target, safe='')}")

    assert response["Location"] == arrival


@pytest.mark.parametrize("wanted", ["/elsewhere", "/elsewhere?b=10", "/"])
def test_leads_to_other_applications_on_the_host(person, browser, configure, wanted):
    """A hub below a base URL stands beside others, and may sign people in for them."""
    configure(base_url="/hub/")

    response = browser.sign_in("ada", path=f"/hub/login?next={quote(wanted)}")

    assert response["Location"] == wanted


def test_sets_the_cookies_that_clients_know(person, browser):
    response = browser.sign_in("ada")

    session_id = response.cookies["jupyterhub-session-id"]
    assert len(session_id.value) == 32
    assert (session_id["path"], session_id["httponly"]) == ("/", True)
    login = response.cookies["jupyterhub-hub-login"]
    assert (login["path"], login["httponly"]) == ("/hub/", True)
    assert login["max-age"] == 14 * 86400
    xsrf = response.cookies["_xsrf"]
    assert (xsrf["path"], xsrf["httponly"], xsrf["max-age"]) == ("/hub/", "", "")


def test_makes_a_user_of_whom_a_token_brought(person, browser):
    person.roles.clear()

    browser.sign_in("ada")

    assert [role.name for role in person.roles.all()] == ["user"]
    assert Event.objects.get(action="role.assign").actor_name == "ada"


def test_refuses_a_wrong_password(person, browser):
    response = browser.sign_in("ada", "wrong")

    page = response.content.decode()
    assert response.status_code == 403
    assert "Invalid username or password" in page
    assert 'value="ada"' in page
    assert "wrong" not in page
    assert browser.get("/hub/home").status_code == 302


def test_refuses_unknown_users_with_the_same_message(person, browser):
    response = browser.sign_in("nobody", PASSWORD)

    assert response.status_code == 403
    assert "Invalid username or password" in response.content.decode()
    assert not User.objects.filter(name="nobody").exists()


def test_refuses_a_form_without_its_token(person, browser):
    response = browser.post("/hub/login", {"username": "ada", "password": PASSWORD})

    page = response.content.decode()
    assert response.status_code == 403
    assert "Login form invalid or expired. Try again." in page
    assert 'value="ada"' in page
    assert browser.get("/hub/home").status_code == 302


def test_normalises_the_name(person, browser):
    assert browser.sign_in("  ADA ").status_code == 302


def test_prefills_the_name(browser):
    assert 'value="grace"' in browser.get("/hub/login?username=grace").content.decode()


def test_redirects_signed_in_users(person, browser):
    browser.sign_in("ada")

    response = browser.get("/hub/login?next=/hub/token")

    assert (response.status_code, response["Location"]) == (302, "/hub/token")
    assert "jupyterhub-session-id" in response.cookies


def test_slows_down_who_guesses(person, browser):
    for _ in range(5):
        assert browser.sign_in("ada", "wrong").status_code == 403

    response = browser.sign_in("ada", PASSWORD)

    assert response.status_code == 403
    assert "Too many failed attempts" in response.content.decode()


def test_guesses_count_by_account_however_it_is_spelt(person, browser):
    for name in ("ada", "ADA", " ada", "Ada "):
        browser.sign_in(name, "wrong")
    credentials = {"username": "  aDa", "password": "wrong"}
    for host in ("one.example", "two.example"):
        reply = browser.post(
            "/hub/api/users/ada/tokens",
            {"auth": credentials},
            content_type="application/json",
            headers={"host": host},
        )

    assert "Too many failed attempts" in reply.json()["message"]
    assert browser.sign_in("ada", PASSWORD).status_code == 403


def test_does_not_slow_down_others_from_the_same_address(person, browser):
    make_user("grace", password=PASSWORD)
    for _ in range(6):
        browser.sign_in("ada", "wrong")

    assert browser.sign_in("grace").status_code == 302


def test_closed_accounts_stay_out(person, browser):
    wrong = browser.sign_in("ada", "wrong")
    User.objects.filter(name="ada").update(is_active=False)

    reply = browser.sign_in("ada")

    assert reply.status_code == 403
    for page in (wrong, reply):
        assert "Invalid username or password" in page.content.decode()


def test_deactivating_ends_sessions_for_good(person, browser, another_browser):
    make_user("grace", password=PASSWORD)
    browser.sign_in("ada")
    another_browser.sign_in("grace")
    ada = User.objects.filter(name="ada")

    deactivate_users(ada, by=BY)
    assert browser.get("/hub/home").status_code == 302
    assert another_browser.get("/hub/home").status_code == 200

    activate_users(ada, by=BY)
    assert browser.get("/hub/home").status_code == 302
    assert browser.sign_in("ada").status_code == 302
    assert browser.get("/hub/home").status_code == 200


def test_puts_logins_and_refusals_on_the_record(person, browser):
    browser.sign_in("ada", "wrong")
    browser.sign_in("ada")
    browser.get("/hub/logout")

    events = Event.objects.order_by("id").filter(action__startswith="session.")
    assert [
        (event.action, event.actor_name, event.target_name) for event in events
    ] == [
        ("session.refuse", "", "ada"),
        ("session.login", "ada", "ada"),
        ("session.logout", "ada", "ada"),
    ]


def test_keeps_a_password_in_the_wrong_field_off_the_record(person, browser):
    browser.sign_in("hunter2-hunter2", "ada")

    event = Event.objects.get(action="session.refuse")
    assert event.target_name == ""
    assert "hunter2" not in str(event.detail)


def test_the_old_address_leads_to_the_form(browser):
    response = browser.get("/hub/accounts/login/?next=/hub/token")

    assert response["Location"] == "/hub/login?next=/hub/token"


class TestLists:
    """Who may come in, by the lists of the configuration."""

    def test_blocked_users_stay_out(self, person, browser, configure):
        configure(blocked_users=frozenset({"ada"}))

        assert browser.sign_in("ada").status_code == 403

    def test_blocking_ends_sessions(self, person, browser, configure):
        browser.sign_in("ada")
        configure(blocked_users=frozenset({"ada"}))

        assert browser.get("/hub/home").status_code == 302

    def test_a_list_without_existing_users_is_exact(self, person, browser, configure):
        configure(allowed_users=frozenset({"grace"}), allow_existing_users=False)

        assert browser.sign_in("ada").status_code == 403

    def test_administrators_need_no_list(self, person, browser, configure):
        configure(
            allowed_users=frozenset({"grace"}),
            allow_existing_users=False,
            admin_users=frozenset({"ada"}),
        )

        assert browser.sign_in("ada").status_code == 302
        assert User.objects.get(name="ada").admin

    def test_names_may_stand_for_others(self, person, browser, configure):
        configure(username_map={"countess": "ada"})

        assert browser.sign_in("Countess").status_code == 302

    def test_names_must_match_the_pattern(self, person, browser, configure):
        configure(username_pattern="^x")

        assert browser.sign_in("ada").status_code == 403


class TestDummy:
    """c.JupyterHub.authenticator_class = "dummy"."""

    @pytest.fixture(autouse=True)
    def dummy(self, configure):
        configure(
            authenticator_class="dummy", dummy_password="open-sesame", allow_all=True
        )

    def test_makes_the_account_at_the_first_sign_in(self, browser):
        assert browser.sign_in("alan", "open-sesame").status_code == 302

        user = User.objects.get(name="alan")
        assert [role.name for role in user.roles.all()] == ["user"]
        assert not user.has_usable_password()

    def test_makes_administrators_whom_the_configuration_names(
        self, browser, configure
    ):
        configure(admin_users=frozenset({"alan"}))

        browser.sign_in("alan", "open-sesame")

        user = User.objects.get(name="alan")
        assert user.admin
        assert user.is_staff

    def test_refuses_another_password(self, browser):
        assert browser.sign_in("alan", PASSWORD).status_code == 403
        assert not User.objects.exists()

    def test_any_password_will_do_if_none_is_set(self, browser, configure):
        configure(dummy_password="")

        assert browser.sign_in("alan", "whatever").status_code == 302

    def test_no_password_will_do_if_none_is_set(self, browser, configure):
        configure(dummy_password="")

        assert browser.sign_in("alan", "").status_code == 302

    def test_an_empty_password_is_refused_if_one_is_set(self, browser):
        assert browser.sign_in("alan", "").status_code == 403

    def test_strangers_to_the_list_stay_out(self, browser, configure):
        configure(allow_all=False, allowed_users=frozenset({"grace"}))

        assert browser.sign_in("alan", "open-sesame").status_code == 403
        assert not User.objects.exists()

    @pytest.mark.parametrize("name", ["a/b", "..", "x" * 256])
    def test_impossible_names_stay_out(self, browser, name):
        assert browser.sign_in(name, "open-sesame").status_code == 403
        assert not User.objects.exists()

    def test_local_passwords_mean_nothing(self, browser):
        make_user("ada", password=PASSWORD)

        assert browser.sign_in("ada", PASSWORD).status_code == 403


class TestNobody:
    """c.JupyterHub.authenticator_class = "null"."""

    def test_offers_no_password(self, person, browser, configure):
        configure(authenticator_class="null", allow_all=True)

        reply = browser.get("/hub/login")

        # As in JupyterHub: nobody signs in here.
        assert reply.status_code == 403
        assert 'type="password"' not in reply.content.decode()
