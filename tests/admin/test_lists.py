"""Features of all lists of the admin: search, order, filters, export."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import User
from audit.actions import record
from tests.admin.conftest import rows, text
from tests.factories import (
    BY,
    make_client,
    make_group,
    make_role,
    make_server,
    make_service,
    make_token,
    make_user,
)
from tokens.models import APIToken

pytestmark = pytest.mark.django_db

TABLES = {
    "accounts_user": ("name",),
    "accounts_group": ("name",),
    "tokens_apitoken": ("note", "public_id"),
    "servers_server": ("name", "display_name"),
    "oauth_oauthclient": ("identifier", "server"),
    "audit_event": ("actor_name", "target_name"),
}


def listed(client, pages, model, **query):
    return rows(client.get(pages.list(model), query))


@pytest.mark.parametrize("table", TABLES)
def test_every_searched_table_keeps_its_index(db, table):
    """A migration that rebuilds a table drops its triggers, and has to renew them."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' "
                "AND tbl_name = %s AND name LIKE '%%_parts_%%'",
                [table],
            )
            assert cursor.fetchone() == (3,)
        else:
            cursor.execute(
                "SELECT indexdef FROM pg_indexes WHERE indexname = %s",
                [f"{table}_parts"],
            )
            (definition,) = cursor.fetchone()
            assert all(f"upper(({column})" in definition for column in TABLES[table])


def test_times_keep_the_indexes_that_lists_are_sorted_by(db):
    """These are no part of the models: a table that is rebuilt loses them."""
    listed = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'index'",
        "postgresql": "SELECT indexname FROM pg_indexes",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(listed)
        made = {name for (name,) in cursor.fetchall()}

    assert made >= {"token_last_used", "server_last_activity", "server_started"}


@pytest.mark.parametrize("term", ["port", "ORT", "o", "l-", "tal-2"])
def test_any_part_of_a_name_finds_groups_services_and_clients(as_, ada, pages, term):
    client = as_(ada)
    make_group("portal-2")
    make_group("xyz")
    service = make_service("portal-2")
    make_service("zzz")
    make_client("portal-2", service=service)

    assert listed(client, pages, "accounts_group", q=term) == ["portal-2"]
    assert listed(client, pages, "services_service", q=term) == ["portal-2"]
    assert listed(client, pages, "oauth_oauthclient", q=term) == ["service-portal-2"]


def test_clients_are_found_by_their_server(as_, ada, pages):
    make_client(
        identifier="jupyterhub-user-alan", server="alan/lab", redirect_uri="/oauth"
    )

    assert listed(as_(ada), pages, "oauth_oauthclient", q="AN/LA") == [
        "jupyterhub-user-alan"
    ]


@pytest.mark.parametrize("term", ["ibrar", "BRARIAN", "ri", "target"])
def test_acts_are_found_by_any_part_of_a_name(as_, ada, pages, term):
    record(BY, "user.create", "user", "librarian-target")
    record(BY, "user.create", "user", "zoe")

    reply = as_(ada).get(pages.list("audit_event"), {"q": term})

    assert len(rows(reply)) == 1
    assert "librarian-target" in text(reply)


def test_parts_follow_renames_and_deletions(as_, ada, pages):
    client = as_(ada)
    group = make_group("physics")
    group.name = "chemistry"
    group.save()

    assert listed(client, pages, "accounts_group", q="hysic") == []
    assert listed(client, pages, "accounts_group", q="hemis") == ["chemistry"]
    group.delete()
    assert listed(client, pages, "accounts_group", q="hemis") == []


def test_names_are_normalised_before_they_are_looked_for(as_, ada, pages, settings):
    from dataclasses import replace

    settings.HUB = replace(settings.HUB, username_map={"katherine": "kate"})
    kate = make_user("kate")
    token, _ = make_token(kate)
    make_server(kate, "lab")
    client = as_(ada)

    assert listed(client, pages, "accounts_user", q="Katherine") == ["kate"]
    assert listed(client, pages, "tokens_apitoken", q="Katherine") == [str(token)]
    assert listed(client, pages, "servers_server", q="Katherine") == ["kate/lab"]
    assert listed(client, pages, "servers_server", q="Katherine/lab") == ["kate/lab"]


