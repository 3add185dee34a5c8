"""Second factors of users, as an adapter of django-allauth."""

from __future__ import annotations

import secrets
from base64 import b32encode, urlsafe_b64encode
from itertools import count

import structlog
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.crypto import salted_hmac

from accounts.models import User
from accounts.templatetags.browsers import browser

logger = structlog.get_logger(__name__)


class MFAAdapter(DefaultMFAAdapter):
    """Encrypts second-factor secrets, which can't be hashed because they are used."""

    def encrypt(self, text: str) -> str:
        return self._box().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        try:
            return self._box().decrypt(encrypted_text.encode()).decode()
        except InvalidToken:
            logger.warning(
                "A second factor can't be read, because the secret key that encrypted "
                "it is lost. Its codes are refused until that key is "
                "restored, or the second factor is removed."
            )
            # The value is random and unknown, so no code matches.
            return b32encode(secrets.token_bytes(20)).decode()

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:
        """Propose a name for a new key: the browser, and a number if necessary."""
        keys = Authenticator.objects.filter(user=user, type=type)
        taken = {key.wrap().name for key in keys}
        place = browser(context.request.headers.get("User-Agent", ""))
        return next(
            name
            for number in count(1)
            if (name := f"{place} {number}" if number > 1 else place) not in taken
        )

    @staticmethod
    def _box() -> MultiFernet:
        keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
        return MultiFernet(Fernet(_fernet_key(key)) for key in keys)


def _fernet_key(secret_key: str) -> bytes:
    digest = salted_hmac("mfa", "key", secret_key, algorithm="sha256").digest()
    return urlsafe_b64encode(digest)
