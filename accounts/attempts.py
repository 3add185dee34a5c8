"""Limits of failed attempts to sign in.

Failures are counted for the pair of a name and a network first, so that an attacker
delays only attempts at the same name from the same place. The delays grow. Limits for a
name from everywhere, and for a network whatever the name, are wide; they stop attacks
from many places, or on many names.

A browser in which a user has signed in before has a signed cookie for that name, and
its failures are counted separately. So a right password from there succeeds while
others are delayed, as in OWASP's protocol of device cookies. After too many failures
such a browser is treated as any other.
"""

from __future__ import annotations

import hashlib
import secrets
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from django.conf import settings
from django.core import signing
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse

from web.addresses import plain_address
from web.cookies import values_of

# Free failures of a pair, or of a known browser, unless configured; each further one
# doubles the seconds until the next attempt.
FREE: Final = 5
LONGEST_DELAY: Final = 15 * 60
# Seconds after the last failure until the count starts again.
MEMORY: Final = 6 * 3600
# Failures within the seconds of a window.
WINDOW: Final = 3600
MOST_FOR_A_NAME: Final = 300
MOST_FOR_A_NETWORK: Final = 2000

COOKIE: Final = "jupyterhub-known-browser"
COOKIE_SECONDS: Final = 180 * 86_400
SALT: Final = "known browser"
# Users in the cookie of one browser, the latest first.
MOST_PEOPLE: Final = 8

# Seconds that an attempt waits until another one of the same pair is counted. A count
# that was interrupted blocks others no longer than that.
LOCK_PATIENCE: Final = 2.0
LOCK_SECONDS: Final = 10


class TooMany(Exception):
    """No attempt is allowed for so many `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(
            f"Too many failed attempts. Wait {in_words(seconds)}, then try again."
        )
        self.seconds = seconds


def network_of(address: str) -> str:
    """Return the network of one customer of a provider.

    That is one address of IPv4, and a /64 of IPv6, within which a customer chooses
    addresses freely.
    """
    try:
        plain = plain_address(address)
        if isinstance(ip_address(plain), IPv6Address):
            return str(ip_network(f"{plain.partition('%')[0]}/64", strict=False))
    except ValueError:
        return address
    return plain


def folded(name: str) -> str:
    """Return what spellings of a name have in common that may mean one account.

    Tornado, PAM and directories ignore or replace characters: control characters,
    blanks, invisible ones, accents, letters of full width. Failures with any of these
    spellings count together, otherwise each spelling would have limits of its own.
    """
    plain = unicodedata.normalize("NFKD", name).casefold()
    # Categories: control and format characters, separators, marks.
    return "".join(each for each in plain if unicodedata.category(each)[0] not in "CZM")


class Attempt:
    """One attempt with a password: counted before the check, taken back if right."""

    def __init__(self, request: HttpRequest, name: str) -> None:
        network = network_of(request.META.get("REMOTE_ADDR", ""))
        counted = folded(name)
        self.pair = _key("pair", counted, network)
        self.wide = {
            _key("name", counted): MOST_FOR_A_NAME,
            _key("network", network): MOST_FOR_A_NETWORK,
        }
        self.browser = ""
        if nonce := known_browser(request, name):
            self.browser = _key("browser", nonce, name)
        self.counted = ""

    def begin(self) -> None:
        """Count the attempt as a failure, or raise `TooMany`."""
        if self.browser and not _count(self.browser):
            self.counted = self.browser
            return
        found = cache.get_many(list(self.wide))
        for key, most in self.wide.items():
            number, since = found.get(key, (0, 0.0))
            if number >= most:
                raise TooMany(_until(since + WINDOW))
        if seconds := _count(self.pair):
            raise TooMany(seconds)
        self.counted = self.pair

    def withdraw(self) -> None:
        """Take the attempt back, because the password was right."""
        if not self.counted:
            return
        with _locked(self.counted):
            number, last = cache.get(self.counted, (0, 0.0))
            # Failures of others meanwhile stay counted.
            if number > 1:
                cache.set(self.counted, (number - 1, last), MEMORY)
            else:
                cache.delete(self.counted)

    def fail(self) -> None:
        """Count the failure for the name and the network as well."""
        if self.counted != self.pair:
            return
        now = time.time()
        for key in self.wide:
            with _locked(key):
                number, since = cache.get(key, (0, now))
                if now - since >= WINDOW:
                    number, since = 0, now
                cache.set(key, (number + 1, since), max(1, _until(since + WINDOW)))


def delay_after(number: int) -> int:
    """Return the seconds until the next attempt after so many failures."""
    free = settings.HUB.failed_logins_allowed or FREE
    if number < free:
        return 0
    first = max(settings.HUB.failed_login_delay, 1)
    # Capped, because a large number would be a huge power.
    doublings = min(number - free, 10)
    return min(int(first * 2**doublings), max(LONGEST_DELAY, first))


# Known browsers


def known_browser(request: HttpRequest, name: str) -> str:
    """Return the number of a browser that is known for this name, or ""."""
    for nonce, names in _cookies(request):
        if _person(name) in names:
            return nonce
    return ""


def remember_browser(request: HttpRequest, response: HttpResponse, name: str) -> None:
    """Make the browser known for this name from now on."""
    nonce, names = next(_cookies(request), (secrets.token_urlsafe(16), []))
    others = [other for other in names if other != _person(name)]
    people = [_person(name), *others][:MOST_PEOPLE]
    is_of_host = settings.HUB.cookie_host_prefix_enabled
    response.set_cookie(
        cookie_name(),
        signing.dumps([nonce, people], salt=SALT),
        max_age=COOKIE_SECONDS,
        path="/" if is_of_host else settings.HUB_PREFIX,
        secure=is_of_host or request.is_secure(),
        httponly=True,
        samesite="Lax",
    )


def cookie_name() -> str:
    """Return the cookie's name; its prefix stops other hosts from setting it."""
    return f"__Host-{COOKIE}" if settings.HUB.cookie_host_prefix_enabled else COOKIE


