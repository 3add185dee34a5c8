"""Requests that go to the host, and its responses as browsers get them.

*Headers.* A class may trust a header such as `REMOTE_USER`, and every client can send
this header. So a class gets all headers only of requests that come from a server in
`HUB_TRUSTED_PROXIES`, and otherwise the headers that browsers send. Scheme, host and
address are those that the hub has verified, whatever the request contains.

*Cookies.* The host gets none of the hub's own cookies. A cookie that a class sets under
the name of one of the hub's has another name in the browser.

*Redirects.* A class may redirect anywhere, for example to its provider, but not to
another site that the request names as `next`. After a sign-in, all redirects stay on
the hub.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urljoin, urlsplit

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from accounts.attempts import COOKIE as KNOWN_BROWSER
from web.addresses import FORWARDED_FOR, HEADERS, THROUGH_SOCKET, is_named_proxy
from web.environ import ALL_HEADERS
from web.hosts import local_path

logger = structlog.get_logger(__name__)

# Set for a cookie of the class that has the name of one of the hub's.
PREFIX: Final = "hosted-"
HUB_COOKIES: Final = frozenset(
    {
        *("_xsrf", "jupyterhub-session-id", "jupyterhub-services"),
        *("jupyterhub-hub-login", KNOWN_BROWSER),
    }
)

# Headers that browsers send themselves.
FROM_BROWSERS: Final = frozenset(
    {
        *("accept", "accept-language", "authorization", "cache-control"),
        *("content-type", "dnt", "if-modified-since", "if-none-match", "origin"),
        *("pragma", "priority", "referer", "user-agent"),
        *("upgrade-insecure-requests", "x-csrftoken", "x-requested-with"),
        "x-xsrftoken",
    }
)
BROWSER_FAMILIES: Final = ("sec-fetch-", "sec-ch-", "sec-gpc")
# Of one connection, or written anew.
NEVER_SENT: Final = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "cookie", "expect"),
        *("host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
        *("proxy-authorization", "proxy-connection"),
        *(key.removeprefix("HTTP_").replace("_", "-").lower() for key in HEADERS),
    }
)
# Of the host's connection, or set by the hub for every response.
NEVER_TAKEN: Final = frozenset(
    {
        *("connection", "content-length", "date", "keep-alive", "server", "set-cookie"),
        *("trailer", "transfer-encoding", "upgrade", "content-encoding"),
        *("x-jupyterhub-version", "access-control-allow-headers"),
        *("access-control-allow-origin", "access-control-allow-credentials"),
        *("strict-transport-security", "x-content-type-options"),
    }
)

Pairs = list[tuple[str, str]]


# Requests


def headers_of(request: HttpRequest) -> Iterator[tuple[str, str]]:
    """Yield the headers for the class: those of the request, and verified facts."""
    yield from sent_headers(request)
    if cookies := "; ".join(cookies_of(request)):
        yield "Cookie", cookies
    scheme, host = request.scheme or "http", request.get_host()
    yield from {
        "Host": host,
        "X-Forwarded-Host": host,
        "X-Forwarded-Proto": scheme,
        "X-Scheme": scheme,
        "X-Forwarded-For": request.META.get("REMOTE_ADDR", ""),
    }.items()


def sent_headers(request: HttpRequest) -> Iterator[tuple[str, str]]:
    """Yield the headers that the host may read."""
    is_vouched_for = comes_from_front_server(request)
    for name, value in all_headers(request):
        key = name.lower()
        # With an underscore these would be read as the hub's own by some classes.
        if key.replace("_", "-") in NEVER_SENT:
            continue
        if is_vouched_for or key in FROM_BROWSERS or key.startswith(BROWSER_FAMILIES):
            yield name, value
        else:
            warn(request, name)


def all_headers(request: HttpRequest) -> Pairs:
    """Return a request's headers, also those whose names have an underscore."""
    sent: Iterable[tuple[bytes, bytes]] | None = request.META.get(ALL_HEADERS)
    if sent is None:
        return list(request.headers.items())
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in sent]


