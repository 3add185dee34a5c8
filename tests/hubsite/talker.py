"""A notebook server that sends without end: `c.Spawner.cmd = [sys.executable, TALKER]`.

    {prefix}api         its readiness
    {prefix}stream      a line ten times a second, without end
    {prefix}socket      the same over a websocket

Each line is the number of lines since the beginning, so that a gap would show.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Talker(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.endswith("/socket"):
            self.send_response(101)
            key = self.headers["Sec-WebSocket-Key"] + MAGIC
            digest = hashlib.sha1(key.encode(), usedforsecurity=False).digest()
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.send_header("Sec-WebSocket-Accept", base64.b64encode(digest).decode())
            self.end_headers()
            self.talk(lambda text: bytes([0x81, len(text)]) + text)
        elif self.path.endswith("/stream"):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.talk(lambda text: b"%x\r\n%s\r\n" % (len(text), text))
        else:
            body = str(os.getpid()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def talk(self, frame: object) -> None:
        number = 0
        self.close_connection = True
        try:
            while True:
                self.wfile.write(frame(f"{number}\n".encode()))  # type: ignore[operator]
                self.wfile.flush()
                number += 1
                time.sleep(0.1)
        except OSError:
            # Whoever listened is gone.
            return

    def log_message(self, *args: object) -> None:
        # What outlives the hub must be able to write all the same.
        print("asked", self.path, file=sys.stderr, flush=True)


def main() -> None:
    url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    ThreadingHTTPServer((url.hostname or "", url.port or 0), Talker).serve_forever()


if __name__ == "__main__":
    main()
