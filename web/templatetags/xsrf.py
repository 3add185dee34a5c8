"""`{% csrf_token %}` for the whole site, with the name of JupyterHub's field.

Loaded as a builtin, it stands in for Django's tag everywhere, the admin and
third-party templates included.
"""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from web import xsrf

register = template.Library()


@register.simple_tag(takes_context=True)
def csrf_token(context: dict[str, Any]) -> SafeString:
    """A hidden field that proves that the form came from a page of ours."""
    request = context.get("request")
    if request is None:
        return SafeString("")
    return format_html(
        '<input type="hidden" name="{}" value="{}">',
        xsrf.NAME,
        xsrf.get_token(request),
    )
