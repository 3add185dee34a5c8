"""The public addresses of the hub, of users' servers and of services.

Cookies, links, redirects and the checks of a request's origin all use the same address.
If the public address is configured (`HUB_PUBLIC_URL`, `c.JupyterHub.public_url` or
`subdomain_host`), that is used. Otherwise it is the address of the request, with the
headers of proxies in front.

With `c.JupyterHub.subdomain_host` each user and each service has a host of its own
below the hub's, so that a page of a server has another origin than the hub's pages.
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

# The key in a request's environment for the host that the request was sent to.
ASKED_HOST = "hub.asked_host"

LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.IGNORECASE)


def public_origin() -> str:
    """Return the hub's public scheme and host, independent of the request.

    Paths with the hub's base URL are appended to the result, which is empty if no
    public address is configured.
    """
    return origin(settings.PUBLIC_URL)


def public_url(path: str) -> str:
    """Return the public URL of a path; empty without a public address."""
    public = public_origin()
    return f"{public}{path}" if public else ""


def origin_of(request: HttpRequest) -> str:
    """Return the scheme and host of the hub as the browser of a request sees them."""
    return public_origin() or f"{request.scheme}://{request.get_host()}"


def adopt_public_address(request: HttpRequest) -> None:
    """Change a browser's request to the public address, if that is configured.

    Django and its libraries read the scheme and the host from the request. After this
    call they all read the public ones.
    """
    public = urlsplit(settings.PUBLIC_URL)
    if public.netloc:
        meta: Any = request.META
        meta[ASKED_HOST] = meta.get("HTTP_HOST", "")
        meta["HTTP_HOST"] = public.netloc
        meta["wsgi.url_scheme"] = public.scheme


def was_sent_to_subdomain(request: HttpRequest) -> bool:
    """Return whether a request was sent to the host of a user or a service."""
    meta = request.META
    return is_subdomain(meta.get(ASKED_HOST) or meta.get("HTTP_HOST", ""))


def is_subdomain(host: str) -> bool:
    """Return whether a host belongs to a user's servers or a service."""
    domain = urlsplit(settings.HUB.subdomain_host).hostname
    return bool(domain) and host.partition(":")[0].lower().endswith(f".{domain}")


def local_path(request: HttpRequest, url: str) -> str:
    """Return the path of an address on this hub; nothing for any other address.

    An address that a browser resolves to another host, such as `//host` or `/\\host`,
    is not on this hub. A path outside of the hub's base URL is, because other
    applications may be on the same host, and JupyterHub redirects there as well.
    Servers and services on hosts of their own count as on this hub, which redirects to
    them.
    """
    url = url.strip()
    if any(ord(character) < 32 or character == "\\" for character in url):
        return ""
    if url.startswith("//"):
        # In browsers, any number of slashes is followed by a host name.
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
    """Return the scheme and host of an address; empty if the address is empty."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


# Hosts of users and services


def hub_domain() -> str:
    """Return the hub's host without a port, the parent of all subdomains."""
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
    # JupyterHub passes the kind as a keyword argument.
    domain = hook(name, hub_domain(), kind=kind)
    return f"{parts.scheme}://{domain}" + (f":{parts.port}" if parts.port else "")


def service_path(name: str) -> str:
    """Return the public path of a service, escaped."""
    return f"{settings.HUB.base_url}services/{quote(name, safe='@')}/"


def idna_hook(name: str, domain: str, kind: str) -> str:
    """Return the host of a user or service, valid for every name and unique."""
    suffix = "" if kind == "user" else f"--{kind}"
    return f"{_label(name)}{suffix}.{domain}"


def legacy_hook(name: str, domain: str, kind: str) -> str:
    """Return the host as in JupyterHub before 5.0; all services share one."""
    if kind != "user":
        return f"services.{domain}"
    label = quote(name, safe="").lower()
    plain = re.sub(r"[^a-z0-9.%-]", lambda found: f"%{ord(found[0]):x}", label)
    return f"{plain.replace('%', '_')}.{domain}"


NAMED_HOOKS = {"idna": idna_hook, "legacy": legacy_hook}


@lru_cache(maxsize=4096)
def _label(name: str) -> str:
    """Return a name as a label of a host name.

    A valid label is not changed, other names are encoded by IDNA, and names that IDNA
    can't encode become a stub with a digest of the name. Names with `--` could be equal
    to such results and always become a stub.
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
