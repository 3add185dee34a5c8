"""The cache in which attempts to sign in are counted, and what if it is away.

Without the count passwords could be guessed without a limit. So while a Redis server
does not answer, nobody signs in with a password or a code; people who are signed in,
tokens and servers go on, for they need no cache.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.cache import cache

# How long the server may take for one answer.
SECONDS = 2

CACHE_AWAY = (
    "The hub can't count failed attempts at this moment, so nobody can sign in. Try "
    "again in a minute; the hub's log has the reason."
)


def redis_cache(url: str) -> dict[str, Any]:
    """Describe a Redis server to Django, as one that has little time to answer.

    It is asked while somebody signs in. A server that is silent is as bad as one that
    is away, and whoever waits can try again better than this thread.
    """
    # Loaded only where it is used.
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": url,
        "OPTIONS": {
            "socket_connect_timeout": SECONDS,
            "socket_timeout": SECONDS,
            "retry": Retry(NoBackoff(), 0),
        },
    }


def cache_problem(error: BaseException) -> str:
    """Return in a few words that the cache does not answer, if that is the error."""
    if not settings.REDIS_URL:
        return ""
    from redis.exceptions import RedisError

    return _in_words(error) if isinstance(error, RedisError) else ""


def look_for_cache() -> list[str]:
    """Say at the start that the cache does not answer, and what follows from that."""
    if not settings.REDIS_URL:
        return []
    try:
        cache.get("hub.start")
    except Exception as error:
        problem = cache_problem(error)
        if not problem:
            raise
        address = urlsplit(settings.REDIS_URL)
        place = address.path if address.scheme == "unix" else address.hostname
        port = f":{address.port or 6379}" if address.scheme != "unix" else ""
        return [
            f"HUB_REDIS_URL: the Redis server at {place}{port} does not answer"
            f" ({problem}); nobody can sign in until it does"
        ]
    return []


def _in_words(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
