"""Get, keep and revoke API tokens of a hub, without copy and paste.

    hub-token login URL     asks for a token, which a person approves in a browser
    hub-token print         prints the stored token
    hub-token exchange      exchanges the token, or that of a CI, for a narrower one
    hub-token logout        revokes the stored token and forgets it

In a notebook:

    import hub_token
    token = hub_token.login("https://hub.example")

Only the standard library is needed. Tokens are stored in the system's keyring if the
package `keyring` is installed and has a usable backend, otherwise in a file that only
its owner can read.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import stat
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

CLIENT_ID = "hub-token"
WELL_KNOWN = ".well-known/oauth-authorization-server"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105

PATIENCE = 30.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Problem(Exception):
    """An error with a message for the person; `code` is OAuth2's."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


# The hub


class NoRedirects(HTTPRedirectHandler):
    """Follows no redirects, which could lead a token to another host."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


opener = build_opener(NoRedirects)


class Hub:
    """A hub, found by its address (RFC 8414)."""

    def __init__(self, url: str) -> None:
        self.url = normal(url)
        self.endpoints = self._discover()

    def _discover(self) -> Mapping[str, Any]:
        parts = urlsplit(self.url)
        origin = f"{parts.scheme}://{parts.netloc}"
        inserted = f"{origin}/{WELL_KNOWN}{parts.path}"
        for address in (inserted, f"{self.url}/hub/{WELL_KNOWN}"):
            status, found = ask(address)
            if status == 200 and "issuer" in found:
                break
        else:
            raise Problem(f"There is no hub at {self.url} that gives out tokens.")
        issuer = str(found["issuer"])
        if issuer != self.url:
            raise Problem(f"The hub at {self.url} calls itself {issuer}: use that.")
        for name, address in found.items():
            if name.endswith("_endpoint") and not str(address).startswith(f"{issuer}/"):
                raise Problem(f"The {name} of {issuer} is elsewhere: {address}")
        return found

    def post(self, endpoint: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a form and return the answer; raise a `Problem` for an error."""
        name = f"{endpoint}_endpoint"
        if name not in self.endpoints:
            raise Problem(f"{self.url} does not offer this ({name}).")
        given = {key: value for key, value in fields.items() if value is not None}
        status, answer = ask(str(self.endpoints[name]), given)
        if status == 200:
            return answer
        code = str(answer.get("error", f"status {status}"))
        words = str(answer.get("error_description") or answer.get("message") or code)
        raise Problem(words, code)


def normal(url: str) -> str:
    """Return the address of a hub without `/hub` and slashes at the end."""
    url = url if "://" in url else f"https://{url}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Problem(f"Not an address of a hub: {url}")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise Problem(f"Tokens are sent by https only, not to {url}")
    path = parts.path.rstrip("/")
    if path.endswith("/hub"):
        path = path[: -len("/hub")]
    return f"{parts.scheme}://{parts.netloc}{path}"


def ask(
    address: str, fields: Mapping[str, Any] | None = None
) -> tuple[int, Mapping[str, Any]]:
    """Return status and JSON of a request; an empty object for anything else."""
    data = None if fields is None else urlencode(fields).encode()
    request = Request(address, data, {"Accept": "application/json"})  # noqa: S310
    try:
        with opener.open(request, timeout=PATIENCE) as response:
            return response.status, read(response)
    except HTTPError as error:
        with error:
            return error.code, read(error)
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise Problem(f"{address} does not answer: {reason}", "unreachable") from None


