"""Acts on many tokens: the preview, steps, progress and the undo."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from audit.models import Event
from controller import bulk_changes
from tests.admin.conftest import text
from tests.admin.test_tokens import choose
from tests.factories import BY, make_token, make_user
from tokens import bulk
from tokens.actions.pausing import disable_tokens, enable_tokens
from tokens.models import APIToken, BulkChange

pytestmark = pytest.mark.django_db
LIST = "tokens_apitoken"


def page_of(change):
    return reverse("admin:tokens_apitoken_bulk", args=[change.pk])


@pytest.fixture
def short(monkeypatch):
    """Let requests do one step, of two tokens."""
    monkeypatch.setattr(bulk.proceed, "__defaults__", (0.0,))
    monkeypatch.setattr(bulk.step, "__defaults__", (2,))


def test_the_preview_says_how_many_and_whose(as_, ada, alan, mallory, pages):
    tokens = [make_token(alan)[0] for _ in range(3)] + [make_token(mallory)[0]]

    page = text(as_(ada).post(pages.list(LIST), choose("disable", *tokens)))

    assert "Disable 4 tokens ?" in page
    assert "alan 3" in page
    assert "mallory 1" in page
    assert not APIToken.objects.filter(disabled_at__isnull=False).exists()


def test_disabling_is_undone_for_exactly_these_tokens(as_, ada, alan, pages):
    tokens = [make_token(alan)[0] for _ in range(5)]
    before, others, revoked, *_ = tokens
    disable_tokens(APIToken.objects.filter(pk=before.pk), by=BY)
    client = as_(ada)

    reply = client.post(
        pages.list(LIST), choose("disable", *tokens, confirmed=True), follow=True
    )
    assert "Disabled 4 tokens." in text(reply)
    # Meanwhile, somebody else changes two of them.
    other = APIToken.objects.filter(pk=others.pk)
    enable_tokens(other, by=BY)
    disable_tokens(other, by=BY)
    APIToken.objects.filter(pk=revoked.pk).update(revoked_at=timezone.now())
    change = BulkChange.objects.get()
    assert "Undo: enable 2 tokens" in text(client.get(page_of(change)))
    reply = client.post(page_of(change), {"undo": "yes"}, follow=True)

    assert "Enabled 2 tokens." in text(reply)
    disabled = APIToken.objects.filter(disabled_at__isnull=False)
    assert {*disabled} == {before, others, revoked}
    again = client.post(page_of(change), {"undo": "yes"}, follow=True)
    assert "undone already" in text(again)
    assert Event.objects.filter(action="token.enable", actor_name="ada").count() == 1


def test_many_tokens_are_changed_in_steps(as_, ada, alan, pages, short):
    tokens = [make_token(alan)[0] for _ in range(5)]
    client = as_(ada)

    reply = client.post(
        pages.list(LIST), choose("revoke", *tokens, confirmed=True), follow=True
    )

    change = BulkChange.objects.get()
    assert "2 of 5" in text(reply)
    assert b'<meta http-equiv="refresh"' in reply.content
    assert APIToken.objects.filter(revoked_at=None).count() == 3
    # A page that is only read changes nothing.
    client.get(page_of(change))
    assert APIToken.objects.filter(revoked_at=None).count() == 3
    reply = client.post(page_of(change), {"continue": "yes"}, follow=True)
    assert "4 of 5" in text(reply)
    # The controller finishes what the browser left.
    bulk.step(bulk.next_unfinished())
    assert bulk.next_unfinished() is None
    page = client.get(page_of(change))
    assert "Revoked 5 tokens." in text(page)
    assert b"http-equiv" not in page.content
    listed = client.get(reverse("admin:tokens_apitoken_bulk_list"))
    assert "Revoke 5 tokens" in text(listed)


def test_two_processes_do_each_step_once(alan, short):
    for _ in range(4):
        make_token(alan)
    change = bulk.begin("disable", APIToken.objects.all(), by=BY)
    one, other = bulk.next_unfinished(), bulk.next_unfinished()

    for each in (one, other, one, other):
        bulk.step(each)

    change.refresh_from_db()
    assert (change.position, change.changed) == (4, 4)
    assert change.finished_at is not None


def test_freezes_and_unfreezes(as_, ada, alan, pages):
    token, _ = make_token(alan)
    client = as_(ada)

    client.post(pages.list(LIST), choose("freeze", token, confirmed=True))
    token.refresh_from_db()
    assert token.frozen_by == "ada"
    assert "frozen by an administrator" in text(client.get(pages.of(token)))
    client.post(pages.list(LIST), choose("unfreeze", token, confirmed=True))
    token.refresh_from_db()

    assert token.frozen_at is None


def test_others_see_no_change_of_many_tokens(as_, ada, alan, grace):
    change = bulk.begin("disable", APIToken.objects.all(), by=BY)

    assert as_(ada).get(page_of(change)).status_code == 200
    assert as_(grace).get(page_of(change)).status_code in (403, 404)
    assert as_(alan).get(page_of(change)).status_code in (302, 403)


def test_old_acts_are_forgotten(alan):
    make_token(alan)
    old = bulk.begin("disable", APIToken.objects.all(), by=BY)
    long_ago = timezone.now() - bulk.KEPT - timedelta(days=1)
    BulkChange.objects.update(finished_at=long_ago)

    bulk.begin("enable", APIToken.objects.all(), by=BY)

    assert not BulkChange.objects.filter(pk=old.pk).exists()


class Nothing(Exception):
    """There is nothing left to do."""


class Term:
    """Runs functions at once, in this thread."""

    async def ask(self, function, *arguments):
        found = function(*arguments)
        if found is None:
            raise Nothing
        return found

    async def write(self, function, *arguments):
        return function(*arguments)


def test_the_controller_finishes_acts(alan, monkeypatch, short):
    monkeypatch.setattr(bulk_changes, "REST", 0)
    tokens = [make_token(alan)[0] for _ in range(5)]
    bulk.begin("disable", APIToken.objects.all(), by=BY)

    running = bulk_changes.run(Term())
    with pytest.raises(Nothing):
        while True:
            running.send(None)

    disabled = APIToken.objects.filter(disabled_by=BY.label)
    assert disabled.count() == len(tokens)


def test_the_page_of_a_token_shows_use_and_narrows(as_, ada, alan, pages):
    token, _ = make_token(alan, scopes=["read:users!user", "servers!user"])
    token.days.create(day=timezone.now().date(), count=7)
    token.uses.create(network="192.0.2.0/24", agent="curl/8")
    token.operations.create(operation="GET /user", scope="read:users")
    client = as_(ada)

    page = text(client.get(pages.of(token)))
    for said in ("7 requests", "192.0.2.0/24", "curl/8", "Narrow to 1 scope"):
        assert said in page
    where = reverse("admin:tokens_apitoken_narrow", args=[token.pk])
    assert "servers!user" in text(client.get(where))
    client.post(where, {"scopes": ["read:users!user"]})

    token.refresh_from_db()
    assert token.scopes == ["read:users!user"]


def test_only_who_may_change_a_token_narrows_it(as_, alan, pages):
    reader = make_user("reader", scopes=["admin-ui", "read:tokens"])
    token, _ = make_token(alan, scopes=["read:users!user", "servers!user"])
    where = reverse("admin:tokens_apitoken_narrow", args=[token.pk])
    client = as_(reader)

    assert client.get(pages.of(token)).status_code == 200
    assert client.post(where, {"scopes": []}).status_code == 403
