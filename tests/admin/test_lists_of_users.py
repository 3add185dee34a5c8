"""Many users at once: pasted, previewed, added, with links that are shown once."""

from __future__ import annotations

import csv
import io
import re
from html import unescape

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from accounts.models import User
from audit.models import Event
from tests.admin.conftest import text
from tests.factories import PASSWORD, make_group, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def page(db):
    return reverse("admin:accounts_user_add_list")


def names():
    return set(User.objects.values_list("name", flat=True))


def sent(reply):
    """Return what the page with the preview sends on."""
    body = reply.content.decode()
    return {
        name: unescape(value)
        for name, value in re.findall(
            r'<input type="hidden" name="(people|groups)" value="([^"]*)"', body
        )
    }


def table(reply):
    found = re.search(
        r"<textarea id=\"links\"[^>]*>(.*?)</textarea>", reply.content.decode(), re.S
    )
    return list(csv.DictReader(io.StringIO(unescape(found[1]).lstrip("\n"))))


def test_a_preview_shows_existing_users_and_invalid_lines(as_, ada, alan, page):
    before = names()

    reply = as_(ada).post(
        page,
        {
            "people": "Emmy\nalan\n\nemmy\nkurt; kurt@example.org\n"
            "a/b\nx y@ z\nhans bad@\n"
        },
    )

    assert names() == before
    assert [line.name for line in reply.context["new"]] == ["emmy", "kurt"]
    assert [line.name for line in reply.context["existing"]] == ["alan"]
    assert len(reply.context["odd"]) == 3
    assert "Add 2 users" in text(reply)
    assert "is not a username" in text(reply)
    assert not Event.objects.exists()


def test_a_list_is_added_with_groups_and_links(as_, ada, alan, page, settings):
    settings.MAILS_LINKS = True
    make_group("physics")
    client = as_(ada)
    seen = client.post(
        page, {"people": "emmy, emmy@example.org\nkurt\nalan\n/", "groups": "physics"}
    )

    reply = client.post(page, {**sent(seen), "links": "yes", "_add": "yes"})

    assert names() == {"ada", "alan", "emmy", "kurt"}
    assert "no-store" in reply["Cache-Control"]
    found = table(reply)
    assert [(line["name"], line["email"]) for line in found] == [
        ("emmy", "emmy@example.org"),
        ("kurt", ""),
    ]
    members = {user.name for user in make_group_members("physics")}
    assert members == {"alan", "emmy", "kurt"}
    assert User.objects.get(name="emmy").email == "emmy@example.org"
    link = found[1]["link"].partition("testserver")[2]
    password = {"new_password1": PASSWORD, "new_password2": PASSWORD}
    guest = as_(None)
    assert guest.post(link, password).status_code == 302
    assert guest.get("/hub/home").context["user"].name == "kurt"
    assert not any(link in str(event.detail) for event in Event.objects.all())


def make_group_members(name):
    return User.objects.filter(groups__name=name)


def test_a_file_is_read_like_a_pasted_list(as_, ada, page):
    file = SimpleUploadedFile(
        "people.csv", "\ufeffemmy;emmy@example.org\r\nzoë\r\n".encode()
    )

    reply = as_(ada).post(page, {"file": file})

    assert [line.name for line in reply.context["new"]] == ["emmy", "zoë"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"people": ""}, "Paste names, or choose a file."),
        (
            {"people": "\n".join(f"u{n}" for n in range(1001))},
            "1,001 lines; a list takes 1,000",
        ),
        ({"people": "a\0b"}, "Null characters are not allowed"),
        ({"file": SimpleUploadedFile("x.csv", b"\xff\xfe\x00")}, "not text in UTF-8"),
        ({"file": SimpleUploadedFile("x.csv", b"a" * 300_000)}, "larger than 256 kB"),
        (
            {"people": "emmy", "groups": "nowhere", "_add": "yes"},
            "No such group: nowhere",
        ),
    ],
)
def test_what_is_refused_adds_nobody(as_, ada, page, data, says):
    reply = as_(ada).post(page, data)

    assert says in text(reply)
    assert names() == {"ada"}
    assert not Event.objects.exists()


def test_adding_takes_the_right_to_add(as_, ada, grace, page):
    assert as_(grace).get(page).status_code == 403
    assert as_(grace).post(page, {"people": "x", "_add": "yes"}).status_code == 403
    assert "x" not in names()


def test_links_take_the_right_to_issue_tokens(as_, page):
    manager = make_user("manager", scopes=["admin-ui", "admin:users"])

    reply = as_(manager).post(page, {"people": "emmy", "links": "yes", "_add": "yes"})

    assert "emmy" in names()
    assert "/welcome/" not in reply.content.decode()


@pytest.mark.parametrize(
    "pasted", ["a\nb", "a,b", "a;b", "a\tb", "a b c", "a\r\nb\r\nc"]
)
def test_a_list_in_the_field_for_one_name_is_refused(as_, ada, pages, pasted):
    reply = as_(ada).post(pages.add("accounts_user"), {"name": pasted})

    assert "This is more than one name" in text(reply)
    assert names() == {"ada"}


@pytest.mark.parametrize("people", ["mallory", "emmy", "emmy\nmallory"])
def test_a_list_adds_nobody_to_rights_that_the_manager_lacks(
    as_, mallory, page, people
):
    graders = make_group("graders", scopes=["read:hub"])
    scopes = ["admin-ui", "admin:users", "groups!group=graders"]
    manager = make_user("manager", scopes=scopes)
    before = names()

    reply = as_(manager).post(
        page, {"people": people, "groups": "graders", "_add": "yes"}
    )

    assert "give scopes that you lack" in text(reply)
    assert not graders.users.exists()
    assert names() == before
