"""A service that writes down its environment, and responds if it has an address.

--note PATH     append a line of JSON with environment, user and process
--child         start a process that stays when this one is killed
--exit STATUS   end after that
--silent        do not answer
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--note", required=True)
    parser.add_argument("--child", action="store_true")
    parser.add_argument("--exit", type=int)
    parser.add_argument("--silent", action="store_true")
    options = parser.parse_args()
    child = 0
    if options.child:
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        child = subprocess.Popen(command, start_new_session=True).pid
    with open(options.note, "a", encoding="utf-8") as file:
        found = {
            "env": dict(os.environ),
            "uid": os.getuid(),
            "pid": os.getpid(),
            "child": child,
            "cwd": os.getcwd(),
        }
        file.write(json.dumps(found) + "\n")
    if options.exit is not None:
        sys.exit(options.exit)
    url = urlsplit(os.environ.get("JUPYTERHUB_SERVICE_URL", ""))
    if url.port and not options.silent:
        HTTPServer((url.hostname or "", url.port), Answers).serve_forever()
    time.sleep(600)


if __name__ == "__main__":
    main()
