"""Two services that identify the caller, with JupyterHub's own classes only.

`whoami.py token` identifies people by their tokens, `whoami.py oauth` signs them in
through the hub. All other settings are in the environment, as set by JupyterHub.
"""

from __future__ import annotations

import json
import os
import sys
from urllib.parse import urlsplit

from jupyterhub.services.auth import (
    HubAuthenticated,
    HubOAuthCallbackHandler,
    HubOAuthenticated,
)
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler, authenticated


class ByToken(HubAuthenticated, RequestHandler):
    @authenticated
    def get(self) -> None:
        self.write(json.dumps(self.get_current_user()))


class ByOAuth(HubOAuthenticated, RequestHandler):
    @authenticated
    def get(self) -> None:
        self.write(json.dumps(self.get_current_user()))


def main() -> None:
    prefix = os.environ["JUPYTERHUB_SERVICE_PREFIX"]
    url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    whoami = ByOAuth if sys.argv[1] == "oauth" else ByToken
    application = Application(
        [
            (f"{prefix}oauth_callback", HubOAuthCallbackHandler),
            (f"{prefix}.*", whoami),
        ],
        cookie_secret=os.urandom(32),
    )
    application.listen(url.port or 0, url.hostname or "")
    IOLoop.current().start()


if __name__ == "__main__":
    main()