def read(response: Any) -> Mapping[str, Any]:
    try:
        found = json.loads(response.read(1_000_000))
    except (ValueError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


# What the commands do


def login(
    url: str,
    *,
    scope: str | None = None,
    device: str | None = None,
    browser: bool = False,
    out: Any = None,
) -> str:
    """Ask for a token, wait until a person has approved it, store and return it."""
    hub = Hub(url)
    out = out or sys.stderr
    device = socket.gethostname() if device is None else device
    codes = hub.post(
        "device_authorization",
        {"client_id": CLIENT_ID, "scope": scope, "device_name": device},
    )
    print(f"Open {codes['verification_uri']} and write the code", file=out)
    print(f"\n    {codes['user_code']}\n", file=out)
    print(f"or follow {codes['verification_uri_complete']}", file=out, flush=True)
    if browser:
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(str(codes["verification_uri_complete"]))
    token = str(wait(hub, codes)["access_token"])
    # A token that nobody knows any more should not stay valid.
    with contextlib.suppress(Problem, KeyError):
        revoke(hub, load(hub.url))
    save(hub.url, token)
    return token


def wait(hub: Hub, codes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Ask at the hub's interval until a person has decided."""
    interval = float(codes.get("interval", 5))
    deadline = time.monotonic() + float(codes["expires_in"])
    while time.monotonic() < deadline:
        time.sleep(interval)
        try:
            return hub.post(
                "token",
                {
                    "grant_type": DEVICE_CODE,
                    "client_id": CLIENT_ID,
                    "device_code": codes["device_code"],
                },
            )
        except Problem as problem:
            if problem.code == "slow_down":
                interval += 5
            elif problem.code == "access_denied":
                raise Problem("The request was denied in the browser.") from None
            elif problem.code == "expired_token":
                break
            elif problem.code not in ("authorization_pending", "unreachable"):
                raise
    raise Problem("Nobody has approved the request in time. Begin again.")


def logout(url: str | None = None) -> str:
    """Revoke the stored token of a hub and forget it; return the hub's address."""
    url = chosen(url)
    token = load(url)
    revoke(Hub(url), token)
    forget(url)
    return url


def revoke(hub: Hub, token: str) -> None:
    hub.post("revocation", {"token": token, "client_id": CLIENT_ID})


def exchange(
    url: str | None = None,
    *,
    scope: str | None = None,
    expires_in: int | None = None,
    id_token: str | None = None,
) -> str:
    """Return a narrower token for the stored one, or a token for one of a CI."""
    if id_token is None:
        url = chosen(url)
        subject, kind = load(url), ACCESS_TOKEN
    elif url is None:
        raise Problem("Name the hub: hub-token exchange URL")
    else:
        subject, kind = id_token, ID_TOKEN
    answer = Hub(url).post(
        "token",
        {
            "grant_type": TOKEN_EXCHANGE,
            "client_id": CLIENT_ID,
            "subject_token": subject,
            "subject_token_type": kind,
            "scope": scope,
            "expires_in": expires_in,
        },
    )
    return str(answer["access_token"])


# Stored tokens


def load(url: str) -> str:
    """Return the stored token of a hub."""
    kept = known().get(url)
    ring = keyring()
    if kept is None and ring is not None and url in known():
        kept = ring.get_password(CLIENT_ID, url)
    if not kept:
        raise Problem(f"No token of {url} is stored. Run: hub-token login {url}")
    return str(kept)


def save(url: str, token: str) -> None:
    """Store the token of a hub: in the keyring, or else in the file."""
    tokens = known()
    tokens.pop(url, None)
    ring = keyring()
    if ring is None:
        tokens[url] = token
    else:
        ring.set_password(CLIENT_ID, url, token)
        # The file then only says that there is a token.
        tokens[url] = None
    write(tokens)


def forget(url: str) -> None:
    tokens = known()
    tokens.pop(url, None)
    write(tokens)
    ring = keyring()
    if ring is not None:
        with contextlib.suppress(Exception):
            ring.delete_password(CLIENT_ID, url)


def chosen(url: str | None) -> str:
    """Return the address of a hub: the given one, or that of the last sign-in."""
    if url is not None:
        return normal(url)
    tokens = known()
    if not tokens:
        raise Problem("No token is stored. Run: hub-token login URL")
    return list(tokens)[-1]


def known() -> dict[str, str | None]:
    """Return the file's tokens by hub; None stands for a token in the keyring."""
    path = place()
    try:
        mode = path.stat().st_mode
        if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
            raise Problem(f"Others may read {path}. Run: chmod 600 {path}")
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Problem(f"{path} can't be read: {error}") from None
    if not isinstance(found, dict):
        raise Problem(f"{path} has an unknown format; delete it and sign in again.")
    return found


def write(tokens: Mapping[str, str | None]) -> None:
    """Replace the file, which nobody else can read at any moment."""
    path = place()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tokens-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(tokens, file)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def place() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "hub-token" / "tokens.json"


def keyring() -> Any:
    """Return the package `keyring` if it has a usable backend, else None."""
    if os.environ.get("HUB_TOKEN_KEYRING") == "0":
        return None
    try:
        import keyring as ring

        return ring if ring.get_keyring().priority > 0 else None
    except Exception:
        return None


# The command line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    options = parser().parse_args(arguments)
    try:
        for line in run(options):
            print(line)
    except Problem as problem:
        print(f"hub-token: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def run(options: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of standard output; a token is printed there only on request."""
    if options.command == "login":
        login(
            options.url,
            scope=options.scope,
            device=options.device,
            browser=options.browser,
        )
        yield f"Signed in to {normal(options.url)}."
    elif options.command == "print":
        yield load(chosen(options.url))
    elif options.command == "logout":
        yield f"Revoked the token of {logout(options.url)}."
    else:
        yield exchange(
            options.url,
            scope=options.scope,
            expires_in=options.expires_in,
            id_token=read_id_token(options.id_token_file),
        )


def read_id_token(name: str | None) -> str | None:
    """Return the signed token of a CI, from a file or standard input (`-`)."""
    if name is None:
        return None
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
    except OSError as error:
        fail(f"{name} can't be read: {error}")
    return text.strip()


def fail(message: str) -> NoReturn:
    raise Problem(message)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="hub-token", description="Get, keep and revoke API tokens of a hub."
    )
    commands = found.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser("login", help="ask for a token and store it")
    command.add_argument("url", help="the hub's address")
    command.add_argument("--scope", help="scopes, separated by blanks")
    command.add_argument("--device", help="a name of this device, for the page")
    command.add_argument(
        "--browser", action="store_true", help="also open the page in a browser here"
    )
    command = commands.add_parser("print", help="print the stored token")
    command.add_argument("url", nargs="?", help="the hub; the last one if left out")
    command = commands.add_parser("logout", help="revoke the stored token")
    command.add_argument("url", nargs="?", help="the hub; the last one if left out")
    command = commands.add_parser("exchange", help="print a narrower token")
    command.add_argument("url", nargs="?", help="the hub; the last one if left out")
    command.add_argument("--scope", help="scopes, separated by blanks")
    command.add_argument("--expires-in", type=int, help="seconds")
    command.add_argument(
        "--id-token-file",
        metavar="FILE",
        help="exchange the signed token of a CI in this file; - is standard input",
    )
    return found


if __name__ == "__main__":
    sys.exit(main())
