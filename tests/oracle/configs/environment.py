# ruff: noqa: F821
"""Services and servers that write down which environment they were given."""

# Arguments: a folder, a name, and the port of the one that serves the folder.
REPORT = r"""
import functools, http.server, json, os, pwd, sys, threading
from urllib.parse import urlsplit

folder, name, *port = sys.argv[1:]
account = pwd.getpwuid(os.geteuid())
home = os.path.dirname(folder)
known = {account.pw_dir: "<home>", account.pw_shell: "<shell>"}
known[account.pw_name] = "<account>"
told = {
    key: known.get(value, value.replace(home, "<workdir>"))
    for key, value in os.environ.items()
}
told["cwd"] = os.getcwd().replace(home, "<workdir>")
os.makedirs(folder, exist_ok=True)
path = os.path.join(folder, name)
with open(path + ".new", "w") as file:
    json.dump(told, file)
os.replace(path + ".new", path)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = os.path.basename(self.path)
        try:
            with open(os.path.join(folder, asked), "rb") as file:
                answer = file.read()
            self.send_response(200)
        except OSError:
            answer = b"{}"
            self.send_response(404)
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, *said):
        pass


if not port:
    port = [urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"]).port or 0]
http.server.ThreadingHTTPServer(("127.0.0.1", int(port[0])), Handler).serve_forever()
"""


def report(name, *port):
    """Return the command that reports; without a port it listens where it is told."""
    return [PYTHON, "-c", REPORT, "__WORKDIR__/reports", name, *port]


URL = "http://127.0.0.1:__SERVICE_PORT__"
# Whoever runs the hub, so that anybody may; and what runs the hub, as a wrapper of
# Python would change the environment.
PYTHON = __import__("sys").executable
ACCOUNT = __import__("pwd").getpwuid(__import__("os").geteuid()).pw_name

c.JupyterHub.bind_url = "http://127.0.0.1:__PORT__"
c.JupyterHub.hub_port = __HUB_PORT__
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:__PROXY_API_PORT__"

c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = "open-sesame"
c.Authenticator.allow_all = True

c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "__WORKDIR__/home/{username}"
c.Spawner.cmd = report("of-server")
c.JupyterHub.allow_named_servers = True

c.JupyterHub.services = [
    {"name": "ops", "admin": True, "api_token": "ops-service-token-8c1f40aa92"},
    # The one that serves what the others have reported.
    {
        "name": "reports",
        "api_token": "reports-service-token-51d0ce",
        "url": URL,
        "command": report("reports", "__SERVICE_PORT__"),
    },
    {
        "name": "bare",
        "api_token": "bare-service-token-51d0ce",
        "command": report("bare", "0"),
    },
    {
        "name": "redirected",
        "api_token": "redirected-service-token-51d0ce",
        "url": URL,
        "oauth_redirect_uri": "http://127.0.0.1:9/somewhere/callback",
        "command": report("redirected", "0"),
    },
    {
        "name": "redirected-bare",
        "api_token": "redirected-bare-service-token-51d0ce",
        "oauth_redirect_uri": "http://127.0.0.1:9/somewhere/callback",
        "command": report("redirected-bare", "0"),
    },
    {
        "name": "client",
        "api_token": "client-service-token-51d0ce",
        "url": URL,
        "oauth_client_id": "service-another-name",
        "oauth_client_allowed_scopes": ["read:users!user", "inherit"],
        "oauth_no_confirm": True,
        "display": False,
        "info": {"key": "value"},
        "command": report("client", "0"),
    },
    {
        "name": "placed",
        "admin": True,
        "api_token": "placed-service-token-51d0ce",
        "cwd": "__WORKDIR__",
        "environment": {
            "OWN": "value",
            "USER": "environment",
            "JUPYTERHUB_SERVICE_NAME": "another",
            "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:9/another",
            "JUPYTERHUB_API_URL": "http://127.0.0.1:9/another",
            "JUPYTERHUB_OAUTH_CALLBACK_URL": "/another",
        },
        "command": report("placed", "0"),
    },
    {
        "name": "personal",
        "api_token": "personal-service-token-51d0ce",
        "user": ACCOUNT,
        "url": URL,
        "environment": {
            "USER": "environment",
            "HOME": "/environment",
            "JUPYTERHUB_SERVICE_PREFIX": "/another/",
        },
        "command": report("personal", "0"),
    },
]
