"""The page that recognises tokens, with its script and without."""

from __future__ import annotations

import pytest

from tests.factories import make_token, make_user
from tokens import format
from tokens.models import Leak, LeakReport


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_both_ways_recognise_the_same(window, transactional_db, scripts):
    ada = make_user("ada")
    visit = window(ada, java_script_enabled=scripts)
    page = visit.open("/hub/token/found")
    token = format.generate("hub", [b"of no hub"])[0]
    strings = [
        token,
        f" {token} ",
        format.generate("other9", [b"of no hub"])[0],
        token[:-1],
        f"{token[:-1]}{'0' if token[-1] != '0' else '1'}",
        "something else",
        *(format.generate("hub", [b"of no hub"])[0] for _ in range(3)),
    ]
    requests = []
    page.on("request", lambda request: requests.append(request.method))

    for string in strings:
        page.get_by_label("The string").fill(string)
        page.get_by_role("button", name="Check").click()
        looks = format.recognise(string, "hub").value
        page.locator(f"[data-result={looks}]").wait_for()
        assert page.locator("[data-result]:visible").count() == 1

    assert ("POST" in requests) is not scripts
    if scripts:
        visit.survey()
    assert not LeakReport.objects.exists()
    page.get_by_role("button", name="Report as leaked").click()
    page.get_by_role("heading", name="Thank you").wait_for()
    assert LeakReport.objects.count() == 1
    if scripts:
        visit.survey()

    for is_earlier in (False, True):
        found, _ = make_token(ada, note="a long note without a break" * 5)
        Leak.objects.create(
            token=found,
            address="203.0.113.7",
            source="https://example.org/" + "path/" * 40,
            is_earlier=is_earlier,
        )
    page = visit.open("/hub/token")
    assert page.get_by_role("alert").count() == 2
    if scripts:
        visit.survey()
    page.get_by_role("button", name="I have seen this").first.click()
    page.get_by_text("The notice was removed.").wait_for()
    assert page.get_by_role("alert").count() == 1
