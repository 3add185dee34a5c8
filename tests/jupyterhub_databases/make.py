"""Make the databases of JupyterHub's releases for the tests of the import.

    python -m tests.jupyterhub_databases.make FOLDER [RELEASE ...]

Installs each release into an environment of its own below FOLDER, starts it, fills its
database through its API and pages, and writes two files beside this one: `RELEASE.sql`,
the database as SQL, and `RELEASE.json`, the secrets, which are good for nothing else,
with what the release answered to each of them and what 6.1.1 answers on the same
database. Takes some minutes for all of them.
"""

# Programs and addresses are this file's own.

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import requests

from tests.jupyterhub_databases.names import names

HERE = Path(__file__).parent
PROXY = HERE.parents[1] / "node_modules" / ".bin" / "configurable-http-proxy"
RELEASES = ("1.5.1", "2.3.1", "3.1.1", "4.1.6", "5.4.6", "6.1.1")
PLUGINS = ("jupyterhub-nativeauthenticator", "jupyterhub-firstuseauthenticator")
CRYPT_KEY = "11" * 32
FOREVER = 30 * 365 * 86_400

# Asked with each secret; nothing is changed by them.
PROBES = (
    *("user", "users", "users/ada", "users/carol", "users/erin", "users/dave"),
    *("groups", "groups/students", "services", "services/announce", "info"),
    *("users/carol/tokens", "users/dave/tokens"),
)


def environment(folder: Path, release: str) -> Path:
    """Return the Python of a release, and install that first if need be."""
    venv = folder / f"v{release}"
    if not (venv / "bin" / "jupyterhub").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        old = int(release[0]) < 4
        wanted = [f"jupyterhub=={release}", *PLUGINS, "psycopg2-binary", "pymysql"]
        wanted += ["sqlalchemy<2", "setuptools<80"] if old else []
        subprocess.run([venv / "bin" / "pip", "install", "-q", *wanted], check=True)
    return venv / "bin" / "python"


def named_server(release: tuple[int, ...]) -> str:
    """Return a server's name that the release accepts."""
    return "MyLab.2" if release < (5, 0) else "mylab-2"


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


class Announce(BaseHTTPRequestHandler):
    """The service `announce`, for which the hub looks when it starts."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


ANNOUNCE = ThreadingHTTPServer(("127.0.0.1", 0), Announce)


class Site:
    """One JupyterHub with its folder."""

    def __init__(
        self, folder: Path, python: Path, phase: str, db_url: str = ""
    ) -> None:
        self.folder, self.python = folder, python
        self.port, self.hub_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            **os.environ,
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "SITE": str(folder),
            "PHASE": phase,
            "PORT": str(self.port),
            "HUB_PORT": str(self.hub_port),
            "PROXY_PORT": str(free_port()),
            "PROXY": str(PROXY),
            "JUPYTERHUB_CRYPT_KEY": CRYPT_KEY,
            "TZ": "UTC",
            "ANNOUNCE": str(ANNOUNCE.server_port),
        }
        if db_url:
            self.env["DB_URL"] = db_url

    def command(self, *args: str) -> str:
        done = subprocess.run(
            [self.python, "-m", "jupyterhub", *args, "-f", HERE / "site_config.py"],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{args}: {done.stderr}")
        return done.stdout.strip()

    def __enter__(self) -> Site:
        self.log = (self.folder / "hub.log").open("ab")
        self.process = subprocess.Popen(
            [self.python, "-m", "jupyterhub", "-f", HERE / "site_config.py"],
            env=self.env,
            cwd=self.folder,
            stdout=self.log,
            stderr=self.log,
        )
        for _ in range(300):
            if self.process.poll() is not None:
                break
            try:
                if requests.get(f"{self.url}/hub/api").ok:
                    return self
            except requests.ConnectionError:
                pass
            time.sleep(0.2)
        sys.exit(f"No hub: see {self.folder}/hub.log")

    def __exit__(self, *error: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()

    def api(self, secret: str, method: str, path: str, body: Any = None) -> Any:
        return requests.request(
            method,
            f"{self.url}/hub/api/{path}",
            headers={"Authorization": f"token {secret}"},
            data=None if body is None else json.dumps(body),
        )

    def ask(self, secret: str, method: str, path: str, body: Any = None) -> Any:
        answer = self.api(secret, method, path, body)
        if not answer.ok:
            sys.exit(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.text else None

    def sign_in(self, name: str, password: str = "pw") -> requests.Session:
        browser = requests.Session()
        page = browser.get(f"{self.url}/hub/login")
        data = {"username": name, "password": password}
        if found := re.search(r'name="_xsrf" value="([^"]+)"', page.text):
            data["_xsrf"] = found[1]
        answer = browser.post(f"{self.url}/hub/login?next=/hub/home", data=data)
        if answer.status_code != 200 or "/hub/login" in answer.url:
            sys.exit(f"{name} can't sign in: {answer.status_code} {answer.url}")
        return browser

    def obtain(
        self, browser: requests.Session, client: str, secret: str, redirect: str
    ) -> str:
        """Sign a browser in to a client; return the client's token."""
        answer = browser.get(
            f"{self.url}/hub/api/oauth2/authorize",
            params={
                "client_id": client,
                "redirect_uri": redirect,
                "response_type": "code",
                "state": "s",
            },
            allow_redirects=False,
        )
        if answer.status_code == 200:
            # The page that asks for consent.
            data: dict[str, Any] = {
                "scopes": re.findall(r'value="(access:[^"]+)"', answer.text)
            }
            if found := re.search(r'name="_xsrf" value="([^"]+)"', answer.text):
                data["_xsrf"] = found[1]
            answer = browser.post(
                answer.url,
                data=data or {"scopes": "identify"},
                headers={"Referer": answer.url},
                allow_redirects=False,
            )
        place = answer.headers.get("Location", "")
        if "code=" not in place:
            sys.exit(f"{client}: {answer.status_code} {place} {answer.text[:2000]}")
        traded = requests.post(
            f"{self.url}/hub/api/oauth2/token",
            data={
                "client_id": client,
                "client_secret": secret,
                "grant_type": "authorization_code",
                "code": parse_qs(urlsplit(place).query)["code"][0],
                "redirect_uri": redirect,
            },
        )
        token: str = traded.json()["access_token"]
        return token

    def until_ready(self, admin: str, user: str, server: str = "") -> None:
        for _ in range(200):
            servers = self.ask(admin, "GET", f"users/{user}")["servers"]
            if servers.get(server, {}).get("ready"):
                return
            time.sleep(0.1)
        sys.exit(f"{user}/{server} does not start")

    def facts(self, user: str, server: str = "") -> dict[str, Any]:
        name = f"user+{user}" + (f"+{server}" if server else "")
        text = (self.folder / "servers" / f"{name}.json").read_text()
        facts: dict[str, Any] = json.loads(text)
        return facts


