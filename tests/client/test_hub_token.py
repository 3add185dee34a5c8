"""The program `hub-token` against a running hub."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener, urlopen

import pytest

from tests.hubsite.conftest import RunningHub, hub, status_of, wait_until

__all__ = ["hub"]

FOLDER = Path(__file__).resolve().parents[2] / "client"
PROGRAM = FOLDER / "hub_token.py"

spec = importlib.util.spec_from_file_location("hub_token", PROGRAM)
assert spec and spec.loader
hub_token: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hub_token)


class Terminal:
    """A terminal of a person, without a keyring."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {
            **{"PATH": os.environ["PATH"], "HOME": str(home)},
            "HUB_TOKEN_KEYRING": "0",
        }

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-I", str(PROGRAM), *arguments],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.begin(*arguments)
        out, err = process.communicate(timeout=240)
        return process.returncode, out.strip(), err

    @property
    def file(self) -> Path:
        return self.home / ".config" / "hub-token" / "tokens.json"


class Browser:
    """A browser in which ada has signed in."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.jar = CookieJar()
        self.opener = build_opener(HTTPCookieProcessor(self.jar))
        self.get("login")
        person = {"username": "ada", "password": "x" * 12}
        # The start page would start a server.
        self.post("login?next=/site/hub/device", **person)

    def get(self, path: str) -> str:
        with self.opener.open(f"{self.base}{path}", timeout=60) as page:
            return str(page.read().decode())

    def post(self, path: str, **fields: str) -> str:
        value = next(c.value for c in self.jar if c.name == "_xsrf")
        data = urlencode({"_xsrf": value, **fields}).encode()
        request = Request(f"{self.base}{path}", data)
        with self.opener.open(request, timeout=60) as page:
            return str(page.read().decode())


@pytest.mark.slow
def test_from_login_to_logout(hub: RunningHub, tmp_path: Path) -> None:
    hub.declare(
        'c.JupyterHub.authenticator_class = "dummy"\n'
        "c.Authenticator.allow_all = True\n"
        f"c.JupyterHub.bind_url = 'http://127.0.0.1:{hub.hub_port}/site/'\n"
        f"c.JupyterHub.public_url = 'http://127.0.0.1:{hub.hub_port}/site/'"
    )
    hub.base_url = "/site/"
    hub.start("web", "--prepare")
    url = f"http://127.0.0.1:{hub.hub_port}/site"
    terminal = Terminal(tmp_path)

    process = terminal.begin("login", f"{url}/hub/", "--device", "laptop")
    assert process.stderr
    shown = ""
    while "user_code=" not in shown:
        line = process.stderr.readline()
        assert line, shown
        shown += line
    codes = re.findall(r"[B-Z]{4}-[B-Z]{4}", shown)
    browser = Browser(hub.own_url)
    page = browser.get(f"device?user_code={codes[0]}")
    assert "hub-token" in page and "laptop" in page
    done = browser.post(
        "device/decide",
        **{"user_code": codes[0], "preset": "everything"},
        **{"expires_in": "86400", "approve": "1"},
    )
    assert "Approved" in done
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    # The token is on no screen until it is asked for.
    assert "hub_" not in out + shown + err

    status, token, _ = terminal.run("print")
    assert status == 0
    assert me(hub, token) == "ada"
    assert stat.S_IMODE(terminal.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(terminal.file.parent.stat().st_mode) == 0o700

    status, narrow, _ = terminal.run(
        "exchange", "--scope", "read:users!user", "--expires-in", "60"
    )
    assert status == 0 and me(hub, narrow) == "ada"
    assert status_of(f"{hub.own_url}api/users/ada/tokens", narrow) != 200
    assert terminal.run("exchange", "--scope", "admin:users")[0] == 1

    status, out, _ = terminal.run("logout")
    assert (status, out) == (0, f"Revoked the token of {url}.")
    wait_until(lambda: me(hub, token) is None, "the token is revoked")
    assert me(hub, narrow) is None
    assert json.loads(terminal.file.read_text()) == {}
    status, out, err = terminal.run("print")
    assert (status, out) == (1, "")
    assert "hub-token login" in err


def me(hub: RunningHub, token: str) -> Any:
    request = Request(
        f"{hub.own_url}api/user", headers={"Authorization": f"token {token}"}
    )
    try:
        with urlopen(request, timeout=60) as reply:
            return json.loads(reply.read())["name"]
    except HTTPError:
        return None


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HUB_TOKEN_KEYRING", "0")
    yield tmp_path


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://hub.example/", "https://hub.example"),
        ("hub.example/hub", "https://hub.example"),
        ("https://hub.example/a/hub/", "https://hub.example/a"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ],
)
def test_addresses_of_hubs(url: str, found: str) -> None:
    assert hub_token.normal(url) == found


@pytest.mark.parametrize("url", ["http://hub.example", "ftp://hub.example", "https://"])
def test_addresses_to_which_no_token_is_sent(url: str) -> None:
    with pytest.raises(hub_token.Problem):
        hub_token.normal(url)


def test_a_file_that_others_may_read_is_not_used(home: Path) -> None:
    hub_token.save("https://hub.example", "a-token")
    assert hub_token.load("https://hub.example") == "a-token"
    hub_token.place().chmod(0o644)

    with pytest.raises(hub_token.Problem, match="chmod 600"):
        hub_token.load("https://hub.example")


def test_the_keyring_keeps_the_token_where_there_is_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[tuple[str, str], str] = {}

    class Ring:
        def get_password(self, program: str, name: str) -> str | None:
            return kept.get((program, name))

        def set_password(self, program: str, name: str, token: str) -> None:
            kept[program, name] = token

        def delete_password(self, program: str, name: str) -> None:
            del kept[program, name]

    monkeypatch.setattr(hub_token, "keyring", Ring)
    hub_token.save("https://hub.example", "a-token")

    assert "a-token" not in hub_token.place().read_text()
    assert hub_token.load(hub_token.chosen(None)) == "a-token"
    hub_token.forget("https://hub.example")
    assert not kept and not hub_token.known()


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://other.example"},
        {"issuer": "https://hub.example", "token_endpoint": "https://evil.example/t"},
        {"issuer": "https://hub.example", "token_endpoint": "https://hub.example.evil"},
    ],
)
def test_a_hub_that_points_elsewhere_gets_no_token(
    document: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_token, "ask", lambda address: (200, document))

    with pytest.raises(hub_token.Problem):
        hub_token.Hub("https://hub.example")


def test_it_asks_as_often_as_the_hub_wants(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["authorization_pending", "slow_down", "unreachable", ""]
    pauses: list[float] = []

    class Answering:
        def post(self, endpoint: str, fields: Any) -> dict[str, str]:
            if code := answers.pop(0):
                raise hub_token.Problem(code, code)
            return {"access_token": "a-token"}

    monkeypatch.setattr(hub_token.time, "sleep", pauses.append)
    codes = {"interval": 5, "expires_in": 600, "device_code": "x"}

    assert hub_token.wait(Answering(), codes) == {"access_token": "a-token"}
    assert pauses == [5, 5, 10, 10]
