"""A person lets a terminal in: the code, the decision, and the result."""

from __future__ import annotations

import pytest

from oauth import device_actions
from oauth.models import DeviceRequest
from tests.factories import make_user

LONG = "w" * 60
SCOPES = ["read:users!user", "servers!user", "admin:users", f"read:users!user={LONG}"]


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_from_the_code_to_the_decision(window, transactional_db, scripts):
    person = make_user("ada")
    codes = device_actions.ask(
        program=LONG, device=LONG, scopes=SCOPES, address="2001:db8::1:2:3:4:5:6"
    )
    visit = window(person, java_script_enabled=scripts)

    page = visit.open("/hub/device")
    if scripts:
        visit.survey()
    page.get_by_label("Code").fill(codes.user_code.lower().replace("-", " "))
    page.get_by_role("button", name="Continue").click()
    page.get_by_text(codes.user_code).wait_for()
    if scripts:
        visit.survey()
    page.get_by_role("checkbox").first.uncheck()
    page.get_by_role("button", name="Approve").click()
    page.get_by_text("continues within a few seconds").wait_for()

    request = DeviceRequest.objects.get()
    assert request.approved_at and request.user == person
    assert request.scopes == ["servers!user"]


def test_a_program_that_names_no_scopes_and_a_wrong_code(window, transactional_db):
    codes = device_actions.ask(program="hub-token", address="192.0.2.7")
    visit = window(make_user("ada"))

    page = visit.open("/hub/device?user_code=BBBB-BBBB")
    page.get_by_text("No program waits with this code").wait_for()
    visit.survey()
    page = visit.open(f"/hub/device?user_code={codes.user_code}")
    visit.survey()
    page.get_by_role("button", name="Deny").click()
    page.get_by_text("The program gets no token").wait_for()

    assert DeviceRequest.objects.get().denied_at
