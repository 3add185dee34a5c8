"""A minimal notebook server with JupyterHub's own sign-in.

It uses JupyterHub's unmodified library. Every page shows the signed-in user, and its
own pages may contain any script, like those of a user's server.
"""

from __future__ import annotations

import os
import secrets
from urllib.parse import urlsplit

from jupyterhub.services.auth import HubOAuthCallbackHandler, HubOAuthenticated
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler, authenticated


class Ready(RequestHandler):
    """What the hub asks for to see that the server answers."""

    def get(self) -> None:
        self.set_header("X-JupyterHub-Version", "6.1.1")
        self.write({"version": "stub"})


class Page(HubOAuthenticated, RequestHandler):
    """A page for whoever may use the server."""

    @authenticated
    def get(self) -> None:
        name = self.current_user["name"]
        owner = os.environ["JUPYTERHUB_USER"]
        self.write(
            f"<!doctype html><title>Server</title><h1>{owner} greets {name}</h1>"
        )


def main() -> None:
    url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    prefix = os.environ["JUPYTERHUB_SERVICE_PREFIX"]
    app = Application(
        [
            (f"{prefix}api", Ready),
            (f"{prefix}oauth_callback", HubOAuthCallbackHandler),
            (f"{prefix}.*", Page),
        ],
        cookie_secret=secrets.token_bytes(32),
    )
    app.listen(url.port or 0, url.hostname or "")
    IOLoop.current().start()


if __name__ == "__main__":
    main()
