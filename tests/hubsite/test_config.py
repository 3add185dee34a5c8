"""Settings of `jupyterhub_config.py`, and the errors of wrong ones."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hubsite.config.file import ConfigError
from hubsite.config.hub_config import HubConfig
from hubsite.config.load import load_config
from hubsite.process import prepare
from hubsite.process.prepare import password_remarks, who_starts_servers

Load = Callable[[str], HubConfig]
HOST = socket.gethostname()


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str) -> HubConfig:
        path = tmp_path / "jupyterhub_config.py"
        if "authenticator_class" not in text:
            text += "\nc.JupyterHub.authenticator_class = 'local'"
        path.write_text(text)
        return load_config(path)

    return load


def test_without_a_file_jupyterhubs_defaults_hold() -> None:
    hub = load_config(None)
    assert hub.bind_url == "http://:8000/"
    assert hub.hub_connect_url == "http://127.0.0.1:8081"
    assert hub.proxy_api_url == "http://127.0.0.1:8001"
    assert hub.authenticator_class == "local"
    assert hub.allow_existing_users and not hub.allow_all
    assert (hub.api_page_default_limit, hub.api_page_max_limit) == (50, 200)
    assert hub.remarks == ()


def test_file_is_python_that_traitlets_reads(load: Load, tmp_path: Path) -> None:
    (tmp_path / "more.py").write_text("c.JupyterHub.hub_port = 9081\n")
    hub = load(
        "import os\n"
        "c = get_config()\n"
        "load_subconfig('more.py')\n"
        "c.JupyterHub.bind_url = 'http://127.0.0.1:' + str(9000)\n"
        "c.Authenticator.admin_users.add('ada')\n"
        "c.JupyterHub.services.append({'name': 'ci'})\n"
    )
    assert hub.bind_url == "http://127.0.0.1:9000/"
    assert hub.hub_port == 9081
    assert hub.admin_users == {"ada"}
    assert hub.services == ({"name": "ci"},)


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("c.JupyterHub.bind_url = 'http://:9/campus'", "base_url", "/campus/"),
        ("c.JupyterHub.base_url = 'campus'", "base_url", "/campus/"),
        ("c.JupyterHub.base_url = '/a b/'", "base_url", "/a%20b/"),
        ("c.JupyterHub.port = 9", "bind_url", "http://:9/"),
        ("c.JupyterHub.ip = '::1'", "bind_url", "http://[::1]:8000/"),
        ("c.JupyterHub.hub_bind_url = 'http://127.0.0.2:9'", "hub_port", 9),
        ("c.JupyterHub.hub_bind_url = 'http://127.0.0.2:9'", "hub_ip", "127.0.0.2"),
        ("c.JupyterHub.hub_ip = ''", "hub_ip", "0.0.0.0"),
        ("c.JupyterHub.hub_ip = ''", "hub_connect_url", f"http://{HOST}:8081"),
        ("c.JupyterHub.hub_connect_ip = 'hub'", "hub_connect_url", "http://hub:8081"),
        ("c.JupyterHub.hub_connect_url = 'http://h:1/'", "hub_connect_url", "http://h:1"),
        ("c.JupyterHub.proxy_auth_token = 's'", "proxy_auth_token", "s"),
        ("c.JupyterHub.proxy_api_ip = '10.0.0.7'", "proxy_api_url",
         "http://10.0.0.7:8001"),
        ("c.JupyterHub.proxy_api_port = 9\nc.JupyterHub.port = 80", "proxy_api_url",
         "http://127.0.0.1:9"),
        ("c.JupyterHub.proxy_api_ip = '::1'\nc.JupyterHub.port = 80", "proxy_api_url",
         "http://[::1]:81"),
        ("c.JupyterHub.proxy_cmd = 'chp'", "proxy_command", ("chp",)),
        ("c.ConfigurableHTTPProxy.command = ['chp', '-x']", "proxy_command",
         ("chp", "-x")),
        ("c.JupyterHub.debug_proxy = True", "proxy_log_level", "debug"),
        ("c.ConfigurableHTTPProxy.debug = True", "proxy_log_level", "debug"),
        ("c.ConfigurableHTTPProxy.concurrency = 2", "proxy_concurrency", 2),
        ("c.ConfigurableHTTPProxy.check_running_interval = 2", "is_proxy_hosted",
         False),
        ("c.JupyterHub.proxy_check_interval = 2", "is_proxy_hosted", False),
        ("c.JupyterHub.trusted_downstream_ips = ['10.0.0.7', '::1']",
         "trusted_downstream_ips", ("10.0.0.7", "::1")),
        ("c.JupyterHub.hub_routespec = '/hub'", "hub_routespec", "/hub/"),
        ("c.JupyterHub.proxy_class = 'configurable-http-proxy'", "is_proxy_hosted",
         False),
        ("from jupyterhub.proxy import ConfigurableHTTPProxy\n"
         "c.JupyterHub.proxy_class = ConfigurableHTTPProxy", "is_proxy_hosted", False),
        ("c.JupyterHub.proxy_class = 'traefik_file'\n"
         "c.TraefikProxy.should_start = False\n"
         "c.TraefikFileProviderProxy.dynamic_config_file = 'x.toml'", "proxy_class",
         "jupyterhub_traefik_proxy.fileprovider.TraefikFileProviderProxy"),
        ("from jupyterhub.proxy import Proxy\n"
         "class Mine(Proxy): pass\n"
         "c.JupyterHub.proxy_class = Mine\nc.Mine.should_start = False",
         "is_proxy_hosted", True),
        ("c.JupyterHub.admin_users = {'ada'}", "admin_users", {"ada"}),
        ("c.Authenticator.admin_users = set()\nc.JupyterHub.admin_users = {'ada'}",
         "admin_users", {"ada"}),
        ("c.Authenticator.admin_users = {'ada'}\nc.JupyterHub.admin_users = {'al'}",
         "admin_users", {"ada"}),
        ("c.Authenticator.whitelist = ['ada']", "allowed_users", {"ada"}),
        ("c.Authenticator.whitelist = ['ada']", "allow_existing_users", True),
        ("c.LocalAuthenticator.admin_users = {'ada'}", "admin_users", {"ada"}),
        ("c.JupyterHub.cookie_max_age_days = 1", "oauth_token_expires_in", 86400),
        ("c.JupyterHub.cookie_max_age_days = 0.5", "cookie_max_age_days", 0.5),
        ("c.JupyterHub.load_groups = {'g': ['b', 'a']}", "load_groups",
         {"g": {"users": ["b", "a"]}}),
        ("c.JupyterHub.authenticator_class = 'dummy'", "allow_all", True),
        ("c.JupyterHub.authenticator_class = 'jupyterhub.auth.DummyAuthenticator'",
         "authenticator_class", "dummy"),
        ("c.JupyterHub.authenticator_class = 'pam'", "authenticator_class", "hosted"),
        ("c.JupyterHub.authenticator_class = 'a.GitHub'", "hosted_class", "a.GitHub"),
        ("c.JupyterHub.spawner_class = 'dockerspawner.DockerSpawner'", "spawner_class",
         "dockerspawner.DockerSpawner"),
    ],
)  # fmt: skip
def test_setting_is_understood(
    load: Load, line: str, field: str, value: object
) -> None:
    hub = load(line)
    assert getattr(hub, field) == value
    assert hub.remarks == ()


def test_class_object_names_an_authenticator(load: Load) -> None:
    hub = load(
        "class DummyAuthenticator: __module__ = 'jupyterhub.auth'\n"
        "c.JupyterHub.authenticator_class = DummyAuthenticator\n"
        "c.DummyAuthenticator.password = 'open-sesame'\n"
    )
    assert hub.authenticator_class == "dummy"
    assert hub.dummy_password == "open-sesame"


def test_section_of_the_authenticator_wins(load: Load) -> None:
    hub = load(
        "c.JupyterHub.authenticator_class = 'dummy'\n"
        "c.Authenticator.allow_all = True\n"
        "c.DummyAuthenticator.allow_all = False\n"
    )
    assert not hub.allow_all


def test_administrators_are_allowed_where_there_is_a_list(load: Load) -> None:
    hub = load(
        "c.Authenticator.admin_users = {'ada'}\nc.Authenticator.allowed_users = {'b'}"
    )
    assert hub.allowed_users == {"ada", "b"}


def test_spawner_settings_are_kept_for_the_spawner(load: Load) -> None:
    hub = load("c.Spawner.cmd = ['x']\nc.KubeSpawner.image = 'y'\n")
    assert hub.raw["Spawner"]["cmd"] == ["x"]
    assert hub.raw["KubeSpawner"]["image"] == "y"
    assert hub.remarks == ()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("c.JupyterHub.db_url = 'sqlite:///x'", ("JupyterHub.db_url", "HUB_DATABASE")),
        ("c.JupyterHub.template_paths = ['x']", ("JupyterHub.template_paths",)),
        ("c.JupyterHub.hub_prot = 8", ("JupyterHub.hub_prot", "misspelt")),
        ("c.DummyAuthenticator.password = 'x'", ("DummyAuthenticator.password",)),
        ("c.PAMAuthenticator.service = 'x'", ("PAMAuthenticator.service",)),
        ("c.NoSuchThing.x = 1", ("c.NoSuchThing:", "another program")),
    ],
)
def test_what_has_no_effect_is_said_once(
    load: Load, line: str, told: tuple[str, ...]
) -> None:
    (remark,) = load(line).remarks
    assert all(word in remark for word in told)


def test_what_belongs_to_spawners_is_left_to_them(load: Load) -> None:
    lines = (
        "c.BatchSpawnerBase.exec_prefix = 'runuser -u {username} --'",
        "c.BatchSpawnerRegexStates.state_unknown_re = 'x'",
        "c.KubeSpawner.image = 'x'",
        "c.PodReflector.timeout_seconds = 5",
        "c.Spawner.mem_limit = '1G'",
    )

    assert load("\n".join(lines)).remarks == ()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("c.JupyterHub.hub_port = '8081'", "c.JupyterHub.hub_port: expected"),
        ("c.JupyterHub.hub_port = 70000", "c.JupyterHub.hub_port: expected a port"),
        ("c.JupyterHub.hub_port = True", "c.JupyterHub.hub_port: expected"),
        ("c.JupyterHub.activity_resolution = -1", "0 or more"),
        ("c.JupyterHub.bind_url = 'hub:8000'", "c.JupyterHub.bind_url: expected"),
        ("c.JupyterHub.bind_url = 'http://h:99999'", "c.JupyterHub.bind_url:"),
        ("c.JupyterHub.hub_bind_url = 'unix+http://x'", "c.JupyterHub.hub_bind_url:"),
        (
            "c.JupyterHub.named_server_limit_per_user = 'two'",
            "limit_per_user: expected",
        ),
        ("c.Authenticator.admin_users = 7", "admin_users: expected a set"),
        ("c.Authenticator.admin_users = ''", "admin_users: expected a set"),
        ("c.Authenticator.admin_users = {1}", "admin_users: expected a set"),
        ("c.Authenticator.username_pattern = '['", "a regular expression"),
        ("c.JupyterHub.api_tokens = {'short': 'ada'}", "that of 'ada' has 5"),
        ("c.JupyterHub.api_tokens = ['x']", "api_tokens: expected a dictionary"),
        ("c.JupyterHub.load_groups = {'g': {'users': 'ada'}}", "names in group 'g'"),
        ("c.JupyterHub.load_groups = {'g': 'ada'}", "user names in group 'g'"),
        ("c.JupyterHub.load_roles = [{'name': 'X'}]", "not 'X'"),
        ("c.JupyterHub.load_roles = [{'scopes': []}]", "not None"),
        ("c.JupyterHub.load_roles = [{'name': 'abc'}] * 2", "'abc' is there twice"),
        ("c.JupyterHub.trusted_downstream_ips = ['x']", "or networks, not 'x'"),
        ("c.JupyterHub.load_roles = [{'name': 'abc', 'users': 'x'}]", "users of 'abc'"),
        ("c.JupyterHub.load_roles = [{'name': 'admin', 'scopes': []}]", "'admin'"),
        ("c.JupyterHub.services = [{'name': 'a', 'tokn': 1}]", "'a' has 'tokn'"),
        ("c.JupyterHub.services = [{'name': 'a'}] * 2", "'a' is there twice"),
        ("c.JupyterHub.services = [{}]", "not None"),
        ("c.JupyterHub.services = [{'name': 'a/b'}]", "not 'a/b'"),
        ("c.JupyterHub.services = [{'name': '..'}]", "not '..'"),
        ("c.JupyterHub.services = [{'name': 'a%20b'}]", "not 'a%20b'"),
        ("c.JupyterHub.services = [{'name': ' a'}]", "not ' a'"),
        ("c.JupyterHub.services = [{'name': 'a', 'url': 'x'}]", "url of service 'a'"),
        ("c.JupyterHub.services = [{'name': 'a', 'admin': 2}]", "'admin' of service"),
        ("c.JupyterHub.allow_named_servers = 'true'", "expected True or False"),
        ("c.JupyterHub.active_user_window = 5.5", "expected a whole number"),
        ("c.JupyterHub.services = [{'name': 'a', 'oauth_client_id': 'a'}]", "service-"),
        ("c.JupyterHub.services = [{'name': 'a', 'api_token': 'x'}]", "of 'a' has 1"),
        ("1 / 0", "line 1: ZeroDivisionError"),
        ("x = (", "line 1:"),
    ],
)
def test_what_is_wrong_stops_the_start(load: Load, line: str, told: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(line)
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("c.Authenticator.admin_users = 'ada'", "admin_users", {"ada"}),
        ("c.Authenticator.allowed_users = 'ada'", "allowed_users", {"ada"}),
        ("c.JupyterHub.template_paths = '/site'", "template_paths", ("/site",)),
        (
            "c.JupyterHub.trusted_downstream_ips = '10.0.0.1'",
            "trusted_downstream_ips",
            ("10.0.0.1",),
        ),
        ("c.JupyterHub.allow_named_servers = 1", "allow_named_servers", True),
        ("c.JupyterHub.redirect_to_server = 0", "redirect_to_server", False),
        ("c.JupyterHub.active_server_limit = 5.0", "active_server_limit", 5),
        ("c.JupyterHub.base_url = b'/x/'", "base_url", "/x/"),
        ("c.Authenticator.username_pattern = b'[a-z]+'", "username_pattern", "[a-z]+"),
        (
            "c.JupyterHub.named_server_limit_per_user = -1",
            "named_server_limit_per_user",
            0,
        ),
    ],
)
def test_values_are_cast_as_in_jupyterhub(
    load: Load, line: str, name: str, value: object
) -> None:
    found = getattr(load(line), name)

    assert found == value and type(found) is type(
        frozenset(value) if isinstance(value, set) else value
    )


@pytest.mark.parametrize("key", ["api_token", "url", "cwd", "user", "oauth_client_id"])
def test_empty_text_of_a_service_is_as_if_it_were_not_there(
    load: Load, key: str
) -> None:
    (service,) = load(
        f"c.JupyterHub.services = [{{'name': 'a', '{key}': ''}}]"
    ).services

    assert key not in service


def test_one_scope_of_a_service_may_be_a_string(load: Load) -> None:
    (service,) = load(
        "c.JupyterHub.services = [{'name': 'a', 'oauth_client_allowed_scopes': 'self'}]"
    ).services

    assert service["oauth_client_allowed_scopes"] == ["self"]


def test_none_stands_for_nothing_in_roles_and_groups(load: Load) -> None:
    hub = load(
        "c.JupyterHub.load_roles = [{'name': 'abc', 'scopes': None, "
        "'description': None}, {'name': 'user', 'description': None}]\n"
        "c.JupyterHub.load_groups = {'g': {'users': ['ada'], 'properties': None}}"
    )

    assert hub.load_roles == ({"name": "abc", "scopes": []}, {"name": "user"})
    assert hub.load_groups == {"g": {"users": ["ada"], "properties": {}}}


def test_two_services_can_not_share_a_token(load: Load) -> None:
    secret = "a-token-that-two-would-share"
    service = f"{{'name': 'a', 'api_token': '{secret}'}}"
    with pytest.raises(ConfigError) as refusal:
        load(f"c.JupyterHub.services = [{service}, dict({service}, name='b')]")
    assert "each needs its own" in str(refusal.value)
    assert secret not in str(refusal.value)


def test_a_token_of_a_service_is_no_token_of_a_user(load: Load) -> None:
    hub = load(
        "c.JupyterHub.authenticator_class = 'dummy'\n"
        "c.JupyterHub.services = [{'name': 'a', 'api_token': 'a-shared-token'}]\n"
        "c.JupyterHub.service_tokens = {'another-shared-token': 'b'}\n"
        "c.JupyterHub.api_tokens = {'a-shared-token': 'ada', "
        "'another-shared-token': 'ada', 'a-token-of-her-own': 'ada'}"
    )

    assert hub.api_tokens == {"a-token-of-her-own": "ada"}
    assert hub.service_tokens["a-shared-token"] == "a"
    assert len(hub.remarks) == 2
    for remark in hub.remarks:
        assert remark.startswith("c.JupyterHub.api_tokens: a token of 'ada'")
        assert "-token" not in remark


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("c.A.b = 1\nc.A.c |= {1}\n", "part.py, line 2: TypeError"),
        ("def fail():\n    1 / 0\n\nfail()\n", "part.py, line 2: ZeroDivisionError"),
        ("import nowhere_to_be_found\n", "part.py, line 1: ModuleNotFoundError"),
        ("import json\n\njson.loads('{')\n", "part.py, line 3: JSONDecodeError"),
        ("c.A.b = = 1\n", "part.py, line 1: invalid syntax"),
    ],
)
def test_the_place_is_in_the_file_that_is_wrong(
    load: Load, tmp_path: Path, part: str, told: str
) -> None:
    (tmp_path / "part.py").write_text(part)
    with pytest.raises(ConfigError) as refusal:
        load("c = get_config()\n\nload_subconfig('part.py')\n")
    assert str(refusal.value).startswith(f"{tmp_path}/{told}")


def test_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match="Failed to find specified config file: no"):
        load_config(Path("no-such-file.py"))


@pytest.mark.parametrize(
    ("text", "keep_servers", "ends"),
    [
        ("", False, True),
        ("", True, False),
        ("c.JupyterHub.cleanup_servers = True", True, True),
        ("c.JupyterHub.cleanup_servers = False", False, False),
    ],
)
def test_the_file_has_the_last_word_on_servers_that_outlive_the_hub(
    tmp_path: Path, text: str, keep_servers: bool, ends: bool
) -> None:
    file = tmp_path / "config.py"
    file.write_text(text)

    config = load_config(file, keep_servers=keep_servers)

    assert config.cleanup_servers is ends


def test_more_routes_are_read_and_checked(load: Load) -> None:
    config = load("c.Proxy.extra_routes = {'/more/': 'http://127.0.0.1:9'}")
    assert config.extra_routes == {"/more/": "http://127.0.0.1:9"}
    for wrong in ("{'more/': 'http://a'}", "{'/a/': 'b'}", "{'/a/': 'http:'}"):
        with pytest.raises(ConfigError, match="extra_routes"):
            load(f"c.Proxy.extra_routes = {wrong}")


@pytest.mark.parametrize(
    "line, path",
    [
        ("", "jupyterhub.spawner.LocalProcessSpawner"),
        ("'default'", "jupyterhub.spawner.LocalProcessSpawner"),
        ("'simple'", "jupyterhub.spawner.SimpleLocalProcessSpawner"),
        ("'Simple'", "jupyterhub.spawner.SimpleLocalProcessSpawner"),
        ("'Docker'", "dockerspawner.DockerSpawner"),
        ("'docker'", "dockerspawner.DockerSpawner"),
        ("'batchspawner:SlurmSpawner'", "batchspawner.SlurmSpawner"),
        ("'kubespawner.KubeSpawner'", "kubespawner.KubeSpawner"),
    ],
)
def test_spawner_is_named_by_entry_point_or_import_path(
    load: Load, line: str, path: str
) -> None:
    hub = load(f"c.JupyterHub.spawner_class = {line}" if line else "")

    assert hub.spawner_class == path


@pytest.mark.parametrize("name", ["dummy", "Dummy", "PAM", "Null", "Local"])
def test_case_does_not_matter_in_the_name_of_an_authenticator(
    load: Load, name: str
) -> None:
    hub = load(f"c.JupyterHub.authenticator_class = {name!r}")

    found = hub.hosted_class or hub.authenticator_class
    assert (found, hub.remarks) == (name.lower(), ())


def test_spawner_may_be_defined_by_the_file_itself(load: Load) -> None:
    hub = load("class Own: pass\nc.JupyterHub.spawner_class = Own\n")

    assert hub.spawner_class.endswith(".Own")
    assert isinstance(hub.raw["JupyterHub"]["spawner_class"], type)


@pytest.mark.parametrize(
    "name, says",
    [
        ("sipmle", r"no spawner of the name 'sipmle' is installed; there are .*simple"),
        ("nowhere.Spawner", "'nowhere.Spawner' is not installed: no module 'nowhere'"),
        ("dockerspawner.nowhere.X", "no module 'dockerspawner.nowhere'"),
    ],
)
def test_spawner_that_is_not_there_stops_the_start(
    load: Load, name: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=f"^c.JupyterHub.spawner_class: .*{says}"):
        load(f"c.JupyterHub.spawner_class = {name!r}")


def test_proxy_that_is_not_there_stops_the_start(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"^c.JupyterHub.proxy_class: .*traefik_file"):
        load("c.JupyterHub.proxy_class = 'haproxy'")


def test_spawner_class_is_found_without_importing_it() -> None:
    code = (
        "import sys; from hubsite.config.load import load_config;"
        "load_config(None);"
        "from controller.spawners.classes import resolve;"
        "resolve('dockerspawner.DockerSpawner'); resolve('docker');"
        "print([m for m in ('jupyterhub', 'dockerspawner') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_without_a_file_servers_are_started_by_a_button(load: Load) -> None:
    hub, silent = load_config(None), load("")

    assert (hub.redirect_to_server, hub.allow_named_servers) == (False, True)
    assert (silent.redirect_to_server, silent.allow_named_servers) == (True, False)


def test_without_a_file_servers_run_as_the_hub_does(tmp_path: Path) -> None:
    hub = load_config(None, homes=tmp_path / "{odd}")

    assert hub.spawner_class == "jupyterhub.spawner.SimpleLocalProcessSpawner"
    template = hub.raw["SimpleLocalProcessSpawner"]["home_dir_template"]
    assert template.format(username="ada") == f"{tmp_path}/{{odd}}/ada"


@pytest.mark.parametrize(
    ("spawner_class", "user_id", "said"),
    [
        ("jupyterhub.spawner.LocalProcessSpawner", 1000, 1),
        ("jupyterhub.spawner.LocalProcessSpawner", 0, 0),
        ("jupyterhub.spawner.SimpleLocalProcessSpawner", 1000, 0),
    ],
)
def test_accounts_of_the_system_take_root(
    spawner_class: str, user_id: int, said: int
) -> None:
    assert len(who_starts_servers(spawner_class, user_id)) == said


def test_passwords_of_the_system_take_a_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = tmp_path / "shadow"
    assert not password_remarks("pam", shadow)
    shadow.touch()
    assert not password_remarks("pam", shadow)
    # Root reads everything, so the refusal is played.
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert len(password_remarks("pam", shadow)) == 1
    assert not password_remarks("local", shadow)
    assert not password_remarks("pam", shadow, "jupyterhub")


def test_what_the_machine_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.LOGO_FILE = tmp_path / "logo.svg"
    monkeypatch.setattr(prepare, "PAM_FOLDERS", [tmp_path])
    hub = replace(
        HubConfig(),
        authenticator_class="hosted",
        hosted_class="pam",
        raw={"PAMAuthenticator": {"admin_groups": {"no-such-group"}}},
        hub_ip="0.0.0.0",
        hub_connect_url="http://no-such-host.invalid:8081",
    )

    said = list(prepare.what_is_missing(hub))

    for remark, told in zip(
        said, ["'login'", "no-such-group", "logo.svg", "no-such-host"], strict=True
    ):
        assert told in remark
    (tmp_path / "login").touch()
    (tmp_path / "logo.svg").touch()
    raw = {"PAMAuthenticator": {"admin_groups": {"root"}}}
    changes: dict[str, Any] = {"raw": raw, "hub_ip": "127.0.0.1"}
    assert not list(prepare.what_is_missing(replace(hub, **changes)))


KEY = "6b" * 32


def refused(load: Load, text: str) -> str:
    with pytest.raises(ConfigError) as refusal:
        load(text)
    return str(refusal.value)


@pytest.mark.parametrize(
    "key", [KEY, "k" * 32, "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="]
)
def test_keys_for_auth_state_are_read_as_jupyterhub_reads_them(
    load: Load, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", f"{key};{'6f' * 32}")

    assert load("").crypt_keys == (b"k" * 32, b"o" * 32)
    # The file wins.
    assert load(f"c.CryptKeeper.keys = [{key!r}]").crypt_keys == (b"k" * 32,)
    assert "kkkk" not in repr(load(""))
    assert KEY not in repr(load(""))


def test_a_wrong_key_stops_the_start_and_is_not_shown(
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "short-key" not in refused(load, 'c.CryptKeeper.keys = ["short-key"]')
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", "short-key")

    assert "JUPYTERHUB_CRYPT_KEY: expected keys of 32 bytes" in refused(load, "")


def test_auth_state_without_a_key_stops_the_start(
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = "c.Authenticator.enable_auth_state = True"
    monkeypatch.delenv("JUPYTERHUB_CRYPT_KEY", raising=False)
    assert "encryption is not available" in refused(load, line)

    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", KEY)
    assert load(line).enable_auth_state


@pytest.mark.parametrize(
    "lines",
    [
        "c.Authenticator.manage_groups = True\nc.JupyterHub.load_groups = {'a': {}}",
        "c.Authenticator.manage_roles = True\n"
        "c.JupyterHub.load_roles = [{'name': 'tutor', 'users': ['ada']}]",
        "c.Authenticator.manage_roles = True\n"
        "c.JupyterHub.load_roles = [{'name': 'tutor', 'groups': ['staff']}]",
    ],
)
def test_what_an_authenticator_manages_is_not_declared_as_well(
    load: Load, lines: str
) -> None:
    assert "authenticator" in refused(load, lines)


def test_roles_may_be_declared_beside_managed_ones(load: Load) -> None:
    lines = (
        "c.Authenticator.manage_roles = True\n"
        "c.JupyterHub.load_roles = [{'name': 'tutor', 'scopes': ['list:users']}]"
    )
    assert [role["name"] for role in load(lines).load_roles] == ["tutor"]
