"""Under which address people reach the hub, users' servers and services.

There is one answer for everything that depends on it: cookies, links, redirects and
the checks of where a request comes from. If the operator has named the public address
(`HUB_PUBLIC_URL`, `c.JupyterHub.public_url` or `subdomain_host`), that is the answer.
Otherwise the request says it, as the proxies in front have passed it on.

With `c.JupyterHub.subdomain_host` each user and each service has a host of its own
below the hub's, so that a page of one server is another origin than the hub's pages.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

import idna
from django.conf import settings
from django.http import HttpRequest

# Where a request keeps the host that it was sent to.
ASKED_HOST = "hub.asked_host"

LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.IGNORECASE)


def public_origin() -> str:
    """Return scheme and host by which people reach the hub, whoever asks.

    Paths of ours follow it, which begin with the hub's base. It is empty if the
    operator has not named a public address.
    """
    return origin(settings.PUBLIC_URL)


def public_url(path: str) -> str:
    """Return a path as people reach it; empty without a public address."""
    public = public_origin()
    return f"{public}{path}" if public else ""


def origin_of(request: HttpRequest) -> str:
    """Return scheme and host by which the person behind a request reaches the hub."""
    return public_origin() or f"{request.scheme}://{request.get_host()}"


def adopt_public_address(request: HttpRequest) -> None:
    """Let a browser's request be one to the public address, if that is named.

    Django and its libraries ask the request whether it is secure and which host it
    is for; after this they all get the same answer.
    """
    public = urlsplit(settings.PUBLIC_URL)
    if public.netloc:
        meta: Any = request.META
        meta[ASKED_HOST] = meta.get("HTTP_HOST", "")
        meta["HTTP_HOST"] = public.netloc
        meta["wsgi.url_scheme"] = public.scheme


def was_sent_to_subdomain(request: HttpRequest) -> bool:
    """Return whether a request came to the host of a user's servers or a service."""
    meta = request.META
    return is_subdomain(meta.get(ASKED_HOST) or meta.get("HTTP_HOST", ""))


def is_subdomain(host: str) -> bool:
    """Return whether a host belongs to a user's servers or a service."""
    domain = urlsplit(settings.HUB.subdomain_host).hostname
    return bool(domain) and host.partition(":")[0].lower().endswith(f".{domain}")


def local_path(request: HttpRequest, url: str) -> str:
    """Reduce an address on this hub to its path; return nothing for any other.

    What a browser would take elsewhere, `//host` or `/\\host` for instance, is not
    an address on this hub. A path beside the hub's own is: other applications may
    live on the same host, and JupyterHub leads there as well. Servers and services on
    hosts of their own count as on this hub, which leads on to them.
    """
    url = url.strip()
    if any(ord(character) < 32 or character == "\\" for character in url):
        return ""
    if url.startswith("//"):
        # To browsers, any number of slashes begins the name of a host.
        url = f"//{url.lstrip('/')}"
    try:
        parts = urlsplit(url)
        hostname = parts.hostname or ""
    except ValueError:
        return ""
    if parts.scheme or parts.netloc:
        here = urlsplit(origin_of(request))
        scheme = parts.scheme or here.scheme
        is_here = (scheme, parts.netloc) == (here.scheme, here.netloc)
        is_below = scheme == here.scheme and is_subdomain(hostname)
        if not (is_here or is_below) or "@" in parts.netloc:
            return ""
        path = f"/{parts.path.lstrip('/')}"
        url = parts._replace(scheme="", netloc="", path=path).geturl()
    return url if url.startswith("/") else ""


def origin(url: str) -> str:
    """Return scheme and host of an address, or nothing of nothing."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


# Hosts of users and services


def hub_domain() -> str:
    """Return the hub's host without a port, which all subdomains share."""
    public = settings.PUBLIC_URL or settings.HUB.subdomain_host
    return urlsplit(public).hostname or ""


def user_origin(name: str) -> str:
    """Return scheme and host of a user's servers; empty if that is the hub's own."""
    return _subdomain_origin(name, "user")


def service_origin(name: str) -> str:
    """Return scheme and host of a service; empty if that is the hub's own."""
    return _subdomain_origin(name, "service")


def user_domain(name: str) -> str:
    """Return the host of a user's servers without a port; empty if not its own."""
    return urlsplit(user_origin(name)).hostname or ""


def service_domain(name: str) -> str:
    """Return the host of a service without a port; empty if it has none of its own."""
    return urlsplit(service_origin(name)).hostname or ""


def _subdomain_origin(name: str, kind: str) -> str:
    host = settings.HUB.subdomain_host
    if not host:
        return ""
    parts = urlsplit(host)
    chosen = settings.HUB.subdomain_hook
    hook = NAMED_HOOKS[chosen] if isinstance(chosen, str) else chosen
    # JupyterHub gives the kind by its name.
    domain = hook(name, hub_domain(), kind=kind)
    return f"{parts.scheme}://{domain}" + (f":{parts.port}" if parts.port else "")


def service_path(name: str) -> str:
    """Return the path of a service, escaped, as people reach it."""
    return f"{settings.HUB.base_url}services/{quote(name, safe='@')}/"


def idna_hook(name: str, domain: str, kind: str) -> str:
    """Make the host of a user or service, valid for every name and unique."""
    suffix = "" if kind == "user" else f"--{kind}"
    return f"{_label(name)}{suffix}.{domain}"


def legacy_hook(name: str, domain: str, kind: str) -> str:
    """Make the host as JupyterHub did before 5.0; all services share one."""
    if kind != "user":
        return f"services.{domain}"
    label = quote(name, safe="").lower()
    plain = re.sub(r"[^a-z0-9.%-]", lambda found: f"%{ord(found[0]):x}", label)
    return f"{plain.replace('%', '_')}.{domain}"


NAMED_HOOKS = {"idna": idna_hook, "legacy": legacy_hook}


@lru_cache(maxsize=4096)
def _label(name: str) -> str:
    """Spell a name as one part of a host name.

    A name that is one already stays as it is, others are spelled by IDNA, and what
    neither can spell becomes a stub with a digest of the name. Names with `--` could
    be mistaken for such results and are always digested.
    """
    if "--" not in name:
        if _is_label(name):
            return name
        try:
            spelled = idna.encode(name).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            spelled = name
        if spelled != name and _is_label(spelled):
            return spelled
    digest = hashlib.sha256(name.encode()).hexdigest()[:7]
    stub = re.sub(r"[^a-z0-9]", "", name.lower())[:8] or "x"
    return f"u-{stub}--{digest}"


def _is_label(text: str) -> bool:
    return bool(LABEL.fullmatch(text)) and not text.isnumeric()
