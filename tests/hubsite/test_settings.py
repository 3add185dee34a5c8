"""Variables of the environment, and values that the hub generates."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hubsite.config import secrets
from hubsite.config.environment import (
    Site,
    read_environment,
    unknown_variables,
)
from hubsite.config.file import ConfigError
from hubsite.config.unsupported import ADVICE, KNOWN_AUTHENTICATORS, PLAIN
from hubsite.logging import conceal, tame
from hubsite.settings import database
from tests.hubsite.conftest import ROOT

NEW, OLD = "n" * 32, "o" * 32


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Site]:
    """Read the environment, with nothing in it but these variables of ours."""

    def read(**variables: str) -> Site:
        for name in os.environ:
            if name.upper().startswith("HUB_"):
                monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return read_environment()

    return read


def loaded(tmp_path: Path, expression: str, **variables: str) -> str:
    """Return what settings `s` say that a process of their own has loaded."""
    env = {name: value for name, value in os.environ.items() if name[:4] != "HUB_"}
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from hubsite import settings as s; print({expression})",
        ],
        env=env | {"HUB_DATA_DIR": str(tmp_path)} | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


@pytest.mark.parametrize(
    ("variable", "value", "field", "found"),
    [
        ("HUB_TAG_KEYS", f"{NEW}, {OLD}", "tag_keys", [NEW, OLD]),
        ("HUB_SECRET_KEY", NEW, "secret_key", NEW),
        ("HUB_TRUSTED_PROXIES", "10.0.0.0/8", "trusted_proxies", ["10.0.0.0/8"]),
        ("HUB_TRUSTED_PROXIES", "", "trusted_proxies", []),
        ("HUB_PUBLIC_URL", "https://hub.example/", "public_url", "https://hub.example"),
        ("HUB_WORKERS", "4", "workers", 4),
        ("HUB_DATA_DIR", "relative", "data_dir", Path.cwd() / "relative"),
        ("HUB_LOG_FORMAT", "json", "log_format", "json"),
        ("HUB_CONFIG", "", "config", None),
        ("HUB_WORKERS", "", "workers", 1),
        ("HUB_KEEP_SERVERS", "Yes", "keep_servers", True),
        ("HUB_OIDC_OWNS_NAMES", "0", "oidc_owns_names", False),
        ("HUB_CONFIG", "~/config.py", "config", Path.home() / "config.py"),
    ],
)
def test_variable_is_understood(
    read: Callable[..., Site], variable: str, value: str, field: str, found: object
) -> None:
    assert getattr(read(**{variable: value}), field) == found


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HUB_WORKERS", "many"),
        ("HUB_WORKERS", "0"),
        ("HUB_PUBLIC_URL", "hub.example"),
        ("HUB_EMAIL_TLS", "perhaps"),
        ("HUB_LOG_LEVEL", "LOUD"),
        ("HUB_SECRET_KEY", "guessable"),
        ("HUB_TAG_KEYS", f"{NEW},short"),
        ("HUB_TRUSTED_PROXIES", "10.0.0.0/8,proxy"),
        ("HUB_KEEP_SERVERS", "perhaps"),
        ("HUB_EMAIL_PORT", "65536"),
        ("HUB_SECRET_KEY_FILE", "/no/such/file"),
    ],
)
def test_odd_value_stops_the_start_and_names_itself(
    read: Callable[..., Site], variable: str, value: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(**{variable: value})
    assert str(refusal.value).startswith(f"{variable}: ")
    assert value not in str(refusal.value).split() or variable.endswith("_FILE")
    assert "\n" not in str(refusal.value)


def test_value_may_stand_in_a_file(read: Callable[..., Site], tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"from-a-file-{OLD}\n")
    site = read(HUB_SECRET_KEY_FILE=str(file))
    assert site.secret_key == f"from-a-file-{OLD}"
    assert "from-a-file" not in repr(site)


@pytest.mark.parametrize("text", ["~/x", "~root", '"q"', "'a b' 'c'", "${HOME}", "é"])
@pytest.mark.filterwarnings("error")
def test_text_is_taken_as_it_stands(
    read: Callable[..., Site], tmp_path: Path, text: str
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{text}\n")
    site = read(HUB_EMAIL_PASSWORD=text, HUB_OIDC_CLIENT_SECRET_FILE=str(file))
    assert site.email_password == site.oidc_client_secret == text


def test_misspelt_variables_are_named(read: Callable[..., Site]) -> None:
    read(HUB_WROKERS="4", HUB_WORKERS="4", HUB_SERVICE_HOST="10.0.0.1", hub_workers="2")
    assert unknown_variables() == ["HUB_WROKERS", "hub_workers"]


def test_sqlite_is_the_default_and_lets_readers_read() -> None:
    options = database("")["OPTIONS"]
    assert options["transaction_mode"] == "IMMEDIATE"
    assert "WAL" in options["init_command"]


def test_sqlite_loads_no_driver_for_another_database(tmp_path: Path) -> None:
    expression = "__import__('hubsite.wsgi') and 'psycopg' in __import__('sys').modules"
    assert loaded(tmp_path, expression) == "False"


def test_postgresql_keeps_its_connection_and_statements() -> None:
    found = database("postgresql://ada@%2Ftmp%2Fsockets/hub")
    assert (found["HOST"], found["USER"], found["NAME"]) == (
        "/tmp/sockets",
        "ada",
        "hub",
    )
    # Finite, so that no connection outlives a failover for long.
    assert 0 < found["CONN_MAX_AGE"] <= 600
    assert found["OPTIONS"]["server_side_binding"]


def test_postgresql_that_is_gone_is_noticed_soon() -> None:
    options = database("postgresql://ada@db.example/hub?keepalives_idle=60")["OPTIONS"]
    assert options["tcp_user_timeout"] == 20_000
    # The site's own word counts.
    assert options["keepalives_idle"] in (60, "60")


@pytest.mark.parametrize(
    "url", ["mysql://h/n", "no-address", "postgresq://a:secret@h/n"]
)
def test_other_databases_are_refused_without_repeating_a_password(url: str) -> None:
    with pytest.raises(ConfigError, match="HUB_DATABASE_URL") as refusal:
        database(url)
    assert "secret" not in str(refusal.value)


def test_https_makes_cookies_secure(tmp_path: Path) -> None:
    expression = "s.SESSION_COOKIE_SECURE, s.SECURE_HSTS_SECONDS > 0, s.DEBUG"
    url = "https://hub.example"
    assert loaded(tmp_path, expression) == "False False False"
    assert loaded(tmp_path, expression, HUB_PUBLIC_URL=url) == "True True False"


def test_the_check_of_a_deployment_is_silent(tmp_path: Path) -> None:
    # Django's variable is set by the tests with a browser.
    kept = (name for name in os.environ if not name.startswith(("HUB_", "DJANGO_")))
    env = {name: os.environ[name] for name in kept}
    site = {"HUB_DATA_DIR": str(tmp_path), "HUB_PUBLIC_URL": "https://hub.example.org"}

    ran = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        env=env | site,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert "no issues" in ran.stdout


def test_secrets_are_made_once_and_kept_private(tmp_path: Path) -> None:
    expression = "s.SECRET_KEY, s.TOKEN_TAG_KEYS, s.TOKEN_HANDLE_KEY"
    assert loaded(tmp_path, expression) == loaded(tmp_path, expression)
    kept = list((tmp_path / "secrets").iterdir())
    names = {"secret_key", "tag_key", "handle_key", "proxy_auth_token"}
    assert {path.name for path in kept} == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}


def test_the_key_of_the_audit_log_is_made_at_its_first_use(tmp_path: Path) -> None:
    expression = "s.AUDIT_KEYS[0]"
    assert loaded(tmp_path, expression) == loaded(tmp_path, expression)
    kept = tmp_path / "secrets" / "audit_key"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert loaded(tmp_path, expression, HUB_AUDIT_KEYS=f"{NEW},{OLD}") == str(
        NEW.encode()
    )


def test_all_who_ask_for_a_secret_at_once_get_the_same(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "key"
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: secrets.keep(path), range(64)))
    assert len(found) == 1
    assert [path.name for path in path.parent.iterdir()] == ["key"]


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: token {}",
        "authorization: Bearer {}",
        "GET /hub/login?token={}&next=/",
        "{{'password': '{}'}}",
    ],
)
def test_log_lines_show_no_secret(text: str) -> None:
    secret = "0123456789abcdef0123456789abcdef"
    line = conceal(None, "info", {"event": text.format(secret)})
    assert secret not in line["event"]


def test_our_own_tokens_are_blotted_out_anywhere() -> None:
    from tokens import format

    token, _ = format.generate("hub", [b"key"])
    line = conceal(None, "info", {"event": f"what is {token}?", "path": f"/x/{token}"})
    assert token not in str(line)


def test_lines_for_people_do_nothing_to_a_terminal() -> None:
    name = "a\nb\x1b[31m\x9b\u202e"
    line = tame(None, "info", {"event": name, "who": name, "exception": "a\nb\x1b"})

    spelt = "a\\nb\\x1b[31m\\x9b\\u202e"
    assert line == {"event": spelt, "who": spelt, "exception": "a\nb\\x1b"}


def test_every_setting_of_jupyterhub_has_an_answer() -> None:
    """A setting is read, or said to have no effect; none is both."""
    from hubsite.config.hub_config import declared_fields

    read = {place for each in declared_fields() for place in each.metadata["places"]}
    assert not read & ADVICE.keys()
    assert not PLAIN.keys() & (read | ADVICE.keys())
    assert all(ADVICE.values()) and all(PLAIN.values())
    assert "local" in KNOWN_AUTHENTICATORS
