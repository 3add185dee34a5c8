"""Tags for the parts of pages that a site's own templates can replace."""

from __future__ import annotations

import secrets
from typing import Any

from django import template
from django.conf import settings
from django.template.base import NodeList, Parser, Token
from django.utils.safestring import SafeString, mark_safe

from hubsite.site_pages.parts import MARK, closing, opening

register = template.Library()


class PartNode(template.Node):
    """Marks a part of a page, if the site has templates of its own."""

    def __init__(self, name: str, nodelist: NodeList) -> None:
        self.name = name
        self.nodelist = nodelist

    def render(self, context: Any) -> SafeString:
        text = self.nodelist.render(context)
        if not (mark := context.get(MARK)):
            return text
        return mark_safe(  # noqa: S308 - rendered above
            opening(mark, self.name) + text + closing(mark, self.name)
        )


class PageNode(template.Node):
    """The whole page, which is rendered in the site's template if there is one."""

    def __init__(self, nodelist: NodeList) -> None:
        self.nodelist = nodelist

    def render(self, context: Any) -> SafeString:
        if not settings.SITE_TEMPLATES:
            return self.nodelist.render(context)
        # Others do not pay for Jinja.
        from hubsite.site_pages.render import render_page

        mark = secrets.token_hex(8)
        with context.push(**{MARK: mark}):
            page = self.nodelist.render(context)
        name = context.template.name or ""
        return mark_safe(render_page(name, page, mark, context))  # noqa: S308


@register.tag
def part(parser: Parser, token: Token) -> PartNode:
    """`{% part "NAME" %}...{% endpart %}`: a part with the name of a Jinja block."""
    name = token.split_contents()[1].strip("\"'")
    nodelist = parser.parse(("endpart",))
    parser.delete_first_token()
    return PartNode(name, nodelist)


@register.tag
def page(parser: Parser, token: Token) -> PageNode:
    """`{% page %}...{% endpage %}` around a base template."""
    nodelist = parser.parse(("endpage",))
    parser.delete_first_token()
    return PageNode(nodelist)