def test_a_token_is_issued_to_a_name_however_it_is_spelt(as_, ada, alan, pages):
    as_(ada).post(
        pages.add("tokens_apitoken"),
        {"kind": "user", "owner": "Alan", "note": "x", "expires_in": "never"},
    )

    assert APIToken.objects.get().user == alan


def column(client, pages, model, heading):
    """Return the number by which a list is sorted by a column."""
    page = client.get(pages.list(model)).content.decode()
    found = re.search(rf'href="\?o=(\d+)[^"]*">{heading}<', page)
    assert found, f"{heading} is not sorted by"
    return int(found[1])


def test_tokens_are_sorted_by_what_matters(as_, ada, alan, pages):
    client = as_(ada)
    now = timezone.now()
    hour = timedelta(hours=1)

    def token(**columns):
        made, _ = make_token(alan)
        APIToken.objects.filter(pk=made.pk).update(**columns)
        return str(made)

    never = token(created=now - 9 * hour)
    old = token(last_activity=now - 5 * hour, expires_at=now + 2 * hour)
    new = token(last_activity=now - hour, expires_at=now + hour, created=now - 8 * hour)
    off = token(disabled_at=now, created=now + hour)
    gone = token(revoked_at=now, expires_at=now - hour, created=now + 2 * hour)

    def sorted_by(heading, sign=""):
        number = column(client, pages, "tokens_apitoken", heading)
        return listed(client, pages, "tokens_apitoken", o=f"{sign}{number}")

    assert sorted_by("Last used", "-")[:2] == [new, old]
    assert sorted_by("Last used")[3:] == [old, new]
    assert sorted_by("Expires")[:3] == [gone, new, old]
    assert sorted_by("Created")[:2] == [never, new]
    assert sorted_by("Created", "-")[:2] == [gone, off]
    assert sorted_by("State")[3:] == [off, gone]


def test_servers_that_run_come_first(as_, ada, alan, pages):
    make_server(alan, "runs", ready=True)
    make_server(alan, "stopped")
    make_server(alan, "comes", pending="spawn", generation=1)
    make_server(alan, "stopped-too")

    assert listed(as_(ada), pages, "servers_server") == [
        *("alan/runs", "alan/comes", "alan/stopped-too", "alan/stopped")
    ]


def test_users_are_sorted_by_their_last_activity(as_, ada, pages):
    client = as_(ada)
    make_user("early", last_activity=datetime(2026, 1, 1, tzinfo=UTC))
    make_user("late", last_activity=datetime(2026, 2, 1, tzinfo=UTC))
    User.objects.filter(name="ada").update(last_activity=None)
    number = column(client, pages, "accounts_user", "Last activity")

    def sorted_by(order):
        names = listed(client, pages, "accounts_user", o=order)
        return [name for name in names if name != "ada"]

    assert sorted_by(f"-{number}") == ["late", "early"]
    assert sorted_by(f"{number}") == ["early", "late"]


def test_tokens_are_filtered_by_scope_expiry_role_and_group(as_, ada, alan, pages):
    client = as_(ada)
    make_role("reader", "list:users", users=[alan])
    narrow = make_token(alan, scopes=["read:users!user=alan"], expires_in=60)[0]
    names = make_token(alan, scopes=["read:users:name!user=alan"])[0]
    other = make_token(ada, expires_in=60)[0]

    def found(**query):
        return listed(client, pages, "tokens_apitoken", **query)

    assert found(scope="read:users") == [str(narrow)]
    assert found(scope="read:users:name") == [str(names)]
    assert found(scope="inherit") == [str(other)]
    assert found(expires="never") == [str(names)]
    assert found(expires="some", user="alan") == [str(narrow)]
    assert found(role="reader") == [str(names), str(narrow)]
    assert found(role="admin") == [str(other)]
    assert found(group="data301") == [str(names), str(narrow)]


