"""A replacement for a notebook server: a program that listens and responds.

It reads from its environment what a single-user server reads, and starts in a few
hundredths of a second. Used as `c.Spawner.cmd = [sys.executable, str(STUB)]`, with
options in `c.Spawner.args`:

    --wait SECONDS      sleep before listening, like a slow server
    --hang              never listen
    --exit STATUS       end at once
    --status STATUS     the status of `GET {prefix}api`, by default 200
    --deaf              ignore SIGINT and SIGTERM: only SIGKILL ends it
    --linger SECONDS    take so long to end when told to
    --log PATH          write a line for each request to a file, or `-` for output
    --if-missing PATH   apply the options above only while there is no such file

It responds below its prefix, always with JSON:

    {prefix}api         its readiness, to anybody
    {prefix}env         its environment, without its token
    {prefix}hub/PATH    the hub's response to its token at {JUPYTERHUB_API_URL}/PATH
    anything else       method, path, headers and its process id
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import unquote, urlsplit

SECRETS = ("JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--wait", type=float, default=0)
    parser.add_argument("--hang", action="store_true")
    parser.add_argument("--exit", type=int)
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--linger", type=float, default=0)
    parser.add_argument("--log", default="")
    parser.add_argument("--if-missing", default="")
    # A spawner may add arguments of its own.
    options, _ = parser.parse_known_args(arguments)
    if options.if_missing and os.path.exists(options.if_missing):
        options = parser.parse_args([])
    if options.exit is not None:
        print(f"Ending at once with status {options.exit}", file=sys.stderr)
        return int(options.exit)

    def end(number: int, frame: object) -> None:
        time.sleep(options.linger)
        os._exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if options.deaf else end)
    time.sleep(options.wait)
    while options.hang:
        time.sleep(3600)
    listen(options)
    return 0


def listen(options: argparse.Namespace) -> None:
    url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((url.hostname or "", url.port or 0))
        listener.listen(128)
        while True:
            connection, _ = listener.accept()
            threading.Thread(
                target=converse, args=(connection, options), daemon=True
            ).start()


def converse(connection: socket.socket, options: argparse.Namespace) -> None:
    """Answer one request; a connection is not kept."""
    with connection, connection.makefile("rb") as reader:
        try:
            connection.settimeout(30)
            first = reader.readline(65536).decode("latin-1").split()
            if len(first) != 3:
                return
            headers = {}
            while (line := reader.readline(65536).decode("latin-1").strip()) != "":
                name, _, value = line.partition(":")
                headers[name.strip().lower()] = value.strip()
            reader.read(int(headers.get("content-length") or 0))
            status, body = answer(first[0], first[1], headers, options)
            data = json.dumps(body).encode()
            head = (
                f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\n"
                "X-JupyterHub-Version: 6.1.1\r\n"
                f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
            )
            # Noted first: who sees the answer may look for the line.
            note(f"{first[0]} {first[1]} {status}", options.log)
            connection.sendall(head.encode("latin-1") + data)
        except OSError:
            # Whoever asked is gone.
            return


def answer(
    method: str, path: str, headers: dict[str, str], options: argparse.Namespace
) -> tuple[int, dict[str, object]]:
    prefix = unquote(os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "/"))
    path = unquote(path.partition("?")[0])
    if not path.startswith(prefix):
        return 404, {"message": f"not below {prefix}", "path": path}
    rest = path[len(prefix) :]
    if rest.rstrip("/") == "api":
        return options.status, {"version": "stub"}
    if rest == "env":
        kept = {key: val for key, val in os.environ.items() if key not in SECRETS}
        return 200, {"env": kept, "pid": os.getpid(), "args": sys.argv[1:]}
    if rest.startswith("hub/"):
        return ask_hub(rest.removeprefix("hub/"))
    return 200, {"method": method, "path": path, "headers": headers, "pid": os.getpid()}


def ask_hub(path: str) -> tuple[int, dict[str, object]]:
    # Imported by those who need it: it takes longer than all the rest of a start.
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    request = Request(
        f"{os.environ['JUPYTERHUB_API_URL']}/{path}",
        headers={"Authorization": f"token {os.environ['JUPYTERHUB_API_TOKEN']}"},
    )
    try:
        with urlopen(request, timeout=60) as reply:
            return 200, {"status": reply.status, "body": json.loads(reply.read())}
    except HTTPError as error:
        return 200, {"status": error.code, "body": None}
    except URLError as error:
        return 502, {"message": str(error.reason)}


def note(line: str, place: str) -> None:
    # A disk that is full costs lines, as with the loggers of real servers.
    with suppress(OSError):
        if place == "-":
            print(line, flush=True)
        elif place:
            with open(place, "a", encoding="utf-8") as file:
                file.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