class Filling:
    """Fills one site, and keeps the secrets with their names."""

    def __init__(self, site: Site, release: tuple[int, ...]) -> None:
        self.site, self.release = site, release
        self.secrets: dict[str, str] = {}
        self.admin = site.command("token", "ada")

    def token(self, label: str, owner: str, by: str = "", **body: Any) -> None:
        made = self.site.ask(
            by or self.admin, "POST", f"users/{owner}/tokens", body or None
        )
        self.secrets[label] = made["token"]

    def run(self) -> None:
        site, ask = self.site, self.site.ask
        admin = self.secrets["ada: command line"] = self.admin
        for name in ("bob", "carol", "dave", "erin", "heidi", "mallory"):
            ask(admin, "POST", f"users/{name}", {}) if name not in (
                "carol",
                "erin",
                "heidi",
            ) else site.api(admin, "POST", f"users/{name}", {})
        ask(admin, "POST", f"users/{quote('zoë')}", {})
        ask(admin, "PATCH", "users/bob", {"admin": True})
        ask(admin, "POST", f"groups/{quote('Übung 7')}", {})
        ask(
            admin,
            "POST",
            f"groups/{quote('Übung 7')}/users",
            {"users": ["dave", "zoë"]},
        )
        if self.release >= (4, 0):
            properties = {"limit": 3, "ü": ["x", None]}
            ask(admin, "PUT", "groups/students/properties", properties)
        browsers = {
            name: site.sign_in(name) for name in ("ada", "carol", "bob", "dave")
        }
        self.tokens(admin)
        self.servers(admin, browsers)
        ask(admin, "PATCH", "users/bob", {"admin": False})
        if self.release >= (5, 4):
            self.sharing(admin)
        self.secrets |= {
            "grace: file": "token-of-grace-in-the-file-0001",
            "carol: file": "token-of-carol-in-the-file-0002",
            "erin: taken out of the file": "token-of-erin-taken-out-0003",
            "service announce": "token-of-service-announce-0004",
            "service keeper": "token-of-service-keeper-0005",
            "service rotated: first": "token-of-service-rotated-first",
            "service rotated: second": "token-of-service-rotated-second",
        }

    def tokens(self, admin: str) -> None:
        self.token("carol: plain", "carol")
        carol = self.secrets["carol: plain"]
        self.token("carol: note", "carol", note="für den Scanner")
        self.token("carol: own", "carol", by=carol, note="by herself")
        self.token("dave: expiring", "dave", expires_in=FOREVER, note="a long time")
        self.token("dave: expired", "dave", expires_in=1, note="a short time")
        self.token("bob: as administrator", "bob")
        self.token("mallory: plain", "mallory")
        self.token("mallory: to be without scopes", "mallory", note="without")
        if (2, 0) <= self.release < (3, 0):
            self.token("carol: role user", "carol", roles=["user"])
            self.token("carol: role token", "carol", roles=["token"])
            self.token("ada: role user", "ada", roles=["user"])
            self.token("ada: role admin", "ada", roles=["admin"])
            self.token("heidi: role grading", "heidi", roles=["grading"])
            self.token("erin: role looking", "erin", roles=["looking"])
        if self.release >= (3, 0):
            self.token(
                "carol: filter",
                "carol",
                scopes=["servers!user", "read:users:name!user"],
            )
            self.token("carol: inherit", "carol", scopes=["inherit"])
            self.token("carol: self", "carol", scopes=["self"])
            self.token("ada: one user", "ada", scopes=["admin:users!user=carol"])
            self.token("bob: users", "bob", scopes=["admin:users", "list:users"])
            self.token("heidi: group", "heidi", scopes=["list:users!group=students"])
            self.token(
                "erin: group and self",
                "erin",
                scopes=["self", "read:users!group=students"],
            )

    def servers(self, admin: str, browsers: dict[str, requests.Session]) -> None:
        site, ask = self.site, self.site.ask
        named = self.named = named_server(self.release)
        ask(admin, "POST", "users/carol/server", {"profile": "small"})
        ask(admin, "POST", f"users/dave/servers/{named}", {"image": "gpu", "n": [1]})
        ask(admin, "POST", "users/dave/servers/rest", {"image": "cpu"})
        site.until_ready(admin, "carol")
        site.until_ready(admin, "dave", named)
        site.until_ready(admin, "dave", "rest")
        ask(admin, "DELETE", "users/dave/servers/rest")
        carol, dave = site.facts("carol"), site.facts("dave", named)
        self.secrets["carol: server"] = carol["JUPYTERHUB_API_TOKEN"]
        self.secrets["dave: server"] = dave["JUPYTERHUB_API_TOKEN"]
        for label, who, facts in (
            ("carol: browser at her server", "carol", carol),
            ("ada: browser at carol's server", "ada", carol),
            ("dave: browser at his server", "dave", dave),
        ):
            self.secrets[label] = site.obtain(
                browsers[who],
                facts["JUPYTERHUB_CLIENT_ID"],
                facts["JUPYTERHUB_API_TOKEN"],
                f"{facts['JUPYTERHUB_SERVICE_PREFIX']}oauth_callback",
            )
        self.secrets["carol: browser at announce"] = site.obtain(
            browsers["carol"],
            "service-announce",
            "token-of-service-announce-0004",
            "/services/announce/oauth_callback",
        )

    def sharing(self, admin: str) -> None:
        ask = self.site.ask
        place = f"dave/{self.named}"
        ask(admin, "POST", f"shares/{place}", {"user": "carol"})
        ask(admin, "POST", f"shares/{place}", {"group": "students"})
        ask(
            admin,
            "POST",
            f"shares/{place}",
            {
                "user": "heidi",
                "scopes": [
                    f"{scope}!server={place}"
                    for scope in ("access:servers", "read:servers")
                ],
            },
        )
        code = ask(admin, "POST", f"share-codes/{place}", {"expires_in": 365 * 86_400})
        self.secrets["code: dave's server"] = code["code"]
        ask(
            admin,
            "POST",
            "services/added",
            {"info": {"by": "hand"}, "api_token": "token-of-service-added-0006"},
        )
        self.secrets["service added"] = "token-of-service-added-0006"
        ask(
            admin,
            "POST",
            "services/visited",
            {
                "oauth_client_id": "service-visited",
                "oauth_redirect_uri": "http://127.0.0.1:9/back",
                "oauth_no_confirm": True,
                "api_token": "token-of-service-visited-0007",
            },
        )
        self.secrets["service visited"] = "token-of-service-visited-0007"


