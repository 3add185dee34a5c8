"""HTML of a site's own code on pages."""

from __future__ import annotations

import pytest

from web.markup import LIMIT, clean_html, html_or_text, text_of


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("<b>bold</b> &amp; <i>slanted</i>", "<b>bold</b> &amp; <i>slanted</i>"),
        ("<b>left open", "<b>left open</b>"),
        ("</div></article><b>x</b>", "<b>x</b>"),
        ("a<script>alert(1)</script>b", "ab"),
        ("a<style>* { display: none }</style>b", "ab"),
        ('<p class="notice" id="x" style="color: red">a</p>', "<p>a</p>"),
        ('<b onclick="alert(1)">a</b>', "<b>a</b>"),
        ("<img src=x onerror=alert(1)>a", "a"),
        ("<iframe src=/hub/token></iframe>a", "a"),
        ("<form action=//evil><input name=password></form>a", "a"),
        ('<meta http-equiv="refresh" content="0;url=//evil">a', "a"),
        ("<svg><a xlink:href='javascript:1'>a</a></svg>b", "b"),
    ],
)
def test_only_harmless_elements_are_left(given: str, shown: str) -> None:
    assert clean_html(given) == shown


@pytest.mark.parametrize("scheme", ["javascript:", "JaVaScRiPt:", "data:text/html,"])
def test_links_run_nothing(scheme: str) -> None:
    assert "href" not in clean_html(f'<a href="{scheme}alert(1)">a</a>')


@pytest.mark.parametrize("address", ["https://status.example", "/hub/home", "mailto:a"])
def test_links_lead_on(address: str) -> None:
    assert f'href="{address}"' in clean_html(f'<a href="{address}">a</a>')


@pytest.mark.parametrize(
    "html", [None, "", 5, ["<b>x</b>"], "<script></script>", "<b>" * LIMIT]
)
def test_what_has_no_use_as_markup_is_shown_as_text(html: object) -> None:
    assert html_or_text(html, "1 < 2") == "1 &lt; 2"


def test_markup_can_be_read_as_text() -> None:
    assert text_of("<p>Ask  <b>Grace</b> &amp; Ada</p><script>1</script>") == (
        "Ask Grace & Ada"
    )
