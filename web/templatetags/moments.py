"""Moments in words."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.utils.timesince import timeuntil

register = template.Library()


@register.filter
def until(moment: datetime) -> str:
    """Return how long it is until a moment, in one unit: "in 5 days"."""
    return f"in {timeuntil(moment, depth=1)}"
