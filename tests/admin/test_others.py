"""Services, roles, servers and the audit log in the admin."""

from __future__ import annotations

import pytest

from audit.actions import record
from audit.models import Actor, Checkpoint, Event
from audit.sealing import seal_events
from services.models import Service
from tests.admin.conftest import text
from tests.factories import (
    BY,
    make_group,
    make_role,
    make_service,
    make_user,
)

pytestmark = pytest.mark.django_db


def test_adds_and_deletes_services(as_, ada, pages):
    client = as_(ada)

    client.post(
        pages.add("services_service"),
        {"name": "portal", "url": "http://127.0.0.1:9000", "display": "true"},
    )
    service = Service.objects.get(name="portal")
    assert service.url == "http://127.0.0.1:9000"

    client.post(pages.of(service, "delete"), {"post": "yes"})
    assert not Service.objects.exists()
    actions = list(Event.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["service.create", "service.delete"]


def test_services_of_the_configuration_stay(as_, ada, pages):
    service = make_service("portal", from_config=True)

    reply = as_(ada).post(pages.of(service, "delete"), {"post": "yes"})

    assert reply.status_code == 403
    assert Service.objects.exists()


def test_no_service_gets_more_than_its_maker_holds(as_, pages):
    maker = make_user("maker", scopes=["admin-ui", "admin:services"])

    reply = as_(maker).post(
        pages.add("services_service"), {"name": "portal", "admin": "on"}
    )

    assert reply.status_code == 200
    assert not Service.objects.exists()


def test_roles_explain_themselves_and_stay_as_they_are(as_, ada, pages):
    role = make_role("reader", "list:users!group=data301")
    client = as_(ada)

    page = text(client.get(pages.of(role)))

    assert "list:users!group=data301" in page
    assert "List users" in page
    assert "load_roles" in text(client.get(pages.list("accounts_role")))
    assert client.post(pages.of(role), {"name": "x"}).status_code == 403
    assert client.get(pages.add("accounts_role")).status_code == 403


def test_audit_log_is_in_plain_words(as_, ada, pages):
    record(Actor("user", "alan"), "session.login", "user", "alan")
    record(Actor("anonymous", ""), "session.refuse", "user", "alan")
    record(Actor.system("config"), "user.create", "user", "grace")
    client = as_(ada)

    overview = text(client.get("/hub/admin/"))
    log = text(client.get(pages.list("audit_event")))

    for words in (
        "alan signed in",
        "anonymous failed to sign in as alan",
        "config (system) created user grace",
    ):
        assert words in overview
    assert "Audit log" in log
    assert "signed in" in log


def test_events_of_earlier_versions_have_the_same_words(as_, ada, pages):
    record(Actor("stranger", "", None, "10.0.0.7"), "session.refuse", "user", "alan")

    page = text(as_(ada).get(pages.list("audit_event"), {"actor_kind": "anonymous"}))

    assert "10.0.0.7" in page
    assert "stranger" not in page


def test_record_can_be_read_and_nothing_else(as_, ada, pages):
    event = record(BY, "user.create", "user", "alan", admin=False)
    client = as_(ada)

    assert "user.create" in text(client.get(pages.list("audit_event")))
    assert '"admin": false' in text(client.get(pages.of(event)))
    assert client.post(pages.of(event), {"action": "x"}).status_code == 403
    assert client.post(pages.of(event, "delete"), {"post": "yes"}).status_code == 403
    assert client.get(pages.add("audit_event")).status_code == 403


def test_audit_log_shows_what_is_sealed(as_, ada, grace, pages):
    record(BY, "user.create", "user", "alan")
    client = as_(ada)
    assert "Nothing is sealed yet." in text(client.get(pages.list("audit_event")))
    seal_events()
    sealed = Event.objects.latest("pk")
    waiting = record(BY, "user.create", "user", "bob")

    log = text(client.get(pages.list("audit_event")))

    number = sealed.seal.sequence
    head = bytes(Checkpoint.objects.ends()[0].digest).hex()
    assert f"Sealed up to number {number}." in log
    assert f"hash {head[:16]}…" in log
    assert "Not sealed yet: 1, the oldest of" in log
    assert f"As number {number}, hash {head}" in text(client.get(pages.of(sealed)))
    assert "Not yet" in text(client.get(pages.of(waiting)))
    # Numbers of all events are for people who may read all events.
    assert "Sealed up to" not in text(as_(grace).get(pages.list("audit_event")))

    Checkpoint.objects.update(signature="00" * 64)
    assert "The last checkpoint is not signed by this hub" in text(
        client.get(pages.list("audit_event"))
    )


def test_record_is_searched_and_filtered(as_, ada, pages):
    record(BY, "user.create", "user", "alan")
    record(BY, "group.create", "group", "physics")
    client = as_(ada)

    def listed(**query):
        reply = client.get(pages.list("audit_event"), query)
        return [event.target_name for event in reply.context["cl"].result_list]

    assert listed() == ["physics", "alan"]
    assert listed(q="phy") == ["physics"]
    assert listed(action="user.create") == ["alan"]
    assert listed(actor_kind="service") == []


def test_record_shows_narrower_scopes_what_was_done_to_their_rows(
    as_, grace, alan, ada, pages
):
    make_group("physics")
    record(BY, "user.create", "user", "alan")
    record(BY, "user.promote", "user", "ada")
    record(BY, "group.create", "group", "physics")
    record(BY, "token.issue", "token", "a1", note="laptop")
    record(BY, "group.set_properties", "group", "data301")

    reply = as_(grace).get(pages.list("audit_event"))

    shown = {event.target_name for event in reply.context["cl"].result_list}
    assert shown == {"alan", "data301"}
