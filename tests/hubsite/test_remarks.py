"""Remarks at the start: fitting advice, once, and none about effective settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hubsite.config.file import ConfigError
from hubsite.config.hub_config import HubConfig
from hubsite.config.load import load_config

Load = Callable[..., HubConfig]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str, name: str = "jupyterhub_config.py") -> HubConfig:
        path = tmp_path / name
        path.write_text(text)
        return load_config(path)

    return load


DUMMY = "c.JupyterHub.authenticator_class = 'dummy'\n"
GITHUB = "c.JupyterHub.authenticator_class = 'github'\n"


# Sections inherit as classes do


@pytest.mark.parametrize(
    "section",
    ["GitHubOAuthenticator", "OAuthenticator", "Authenticator"],
)
@pytest.mark.parametrize(
    ("trait", "value"),
    [
        ("admin_users", {"ada"}),
        ("blocked_users", {"mallory"}),
        ("allow_all", True),
        ("username_map", {"a": "ada"}),
        ("username_pattern", "[a-z]+"),
        ("allow_existing_users", True),
        ("auto_login_oauth2_authorize", True),
    ],
)
def test_a_class_inherits_from_the_sections_of_its_parents(
    load: Load, section: str, trait: str, value: object
) -> None:
    hub = load(f"{GITHUB}c.{section}.{trait} = {value!r}")

    assert getattr(hub, trait) == value
    assert not any(trait in remark for remark in hub.remarks)


def test_the_nearest_section_wins(load: Load) -> None:
    hub = load(
        f"{GITHUB}c.GitHubOAuthenticator.admin_users = {{'ada'}}\n"
        "c.OAuthenticator.admin_users = {'grace'}\n"
        "c.Authenticator.admin_users = {'alan'}\n"
    )
    assert hub.admin_users == {"ada"}


def test_additions_are_made_to_what_is_inherited(load: Load) -> None:
    hub = load(
        f"{GITHUB}c.Authenticator.admin_users = {{'alan'}}\n"
        "c.OAuthenticator.admin_users.add('grace')\n"
        "c.GitHubOAuthenticator.admin_users.add('ada')\n"
    )
    assert hub.admin_users == {"ada", "grace", "alan"}


def test_another_class_has_no_say(load: Load) -> None:
    hub = load(f"{GITHUB}c.GoogleOAuthenticator.admin_users = {{'mallory'}}")

    assert hub.admin_users == frozenset()
    assert any("c.GoogleOAuthenticator.admin_users" in each for each in hub.remarks)


@pytest.mark.parametrize(
    ("named", "section"),
    [
        ("'local-github'", "LocalAuthenticator"),
        ("'local-github'", "GitHubOAuthenticator"),
        ("'oauthenticator.github.LocalGitHubOAuthenticator'", "GitHubOAuthenticator"),
        ("'oauthenticator.github:GitHubOAuthenticator'", "OAuthenticator"),
        ("'ltiauthenticator.lti13.auth.LTI13Authenticator'", "OAuthenticator"),
        ("'nativeauthenticator.NativeAuthenticator'", "NativeAuthenticator"),
        ("'shared-password'", "SharedPasswordAuthenticator"),
        ("'pam'", "LocalAuthenticator"),
        ("None", "PAMAuthenticator"),
    ],
)
def test_a_class_is_known_by_any_of_its_names(
    load: Load, named: str, section: str
) -> None:
    hub = load(
        f"c.JupyterHub.authenticator_class = {named}\n"
        f"c.{section}.admin_users = {{'ada'}}"
    )
    assert hub.admin_users == {"ada"}


OWN_CLASSES = """
from jupyterhub.auth import Authenticator
from jupyterhub.spawner import LocalProcessSpawner

class Base(Authenticator):
    pass

class UserList(Base):
    pass

class Mine(LocalProcessSpawner):
    pass

