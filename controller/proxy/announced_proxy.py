"""A proxy that announced itself: every process of the hub turns to it from then on.

Its secret must be sent to it as it is, so it can't be kept as a digest; it is kept
sealed, under a key that is made from the hub's secret key.
"""

from __future__ import annotations

import hmac
import logging
from base64 import urlsafe_b64encode
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from audit.actions import record
from audit.models import Actor
from servers.models import AnnouncedProxy

logger = logging.getLogger(__name__)


@transaction.atomic
@sensitive_variables("auth_token")
def announce_proxy(api_url: str, auth_token: str, *, by: Actor) -> None:
    """Have every process use this proxy, until another is configured."""
    sealed = _seal().encrypt(auth_token.encode()).decode()
    AnnouncedProxy.objects.update_or_create(
        id=1,
        defaults={
            "api_url": api_url,
            "sealed": sealed,
            "configured": settings.HUB.proxy_api_url,
            "announced_at": timezone.now(),
        },
    )
    record(by, "proxy.announce", "proxy", api_url)


def announced_proxy() -> tuple[str, str] | None:
    """Return address and secret of the proxy that announced itself, if one did.

    What was announced counts in place of one configured address; once that is
    another, the configuration has had the last word.
    """
    row = AnnouncedProxy.objects.filter(configured=settings.HUB.proxy_api_url).first()
    if row is None:
        return None
    from cryptography.fernet import InvalidToken

    try:
        return row.api_url, _seal().decrypt(row.sealed.encode()).decode()
    except InvalidToken:
        logger.warning(
            "The secret key is another than when the proxy at %s announced itself; the "
            "configured one is used",
            row.api_url,
        )
        return None


def forget_announced_proxy() -> None:
    """Use the configured proxy again: one that is started now takes its place."""
    AnnouncedProxy.objects.all().delete()


def _seal() -> Any:
    # It takes a while to load, and hardly any proxy announces itself.
    from cryptography.fernet import Fernet

    key = hmac.digest(settings.SECRET_KEY.encode(), b"proxy secret", "sha256")
    return Fernet(urlsafe_b64encode(key))
