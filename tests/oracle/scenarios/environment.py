"""The environment in which services and servers are started."""

import time

import requests

from hubdiff.launch import child_environment
from hubdiff.scenario import scenario

SERVICES = (
    *("reports", "bare", "redirected", "redirected-bare", "client", "placed"),
    "personal",
)
# What a program is given as the hub's own process has it, and what an interpreter or
# a shell adds by itself.
OF_THE_MACHINE = {
    *("PYTHONPATH", "CONDA_ROOT", "CONDA_DEFAULT_ENV", "VIRTUAL_ENV", "LANG"),
    *("LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "JUPYTERHUB_SINGLEUSER_APP"),
    *("PWD", "OLDPWD", "SHLVL", "_"),
}
# By which a hub may find programs that it has left behind.
MARKS = ("HUB_",)


# JupyterHub tells services of no scopes, whatever is configured. A hub may tell them.
TOLD_BETTER = {"client": {"JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES"}}


def _reported(hub, name):
    url = f"{hub.origin}{hub.base}services/reports/{name}"
    deadline = time.monotonic() + 120
    while True:
        try:
            reply = requests.get(url, timeout=10)
            if reply.status_code == 200:
                return reply.json()
        except (requests.RequestException, ValueError):
            pass
        if time.monotonic() > deadline:
            return {"reported": False}
        time.sleep(0.1)


def _told(hub, name):
    """Return each variable of a program, as two hubs must give it."""
    told = _reported(hub, name)
    hub.remember(told.get("JUPYTERHUB_API_TOKEN", ""), "own token")
    path = told.pop("PATH", None)
    told["PATH begins as that of the hub's own process"] = bool(
        path and path.startswith(child_environment()["PATH"])
    )
    return {
        key: value
        for key, value in told.items()
        if key not in OF_THE_MACHINE | TOLD_BETTER.get(name, set())
        and not key.startswith(MARKS)
    }


@scenario("environment", "environment", cases={name: name for name in SERVICES})
def service(hub, name):
    """Each variable that a managed service gets."""
    hub.note(name, _told(hub, name))


PUBLISHED = ("reports", "bare", "personal")


@scenario("environment", "published", cases={name: name for name in PUBLISHED})
def published_service(hub, name):
    """The same below a base URL and with a public address."""
    hub.note(name, _told(hub, name))


def _server(hub, name):
    user = hub.user("a b@c")
    hub.start(user, name)
    hub.note(name, _told(hub, "of-server"))
    hub.stop(user, name)


SERVERS = {"default": "", "named": "paper"}


@scenario("environment", "environment", cases=SERVERS)
def server(hub, name):
    """Each variable that a notebook server gets."""
    _server(hub, name)


@scenario("environment", "published", cases=SERVERS)
def published_server(hub, name):
    """The same below a base URL, with a public address and settings of servers."""
    _server(hub, name)
