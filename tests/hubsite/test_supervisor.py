"""A whole hub, from its start to its end, which leaves no processes behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from urllib.request import Request, urlopen

import pytest

from controller.proxy.client import ProxyClient, ProxyError
from tests.hubsite.conftest import ROOT, RunningHub, status_of, wait_until

SECRET = "a-secret-that-somebody-brought"


@pytest.fixture
def dummy(hub: RunningHub) -> RunningHub:
    """A hub with a service that may do everything."""
    hub.declare("c.JupyterHub.authenticator_class = 'dummy'")
    hub.declare(
        "c.JupyterHub.services = "
        f"[{{'name': 'ops', 'admin': True, 'api_token': '{SECRET}'}}]"
    )
    return hub


def test_starts_answers_and_ends(dummy: RunningHub) -> None:
    dummy.declare("c.JupyterHub.no_such_setting = 1")
    dummy.start()
    assert status_of(f"{dummy.url}api/users", SECRET) == 200
    assert status_of(f"{dummy.own_url}api/users", SECRET) == 200
    everything = {"hub", "web", "proxy", "controller"}
    wait_until(lambda: set(dummy.pids()) == everything, "all its processes run")
    said = dummy.said()
    assert f"http://127.0.0.1:{dummy.port}/" in said
    assert str(dummy.data_dir) in said
    assert said.count("no_such_setting") == 1
    assert dummy.stop() == 0
    assert dummy.pids() == {}
    assert status_of(dummy.url) == status_of(dummy.own_url) == 0


@pytest.mark.slow
def test_data_is_private(dummy: RunningHub) -> None:
    dummy.start()
    figures = dummy.data_dir / "metrics" / "controller.prom"
    wait_until(figures.exists, "the controller has told its figures")
    for path in dummy.data_dir.rglob("*"):
        # Whoever may read `hub.pid` may lock it, and no hub would start any more.
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(dummy.data_dir.stat().st_mode) == 0o700
    secrets = {path.name: path.read_text() for path in dummy.data_dir.glob("secrets/*")}
    logs = "".join(path.read_text() for path in dummy.data_dir.glob("logs/*"))
    for secret in (SECRET, *secrets.values()):
        assert secret.strip() not in logs + dummy.said()
    dummy.stop()
    dummy.start()
    for name, secret in secrets.items():
        assert (dummy.data_dir / "secrets" / name).read_text() == secret


@pytest.mark.slow
def test_second_hub_on_the_same_data_is_refused(dummy: RunningHub) -> None:
    dummy.start()
    assert dummy.process
    refused = dummy.manage("hub")
    assert refused.returncode == 1
    assert f"process {dummy.process.pid}" in refused.stderr
    assert status_of(f"{dummy.url}health") == 200


@pytest.mark.slow
@pytest.mark.parametrize("child", ["web", "proxy", "controller"])
def test_what_dies_is_started_again(dummy: RunningHub, child: str) -> None:
    dummy.start()
    wait_until(lambda: child in dummy.pids(), f"the {child} process runs")
    before = dummy.pids()[child]
    os.kill(before, signal.SIGKILL)
    wait_until(
        lambda: (
            dummy.pids().get(child, before) != before
            and status_of(f"{dummy.url}api/users", SECRET) == 200
        ),
        f"the {child} process is back",
    )
    assert dummy.stop() == 0
    assert dummy.pids() == {}


def test_nothing_outlives_a_killed_supervisor(dummy: RunningHub) -> None:
    dummy.start()
    dummy.stop(signal.SIGKILL)
    wait_until(lambda: not dummy.pids(), "all its processes are gone")


@pytest.mark.parametrize(("parent", "status"), [("getppid", 0), ("getpid", -9)])
def test_a_child_whose_parent_has_just_been_killed_ends(
    parent: str, status: int
) -> None:
    """The parent may be gone before the kernel can be asked to look at it."""
    program = f"import os, controller.shutdown as s; s.die_with(os.{parent}())"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert ended.returncode == status


@pytest.mark.slow
def test_new_proxy_learns_routes_that_were_added_meanwhile(dummy: RunningHub) -> None:
    proxy = ProxyClient(f"http://127.0.0.1:{dummy.api_port}", "known-to-both")
    dummy.env["CONFIGPROXY_AUTH_TOKEN"] = "known-to-both"
    dummy.declare(
        "c.JupyterHub.services.append({'name': 'old', 'url': 'http://127.0.0.1:9'})"
    )
    dummy.start()
    assert set(proxy.routes()) == {"/", "/services/old"}
    dummy.call("POST", "api/services/new", SECRET, {"url": "http://127.0.0.1:9"})
    os.kill(dummy.pids()["proxy"], signal.SIGKILL)

    def routes() -> set[str]:
        try:
            return set(proxy.routes())
        except ProxyError:
            return set()

    wait_until(
        lambda: routes() == {"/", "/services/old", "/services/new"},
        "the new proxy knows all routes",
    )


@pytest.mark.slow
def test_several_workers_measure_together(dummy: RunningHub) -> None:
    dummy.env["HUB_WORKERS"] = "2"
    dummy.declare("c.JupyterHub.authenticate_prometheus = False")
    dummy.start()
    for _ in range(5):
        assert status_of(f"{dummy.own_url}api/users", SECRET) == 200
    with urlopen(f"{dummy.own_url}metrics") as answer:
        text = answer.read().decode()
    counted = [
        line.rpartition(" ")[2]
        for line in text.splitlines()
        if "duration_seconds_count" in line and "UserListAPIHandler" in line
    ]
    assert counted == ["5.0"]


@pytest.mark.slow
def test_interrupt_ends_it_as_well(dummy: RunningHub) -> None:
    dummy.start()
    assert dummy.stop(signal.SIGINT) == 0
    assert dummy.pids() == {}


def test_first_administrator_is_welcomed_once(hub: RunningHub) -> None:
    hub.start()
    (link,) = re.findall(r"http://\S+/hub/welcome/\S+", hub.said())
    assert status_of(link) == 200
    hub.stop()
    logs = "".join(path.read_text() for path in hub.data_dir.glob("logs/*"))
    assert link.rstrip("/").rpartition("/")[2] not in logs


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("c.JupyterHub.hub_port = 'x'", "ERROR: c.JupyterHub.hub_port: expected"),
        ("c.JupyterHub.services = [{'name': 'a', 'x': 1}]", "'a' has 'x'"),
        ("c.JupyterHub.custom_scopes = {'custom:x': {}}", "needs a description"),
        (
            "c.JupyterHub.load_roles = [{'name': 'abc', 'scopes': ['x']}]",
            "c.JupyterHub.load_roles: role 'abc'",
        ),
    ],
)
def test_wrong_configuration_ends_the_start(
    hub: RunningHub, line: str, told: str
) -> None:
    hub.declare(line)
    ended = hub.manage("hub")
    assert ended.returncode == 1
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert hub.pids() == {}


@pytest.mark.slow
@pytest.mark.parametrize("port", ["port", "hub_port", "api_port"])
def test_taken_port_ends_the_start(dummy: RunningHub, port: str) -> None:
    with socket.create_server(("127.0.0.1", getattr(dummy, port))):
        ended = dummy.manage("hub")
    assert ended.returncode == 1
    assert "ERROR: The " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "ddress already in use" in ended.stderr
    assert dummy.pids() == {}


def test_data_that_can_not_be_kept_ends_the_start(hub: RunningHub) -> None:
    hub.data_dir.write_text("a file")

    ended = hub.manage("hub")

    assert ended.returncode == 1
    assert f"ERROR: {hub.data_dir} can't hold the hub's data" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_database_that_is_away_ends_the_start(hub: RunningHub) -> None:
    hub.env["HUB_DATABASE_URL"] = "postgresql://hub:password@127.0.0.1:1/hub"

    ended = hub.manage("hub")

    assert ended.returncode == 1
    assert "ERROR: The database can't be used: connection failed" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "password@" not in ended.stderr
    assert hub.pids() == {}


def test_a_full_disk_costs_lines_and_not_the_hub(dummy: RunningHub) -> None:
    (dummy.data_dir / "logs").mkdir(parents=True)
    for name in ("web", "proxy", "controller", "hub"):
        (dummy.data_dir / "logs" / f"{name}.log").symlink_to("/dev/full")

    dummy.declare("c.JupyterHub.no_such_setting = 1")
    dummy.start()

    assert status_of(f"{dummy.url}api/users", SECRET) == 200
    assert dummy.stop() == 0


def test_missing_configuration_is_refused_as_jupyterhub_does(hub: RunningHub) -> None:
    hub.config.unlink()
    for command in ("hub", "web", "token"):
        ended = hub.manage(command)
        assert ended.returncode == 1
        assert (
            f"ERROR: Failed to find specified config file: {hub.config}" in ended.stderr
        )


def test_web_processes_run_alone_once_there_is_a_database(dummy: RunningHub) -> None:
    refused = dummy.manage("web")
    assert refused.returncode == 1
    assert "--prepare" in refused.stderr
    dummy.start("web", "--prepare")
    assert status_of(f"{dummy.own_url}api/users", SECRET) == 200
    assert status_of(dummy.url) == 0
    assert dummy.stop() == 0
    assert dummy.pids() == {}


# The command `token`


def test_token_is_printed_alone_and_works_at_once(dummy: RunningHub) -> None:
    dummy.declare("c.Authenticator.allowed_users = {'ada'}")
    dummy.start()
    printed = dummy.manage("token", "ada")
    assert printed.returncode == 0
    secret = printed.stdout.removesuffix("\n")
    assert re.fullmatch(r"\S+", secret)
    assert status_of(f"{dummy.own_url}api/user", secret) == 200
    narrow = dummy.manage(
        *("token", "ada", "--note", "for cron", "--expires-in", "2h"),
        *("--scopes", "read:users:name!user", "read:users:activity!user"),
    )
    headers = {"Authorization": f"token {narrow.stdout.strip()}"}
    with urlopen(Request(f"{dummy.own_url}api/user", headers=headers)) as reply:
        told = json.load(reply)
    assert "read:users:activity!user=ada" in told["scopes"]
    assert all(scope.startswith("read:users:") for scope in told["scopes"])
    dummy.stop()
    # However the name is typed.
    assert dummy.manage("token", "Ada").returncode == 0
    for option, value, said in (
        ("--expires-in", "soon", "'soon' is no time: give seconds"),
        ("--expires-in", "0", "'0' is no time"),
        ("--scopes", "no:such", "no:such"),
        ("--scopes", "admin:users", "that its owner lacks: admin:users"),
    ):
        refused = dummy.manage("token", "ada", option, value)
        assert refused.returncode != 0
        assert refused.stdout == ""
        assert said in refused.stderr


def test_help_begins_with_the_commands_of_the_hub(hub: RunningHub) -> None:
    command = [sys.executable, str(ROOT / "manage.py"), "--help"]

    said = subprocess.run(
        command, capture_output=True, text=True, check=True, env=hub.env
    ).stdout

    ours, _, others = said.partition("All commands:")
    for name in ("hub", "web", "controller", "stop", "token", "routes"):
        assert re.search(rf"^    {name} +[A-Z].+", ours, re.MULTILINE)
    assert "migrate" not in ours
    assert "migrate" in others


def test_a_proxy_that_outlives_the_hub_writes_no_colours(dummy: RunningHub) -> None:
    dummy.declare("c.JupyterHub.cleanup_proxy = False")
    dummy.declare("c.ConfigurableHTTPProxy.log_level = 'info'")
    dummy.start()

    assert dummy.manage("stop").returncode == 0

    log = (dummy.data_dir / "logs" / "proxy.log").read_text()
    assert "info: Proxying" in log
    assert "\x1b" not in log


def test_a_hub_at_rest_prints_nothing(dummy: RunningHub) -> None:
    """The one-time link of the first administrator stays in sight."""
    dummy.start()
    status_of(f"{dummy.url}static/hub.css")
    wait_until(lambda: "hub.pid" in os.listdir(dummy.data_dir), "the hub is settled")
    said = dummy.said()

    for _ in range(3):
        assert status_of(f"{dummy.url}health") == 200
        assert status_of(f"{dummy.url}static/hub.css") == 200
    assert status_of(f"{dummy.url}api/users", SECRET) == 200

    wait_until(lambda: "/hub/api/users" in dummy.said(), "the last call is logged")
    news = dummy.said().removeprefix(said)
    assert "/hub/health" not in news
    assert "/hub/static" not in news
    assert "200 GET /api/routes" not in news


@pytest.mark.slow
def test_token_command_refuses_and_damages_nothing(dummy: RunningHub) -> None:
    dummy.declare("c.JupyterHub.load_roles = [{'name': 'abc', 'users': ['ada']}]")
    dummy.declare("c.JupyterHub.load_groups = {'g': {'users': ['ada']}}")
    dummy.start()
    dummy.config.write_text("c.Authenticator.admin_users = {'mallory'}\n")
    for names, told in (
        (("mallory",), "No such user: mallory\n"),
        (("ada", "alan"), "Must specify exactly one username\n"),
    ):
        refused = dummy.manage("token", *names)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == told
    secret = dummy.manage("token", "ada").stdout.strip()
    assert status_of(f"{dummy.own_url}api/users/ada", secret) == 200
    assert status_of(f"{dummy.own_url}api/users/mallory", SECRET) == 404


def test_token_command_before_the_first_start_is_refused(hub: RunningHub) -> None:
    refused = hub.manage("token", "ada")
    assert refused.returncode == 1
    assert "start the hub" in refused.stderr
    modes = {
        path.name: oct(stat.S_IMODE(path.stat().st_mode))
        for path in (hub.data_dir, hub.data_dir / "hub.sqlite3")
        if path.exists()
    }
    assert modes in (
        {hub.data_dir.name: "0o700", "hub.sqlite3": "0o600"},
        {hub.data_dir.name: "0o700"},  # another database
    )


def test_a_python_without_packages_names_the_right_one() -> None:
    command = [sys.executable, "-ES", str(ROOT / "manage.py"), "token", "ada"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "`python3 start.py setup`" in refused.stderr
    assert "Traceback" not in refused.stderr
