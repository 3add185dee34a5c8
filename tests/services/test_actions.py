"""Add and remove services at run time."""

from __future__ import annotations

import pytest

from accounts.models import User
from audit.models import Event
from scopes.access import Access
from scopes.refusals import Conflict, Forbidden, Invalid
from services.actions import create_service, delete_service
from services.models import Service
from tests.factories import BY, make_service, make_token
from tokens.models import APIToken

pytestmark = pytest.mark.django_db


def test_a_service_holds_nothing_by_default(ada: User) -> None:
    service = create_service("grader", by=BY, access=ada.access, info={"k": "v"})

    assert service.info == {"k": "v"}
    assert not service.from_config
    assert not service.access.scopes
    event = Event.objects.get(action="service.create")
    assert (event.target_kind, event.target_name) == ("service", "grader")


def test_an_admin_service_holds_the_role(ada: User) -> None:
    service = create_service("grader", by=BY, access=ada.access, admin=True)

    assert service.access.has("admin:users")


def test_a_name_is_given_once(ada: User) -> None:
    make_service("grader")

    with pytest.raises(Conflict, match="Service grader already exists"):
        create_service("grader", by=BY, access=ada.access)
    assert Service.objects.count() == 1


@pytest.mark.parametrize(
    "name", ["", "x" * 256, "a/b", "a%2Fb", "..", " a", "a ", "50%25"]
)
def test_refuses_names_that_cannot_be_stored(ada: User, name: str) -> None:
    with pytest.raises(Invalid):
        create_service(name, by=BY, access=ada.access)
    assert not Service.objects.exists()


def test_programs_are_not_started_on_request(ada: User) -> None:
    with pytest.raises(Invalid, match="Can not create managed service"):
        create_service("grader", by=BY, access=ada.access, command=["sleep", "1"])
    assert not Service.objects.exists()


@pytest.mark.parametrize(
    "fields",
    [{"admin": True}, {"oauth_client_allowed_scopes": ["admin:groups"]}],
    ids=["admin", "client scopes"],
)
def test_nobody_gives_a_service_more_than_they_hold(fields: dict[str, object]) -> None:
    access = Access.of({"admin:services", "list:services"})

    with pytest.raises(Invalid, match=r"^Not assigning requested scopes"):
        create_service("grader", by=BY, access=access, **fields)
    assert not Service.objects.exists()


@pytest.mark.parametrize("scope", ["inherit", "self", "tokens!user"])
def test_nobody_acts_for_all_without_consent_who_could_not_before(scope: str) -> None:
    asked = {
        "url": "http://127.0.0.1:9000",
        "oauth_client_allowed_scopes": [scope],
        "oauth_no_confirm": True,
    }
    maker = Access.of({"admin:services", "tokens!group=data301"})
    launcher = Access.of({"admin:services", "tokens"})

    with pytest.raises(Invalid, match="asks for their consent"):
        create_service("grader", by=BY, access=maker, **asked)
    assert not Service.objects.exists()
    create_service("launcher", by=BY, access=launcher, **asked)
    create_service("asks", by=BY, access=maker, **asked | {"oauth_no_confirm": False})
    without = asked | {"oauth_client_allowed_scopes": []}
    create_service("knows", by=BY, access=maker, **without)


def test_refuses_unknown_client_scopes(ada: User) -> None:
    with pytest.raises(Invalid, match="no:such"):
        create_service(
            "grader", by=BY, access=ada.access, oauth_client_allowed_scopes=["no:such"]
        )
    assert not Service.objects.exists()


def test_tokens_end_with_their_service() -> None:
    service = make_service("grader")
    make_token(service)

    delete_service(service, by=BY)

    assert not Service.objects.exists()
    assert not APIToken.objects.exists()
    assert Event.objects.filter(action="service.delete").count() == 1


def test_services_of_the_configuration_stay() -> None:
    service = make_service("grader", from_config=True)

    with pytest.raises(Forbidden, match="not modifiable at runtime"):
        delete_service(service, by=BY)
    assert Service.objects.exists()
