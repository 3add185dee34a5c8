"""`manage.py check_config`: what a start would say, without a start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from hubsite.config import spawner_sections
from hubsite.config.file import ConfigError
from hubsite.config.findings import State, findings, of_remark, split, worst
from hubsite.config.hosted import hosted
from hubsite.config.load import load_config
from hubsite.process.check_config import stops, table
from hubsite.process.prepare import what_is_missing

BASE = """
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = "correct horse battery staple"
c.JupyterHub.spawner_class = "simple"
"""


def check(path: Path, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **more}
    for name in ("HUB_CONFIG", "DJANGO_SETTINGS_MODULE"):
        environment.pop(name, None)
    return subprocess.run(
        [
            *(sys.executable, str(settings.BASE_DIR / "manage.py"), "check_config"),
            *("-f", str(path), *options),
        ],
        cwd=path.parent,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def written(text: str) -> Path:
        path = tmp_path / "site" / "jupyterhub_config.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(BASE + text)
        return path

    return written


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        ("", 0, "Everything"),
        ("c.JupyterHub.admin_access = True", 0, "not needed"),
        ("c.JupyterHub.pid_file = '/run/hub.pid'", 3, "1 setting needs a look"),
        ("c.JupyterHub.hub_port = 'eighty'", 1, "c.JupyterHub.hub_port"),
        ("import no_such_package", 1, "no_such_package"),
        # Only the database part of a start notices these two.
        ("c.Authenticator.admin_users = {'a/b'}", 1, "Invalid username"),
        (
            "c.JupyterHub.load_roles = [{'name': 'mine', 'scopes': ['no:such']}]",
            1,
            "no:such",
        ),
    ],
)
def test_the_status_is_for_scripts(
    written: Any, text: str, status: int, says: str
) -> None:
    ended = check(written(text))

    assert (ended.returncode, ended.stderr) == (status, "")
    assert says in " ".join(ended.stdout.split())


def test_json_has_what_the_table_has(written: Any) -> None:
    path = written("c.JupyterHub.pid_file = '/run/hub.pid'\nc.Spawner.mem_limit = '1G'")

    ended = check(path, "--json")
    found = json.loads(ended.stdout)

    assert found["file"] == str(path)
    assert (ended.returncode, found["state"]) == (3, "remark")
    rows = {row["setting"]: row for row in found["settings"]}
    assert rows["c.JupyterHub.pid_file"]["state"] == "remark"
    assert rows["c.Spawner.mem_limit"]["state"] == "honoured"
    assert "correct horse" not in ended.stdout


def test_what_a_configuration_prints_is_no_json(written: Any) -> None:
    ended = check(written("print('Loading values')"), "--json")

    assert json.loads(ended.stdout)["state"] == "honoured"
    assert "Loading values" in ended.stderr


def test_nothing_is_written(written: Any, tmp_path: Path) -> None:
    """Neither beside the file nor in the folders that the environment names."""
    path = written("c.Authenticator.admin_users = {'ada'}")
    data, temporary = tmp_path / "data", tmp_path / "temporary"
    temporary.mkdir()
    database = f"sqlite:///{tmp_path / 'other.sqlite3'}"

    ended = check(
        path,
        *("--data-dir", str(data)),
        HUB_DATABASE_URL=database,
        TMPDIR=str(temporary),
    )

    assert ended.returncode == 0, ended.stdout
    assert sorted(tmp_path.iterdir()) == [path.parent, temporary]
    assert [*path.parent.iterdir()] == [path]
    assert not [*temporary.iterdir()]


# Findings


def found_in(path: Path) -> dict[str, Any]:
    hub = load_config(path)
    rows = findings(hub.raw, hub.remarks, hosted(hub))
    return {finding.setting: finding for finding in rows}


def test_every_setting_of_a_file_has_a_row(written: Any) -> None:
    path = written(
        "c.JupyterHub.services = []\nc.JupyterHub.extra_handlers = []\n"
        "c.Authenticator.allowed_users = {'ada'}\nc.NotebookApp.port = 1\n"
        "c.Spawner.pre_spawn_hook = lambda spawner: None\n"
    )
    rows = found_in(path)

    for section, names in load_config(path).raw.items():
        for name in names:
            assert f"c.{section}.{name}" in rows or f"c.{section}" in rows
    assert rows["c.JupyterHub.extra_handlers"].to_do.startswith("run a service")
    assert rows["c.Spawner.pre_spawn_hook"].happens.startswith("hosted")
    assert rows["c.NotebookApp"].state is State.REMARK


def happens(path: Path, setting: str) -> str:
    return str(found_in(path)[f"c.{setting}"].happens)


def test_sections_of_other_spawners_are_not_read(written: Any) -> None:
    path = written(
        "c.DockerSpawner.image = 'x'\nc.Spawner.mem_limit = '1G'\n"
        "c.LocalProcessSpawner.shell_cmd = ['sh']\nc.KubeSpawner.namespace = 'x'\n"
        "c.DockerSpawner.pre_spawn_hook = lambda spawner: None\n"
        "c.PodReflector.list_method_name = 'x'\n"
    )

    for setting in ("Spawner.mem_limit", "LocalProcessSpawner.shell_cmd"):
        assert happens(path, setting) == "the spawner reads it"
    for setting in (
        *("DockerSpawner.image", "DockerSpawner.pre_spawn_hook"),
        *("KubeSpawner.namespace", "PodReflector.list_method_name"),
    ):
        assert happens(path, setting).startswith("not read")


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("class OwnSpawner(Base): pass\nOwn = OwnSpawner\n", "OwnSpawner.mem_limit"),
        ("class WrapSpawner(Base): pass\nOwn = WrapSpawner\n", "DockerSpawner.image"),
        ("class KubeSpawner(Base): pass\nOwn = KubeSpawner\n", "PodReflector.x"),
    ],
)
def test_sections_of_the_class_its_parents_and_its_helpers_are_read(
    written: Any, text: str, setting: str
) -> None:
    path = written(
        "from jupyterhub.spawner import SimpleLocalProcessSpawner as Base\n"
        f"{text}c.JupyterHub.spawner_class = Own\nc.{setting} = 'x'\n"
    )

    assert happens(path, setting) == "the spawner reads it"


def test_a_setting_that_the_spawner_lacks_is_named(written: Any) -> None:
    path = written(
        "c.Spawner.mem_limt = '1G'\nc.SimpleLocalProcessSpawner.ip = ''\n"
        "c.Spawner.home_dir_template = '/h'\nc.DockerSpawner.imge = 'x'\n"
    )

    (remark,) = spawner_sections.remarks(load_config(path))

    assert remark == (
        "c.Spawner.mem_limt: has no effect; SimpleLocalProcessSpawner has no such "
        "setting"
    )


def test_a_spawner_that_can_not_be_imported_is_named(written: Any) -> None:
    path = written("c.JupyterHub.spawner_class = 'jupyterhub.spawner.Spwner'")

    (remark,) = spawner_sections.remarks(load_config(path))

    assert remark.startswith("c.JupyterHub.spawner_class: no server can start")


def test_no_remark_of_a_start_is_missing(written: Any) -> None:
    path = written(
        "c.JupyterHub.cookie_secret = b'x'\nc.JupyterHub.pid_fil = 'x'\n"
        "c.Authenticator.otp_prompt = 'Code'\nc.JuypterHub.port = 8000\n"
        "c.JupyterHub.template_vars = {'colour': 'red'}\n"
    )
    rows = found_in(path)

    for remark in load_config(path).remarks:
        for finding in of_remark(remark):
            assert rows[finding.setting].state is finding.state
            assert finding.happens.split(":")[0] in remark


def test_classes_are_named_even_if_they_are_not_set(written: Any) -> None:
    rows = found_in(written(""))

    assert "hosted" in rows["c.JupyterHub.spawner_class"].happens
    assert "dummy" in rows["c.JupyterHub.authenticator_class"].happens
    assert "proxy" in rows["c.JupyterHub.proxy_class (not set)"].happens


def test_a_hosted_class_of_proxies_is_named(written: Any) -> None:
    rows = found_in(written("c.JupyterHub.proxy_class = 'traefik_file'\n"))

    found = rows["c.JupyterHub.proxy_class"].happens
    assert found.startswith("hosted") and found.endswith("TraefikFileProviderProxy")


def test_a_remark_about_several_settings_is_a_finding_for_each() -> None:
    remark = "c.A.b, c.A.c: have no effect; set `x; y` or 'z;'"

    assert [(each.setting, each.happens, each.to_do) for each in of_remark(remark)] == [
        ("c.A.b", "has no effect", "set `x; y` or 'z;'"),
        ("c.A.c", "has no effect", "set `x; y` or 'z;'"),
    ]


def test_a_semicolon_within_quotes_splits_nothing() -> None:
    assert split("the hub's: 'a;b' is odd; mend it; soon") == (
        "the hub's: 'a;b' is odd",
        "mend it; soon",
    )


def test_an_error_stops_the_start(written: Any) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(written("c.JupyterHub.port = 'x'"))
    finding = stops(str(error.value))

    assert (finding.setting, finding.state) == ("c.JupyterHub.port", State.STOPS)
    assert worst([finding]) is State.STOPS
    assert worst([]) is State.HONOURED


def test_a_table_keeps_its_width(written: Any) -> None:
    rows = [*found_in(written("c.NotebookApp.port = 1")).values()]

    for width in (80, 120, 160):
        assert all(len(line) <= width for line in table(rows, width).splitlines())


# Errors in files


def test_a_package_that_is_not_installed_is_named(written: Any) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(written("import ldapauthenticator.nothing"))

    assert "line 5: ModuleNotFoundError" in str(error.value)
    assert "install the package 'jupyterhub-ldapauthenticator'" in str(error.value)


def test_a_missing_variable_of_the_environment_is_named(written: Any) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(written("import os\nc.JupyterHub.ip = os.environ['NO_SUCH_NAME']"))

    assert str(error.value).endswith(
        "line 6: the environment has no variable 'NO_SUCH_NAME'; set it for the hub "
        "as well"
    )


def test_another_key_error_is_not_about_the_environment(written: Any) -> None:
    with pytest.raises(ConfigError, match="KeyError: 'x'"):
        load_config(written("{}['x']"))


@pytest.mark.parametrize(
    ("named", "package"),
    [
        ("'no_such_package.Class'", "no_such_package"),
        ("'local-github'", "oauthenticator"),
        ("'pam'", ""),
        ("'shared-password'", ""),
        ("'jupyterhub.auth.PAMAuthenticator'", ""),
    ],
)
def test_a_class_that_is_not_installed_is_named(
    written: Any, named: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "hubsite.config.authenticators.find_spec",
        lambda name: None if name == "oauthenticator" else find_spec(name),
    )
    monkeypatch.setattr(
        "hubsite.config.authenticators.entry_points",
        lambda group: [
            each for each in entry_points(group=group) if "oauth" not in each.value
        ],
    )
    hub = load_config(written(f"c.JupyterHub.authenticator_class = {named}"))
    said = [each for each in what_is_missing(hub) if "is not installed" in each]

    assert [package in each for each in said] == ([True] if package else [])


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        ("c.JupyterHub.proxy_api_port = 9001", "http://127.0.0.1:9001"),
        ("c.JupyterHub.proxy_api_ip = '10.1.1.1'", "http://10.1.1.1:8001"),
        (
            "c.JupyterHub.proxy_api_ip = '::1'\nc.JupyterHub.port = 9000\n"
            "c.ConfigurableHTTPProxy.api_url = 'http://127.0.0.1:1'",
            "http://[::1]:9001",
        ),
    ],
)
def test_older_names_of_the_proxys_address_win(
    written: Any, lines: str, address: str
) -> None:
    hub = load_config(written(lines))

    assert (hub.proxy_api_url, hub.remarks) == (address, ())


@pytest.mark.parametrize(
    ("lines", "level"),
    [
        ("c.JupyterHub.debug_proxy = True", "debug"),
        ("c.ConfigurableHTTPProxy.debug = True", "debug"),
        ("c.ConfigurableHTTPProxy.debug = False", "warn"),
    ],
)
def test_older_settings_of_the_proxys_log_are_read(
    written: Any, lines: str, level: str
) -> None:
    hub = load_config(written(lines))

    assert (hub.proxy_log_level, hub.remarks) == (level, ())
