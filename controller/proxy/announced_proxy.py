"""A proxy that was set over the API, for all processes of the hub.

Its secret is sent with each request, so a digest is not enough; the secret is stored
encrypted, under a key derived from the hub's secret key.
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
from controller.proxy.addresses import api_url as configured_api_url
from servers.models import AnnouncedProxy

logger = logging.getLogger(__name__)


@transaction.atomic
@sensitive_variables("auth_token")
def announce_proxy(api_url: str, auth_token: str, *, by: Actor) -> None:
    """Have every process use this proxy, until the configured one changes."""
    sealed = _seal().encrypt(auth_token.encode()).decode()
    AnnouncedProxy.objects.update_or_create(
        id=1,
        defaults={
            "api_url": api_url,
            "sealed": sealed,
            "configured": configured_api_url(),
            "announced_at": timezone.now(),
        },
    )
    record(by, "proxy.announce", "proxy", api_url)


def announced_proxy() -> tuple[str, str] | None:
    """Return address and secret of the proxy that was set over the API, if any.

    It replaces one configured address; once another address is configured, the
    configuration applies again.
    """
    row = AnnouncedProxy.objects.filter(configured=configured_api_url()).first()
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
    """Use the configured proxy again, because the hub starts a proxy of its own."""
    AnnouncedProxy.objects.all().delete()


def _seal() -> Any:
    # Imported here, because the import is slow and this proxy is rare.
    from cryptography.fernet import Fernet

    key = hmac.digest(settings.SECRET_KEY.encode(), b"proxy secret", "sha256")
    return Fernet(urlsafe_b64encode(key))
