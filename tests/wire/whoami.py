"""Two services that say who asks, of JupyterHub's own classes and nothing else.

`whoami.py token` knows people by a token that they send, `whoami.py oauth` signs them
in through the hub. All else is in the environment, as JupyterHub puts it there.
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