def _cookies(request: HttpRequest) -> Iterator[tuple[str, list[str]]]:
    for value in values_of(request, cookie_name()):
        try:
            nonce, names = signing.loads(value, salt=SALT, max_age=COOKIE_SECONDS)
        except signing.BadSignature:
            continue
        yield nonce, names


def _person(name: str) -> str:
    """Return a hash of a name for the cookie, which others may read."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


# Counting


def _key(*parts: str) -> str:
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"attempts:{parts[0]}:{digest}"


def _count(key: str) -> int:
    """Count one attempt; return 0, or the seconds until one is allowed."""
    with _locked(key) as is_mine:
        if not is_mine:
            # Too many attempts at once to count them one by one.
            return 1
        now = time.time()
        number, last = cache.get(key, (0, 0.0))
        seconds = _until(last + delay_after(number))
        if number and seconds > 0:
            return seconds
        cache.set(key, (number + 1, now), MEMORY)
        return 0


def requests_within(kind: str, most: int, address: str = "") -> int:
    """Count one request of a kind; return 0, or the seconds until one is allowed.

    So many are allowed within the window: from the network of this address, or from
    everywhere.
    """
    key = _key(kind, network_of(address) if address else "")
    with _locked(key):
        now = time.time()
        number, since = cache.get(key, (0, now))
        if now - since >= WINDOW:
            number, since = 0, now
        if number >= most:
            return max(1, _until(since + WINDOW))
        cache.set(key, (number + 1, since), max(1, _until(since + WINDOW)))
        return 0


def _until(moment: float) -> int:
    return -int((time.time() - moment) // 1)


@contextmanager
def _locked(key: str) -> Iterator[bool]:
    """Lock a count for one process, with the methods that all caches have.

    Yields whether the lock was taken; after some seconds the block runs without it.
    """
    lock, deadline = f"{key}:lock", time.monotonic() + LOCK_PATIENCE
    is_mine = cache.add(lock, 1, LOCK_SECONDS)
    while not is_mine and time.monotonic() < deadline:
        time.sleep(0.01)
        is_mine = cache.add(lock, 1, LOCK_SECONDS)
    try:
        yield is_mine
    finally:
        if is_mine:
            cache.delete(lock)


def in_words(seconds: int) -> str:
    """Return a text with a wait, in the unit that fits."""
    if seconds < 100:
        return f"{max(seconds, 1)} second{'' if seconds <= 1 else 's'}"
    return f"{-(-seconds // 60)} minutes"
