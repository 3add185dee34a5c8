"""HTML from a site's own code, made safe for pages."""

from __future__ import annotations

from html import unescape

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

# Text, lists and links; nothing that loads, runs or imitates the page.
TAGS = {
    *("a", "abbr", "b", "blockquote", "br", "code", "dd", "del", "div", "dl", "dt"),
    *("em", "h3", "h4", "h5", "h6", "hr", "i", "ins", "kbd", "li", "ol", "p", "pre"),
    *("q", "s", "samp", "small", "span", "strong", "sub", "sup", "table", "tbody"),
    *("td", "tfoot", "th", "thead", "tr", "u", "ul", "var"),
}
ATTRIBUTES = {
    "a": {"href", "title"},
    "abbr": {"title"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
}
# Longer texts are shown without markup, in JupyterHub's plain variant.
LIMIT = 20_000


def clean_html(text: str) -> SafeString:
    """Return HTML with harmless elements only."""
    return mark_safe(  # noqa: S308
        nh3.clean(
            text,
            tags=TAGS,
            attributes=ATTRIBUTES,
            url_schemes={"http", "https", "mailto"},
            link_rel="noopener noreferrer",
        )
    )


def text_of(html: str) -> str:
    """Return the text of HTML, without its markup."""
    return " ".join(unescape(nh3.clean(html[:LIMIT], tags=set())).split())


def html_or_text(html: object, text: object) -> SafeString:
    """Return cleaned HTML if its length is within the limit, else escaped text."""
    if isinstance(html, str) and 0 < len(html) <= LIMIT:
        cleaned = clean_html(html)
        if cleaned.strip():
            return cleaned
    return escape(text)