c.JupyterHub.authenticator_class = UserList
c.JupyterHub.spawner_class = Mine
"""


def test_classes_of_the_file_have_sections_too(load: Load) -> None:
    hub = load(
        f"{OWN_CLASSES}c.Base.admin_users = {{'ada'}}\nc.UserList.allow_all = True\n"
        "c.Mine.start_timeout = 5"
    )

    assert hub.admin_users == {"ada"} and hub.allow_all
    assert (hub.hosted_class, hub.remarks) == ("UserList", ())


def test_jupyterhub_inherits_from_application(load: Load) -> None:
    assert load(f"{DUMMY}c.Application.log_level = 'DEBUG'").log_level == "DEBUG"
    both = "c.Application.log_level = 'DEBUG'\nc.JupyterHub.log_level = 30"
    assert load(DUMMY + both).log_level == "WARNING"
    (remark,) = load(f"{DUMMY}c.Application.log_format = '%(message)s'").remarks
    assert "HUB_LOG_FORMAT" in remark


def test_the_proxys_own_section_goes_before_that_of_all_proxies(load: Load) -> None:
    hub = load(
        f"{DUMMY}c.Proxy.should_start = True\n"
        "c.ConfigurableHTTPProxy.should_start = False"
    )
    assert not hub.proxy_should_start


# Remarks


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("c.TraefikProxy.should_start = False", "c.TraefikProxy: belongs to another"),
        ("c.NotebookApp.ip = ''\nc.NotebookApp.port = 1", "c.NotebookApp: belongs"),
        ("c.JAppsConfig.x = 1", "c.JAppsConfig: belongs to another program"),
        ("c.CryptKeeper.n_threads = 4", "c.CryptKeeper.n_threads: not needed"),
        ("c.JupyterHub.bind_ulr = ''", "misspelt? There is `bind_url`"),
        ("c.Authenticator.admin_user = {'a'}", "misspelt? There is `admin_users`"),
        ("c.Jupyterhub.port = 1", "misspelt? There is c.JupyterHub"),
        ("c.Hub.cull_idle_timout = 1", "misspelt? There is `cull_idle_timeout`"),
        ("c.JupyterHub.admin_access = True", "not needed; administrators may use"),
        ("c.Spawner.auth_state_hook = print", "c.Spawner.auth_state_hook: is called"),
        ("c.KubeSpawner.auth_state_hook = print", "is called with None"),
        ("c.JupyterHub.template_vars = {'site_colour': 1}", "'site_colour'"),
        ("c.JupyterHub.tornado_settings = {'max_body_size': 1}", "'max_body_size'"),
        (
            "c.JupyterHub.tornado_settings = {'cookie_options': {'expires_days': 1}}",
            "cookie_max_age_days",
        ),
        (
            "c.JupyterHub.tornado_settings = {'cookie_options': {'Path': '/'}}",
            "each has its own path",
        ),
        (
            "c.JupyterHub.tornado_settings = {'headers': "
            "{'content-security-policy': 'script-src *; frame-ancestors *'}}",
            "'script-src'",
        ),
        (
            "c.JupyterHub.tornado_settings = {'cookie_options': {'samesite': 'none'}}",
            "not Secure",
        ),
        (
            "c.PAMAuthenticator.service = 'x'\nc.PAMAuthenticator.encoding = 'y'",
            "'pam'",
        ),
        (
            "c.JupyterHub.custom_scopes = "
            "{'custom:a:b': {'description': 'x', 'colour': 'red'}}",
            "'custom:a:b': 'colour'",
        ),
        (
            "c.JupyterHub.load_roles = "
            "[{'name': 'tutor', 'scopes': ['servers!server=x']}]",
            "'servers!server=x' reaches no server",
        ),
        ("c.DUMMYAuthenticator.password = 'x'", "misspelt? There is c.Dummy"),
    ],
)
def test_what_does_nothing_is_said_in_one_line(
    load: Load, line: str, told: str
) -> None:
    (remark,) = load(DUMMY + line).remarks
    assert told in remark


@pytest.mark.parametrize(
    "line", ["c.JupyterHub.no_such_thing = 1", "c.JupyterHub.traefik_pass = 1"]
)
def test_misspelt_is_said_only_with_the_right_spelling(load: Load, line: str) -> None:
    (remark,) = load(DUMMY + line).remarks
    assert "misspelt" not in remark and "has no effect" in remark


@pytest.mark.parametrize(
    "lines",
    [
        "c.JupyterHub.authenticator_class = 'pam'\n"
        "c.PAMAuthenticator.service = 'jupyterhub-login'\n"
        "c.PAMAuthenticator.open_sessions = True\n"
        "c.PAMAuthenticator.check_account = True\n"
        "c.PAMAuthenticator.encoding = 'utf8'\n"
        "c.PAMAuthenticator.pam_normalize_username = True\n"
        "c.LocalAuthenticator.allowed_groups = {'students'}\n"
        "c.PAMAuthenticator.admin_groups = {'wheel'}",
        f"{DUMMY}c.JupyterHub.log_level = 'DEBUG'\n"
        "c.JupyterHub.template_vars = {'announcement': 'x'}\n"
        "c.JupyterHub.tornado_settings = {'slow_spawn_timeout': 1, 'headers': {}}",
        f"{DUMMY}c.WrapSpawner.x = 1\nc.SlurmSpawner.x = 1\nc.Spawner.cmd = ['x']",
        f"{DUMMY}c.Foo\nc.JupyterHub.confirm_no_ssl = True",
    ],
)
def test_what_works_is_not_remarked_on(load: Load, lines: str) -> None:
    assert load(lines).remarks == ()


def test_a_hosted_class_reads_its_own_sections(load: Load) -> None:
    hub = load(
        "c.JupyterHub.authenticator_class = 'local-github'\n"
        "c.LocalGitHubOAuthenticator.a = 1\n"
        "c.GitHubOAuthenticator.client_id = 'x'\n"
        "c.OAuthenticator.client_secret = 'x'\n"
        "c.LocalAuthenticator.create_system_users = True\n"
        "c.Authenticator.auto_login = True\n"
        "c.GoogleOAuthenticator.client_id = 'x'\n"
    )

    assert (hub.authenticator_class, hub.hosted_class) == ("hosted", "local-github")
    (remark,) = hub.remarks
    assert remark.startswith("c.GoogleOAuthenticator.client_id: has no effect")


@pytest.mark.parametrize("section", ["LocalAuthenticator", "PAMAuthenticator"])
def test_groups_under_their_former_name_are_remarked_on(
    load: Load, section: str
) -> None:
    """JupyterHub 6 accepts the setting and lets nobody in for it."""
    hub = load(f"c.{section}.group_whitelist = {{'staff'}}")

    assert hub.is_hosted
    (remark,) = hub.remarks
    assert remark.startswith(f"c.{section}.group_whitelist: ")
    assert "allowed_groups" in remark


def test_without_a_class_a_file_means_pam(load: Load) -> None:
    hub = load("c.Authenticator.allowed_users = {'ada'}")

    assert (hub.authenticator_class, hub.hosted_class) == ("hosted", "pam")
    assert hub.remarks == ()


def test_without_a_file_the_hub_keeps_passwords() -> None:
    hub = load_config(None)

    assert (hub.authenticator_class, hub.remarks) == ("local", ())


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("c.DummyAuthenticator.password = 'x'", "dummy"),
        ("c.Authenticator.allowed_users = {'ada'}", "dummy"),
        ("c.Authenticator.post_auth_hook = print", "hosted"),
        ("c.DummyAuthenticator.manage_groups = True", "hosted"),
        ("c.Authenticator.auto_login = True", "hosted"),
        ("c.GitHubOAuthenticator.manage_groups = True", "dummy"),
    ],
)
def test_dummy_is_the_hubs_own_unless_more_is_wanted(
    load: Load, line: str, found: str
) -> None:
    assert load(DUMMY + line).authenticator_class == found


# Files


def test_a_file_in_json_is_read(load: Load) -> None:
    hub = load(
        '{"JupyterHub": {"hub_port": 8091, "authenticator_class": "dummy", '
        '"shutdown_on_logout": true}, "Authenticator": {"admin_users": ["ada"]}}',
        "config.json",
    )
    assert (hub.hub_port, hub.shutdown_on_logout) == (8091, True)
    assert (hub.authenticator_class, hub.admin_users) == ("dummy", {"ada"})


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("config.yml", "{}", "ends in .py or .json"),
        ("config", "c.JupyterHub.port = 1", "ends in .py or .json"),
        ("config.json", "[]", "expected an object"),
        ("config.json", "", "line 1"),
        ("config.json", '{"JupyterHub": {"port": 1,}}', "line 1"),
        ("config.json", '{"JupyterHub": 1}', "'JupyterHub' is no section"),
        ("config.json", '{"jupyterhub": {}}', "'jupyterhub' is no section"),
        ("config.json", '{"JupyterHub": {"port": "x"}}', "c.JupyterHub.port: expected"),
        ("config.json", '{"version": 2}', "only version 1"),
    ],
)
def test_what_is_no_configuration_is_refused(
    load: Load, name: str, text: str, told: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(text, name)
    assert told in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a directory"):
        load_config(tmp_path)


# Secrets and addresses


@pytest.mark.parametrize(
    "line",
    [
        "c.ConfigurableHTTPProxy.auth_token = 'secret\\n'",
        "c.JupyterHub.proxy_auth_token = 'secret\\r'",
        "c.ConfigurableHTTPProxy.api_url = 'http://127.0.0.1:8001\\n'",
        "c.JupyterHub.public_url = 'https://h\\nub'",
        "c.JupyterHub.bind_url = 'http://:8000\\n'",
        "c.JupyterHub.hub_bind_url = 'http://:8081\\n'",
        "c.JupyterHub.hub_connect_url = 'http://hub:8081\\n'",
        "c.JupyterHub.hub_ip = '127.0.0.1\\n'",
        "c.JupyterHub.hub_connect_ip = 'hub\\n'",
        "c.JupyterHub.base_url = '/hub\\n'",
        "c.JupyterHub.api_tokens = {'a-long-enough-token\\n': 'ada'}",
        "c.JupyterHub.service_tokens = {'a-long-enough-token\\n': 'ci'}",
        "c.JupyterHub.services = [{'name': 'ci', 'api_token': 'long-enough\\n'}]",
        "c.JupyterHub.services = [{'name': 'ci', 'url': 'http://ci\\n'}]",
        "c.JupyterHub.services = [{'name': 'ci', 'oauth_redirect_uri': 'http://c\\n'}]",
        "c.JupyterHub.tornado_settings = {'headers': {'X-A': 'b\\r\\nX-C: d'}}",
        "c.JupyterHub.tornado_settings = {'headers': {'X A': 'b'}}",
        "c.JupyterHub.tornado_settings = {'headers': {'Content-Length': '1'}}",
        "c.JupyterHub.tornado_settings = {'cookie_options': {'Domain': 'a\\n'}}",
        "c.JupyterHub.tornado_settings = {'cookie_options': {'SameSite': 'Some'}}",
        "c.JupyterHub.tornado_settings = {'slow_spawn_timeout': 'long'}",
        "c.Proxy.extra_routes = {'/a/': 'http://b\\n'}",
        "c.ConfigurableHTTPProxy.api_url = 'http://h:99999'",
        "c.ConfigurableHTTPProxy.api_url = ''",
        "c.JupyterHub.public_url = 'ftp://hub.example.org'",
        "c.JupyterHub.base_url = '/a%2Fb/'",
        "c.JupyterHub.log_level = 'LOUD'",
        "c.Hub.help_url = 'javascript:alert(1)'",
    ],
)
def test_what_can_not_be_sent_stops_the_start(load: Load, line: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(line)
    assert "\n" not in str(refusal.value) and "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("lines", "url"),
    [
        ("hub_connect_url = 'http://hub:9/hub'", "http://hub:9"),
        ("hub_connect_url = 'http://hub:9/hub/'", "http://hub:9"),
        ("hub_connect_url = 'http://hub:9/base/hub/api'", "http://hub:9"),
        ("hub_connect_url = 'http://[::1]:9'", "http://[::1]:9"),
        ("hub_ip = '0.0.0.0'; c.JupyterHub.hub_connect_ip = 'hub'", "http://hub:8081"),
        ("hub_ip = '10.0.0.1'", "http://10.0.0.1:8081"),
        ("hub_connect_port = 9", "http://127.0.0.1:9"),
        ("hub_ip = '0.0.0.0'", "http://machine:8081"),
        ("hub_ip = '::'", "http://machine:8081"),
        ("hub_ip = ''", "http://machine:8081"),
        ("hub_bind_url = 'http://:9'", "http://machine:9"),
        ("hub_bind_url = 'http://0.0.0.0:9'", "http://machine:9"),
        ("hub_bind_url = 'http://*:9'", "http://machine:9"),
    ],
)
def test_servers_get_the_address_of_the_hub(
    load: Load, monkeypatch: pytest.MonkeyPatch, lines: str, url: str
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "machine")

    hub = load(f"{DUMMY}c.JupyterHub.{lines}")

    assert (hub.hub_connect_url, hub.remarks) == (url, ())


@pytest.mark.parametrize(
    ("line", "place", "key"),
    [
        (
            "c.JupyterHub.load_groups = {'g': {'user': ['ada']}}",
            "c.JupyterHub.load_groups: 'g'",
            "user",
        ),
        (
            "c.JupyterHub.load_roles = [{'name': 'abc', 'tokens': ['x']}]",
            "c.JupyterHub.load_roles: 'abc'",
            "tokens",
        ),
    ],
)
def test_parts_of_groups_and_roles_that_nothing_reads_are_named(
    load: Load, line: str, place: str, key: str
) -> None:
    (remark,) = load(f"{line}\nc.JupyterHub.authenticator_class = 'local'").remarks

    assert remark.startswith(f"{place}: {key!r}: has no effect")


@pytest.mark.parametrize(
    ("name", "is_read"),
    [("ltiauthenticator.lti13.auth.LTI13Authenticator", True), ("dummy", False)],
)
def test_sections_of_helpers_are_read_with_their_class(
    load: Load, name: str, is_read: bool
) -> None:
    hub = load(
        f"c.JupyterHub.authenticator_class = {name!r}\n"
        "c.LTI13LaunchValidator.max_age = 600"
    )

    assert (hub.remarks == ()) == is_read
