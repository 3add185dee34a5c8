"""The list of people who signed up, in the admin."""

from __future__ import annotations

import pytest

from accounts.models import SignUp, User
from tests.admin.conftest import form_in, rows, text
from tests.factories import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def waiting(settings):
    """Two people who wait, one of them under a name that somebody has."""
    names = ("eve", "ada", "bob")
    return [
        SignUp.objects.create(
            name=name, password="argon2$x", email=f"{name}@example.org"
        )
        for name in names
    ]


def act(client, pages, action, chosen, **fields):
    return client.post(
        pages.list("accounts_signup"),
        {
            "action": action,
            "_selected_action": [row.pk for row in chosen],
            "confirmed": "yes",
            **fields,
        },
        follow=True,
    )


def test_lists_who_waits(as_, ada, waiting, pages):
    ada.set_password("x")
    ada.save()
    make_user("bob")

    page = as_(ada).get(pages.list("accounts_signup", "?state=pending"))

    assert rows(page) == ["bob", "ada", "eve"]
    said = text(page)
    assert "somebody uses the account of this name" in said
    assert "gets the account of this name" in said
    assert "eve@example.org" in said
    assert "argon2" not in page.content.decode()
    assert rows(as_(ada).get(pages.list("accounts_signup", "?q=EVE@"))) == ["eve"]


def test_approves_several_at_once(as_, ada, waiting, pages):
    eve, _, bob = waiting

    page = act(as_(ada), pages, "approve", [eve, bob])

    assert "Approved 2 sign-ups." in text(page)
    names = {"ada", "eve", "bob"}
    assert set(User.objects.values_list("name", flat=True)) == names
    assert User.objects.get(name="eve").email == "eve@example.org"


def test_asks_before_it_approves(as_, ada, waiting, pages):
    page = as_(ada).post(
        pages.list("accounts_signup"),
        {"action": "approve", "_selected_action": [waiting[0].pk]},
    )

    assert "anybody can enter any name" in text(page)
    assert not User.objects.filter(name="eve").exists()


def test_names_those_that_stay(as_, ada, waiting, pages):
    ada.set_password("x")
    ada.save()

    page = act(as_(ada), pages, "approve", waiting)

    assert "Approved 2 sign-ups. ada: ada has an account that somebody uses" in text(
        page
    )
    assert SignUp.objects.get(state="pending").name == "ada"


def test_decides_so_many_at_once(as_, ada, waiting, pages, monkeypatch):
    monkeypatch.setattr("accounts.admin.sign_ups.MOST_AT_ONCE", 2)

    page = act(as_(ada), pages, "approve", waiting)

    assert "These are 3 sign-ups; 2 can be decided at once." in text(page)
    assert SignUp.objects.filter(state="pending").count() == 3


def test_refuses_several_at_once(as_, ada, waiting, pages):
    page = act(as_(ada), pages, "refuse", waiting[:2])

    assert "Refused 2 sign-ups." in text(page)
    assert list(SignUp.objects.filter(state="pending")) == waiting[2:]
    assert not User.objects.filter(name="eve").exists()


@pytest.mark.parametrize(
    ("decision", "state"), [("approve", "approved"), ("refuse", "refused")]
)
def test_decides_on_the_page_of_one(as_, ada, waiting, pages, decision, state):
    client, page = as_(ada), pages.of(waiting[0])
    form = form_in(client.get(page)) | {"decision": decision, "decision_note": "why"}

    client.post(page, form)

    waiting[0].refresh_from_db()
    assert waiting[0].state == state
    assert "ada" in waiting[0].decided_by
    assert User.objects.filter(name="eve").exists() == (decision == "approve")
    # A decided one is only shown.
    assert 'name="decision"' not in client.get(page).content.decode()


def test_shows_a_refusal_on_the_page_of_one(as_, ada, waiting, pages):
    ada.set_password("x")
    ada.save()
    client, page = as_(ada), pages.of(waiting[1])

    answer = client.post(page, form_in(client.get(page)) | {"decision": "approve"})

    assert answer.status_code == 200
    assert "has an account that somebody uses" in text(answer)


def test_only_operators_of_all_users_see_it(as_, ada, grace, alan, waiting, pages):
    """A filtered scope reaches no person who is in no group yet."""
    group = make_user("gina", scopes=["admin-ui", "admin:users!group=data301"])
    for person in (grace, alan, group):
        page = as_(person).get(pages.list("accounts_signup"))
        assert page.status_code == 403 or rows(page) == []
        act(as_(person), pages, "approve", waiting)
    assert not User.objects.filter(name="eve").exists()
    assert SignUp.objects.filter(state="pending").count() == 3


def test_the_overview_counts_who_waits(as_, ada, waiting, pages):
    page = as_(ada).get("/hub/admin/")

    assert "People who signed up" in text(page)
    assert "/hub/admin/accounts/signup/?state=pending" in page.content.decode()


def test_a_hub_without_sign_up_shows_nothing_of_it(as_, ada):
    page = as_(ada).get("/hub/admin/").content.decode()

    assert "accounts/signup" not in page
    assert "signed up" not in page


def test_costs_the_same_with_many(as_, ada, pages, django_assert_num_queries):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    numbers = []
    for start, end in ((0, 2), (2, 30)):
        for number in range(start, end):
            SignUp.objects.create(name=f"person-{number}", password="x")
        with CaptureQueriesContext(
            connection,
        ) as queries:
            as_(ada).get(pages.list("accounts_signup"))
        numbers.append(len(queries))
    assert numbers[0] == numbers[1]
