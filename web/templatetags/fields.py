"""Controls of forms."""

from __future__ import annotations

from django import template
from django.forms import BoundField
from django.utils.safestring import SafeString

register = template.Library()


@register.filter
def control(field: BoundField) -> SafeString:
    """Write a field's control; the first that is wrong in its form has the focus.

    So it is in sight, and read out together with what is wrong with it.
    """
    wrong = next((each.name for each in field.form if each.errors), None)
    html = field.as_widget(attrs={"autofocus": True} if field.name == wrong else None)
    if field.field.show_hidden_initial:
        # The value that the page shows, see `web/form_changes.py`.
        html += field.as_hidden(only_initial=True)
    return html