def test_roles_and_groups_are_offered_as_filters(as_, ada, alan, grace, pages):
    make_role("reader", "list:users")
    make_group("secret")

    everything = text(as_(ada).get(pages.list("accounts_user")))
    within = as_(grace).get(pages.list("accounts_user")).content.decode()

    assert "reader" in everything
    assert "secret" in everything
    assert "secret" not in within


# Export


def exported(client, pages, model, **query):
    reply = client.get(pages.list(model) + "export/", query)
    assert reply.status_code == 200
    assert reply["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in reply["Content-Disposition"]
    return list(csv.reader(io.StringIO(b"".join(reply).decode())))


def test_what_is_filtered_is_exported(as_, ada, alan, pages):
    make_token(ada)
    token, secret = make_token(alan, note="laptop", scopes=["read:users!user=alan"])

    heading, line = exported(as_(ada), pages, "tokens_apitoken", user="alan")

    found = dict(zip(heading, line, strict=True))
    assert found["Token"] == str(token)
    assert found["Public id"] == token.public_id
    assert found["Owner"] == "alan"
    assert found["State"] == "active"
    assert found["Scopes"] == "read:users!user=alan"
    assert found["Created"] == token.created.isoformat(timespec="seconds")
    assert secret not in str(found)
    assert token.digest not in str(found)


@pytest.mark.parametrize(
    "model",
    [
        *("accounts_user", "accounts_group", "accounts_role", "services_service"),
        *("tokens_apitoken", "servers_server", "audit_event", "oauth_oauthclient"),
    ],
)
def test_every_list_is_exported(as_, ada, alan, ci, pages, model):
    make_token(alan)
    make_server(alan)
    make_client("portal")
    record(BY, "user.create", "user", "alan", admin=False)
    client = as_(ada)

    heading, *lines = exported(client, pages, model)

    page = client.get(pages.list(model))
    assert len(lines) == page.context["cl"].result_count
    assert all(len(line) == len(heading) for line in lines)
    assert "<" not in str(lines)
    assert "export/?" in page.content.decode()


def test_an_export_computes_nothing(as_, ada, alan, pages):
    for note in ("=1+1", "+1", "-1", "@x", "\t=1", "harmless"):
        make_token(alan, note=note)

    heading, *lines = exported(as_(ada), pages, "tokens_apitoken")

    notes = {line[heading.index("Note")] for line in lines}
    assert notes == {"'=1+1", "'+1", "'-1", "'@x", "'\t=1", "harmless"}


def test_an_export_reaches_as_far_as_the_list(as_, grace, alan, mallory, pages):
    make_token(mallory)
    mine, _ = make_token(alan)
    client = as_(grace)

    assert [line[0] for line in exported(client, pages, "tokens_apitoken")[1:]] == [
        str(mine)
    ]
    assert as_(mallory).get(pages.list("accounts_user") + "export/").status_code == 403
    assert as_(None).get(pages.list("accounts_user") + "export/").status_code == 302
    services = client.get(pages.list("services_service") + "export/")
    assert services.status_code == 403


def test_too_many_rows_are_not_exported(as_, ada, pages, monkeypatch):
    monkeypatch.setattr("web.admin_base.EXPORTED", 2)
    make_group("a")
    make_group("b")
    client = as_(ada)
    assert len(exported(client, pages, "accounts_group")) == 3
    make_group("c")

    reply = client.get(pages.list("accounts_group") + "export/", follow=True)

    assert "These are 3 rows; 2 can be exported at once." in text(reply)


def test_moments_have_seconds(as_, ada, pages):
    event = record(BY, "user.create", "user", "alan")
    said = event.at.strftime("%H:%M:%S")

    assert said in text(as_(ada).get(pages.list("audit_event")))
    assert said in text(as_(ada).get(pages.of(event)))
