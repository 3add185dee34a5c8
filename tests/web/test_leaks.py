"""The page that recognises tokens, reports on it, and the notice to the owner."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.factories import make_token, make_user
from tokens import format, leaks
from tokens.leaks import PER_HOUR, Finding
from tokens.models import Leak, LeakReport

pytestmark = pytest.mark.django_db

FOUND = "/hub/token/found"


def made(prefix: str = "hub") -> str:
    return format.generate(prefix, [b"of no hub"])[0]


def shown(page: Any) -> list[str]:
    """Return the results that a page shows."""
    text = page.content.decode()
    return re.findall(r'data-result="([a-z-]+)">', text)


@pytest.mark.parametrize(
    ("change", "result"),
    [
        (lambda token: token, "ours"),
        (lambda token: f"  {token}\t", "ours"),
        (lambda token: f"old{token[3:]}", "damaged"),
        (lambda token: made("old"), "other-prefix"),
        (lambda token: token[:-1], "damaged"),
        (lambda token: f"{token}x", "damaged"),
        (lambda token: token.swapcase(), "unknown"),
        (lambda token: token[:20], "damaged"),
        (lambda token: "0123456789abcdef0123456789abcdef", "unknown"),
        (lambda token: "ghp_0123456789abcdef", "unknown"),
        (lambda token: "<script>", "unknown"),
    ],
)
def test_format_and_checksum_are_recognised(
    browser: Any, change: Any, result: str
) -> None:
    page = browser.submit(FOUND, found=change(made()))

    assert page.status_code == 200
    assert shown(page) == [result]
    assert "no-store" in page["Cache-Control"]


def test_the_check_reads_and_stores_nothing(browser: Any) -> None:
    _, secret = make_token()
    form = {"_xsrf": browser.xsrf_of(browser.get(FOUND))}

    pages = []
    for string in (secret, made()):
        with CaptureQueriesContext(connection) as queries:
            page = browser.post(FOUND, {**form, "found": string})
        assert len(queries) == 0
        pages.append(page.content.decode().replace(string, ""))

    assert pages[0] == pages[1]
    assert not LeakReport.objects.exists()


@pytest.mark.parametrize("fields", [{}, {"found": ""}, {"found": "x" * 1001}])
@pytest.mark.parametrize("path", ["found", "report"])
def test_a_form_without_a_string_is_shown_again(
    browser: Any, fields: Any, path: str
) -> None:
    form = {"_xsrf": browser.xsrf_of(browser.get(FOUND))}

    page = browser.post(f"/hub/token/{path}", {**form, **fields})

    assert page.status_code == 400
    assert "error-text" in page.content.decode()
    assert not LeakReport.objects.exists()


def test_a_report_on_the_page_revokes(browser: Any) -> None:
    _, secret = make_token(make_user("alan"))
    form = {"_xsrf": browser.xsrf_of(browser.get(FOUND))}

    answers = [
        browser.post("/hub/token/report", {**form, "found": string, "source": "a chat"})
        for string in (secret, made())
    ]
    for answer in answers:
        assert (answer.status_code, answer["Location"]) == (302, "/hub/token/reported")
    assert browser.get("/hub/token/reported").status_code == 200
    while report := leaks.next_report():
        leaks.end_leaked(report, leaks.find_leaked(report))
    assert Leak.objects.get().source == "a chat"


def test_reports_on_the_page_have_the_same_limits(browser: Any) -> None:
    for _ in range(PER_HOUR):
        leaks.receive([], address="127.0.0.1")
    form = {"_xsrf": browser.xsrf_of(browser.get(FOUND))}

    page = browser.post("/hub/token/report", {**form, "found": made()})

    assert page.status_code == 429
    assert page["Retry-After"]
    assert "from your network" in page.content.decode()


def test_another_page_can_not_send_a_report(browser: Any) -> None:
    page = browser.post("/hub/token/report", {"found": made()})

    assert page.status_code == 403
    assert not LeakReport.objects.exists()


# The notice


def test_the_owner_sees_a_notice_until_it_is_confirmed(as_: Any) -> None:
    alan = make_user("alan")
    _, secret = make_token(alan, note="nightly <job>")
    leaks.receive([Finding(secret, "https://example.org/")], address="203.0.113.7")
    report = leaks.next_report()
    assert report is not None
    leaks.end_leaked(report, leaks.find_leaked(report))
    leak = Leak.objects.get()
    seen = f"/hub/token/leaks/{leak.pk}/seen"

    page = as_(alan).get("/hub/token").content.decode()
    assert "nightly &lt;job&gt;</span>” was leaked and is revoked" in page
    assert "203.0.113.7" in page
    assert "https://example.org/" in page

    assert as_(make_user("mallory")).post(seen).status_code == 404
    assert as_(None).post(seen).status_code == 302
    assert as_(alan).get("/hub/token").content.decode() == page or leak.seen_at is None

    assert as_(alan).post(seen)["Location"] == "/hub/token"
    assert "was leaked" not in as_(alan).get("/hub/token").content.decode()
    assert as_(alan).post(seen).status_code == 404
