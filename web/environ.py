"""The WSGI environment of an ASGI request."""

from __future__ import annotations

import sys
from functools import lru_cache
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from web.addresses import THROUGH_SOCKET
from web.deferred import AWAITS
from web.paths import ENCODED_SLASH

Environ = dict[str, Any]

# The key of all headers as the server got them, pairs of bytes.
ALL_HEADERS = "hub.all_headers"


def make_environ(scope: dict[str, Any], api_prefix: bytes) -> Environ:
    """Return the environment of a request without its body.

    Headers of one name are joined by commas, cookies by semicolons. Headers whose
    names contain an underscore are dropped, because WSGI spells `X_Forwarded_For` and
    `X-Forwarded-For` alike; `ALL_HEADERS` has them.
    """
    # hypercorn's raw path includes the query, against the specification.
    raw_path = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
    server = scope.get("server") or ("localhost", 80)
    # ASGI names the path of a Unix socket as host, and no port.
    through_socket = server[1] is None
    if through_socket:
        server = ("localhost", 80)
    client = scope.get("client") or ("", 0)
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": decoded(raw_path, api_prefix).decode("latin-1"),
        "RAW_URI": raw_path.decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": client[0],
        THROUGH_SOCKET: through_socket,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input": BytesIO(),
        AWAITS: True,
        ALL_HEADERS: scope["headers"],
    }
    for name, value in scope["headers"]:
        key = header_key(name)
        if key in environ:
            joint = "; " if key == "HTTP_COOKIE" else ","
            environ[key] += joint + value.decode("latin-1")
        elif key:
            environ[key] = value.decode("latin-1")
    return environ


def path_of(environ: Environ) -> str:
    """Return the path as text, as in Django; WSGI has its bytes as Latin-1."""
    path: str = environ["PATH_INFO"]
    return path.encode("latin-1").decode("utf-8", "replace")


def decoded(path: bytes, api_prefix: bytes) -> bytes:
    """Decode a path except for its encoded slashes.

    An encoded slash belongs to a name and is no separator. The API's views restore it
    in the name; pages keep the escape.
    """
    if b"%" not in path:
        return path
    slash = ENCODED_SLASH.encode() if path.startswith(api_prefix) else b"%2F"
    parts = path.replace(b"%2f", b"%2F").split(b"%2F")
    return slash.join(unquote_to_bytes(part) for part in parts)


# Limited, because clients can invent names.
@lru_cache(maxsize=500)
def header_key(name: bytes) -> str:
    """Return the WSGI key of a header; empty for a header that is dropped."""
    if b"_" in name:
        return ""
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
