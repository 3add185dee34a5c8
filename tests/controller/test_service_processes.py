"""Managed services: their environment, and their start and end with the hub."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.service_processes import INHERITED, NOTE, answers, environment, provide
from oauth.actions import matches
from oauth.models import OAuthClient
from services.models import Service
from tests.factories import make_service, make_token
from tests.hubsite.conftest import (  # noqa: F401 - a fixture
    RunningHub,
    hub,
    status_of,
    wait_until,
)
from tests.ports import free_ports
from tokens.models import APIToken
from tokens.verification import verify

PROGRAM = Path(__file__).with_name("program.py")
SECRET = "a-secret-that-somebody-brought"


# Accounts


@pytest.mark.django_db
def test_a_program_that_brings_no_token_gets_a_new_one_each_time() -> None:
    service = make_service(
        "portal", command=["portal"], url="http://127.0.0.1:9000", from_config=True
    )
    other, kept = make_token(service)

    (first,) = provide()
    (second,) = provide()

    one, another = (
        program.environment["JUPYTERHUB_API_TOKEN"] for program in (first, second)
    )
    valid = APIToken.objects.filter(revoked_at=None)
    assert {token.pk for token in valid} == {other.pk, valid.get(note=NOTE).pk}
    assert verify(one) is None
    assert verify(another) is not None and verify(kept) is not None
    # The secret of its OAuth client is the same.
    client = OAuthClient.objects.get(service=service)
    assert matches(client, another) and not matches(client, one)
    assert another not in repr(second)


@pytest.mark.django_db
def test_a_program_that_brings_its_token_is_given_that(settings: Any) -> None:
    make_service("portal", command=["portal"], from_config=True)
    settings.HUB = replace(settings.HUB, service_tokens={SECRET: "portal"})

    (program,) = provide()

    assert program.environment["JUPYTERHUB_API_TOKEN"] == SECRET
    assert not APIToken.objects.exists()


@pytest.mark.django_db
def test_only_what_the_configuration_declares_is_run() -> None:
    make_service("added", command=["rm"], from_config=False)
    make_service("elsewhere", url="http://127.0.0.1:9000", from_config=True)
    make_service("empty", command=[], from_config=True)

    assert provide() == []


def test_programs_read_what_jupyterhubs_libraries_ask_for(settings: Any) -> None:
    settings.HUB = replace(settings.HUB, base_url="/campus/")
    settings.PUBLIC_URL = "https://hub.example/campus"
    service = Service(
        name="a b",
        url="http://127.0.0.1:9000",
        environment={"PORT": 9000, "JUPYTERHUB_SERVICE_NAME": "another"},
        oauth_client_allowed_scopes=["read:users!user"],
    )

    found = environment(service, SECRET)

    expected = {
        "JUPYTERHUB_SERVICE_NAME": "a b",
        "JUPYTERHUB_API_TOKEN": SECRET,
        "JPY_API_TOKEN": SECRET,
        "JUPYTERHUB_API_URL": "http://127.0.0.1:8081/campus/hub/api",
        "JUPYTERHUB_BASE_URL": "/campus/",
        "JUPYTERHUB_HOST": "https://hub.example",
        "JUPYTERHUB_CLIENT_ID": "service-a b",
        "JUPYTERHUB_OAUTH_CALLBACK_URL": "/campus/services/a%20b/oauth_callback",
        "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:9000",
        "JUPYTERHUB_SERVICE_PREFIX": "/campus/services/a%20b/",
        "JUPYTERHUB_PUBLIC_URL": "https://hub.example/campus/services/a%20b/",
        "JUPYTERHUB_PUBLIC_HUB_URL": "https://hub.example/campus/hub/",
        "JUPYTERHUB_USER": "",
        "JUPYTERHUB_SERVER_NAME": "",
        "JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED": "0",
        "PORT": "9000",
    }
    assert found | expected == found
    assert json.loads(found["JUPYTERHUB_OAUTH_ACCESS_SCOPES"]) == [
        "access:services",
        "access:services!service=a b",
    ]
    assert json.loads(found["JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES"]) == [
        "read:users!user"
    ]
    assert "JUPYTERHUB_ACTIVITY_URL" not in found
    assert "CONFIGPROXY_AUTH_TOKEN" not in found


def test_a_service_without_address_gets_any_port_and_no_prefix() -> None:
    service = Service(name="culler")

    found = environment(service, SECRET)

    assert found["JUPYTERHUB_SERVICE_URL"] == "http://127.0.0.1:0/"
    assert "JUPYTERHUB_SERVICE_PREFIX" not in found
    assert found["JUPYTERHUB_OAUTH_CALLBACK_URL"] == "oauth_callback"


def test_a_closed_port_does_not_respond() -> None:
    (port,) = free_ports(1)
    begun = time.monotonic()
    assert not asyncio.run(answers(f"http://127.0.0.1:{port}", 0.5))
    assert time.monotonic() - begun < 3


# Processes


@pytest.fixture
def site(hub: RunningHub) -> RunningHub:  # noqa: F811
    hub.declare("c.JupyterHub.authenticator_class = 'dummy'")
    hub.declare(
        "c.JupyterHub.services = "
        f"[{{'name': 'ops', 'admin': True, 'api_token': '{SECRET}'}}]"
    )
    return hub


def declare(site: RunningHub, *arguments: str, **fields: Any) -> Path:
    """Declare a managed service; return where it writes what it was given."""
    note = site.folder / f"{fields['name']}.json"
    command = [sys.executable, str(PROGRAM), "--note", str(note), *arguments]
    site.declare(f"c.JupyterHub.services.append({ {'command': command} | fields!r})")
    return note


def notes(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except FileNotFoundError:
        return []


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def log_of(site: RunningHub) -> str:
    return (site.data_dir / "logs" / "controller.log").read_text()


@pytest.mark.slow
def test_a_service_runs_as_long_as_the_hub(site: RunningHub) -> None:
    (port,) = free_ports(1)
    note = declare(
        site,
        name="portal",
        url=f"http://127.0.0.1:{port}",
        cwd=str(site.folder),
        environment={"COLOUR": "blue"},
    )
    site.start()
    wait_until(lambda: notes(note), "the service runs")
    (first,) = notes(note)
    secret = first["env"]["JUPYTERHUB_API_TOKEN"]
    public = f"http://127.0.0.1:{site.port}/services/portal/"
    wait_until(lambda: status_of(public) == 200, "the proxy leads to it")
    assert first["env"]["COLOUR"] == "blue"
    assert first["cwd"] == str(site.folder)
    assert site.get("api/user", secret)["name"] == "portal"
    wait_until(
        lambda: site.get("api/services/portal", SECRET)["pid"] == first["pid"],
        "its process is shown",
    )

    os.kill(first["pid"], signal.SIGKILL)
    wait_until(lambda: len(notes(note)) == 2, "it runs again")
    second = notes(note)[1]
    assert second["env"]["JUPYTERHUB_API_TOKEN"] == secret
    assert "Service portal ended with status -9" in log_of(site)

    assert site.stop() == 0
    assert not is_running(second["pid"])
    assert site.pids() == {}

    site.start()
    wait_until(lambda: len(notes(note)) == 3, "it runs with the next hub")
    third = notes(note)[2]
    assert status_of(f"{site.own_url}api/user", secret) == 403
    new = third["env"]["JUPYTERHUB_API_TOKEN"]
    assert site.get("api/user", new)["name"] == "portal"
    assert secret not in log_of(site) and new not in log_of(site)


@pytest.mark.slow
def test_nothing_of_a_service_stays_when_the_hub_is_killed(site: RunningHub) -> None:
    note = declare(site, "--child", name="worker")
    site.start()
    wait_until(lambda: notes(note), "the service runs")
    (first,) = notes(note)
    assert is_running(first["child"])

    site.stop(signal.SIGKILL)

    wait_until(lambda: not is_running(first["pid"]), "the service has ended")
    site.start()
    wait_until(lambda: len(notes(note)) == 2, "it runs again")
    assert not is_running(first["child"])
    second = notes(note)[1]
    assert site.stop() == 0
    assert not is_running(second["pid"])


@pytest.mark.slow
def test_failures_are_logged_and_retried(site: RunningHub) -> None:
    (port,) = free_ports(1)
    broken = declare(site, "--exit", "3", name="broken")
    declare(site, "--silent", name="silent", url=f"http://127.0.0.1:{port}", timeout=1)
    site.declare(
        "c.JupyterHub.services.append({'name': 'lost', 'command': ['/no/such']})"
    )
    site.start()
    wait_until(lambda: len(notes(broken)) >= 3, "it was tried again and again")
    said = log_of(site)
    assert "Service broken ended with status 3" in said
    assert "Service lost can't be started" in said
    wait_until(
        lambda: (
            f"Service silent does not answer at http://127.0.0.1:{port}" in log_of(site)
        ),
        "its silence is told",
    )
    assert status_of(f"{site.url}api/users", SECRET) == 200
    assert site.stop() == 0


@pytest.mark.slow
def test_a_program_is_called_back_below_its_prefix_wherever_people_are_sent() -> None:
    """JupyterHub's FastAPI example listens where this variable says."""
    service = Service(
        name="portal",
        url="http://127.0.0.1:9000",
        oauth_redirect_uri="http://127.0.0.1:8000/services/portal/oauth/callback",
    )

    found = environment(service, SECRET)

    callback = "/services/portal/oauth_callback"
    assert found["JUPYTERHUB_OAUTH_CALLBACK_URL"] == callback