def answers(site: Site, secrets: dict[str, str]) -> dict[str, Any]:
    """Return what each secret is told: statuses, and what a list shows."""
    told: dict[str, Any] = {}
    for label, secret in secrets.items():
        if label.startswith("code:"):
            continue
        told[label] = {}
        for probe in PROBES:
            answer = site.api(secret, "GET", probe)
            told[label][probe] = {"status": answer.status_code}
            if answer.ok and probe in ("users", "groups", "services", "user"):
                told[label][probe]["names"] = names(answer.json())
    return told


def dump(database: Path) -> str:
    """Return a database as SQL."""
    connection = sqlite3.connect(database)
    return "\n".join(connection.iterdump()) + "\n"


def make(folder: Path, release: str) -> None:
    python = environment(folder, release)
    number = tuple(int(part) for part in release.split("."))
    place = folder / f"site-{release}"
    shutil.rmtree(place, ignore_errors=True)
    (place / "homes").mkdir(parents=True)
    if release == "5.4.6":
        native(Site(place, python, "native"))
    if release == "4.1.6":
        firstuse(Site(place, python, "firstuse"))
    # Twice, because the file changes in between.
    with Site(place, python, "first"):
        pass
    site = Site(place, python, "second")
    with site:
        filling = Filling(site, number)
        filling.run()
        database = place / "jupyterhub.sqlite"
        with sqlite3.connect(database, timeout=30) as connection:
            strip(connection, number)
        time.sleep(1.5)
        told = answers(site, filling.secrets)
        text = dump(database)
    (HERE / f"{release}.sql").write_text(text)
    result = {
        "release": release,
        "crypt_key": CRYPT_KEY,
        "secrets": filling.secrets,
        "servers": {
            f"{user}/{name}": site.facts(user, name)["port"]
            for user, name in (("carol", ""), ("dave", named_server(number)))
        },
        "answers": {release: told},
    }
    if release != "6.1.1" and number >= (3, 0):
        result["answers"]["6.1.1"] = on_latest(folder, place, filling.secrets)
    end_servers(place)
    (HERE / f"{release}.json").write_text(
        json.dumps(result, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    )
    print(f"{release}: {len(text)} bytes, {len(filling.secrets)} secrets")


def strip(connection: sqlite3.Connection, release: tuple[int, ...]) -> None:
    """Take the scopes, or the roles, from the tokens that are to have none."""
    chosen = "SELECT id FROM api_tokens WHERE note = 'without'"
    if (2, 0) <= release < (3, 0):
        connection.execute(
            f"DELETE FROM api_token_role_map WHERE api_token_id IN ({chosen})"
        )
    elif release >= (3, 0):
        connection.execute("UPDATE api_tokens SET scopes = NULL WHERE note = 'without'")


def on_latest(folder: Path, place: Path, secrets: dict[str, str]) -> dict[str, Any]:
    """Bring the database up to 6.1.1, and return what that answers."""
    site = Site(place, environment(folder, "6.1.1"), "second")
    site.command("upgrade-db")
    with site:
        return answers(site, secrets)


def native(site: Site) -> None:
    with site:
        for name, password in (
            ("ada", "ada's-Password-1"),
            ("nat", "nat's-Password-2"),
            ("waits", "waits-Password-3"),
        ):
            browser = requests.Session()
            page = browser.get(f"{site.url}/hub/signup")
            data = {
                "username": name,
                "signup_password": password,
                "signup_password_confirmation": password,
            }
            if found := re.search(r'name="_xsrf" value="([^"]+)"', page.text):
                data["_xsrf"] = found[1]
            browser.post(f"{site.url}/hub/signup", data=data)
        admin = site.sign_in("ada", "ada's-Password-1")
        page = admin.get(f"{site.url}/hub/authorize")
        admin.get(f"{site.url}/hub/authorize/nat")
        site.sign_in("nat", "nat's-Password-2")


def firstuse(site: Site) -> None:
    with site:
        site.sign_in("fern", "fern's-Password-4")
    # Its format is that of this Python: dbm.dumb where it has no other.
    for part in site.folder.glob("passwords.dbm*"):
        shutil.copy(part, HERE / f"firstuse-{part.name}")


def end_servers(place: Path) -> None:
    connection = sqlite3.connect(place / "jupyterhub.sqlite")
    for (state,) in connection.execute("SELECT state FROM spawners"):
        pid = json.loads(state or "{}").get("pid")
        if pid:
            # Some were stopped since.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=ANNOUNCE.serve_forever, daemon=True).start()
    for each in sys.argv[2:] or RELEASES:
        make(Path(sys.argv[1]).absolute(), each)
