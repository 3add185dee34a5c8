"""What every template may use."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from hubsite import xsrf


def hub(request: HttpRequest) -> dict[str, Any]:
    """The XSRF value under Django's name, for templates that hand it to a script."""
    return {"csrf_token": SimpleLazyObject(lambda: xsrf.get_token(request))}
