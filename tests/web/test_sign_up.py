"""The sign-up, on pages and in the admin: who gets an account, and who does not."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.core import mail, signing
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from accounts import attempts, sign_up_actions
from accounts.models import SignUp, User
from audit.models import Actor, Event
from scopes.refusals import Conflict, Forbidden, Invalid, NotFound
from tests.factories import BY, PASSWORD, make_user

pytestmark = pytest.mark.django_db

PAGE = "/hub/signup"


@pytest.fixture(autouse=True)
def approval(configure):
    """Let people sign up, and operators decide."""
    configure(signup="approval")


@pytest.fixture
def with_mail(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    settings.EMAIL_HOST = "mail.example.org"
    settings.PUBLIC_URL = "http://testserver"
    settings.MAILS_LINKS = True
    settings.ROOT_URLCONF = "tests.web.mail_urls"


def sign_up(browser: Any, name: str = "grace", **fields: str) -> Any:
    password = fields.pop("signup_password", PASSWORD)
    return browser.submit(
        PAGE,
        username=name,
        signup_password=password,
        **{"signup_password_confirmation": password, **fields},
    )


def words(page: Any) -> str:
    return " ".join(unescape(re.sub("<[^>]+>", " ", page.content.decode())).split())


def admitted(name: str) -> User:
    return sign_up_actions.approve(SignUp.objects.get(name=name), by=BY)


# Asking


@pytest.mark.parametrize("path", [PAGE, "/hub/signup/received", "/hub/confirm/x"])
def test_there_is_no_sign_up_unless_configured(browser, configure, path):
    configure(signup="off")

    assert browser.get(path).status_code == 404
    assert browser.post(path).status_code in (403, 404)
    assert "signup" not in browser.get("/hub/login").content.decode()


def test_the_page_of_the_sign_in_leads_to_the_sign_up(browser):
    assert f'href="{PAGE}"' in browser.get("/hub/login").content.decode()


def test_a_person_waits_until_an_operator_has_decided(browser):
    response = sign_up(browser, "Grace")

    assert response.status_code == 302
    assert response["Location"] == "/hub/signup/received"
    assert "administrator of this hub decides" in words(
        browser.get(response["Location"])
    )
    assert not User.objects.exists()
    waiting = SignUp.objects.get()
    assert (waiting.name, waiting.state) == ("grace", "pending")
    assert waiting.password.startswith("argon2$argon2id$")
    refused = browser.sign_in("grace")
    assert refused.status_code == 403
    assert "nobody has decided about it yet" in words(refused)
    # A wrong password reveals nothing.
    other = browser.sign_in("grace", "a wrong guess of a password")
    assert "Invalid username or password" in words(other)

    user = admitted("grace")

    assert browser.sign_in("grace").status_code == 302
    assert [role.name for role in user.roles.all()] == ["user"]
    waiting.refresh_from_db()
    assert (waiting.state, waiting.password) == ("approved", "")


def test_nobody_learns_whether_a_name_exists(browser, another_browser):
    make_user("ada", admin=True, password=PASSWORD)
    make_user("alan")

    answers = [
        sign_up(each, name)
        for each, name in (
            *((browser, "ada"), (browser, "alan"), (browser, "nobody")),
            (another_browser, "nobody"),
        )
    ]

    assert {answer["Location"] for answer in answers} == {"/hub/signup/received"}
    assert SignUp.objects.count() == 4
    assert User.objects.get(name="ada").check_password(PASSWORD)


def test_the_state_of_a_name_with_a_password_is_not_told(browser):
    """A check of each sign-up would make the answer for such a name slower."""
    make_user("ada", password=PASSWORD)
    sign_up(browser, "ada", signup_password="another long password")

    page = browser.sign_in("ada", "another long password")

    assert "Invalid username or password" in words(page)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "a/b"}, "can't be a name here"),
        ({"name": "a b"}, "can't be a name here"),
        ({"name": "a,b"}, "can't be a name here"),
        ({"name": ".."}, "can't be a name here"),
        ({"name": "x" * 300}, "at most 255"),
        ({"name": "a\0b"}, "Null characters"),
        ({"name": ""}, "required"),
        ({"signup_password": "short"}, "at least 10 characters"),
        ({"signup_password": "1234567890123"}, "entirely numeric"),
        ({"signup_password": "password1234"}, "too common"),
        ({"signup_password": "grace-hopper"}, "too similar"),
        ({"signup_password": "x" * 2000}, "at most 1000"),
        ({"signup_password_confirmation": "something else"}, "another password"),
    ],
)
def test_refuses_what_can_not_be(browser, fields, said):
    page = sign_up(browser, **{"name": "grace-hopper", **fields})

    assert page.status_code == 400
    assert said in words(page)
    assert not SignUp.objects.exists()
    assert PASSWORD not in page.content.decode()


def test_names_follow_the_pattern_of_the_configuration(browser, configure):
    configure(username_pattern="[a-z]+$")

    assert sign_up(browser, "grace1").status_code == 400
    assert sign_up(browser, "grace").status_code == 302


def test_asks_for_an_address_and_for_terms_where_configured(browser, configure):
    page = browser.get(PAGE).content.decode()
    assert 'name="email"' not in page
    assert 'name="terms"' not in page
    configure(
        signup_ask_email=True,
        signup_terms='See <a href="/terms">the terms</a><script>alert(1)</script>.',
    )

    page = browser.get(PAGE).content.decode()
    assert 'See <a href="/terms" rel="noopener noreferrer">the terms</a>.' in page
    assert "alert(1)" not in page
    without = sign_up(browser)
    assert without.status_code == 400
    assert "Tick the box" in words(without)
    assert sign_up(browser, email="no address", terms="on").status_code == 400
    assert sign_up(browser, email="grace@example.org", terms="on").status_code == 302
    waiting = SignUp.objects.get()
    assert (waiting.email, waiting.terms_accepted) == ("grace@example.org", True)


def test_forged_forms_are_refused(client):
    from django.test import Client

    forged = Client(enforce_csrf_checks=True)
    response = forged.post(PAGE, {"username": "grace", "signup_password": PASSWORD})

    assert response.status_code == 403
    assert not SignUp.objects.exists()


def test_people_who_are_signed_in_need_no_sign_up(as_, browser):
    make_user("ada", password=PASSWORD)
    browser.sign_in("ada")

    assert browser.get(PAGE)["Location"] == "/hub/spawn"


# Limits


def test_limits_sign_ups_from_a_network(browser, monkeypatch):
    monkeypatch.setattr("accounts.sign_up_views.MOST_FROM_A_NETWORK", 2)
    assert sign_up(browser, "one").status_code == 302
    assert sign_up(browser, "two").status_code == 302

    page = sign_up(browser, "three")

    assert page.status_code == 429
    assert "Too many people sign up from your network" in words(page)
    assert SignUp.objects.count() == 2


def test_limits_who_waits(browser, monkeypatch):
    for _ in range(sign_up_actions.MOST_FOR_A_NAME):
        SignUp.objects.create(name="grace", password="x")
    assert sign_up(browser, "grace").status_code == 409
    monkeypatch.setattr(sign_up_actions, "MOST_PENDING", 5)
    assert sign_up(browser, "alan").status_code == 409
    # A move brings as many as there are.
    SignUp.objects.update(is_imported=True)
    assert sign_up(browser, "alan").status_code == 302


def test_counts_requests_of_a_network_and_of_all(db):
    assert attempts.requests_within("trial", 1, "10.0.0.1") == 0
    assert 3500 < attempts.requests_within("trial", 1, "10.0.0.1") <= 3600
    assert attempts.requests_within("trial", 1, "10.0.0.2") == 0
    assert attempts.requests_within("trial", 1) == 0
    assert attempts.requests_within("trial", 1) > 0


def test_wrong_passwords_of_a_sign_up_count_as_others(browser):
    sign_up(browser)
    for _ in range(attempts.FREE):
        browser.sign_in("grace", "a wrong guess of a password")

    assert "Too many failed attempts" in words(browser.sign_in("grace"))


def test_looking_whether_it_is_approved_costs_nothing(browser):
    sign_up(browser)
    for _ in range(attempts.FREE + 2):
        page = browser.sign_in("grace")

    assert "nobody has decided" in words(page)


def test_an_operator_chooses_how_many_wrong_passwords_are_free(browser, configure):
    configure(failed_logins_allowed=2, failed_login_delay=1800)
    make_user("ada", password=PASSWORD)

    pages = [words(browser.sign_in("ada", "wrong")) for _ in range(3)]

    assert "Invalid username" in pages[1]
    assert "Wait 30 minutes" in pages[2]


# Open hubs


def test_an_open_hub_signs_in_at_once(browser, configure):
    configure(signup="open")

    response = sign_up(browser, "grace")

    assert response["Location"] == "/hub/spawn"
    assert browser.get("/hub/home").status_code == 200
    user = User.objects.get(name="grace")
    assert user.check_password(PASSWORD)
    assert not user.admin
    assert SignUp.objects.get().state == "approved"


@pytest.mark.parametrize("signup", ["open", "approval"])
def test_names_with_rights_are_for_an_operator_to_give(browser, configure, signup):
    """A stranger who is quick would be the administrator of the file."""
    configure(
        signup=signup,
        admin_users=frozenset({"root"}),
        blocked_users=frozenset({"mallory"}),
        load_roles=(
            {"name": "staff", "scopes": ["admin:users"], "groups": ["team"]},
            {"name": "helper", "scopes": ["list:users"], "users": ["bob"]},
        ),
        load_groups={"team": {"users": ["carol"]}},
        signup_self_approval=".*",
        signup_ask_email=True,
    )
    make_user("listed")

    for name in ("root", "Root", "bob", "carol", "listed", "mallory"):
        response = sign_up(browser, name, email="x@example.org")
        assert response["Location"] == "/hub/signup/received"

    assert User.objects.count() == 1
    assert not User.objects.get().has_usable_password()
    assert set(SignUp.objects.values_list("state", flat=True)) == {"pending"}
    operator = make_user("olga", scopes=["admin-ui", "admin:users", "tokens"])
    by = Actor("user", "olga")
    for name in ("root", "bob", "carol"):
        for row in SignUp.objects.filter(name=name):
            with pytest.raises(Forbidden, match="the configuration gives rights"):
                sign_up_actions.approve(row, by=by)
    assert operator.pk
    with pytest.raises(Invalid, match="may not sign in by the configuration"):
        admitted("mallory")
    assert User.objects.count() == 2
    ada = make_user("ada", admin=True)
    row = SignUp.objects.filter(name="root").first()
    user = sign_up_actions.approve(row, by=Actor("user", ada.name), by_admin=True)
    assert user.name == "root"


@pytest.mark.parametrize("has_account", [True, False])
def test_listed_names_may_go_to_the_first_person(browser, configure, has_account):
    configure(
        signup="approval",
        signup_gives_listed_names=True,
        admin_users=frozenset({"root"}),
        allowed_users=frozenset({"bob"}),
    )
    if has_account:
        make_user("root")
        make_user("bob")

    for name in ("Root", "bob"):
        response = sign_up(browser, name)
        assert response["Location"] == "/hub/spawn"
        browser.cookies.clear()
        user = User.objects.get(name=name.lower())
        assert user.check_password(PASSWORD)
    # The name is somebody's now, and others are for an operator to give.
    for name in ("root", "grace"):
        response = sign_up(browser, name, password="another long password")
        assert response["Location"] == "/hub/signup/received"
    assert User.objects.get(name="root").check_password(PASSWORD)
    assert not User.objects.filter(name="grace").exists()


def test_listed_names_stay_closed_to_strangers_by_default(browser, configure):
    configure(signup="approval", allowed_users=frozenset({"bob"}))

    assert sign_up(browser, "bob")["Location"] == "/hub/signup/received"

    assert not User.objects.exists()


# Deciding


def test_an_account_without_a_password_becomes_the_persons(browser):
    account = make_user("grace", email="old@example.org")
    sign_up(browser)

    assert admitted("grace") == account

    assert browser.sign_in("grace").status_code == 302
    account.refresh_from_db()
    assert account.email == "old@example.org"


def test_a_password_is_never_replaced(browser):
    make_user("grace", password="the password of the owner")
    sign_up(browser)

    with pytest.raises(Conflict, match="has an account that somebody uses"):
        admitted("grace")

    assert User.objects.get().check_password("the password of the owner")
    assert SignUp.objects.get().state == "pending"


@pytest.mark.parametrize("sign", ["single sign-on", "passkey", "sign-in"])
def test_an_account_that_somebody_uses_is_not_given_away(browser, sign):
    user = make_user("grace")
    if sign == "single sign-on":
        SocialAccount.objects.create(user=user, provider="oidc", uid="1")
    elif sign == "passkey":
        Authenticator.objects.create(user=user, type="webauthn", data={})
    else:
        User.objects.update(last_login=timezone.now())
    sign_up(browser)

    with pytest.raises(Conflict, match="has an account that somebody uses"):
        admitted("grace")

    assert not User.objects.get().has_usable_password()


def test_lists_that_admit_nobody_new_make_no_account(browser, configure):
    configure(
        signup="open", allow_existing_users=False, allowed_users=frozenset({"alan"})
    )

    assert sign_up(browser)["Location"] == "/hub/signup/received"

    with pytest.raises(Invalid, match="allow_existing_users first"):
        admitted("grace")
    assert not User.objects.exists()
    assert sign_up(browser, "alan")["Location"] == "/hub/spawn"


def test_an_operator_gives_away_no_more_than_the_operator_may_have(browser):
    make_user("olga", scopes=["admin-ui", "admin:users"])
    by = Actor("user", "olga")
    make_user("ada", admin=True)
    make_user("alan")
    make_user("staff", scopes=["admin:groups"])
    for name in ("ada", "alan", "staff"):
        sign_up(browser, name)
        with pytest.raises(Forbidden):
            sign_up_actions.approve(SignUp.objects.get(name=name), by=by)
    assert not any(user.has_usable_password() for user in User.objects.all())

    make_user("otto", scopes=["admin-ui", "admin:users", "tokens"])
    by = Actor("user", "otto")
    sign_up_actions.approve(SignUp.objects.get(name="alan"), by=by)
    with pytest.raises(Forbidden, match="Only admins"):
        sign_up_actions.approve(SignUp.objects.get(name="ada"), by=by)


def test_an_account_that_becomes_an_administrators_is_not_given_away(
    browser, configure
):
    make_user("root")
    configure(signup="approval", admin_users=frozenset({"root"}))
    make_user("otto", scopes=["admin-ui", "admin:users", "tokens"])
    sign_up(browser, "root")

    with pytest.raises(Forbidden, match="Only admins"):
        sign_up_actions.approve(SignUp.objects.get(), by=Actor("user", "otto"))
    assert not User.objects.get(name="root").has_usable_password()


def test_of_several_people_one_gets_the_name(browser):
    sign_up(browser, signup_password="the first long password")
    sign_up(browser, signup_password="the second long password")
    first, second = SignUp.objects.order_by("pk")

    sign_up_actions.approve(second, by=BY)

    first.refresh_from_db()
    assert first.state == "refused"
    assert browser.sign_in("grace", "the second long password").status_code == 302
    with pytest.raises(Conflict, match="decided meanwhile"):
        sign_up_actions.approve(first, by=BY)


def test_a_person_who_is_refused_reads_why(browser):
    sign_up(browser)
    sign_up_actions.refuse(SignUp.objects.get(), note="Only for members.", by=BY)

    assert "Your sign-up was refused. Only for members." in words(
        browser.sign_in("grace")
    )
    assert not User.objects.exists()
    # Another try is possible.
    assert sign_up(browser).status_code == 302


def test_all_of_it_is_in_the_audit_log(browser):
    sign_up(browser)
    sign_up(browser)
    first, second = SignUp.objects.order_by("pk")
    sign_up_actions.refuse(first, by=BY)
    sign_up_actions.approve(second, by=BY)

    actions = list(Event.objects.order_by("pk").values_list("action", flat=True))
    assert [name for name in actions if name.startswith("sign_up.")] == [
        *("sign_up.ask", "sign_up.ask", "sign_up.refuse", "sign_up.approve")
    ]
    assert "argon2" not in str(list(Event.objects.values()))


# Mail


@pytest.fixture
def by_link(with_mail, configure):
    configure(
        signup="approval",
        signup_ask_email=True,
        signup_self_approval=r"[^@]+@example\.org",
    )


def link_in(message: Any) -> str:
    found = re.search(r"http://testserver(/hub/confirm/\S+)", message.body)
    assert found, message.body
    return found.group(1)


def test_the_owner_of_an_address_is_let_in_by_a_link(
    browser, by_link, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        sign_up(browser, email="grace@example.org")
    (message,) = mail.outbox
    assert message.to == ["grace@example.org"]
    link = link_in(message)

    # Programs that look into mails open links.
    page = browser.get(link)
    assert page.status_code == 200
    assert not User.objects.exists()

    response = browser.submit(link)
    assert response["Location"] == "/hub/login?username=grace"
    user = User.objects.get(name="grace")
    assert user.email == "grace@example.org"
    assert browser.sign_in("grace").status_code == 302
    assert SignUp.objects.get().is_confirmed
    another = browser.__class__().get(link)
    assert another.status_code == 404
    assert "decided meanwhile" in words(another)


@pytest.mark.parametrize(
    "email", ["grace@example.net", "grace@example.org.example.net", "a@b@example.org"]
)
def test_other_addresses_wait_for_an_operator(
    browser, by_link, django_capture_on_commit_callbacks, email
):
    make_user("ada", admin=True, email="ada@example.org")
    with django_capture_on_commit_callbacks(execute=True):
        sign_up(browser, email=email)

    assert [message.to for message in mail.outbox] in ([], [["ada@example.org"]])
    assert not any("/hub/confirm/" in message.body for message in mail.outbox)


def test_a_link_gives_no_name_that_somebody_has(
    browser, by_link, django_capture_on_commit_callbacks
):
    make_user("alan")
    with django_capture_on_commit_callbacks(execute=True):
        sign_up(browser, "alan", email="mallory@example.org")
        sign_up(browser, "grace", email="mallory@example.org")
    assert len(mail.outbox) == 1
    make_user("grace")

    response = browser.submit(link_in(mail.outbox[0]))

    assert response["Location"] == "/hub/signup/received"
    assert not any(user.has_usable_password() for user in User.objects.all())
    assert SignUp.objects.filter(state="pending", is_confirmed=True).count() == 1


def test_links_expire_and_can_not_be_made(browser, by_link):
    row = SignUp.objects.create(name="grace", email="g@example.org", password="x")
    link = sign_up_actions.link_for(row)
    for wrong in (
        f"{link}x",
        reverse("accounts:confirm", args=("1",)),
        reverse("accounts:confirm", args=(signing.dumps(row.pk, salt="other"),)),
    ):
        assert browser.get(wrong).status_code == 404

    with time_machine.travel(timezone.now() + timedelta(seconds=3700)):
        page = browser.get(link)
        with pytest.raises(NotFound):
            sign_up_actions.confirm(link.rpartition("/")[2], by=BY)

    assert page.status_code == 404
    assert "older than an hour" in words(page)
    assert not User.objects.exists()


def test_an_operators_own_words_are_mailed(
    browser, by_link, configure, django_capture_on_commit_callbacks
):
    configure(
        signup_mail=(
            "hub@example.org",
            "Welcome",
            "Go to {approval_url}, {grace} {0} %s.",
        )
    )
    with django_capture_on_commit_callbacks(execute=True):
        sign_up(browser, email="grace@example.org")

    (message,) = mail.outbox
    assert (message.from_email, message.subject) == ("hub@example.org", "Welcome")
    assert message.body.startswith("Go to http://testserver/hub/confirm/")
    assert "{grace} {0} %s." in message.body


def test_without_mail_an_operator_decides(browser, configure):
    configure(signup_ask_email=True, signup_self_approval=".*")

    page = browser.get(sign_up(browser, email="g@example.org")["Location"])

    assert "a link is on its way" not in words(page)
    assert SignUp.objects.get().state == "pending"


def test_operators_and_people_get_mails(
    browser, with_mail, configure, django_capture_on_commit_callbacks
):
    configure(signup_ask_email=True)
    make_user("ada", admin=True, email="ada@example.org")
    make_user("olaf", admin=True, email="olaf@example.org", is_active=False)
    with django_capture_on_commit_callbacks(execute=True):
        sign_up(browser, email="grace@example.org")
    (asked,) = mail.outbox
    assert asked.to == ["ada@example.org"]
    assert "http://testserver/hub/admin/accounts/signup/" in asked.body
    assert "grace@example.org (not confirmed)" in asked.body
    mail.outbox.clear()

    with django_capture_on_commit_callbacks(execute=True):
        admitted("grace")

    (decided,) = mail.outbox
    assert decided.to == ["grace@example.org"]
    assert "approved" in decided.subject
    assert "http://testserver/hub/login" in decided.body


def test_operators_get_few_mails_within_an_hour(
    browser, with_mail, django_capture_on_commit_callbacks
):
    make_user("ada", admin=True, email="ada@example.org")
    with django_capture_on_commit_callbacks(execute=True):
        for number in range(sign_up_actions.MAILS_AN_HOUR + 3):
            sign_up(browser, f"person-{number}")

    assert len(mail.outbox) == sign_up_actions.MAILS_AN_HOUR


def test_an_undone_sign_up_sends_no_mail(
    with_mail, configure, django_capture_on_commit_callbacks
):
    make_user("ada", admin=True, email="ada@example.org")

    class Undone(Exception):
        pass

    with (
        django_capture_on_commit_callbacks(execute=True),
        pytest.raises(Undone),
        transaction.atomic(),
    ):
        sign_up_actions.sign_up("grace", "x", by=BY)
        raise Undone
    assert mail.outbox == []


# Addresses of the plugin


def test_the_plugins_addresses_lead_to_the_hubs_pages(browser):
    ada = make_user("ada", admin=True, password=PASSWORD)
    grace = make_user("grace")
    browser.sign_in("ada")
    base = "/hub/admin/accounts"

    def led(path: str) -> str:
        response = browser.get(path)
        assert response.status_code == 302
        return str(response["Location"])

    assert led("/hub/authorize") == f"{base}/signup/?state=pending"
    assert led("/hub/authorize/grace") == f"{base}/signup/?q=grace"
    assert led("/hub/discard/grace") == f"{base}/signup/?q=grace"
    assert led("/hub/change-password") == "/hub/accounts/password/change/"
    assert led("/hub/change-password/ada") == "/hub/accounts/password/change/"
    assert led("/hub/change-password/grace") == f"{base}/user/{grace.pk}/change/"
    assert browser.get("/hub/change-password/nobody").status_code == 404
    assert ada.check_password(PASSWORD)


def test_others_learn_nothing_by_the_plugins_addresses(browser):
    make_user("mallory", password=PASSWORD)
    make_user("grace")
    path = "/hub/change-password/grace"
    assert browser.get(path)["Location"].startswith("/hub/login?next=")
    browser.sign_in("mallory")

    assert browser.get(path).status_code == 404
    assert browser.get("/hub/change-password/nobody").status_code == 404
    assert browser.get("/hub/authorize", follow=True).status_code == 403


@pytest.mark.parametrize("path", ["/hub/authorize/grace", "/hub/discard/grace"])
def test_a_link_decides_nothing(browser, path):
    make_user("ada", admin=True, password=PASSWORD)
    sign_up(browser)
    browser.sign_in("ada")

    browser.get(path, follow=True)

    assert SignUp.objects.get().state == "pending"