def comes_from_front_server(request: HttpRequest) -> bool:
    """Return whether a server that the operator has named sent a request to the hub.

    With the hub's own proxy between them, the server's address is the last one in the
    header that the proxy has written. Otherwise it is the address of the connection.
    """
    chain = request.META.get(FORWARDED_FOR)
    if chain:
        return is_named_proxy(chain.rpartition(",")[2])
    return not request.META.get(THROUGH_SOCKET) and is_named_proxy(
        request.META.get("REMOTE_ADDR", "")
    )


# Names of headers that have been logged; few, because clients can invent names.
known_strangers: set[str] = set()


def warn(request: HttpRequest, name: str) -> None:
    """Log once that a class does not get a header."""
    if name not in known_strangers and len(known_strangers) < 20:
        known_strangers.add(name)
        logger.info(
            "the authenticator does not get this header, because it does not come from "
            "a server that HUB_TRUSTED_PROXIES names",
            header=name[:100],
            address=request.META.get("REMOTE_ADDR", ""),
        )


def cookies_of(request: HttpRequest) -> Iterator[str]:
    """Yield the cookies that the host may read, under the names that the class gave."""
    for chunk in request.META.get("HTTP_COOKIE", "").split(";"):
        name, separator, value = chunk.strip().partition("=")
        if not separator or is_hubs(name):
            continue
        if name.startswith(PREFIX) and is_hubs(name.removeprefix(PREFIX)):
            name = name.removeprefix(PREFIX)
        yield f"{name}={value}"


def is_hubs(name: str) -> bool:
    """Return whether a cookie's name is one of the hub's."""
    plain = name.removeprefix("__Host-").removeprefix("__Secure-")
    return plain in HUB_COOKIES or name == settings.SESSION_COOKIE_NAME


# Responses


def take_headers(request: HttpRequest, response: HttpResponse, headers: Pairs) -> None:
    """Set the headers of a class's response in the one for the browser."""
    for name, value in headers:
        if name.lower() == "location":
            value = destination(request, value)
        if name.lower() not in NEVER_TAKEN:
            response.headers[name] = value
    take_cookies(response, headers)


def take_cookies(response: HttpResponse, headers: Pairs) -> None:
    """Set the cookies of a class's response in another one."""
    for name, value in headers:
        if name.lower() != "set-cookie":
            continue
        found: SimpleCookie = SimpleCookie()
        try:
            found.load(value)
        except CookieError:
            logger.warning("the authenticator has set a cookie that is none")
            continue
        for key, morsel in found.items():
            new = f"{PREFIX}{key}" if is_hubs(key) else key
            morsel.set(new, morsel.value, morsel.coded_value)
            response.cookies[new] = morsel


def destination(request: HttpRequest, location: str) -> str:
    """Return the target of a redirect that does not follow a sign-in.

    A class decides that by its configuration. If the other site is one that the request
    itself has named as `next`, the class has only repeated it, and the redirect would
    lead to any site that a foreign link names.
    """
    if local_path(request, joined(request, location)):
        return location
    parts = urlsplit(location)
    wanted = (*request.GET.getlist("next"), *request.POST.getlist("next"))
    is_site = parts.scheme in ("http", "https") and bool(parts.netloc)
    if is_site and not any(parts.netloc in value for value in wanted):
        return location
    logger.warning("a redirect was refused", location=location[:200])
    return f"{settings.HUB.base_url}hub/home"


def destination_after_sign_in(request: HttpRequest, location: str) -> str:
    """Return the path on the hub to which a class leads after a sign-in; "" if none."""
    return local_path(request, joined(request, location)) if location else ""


def joined(request: HttpRequest, location: str) -> str:
    """Return a redirect's target; a relative one begins at the request's own path."""
    if location.startswith("/") or urlsplit(location).scheme:
        return location
    return urljoin(request.path, location)
