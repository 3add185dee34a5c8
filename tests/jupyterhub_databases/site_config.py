"""The configuration with which a real JupyterHub makes a database for the tests.

The same file serves releases from 1.5 to 6.1. `make.py` sets the variables.
"""

# ruff: noqa: F821 - JupyterHub gives `c`; all secrets are the tests' own.

import os
import sys
from pathlib import Path

import jupyterhub
from jupyterhub.auth import DummyAuthenticator

RELEASE = tuple(int(part) for part in jupyterhub.__version__.split(".")[:2])
FOLDER = Path(os.environ["SITE"])
PHASE = os.environ["PHASE"]


class WithState(DummyAuthenticator):
    """Signs anybody in and keeps something of each."""

    async def authenticate(self, handler, data):
        name = data["username"]
        return {"name": name, "auth_state": {"upstream": f"state of {name}"}}


if PHASE == "native":
    c.JupyterHub.authenticator_class = "nativeauthenticator.NativeAuthenticator"
    c.NativeAuthenticator.open_signup = False
elif PHASE == "firstuse":
    c.JupyterHub.authenticator_class = "firstuseauthenticator.FirstUseAuthenticator"
    c.FirstUseAuthenticator.dbm_path = str(FOLDER / "passwords.dbm")
    c.FirstUseAuthenticator.create_users = True
else:
    c.JupyterHub.authenticator_class = WithState
    c.Authenticator.enable_auth_state = True
if RELEASE >= (5, 0):
    c.Authenticator.allow_all = True

c.Authenticator.admin_users = {"ada"}
c.JupyterHub.bind_url = f"http://127.0.0.1:{os.environ['PORT']}"
c.JupyterHub.hub_port = int(os.environ["HUB_PORT"])
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{os.environ['PROXY_PORT']}"
c.ConfigurableHTTPProxy.command = [os.environ["PROXY"]]
c.JupyterHub.db_url = os.environ.get("DB_URL", f"sqlite:///{FOLDER}/jupyterhub.sqlite")
c.JupyterHub.cookie_secret_file = str(FOLDER / "cookie_secret")
c.JupyterHub.cleanup_servers = False
c.JupyterHub.allow_named_servers = True
c.JupyterHub.redirect_to_server = False
c.JupyterHub.spawner_class = "jupyterhub.spawner.SimpleLocalProcessSpawner"
c.SimpleLocalProcessSpawner.home_dir_template = str(FOLDER / "homes" / "{username}")
c.Spawner.cmd = [sys.executable, str(Path(__file__).with_name("server.py"))]
c.Spawner.environment = {"SERVER_FACTS": str(FOLDER / "servers")}
c.Spawner.http_timeout = 60

c.JupyterHub.load_groups = {"students": ["erin", "carol"]}
c.JupyterHub.api_tokens = {
    "token-of-grace-in-the-file-0001": "grace",
    "token-of-carol-in-the-file-0002": "carol",
}
if PHASE == "first":
    c.JupyterHub.api_tokens["token-of-erin-taken-out-0003"] = "erin"
# The token of `rotated` was another one at first.
rotated = "first" if PHASE == "first" else "second"
c.JupyterHub.services = [
    {
        "name": "announce",
        "url": f"http://127.0.0.1:{os.environ['ANNOUNCE']}",
        "api_token": "token-of-service-announce-0004",
        "oauth_no_confirm": True,
    },
    {"name": "rotated", "api_token": f"token-of-service-rotated-{rotated}"},
]
if RELEASE < (2, 0):
    c.JupyterHub.services.append(
        {"name": "keeper", "api_token": "token-of-service-keeper-0005", "admin": True}
    )
else:
    c.JupyterHub.services.append(
        {"name": "keeper", "api_token": "token-of-service-keeper-0005"}
    )
    c.JupyterHub.load_roles = [
        {
            "name": "keeping",
            "scopes": ["list:users", "servers"],
            "services": ["keeper"],
        },
        {
            "name": "grading",
            "description": "Sees the students",
            "scopes": ["list:users!group=students", "read:users!group=students"],
            "users": ["heidi"],
        },
        {
            "name": "looking",
            "scopes": ["read:users", "access:services!service=announce"],
            "groups": ["students"],
        },
    ]
