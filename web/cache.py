"""The cache that counts sign-in attempts, and failures of this cache.

Without the count there would be no limit on guesses of passwords. So while a Redis
server does not respond, sign-ins with a password or a code are refused. Sessions,
tokens and servers go on working, because they need no cache.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.cache import cache

# Seconds until the server must respond.
SECONDS = 2

CACHE_AWAY = (
    "The hub can't count failed attempts at this moment, so nobody can sign in. Try "
    "again in a minute; the hub's log has the reason."
)


def redis_cache(url: str) -> dict[str, Any]:
    """Return Django's settings for a Redis server, with short timeouts and no retries.

    The server is used during sign-ins. A server that hangs is as bad as one that is
    down, and retries by the user hold no thread.
    """
    # Imported only if it is used.
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
    """Return a short text if the error means that the cache does not respond."""
    if not settings.REDIS_URL:
        return ""
    from redis.exceptions import RedisError

    return _in_words(error) if isinstance(error, RedisError) else ""


def look_for_cache() -> list[str]:
    """Return a warning for the start of the hub if the cache does not respond."""
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