def test_a_program_finds_what_the_operator_has_put_on_the_path_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/opt/operator/bin:/usr/bin")

    found = environment(Service(name="portal"), SECRET)

    own = str(Path(sys.executable).parent)
    assert found["PATH"] == f"/opt/operator/bin:/usr/bin:{own}"


def test_a_program_inherits_what_jupyterhub_lets_it_inherit() -> None:
    from jupyterhub.spawner import LocalProcessSpawner

    assert set(LocalProcessSpawner().env_keep) <= set(INHERITED)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run programs as others")
def test_a_service_runs_as_the_user_it_names(site: RunningHub) -> None:
    account = pwd.getpwnam("nobody")
    folder = Path("/tmp") / f"hub-service-{os.getpid()}"
    folder.mkdir()
    try:
        folder.chmod(0o777)
        file = folder / "seen"
        script = 'id -u > "$0"; echo "$USER $JUPYTERHUB_USER" >> "$0"; exec sleep 600'
        command = ["/bin/sh", "-c", script, str(file)]
        declared = {"name": "other", "user": "nobody", "command": command}
        site.declare(f"c.JupyterHub.services.append({declared!r})")
        site.start()
        wait_until(
            lambda: file.exists() and file.read_text().count("\n") == 2, "it runs"
        )
        assert file.read_text().split() == [str(account.pw_uid), "nobody", "nobody"]
        pid = site.get("api/services/other", SECRET)["pid"]
        site.stop(signal.SIGKILL)
        wait_until(lambda: not is_running(pid), "it ended with the hub")
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
