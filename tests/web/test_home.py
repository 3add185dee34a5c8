"""Home: who I am, and what is mine."""

from __future__ import annotations

import pytest
from django.utils.html import escape

from tests.factories import (
    make_group,
    make_role,
    make_server,
    make_service,
    make_token,
    make_user,
)

pytestmark = pytest.mark.django_db


def page_of(client, path="/hub/home"):
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def test_says_who_is_signed_in(as_, mallory):
    assert '<h1 class="name">mallory</h1>' in page_of(as_(mallory))


def test_an_empty_list_of_tokens_explains_itself(as_, mallory):
    assert "No token acts in your name" in page_of(as_(mallory))


def test_counts_tokens_that_still_count(as_, mallory, ada):
    make_token(mallory, note="for the weekly report")
    make_token(ada, note="somebody else's")
    revoked, _ = make_token(mallory, note="long gone")
    type(revoked).objects.filter(pk=revoked.pk).update(revoked_at=revoked.created)

    page = page_of(as_(mallory))

    assert "for the weekly report" in page
    assert "somebody else" not in page
    assert "long gone" not in page


def test_says_roles_in_words_and_whence_they_come(as_, mallory):
    group = make_group("staff", users=[mallory])
    role = make_role("helper", "read:hub", groups=[group])
    role.description = "Looks after the printers"
    role.save()

    page = page_of(as_(mallory))

    assert "Looks after the printers" in page
    assert "through the group staff" in page


def test_shows_servers_only_where_there_are_any(as_, mallory):
    assert "Servers" not in page_of(as_(mallory))

    make_server(mallory, "analysis")

    assert "analysis" in page_of(as_(mallory))


def test_names_are_text(as_):
    user = make_user("<script>alert(1)</script>")

    page = page_of(as_(user))

    assert "<script>alert" not in page
    assert escape(user.name) in page


def test_asks_the_same_number_of_queries_whatever_there_is(
    as_, mallory, django_assert_max_num_queries
):
    for number in range(20):
        group = make_group(f"group-{number}", users=[mallory])
        make_role(f"role-{number}", "read:hub", groups=[group])
        make_token(mallory)
    client = as_(mallory)

    with django_assert_max_num_queries(14):
        page_of(client)


class TestNavigation:
    def test_offers_the_admin_to_whoever_may_enter(self, as_, ada, mallory):
        assert 'href="/hub/admin/"' in page_of(as_(ada))
        assert 'href="/hub/admin/"' not in page_of(as_(mallory))

    def test_lists_services_that_one_may_open(self, as_, mallory):
        for name in ("grades", "hidden", "forbidden", "no-page"):
            make_service(
                name,
                url=None if name == "no-page" else "http://127.0.0.1:9",
                display=name != "hidden",
            )
        make_role(
            "reader",
            *(
                f"access:services!service={name}"
                for name in ("grades", "hidden", "no-page")
            ),
            users=[mallory],
        )

        page = page_of(as_(mallory))

        assert 'href="/services/grades/"' in page
        for name in ("hidden", "forbidden", "no-page"):
            assert f"/services/{name}/" not in page

    def test_marks_the_page_one_is_on(self, as_, mallory):
        page = page_of(as_(mallory))

        assert 'href="/hub/home" aria-current="page"' in page
