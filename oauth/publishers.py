"""Signed tokens of CI systems: their verification, and the rules of the configuration.

A trusted publisher (`c.Hub.trusted_publishers`) is an OpenID provider, such as a CI,
with the claims that its signed token must have and the owner whose token it gets. The
keys of an issuer are read from the issuer, kept in the process for a while, and read
again if a token names an unknown key, at most every half minute. Issuers that are not
configured are never contacted.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import jwt
import requests
import structlog
from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from scopes.refusals import Invalid, Unavailable
from web.outside import release_connection

# Algorithms with a public key. A shared secret or none at all proves nothing here.
ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
# The longest signed token, and the longest time for which one may be valid.
MOST_CHARACTERS: Final = 16_384
LONGEST_LIFE: Final = 86_400
# Seconds by which clocks may differ.
LEEWAY: Final = 30
# Seconds for which keys are kept, and until an issuer is asked again.
KEPT: Final = 600.0
PAUSE: Final = 30.0
# Limits of a request for keys: seconds, and bytes of the response.
PATIENCE: Final = 5.0
# Requests that wait for the keys of one issuer; each holds a thread.
MOST_WAITING: Final = 4
MOST_BYTES: Final = 1_000_000
MOST_KEYS: Final = 100

Claims = Mapping[str, Any]
Rule = Mapping[str, Any]

logger = structlog.get_logger(__name__)


class Keys:
    """The public keys of one issuer, in this process."""

    def __init__(self, issuer: str, jwks_url: str = "") -> None:
        self.issuer = issuer
        self.jwks_url = jwks_url
        self.lock = threading.Lock()
        self.waiting = threading.BoundedSemaphore(MOST_WAITING)
        self.known: dict[str, jwt.PyJWK] = {}
        self.read_at = self.tried_at = float("-inf")

    def find(self, key_id: str) -> jwt.PyJWK | None:
        """Return a key, read from the issuer if need be.

        Few requests wait for the issuer, because each holds a thread; invented ids are
        refused without waiting, unless the keys are being read.
        """
        now = time.monotonic()
        if now - self.read_at < KEPT and key_id in self.known:
            return self.known[key_id]
        if self.tried_at >= now - PAUSE and not self.lock.locked():
            return self._known(key_id)
        if not self.waiting.acquire(blocking=False):
            if now - self.read_at < 2 * KEPT and key_id in self.known:
                return self.known[key_id]
            raise Unavailable(f"The keys of {self.issuer} are being read.", 5)
        try:
            with self.lock:
                now = time.monotonic()
                if self.tried_at < now - PAUSE:
                    self.tried_at = now
                    self.known = self._read()
                    self.read_at = now
                return self._known(key_id)
        finally:
            self.waiting.release()

    def _known(self, key_id: str) -> jwt.PyJWK | None:
        """Return a key as it was read last; raise if that failed."""
        if self.read_at < self.tried_at:
            raise Unavailable(f"The keys of {self.issuer} can't be read now.", 30)
        return self.known.get(key_id)

    def _read(self) -> dict[str, jwt.PyJWK]:
        release_connection()
        try:
            url = self.jwks_url or str(
                _get(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")[
                    "jwks_uri"
                ]
            )
            described = _get(url)["keys"]
            if not isinstance(described, list):
                raise ValueError("no list of keys")
        except (requests.RequestException, ValueError, KeyError, TypeError) as problem:
            logger.warning(
                "Can't read the keys of an issuer",
                issuer=self.issuer,
                problem=str(problem)[:300],
            )
            raise Unavailable(
                f"The keys of {self.issuer} can't be read now.", 30
            ) from None
        found = {}
        for each in described[:MOST_KEYS]:
            try:
                key = jwt.PyJWK(each)
            except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
                # A kind of key that this hub does not know.
                continue
            if each.get("use", "sig") == "sig":
                found[str(key.key_id or "")] = key
        return found


_keys: dict[tuple[str, str], Keys] = {}


def keys_of(rule: Rule) -> Keys:
    place = (rule["issuer"], rule.get("jwks_url", ""))
    return _keys.setdefault(place, Keys(*place))


def forget() -> None:
    """Forget all keys; for tests."""
    _keys.clear()


@sensitive_variables("token")
def verify(token: str, rules: Sequence[Rule] | None = None) -> tuple[Claims, Rule]:
    """Return the claims of a signed token, and the first rule that they match."""
    rules = settings.HUB.trusted_publishers if rules is None else rules
    if len(token) > MOST_CHARACTERS:
        raise Invalid(f"A signed token has at most {MOST_CHARACTERS} characters.")
    try:
        # Nothing of this is trusted; it only selects the keys.
        unverified = jwt.decode(token, options={"verify_signature": False})
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise Invalid("The subject_token is not a signed token (JWT).") from None
    of_issuer = [rule for rule in rules if rule["issuer"] == unverified.get("iss")]
    if not of_issuer:
        raise Invalid("This hub trusts no publisher with this issuer.")
    claims = _verified(token, header, of_issuer)
    for rule in of_issuer:
        if is_for(rule, claims) and all(
            matches(claims.get(name), pattern)
            for name, pattern in rule["claims"].items()
        ):
            return claims, rule
    raise Invalid(
        "No trusted publisher of this hub matches the audience and the claims of this"
        " token."
    )


def _verified(token: str, header: Mapping[str, Any], rules: Sequence[Rule]) -> Claims:
    """Return the claims after signature, issuer and times were verified."""
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise Invalid("The signed token has an algorithm that is not accepted.")
    key = keys_of(rules[0]).find(str(header.get("kid", "")))
    if key is None:
        raise Invalid("The signed token names a key that its issuer does not have.")
    try:
        claims: Claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=rules[0]["issuer"],
            leeway=LEEWAY,
            options={
                "require": ["exp", "iat", "iss", "aud", "sub"],
                # Compared with each rule.
                "verify_aud": False,
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError) as problem:
        raise Invalid(f"The signed token is not valid: {problem}") from None
    if float(claims["exp"]) - time.time() > LONGEST_LIFE:
        raise Invalid("The signed token is valid for more than a day.")
    return claims


def is_for(rule: Rule, claims: Claims) -> bool:
    """Return whether a token has the rule's audience, among others or alone."""
    audience = claims["aud"]
    named = audience if isinstance(audience, list) else [audience]
    return rule["audience"] in named


def matches(value: object, pattern: object) -> bool:
    """Compare a claim with a pattern, in which `*` stands for any characters.

    Of a list, one value is enough. Other values than texts are compared as they are.
    """
    if isinstance(value, list):
        return any(matches(each, pattern) for each in value)
    if not isinstance(pattern, str) or not isinstance(value, str):
        return type(value) is type(pattern) and value == pattern
    parts = map(re.escape, pattern.split("*"))
    return re.fullmatch(".*".join(parts), value, re.DOTALL) is not None


def _get(url: str) -> Any:
    """Return a JSON document of an issuer; redirects are not followed."""
    with requests.get(
        url, timeout=PATIENCE, allow_redirects=False, stream=True
    ) as response:
        response.raise_for_status()
        if response.is_redirect:
            raise ValueError("a redirect")
        deadline = time.monotonic() + PATIENCE
        text = b""
        for part in response.iter_content(65_536):
            text += part
            if len(text) > MOST_BYTES or time.monotonic() > deadline:
                raise ValueError("the response is too large or too slow")
    return json.loads(text)
