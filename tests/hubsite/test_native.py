"""NativeAuthenticator's settings, and FirstUse's file at the start."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as hub_settings

from accounts.models import User
from hubsite.config.file import ConfigError
from hubsite.config.hub_config import HubConfig
from hubsite.config.load import load_config
from hubsite.process.prepare import import_firstuse, what_sign_up_lacks
from tests.accounts.test_imported_passwords import OLD, bcrypted, write_sqlite

NATIVE = "c.JupyterHub.authenticator_class = 'native'\n"


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load(text: str) -> HubConfig:
        path = tmp_path / "jupyterhub_config.py"
        path.write_text(text)
        return load_config(path)

    return load


@pytest.mark.parametrize(
    "line",
    [
        "c.JupyterHub.authenticator_class = 'native'",
        "c.JupyterHub.authenticator_class = 'Native'",
        "c.JupyterHub.authenticator_class = 'nativeauthenticator.NativeAuthenticator'",
        "c.JupyterHub.authenticator_class = 'nativeauthenticator:NativeAuthenticator'",
    ],
)
def test_the_plugin_is_the_hubs_own_sign_up(load, line):
    hub = load(line)

    assert (hub.authenticator_class, hub.signup) == ("local", "approval")
    # An approved sign-up is an account, and nothing else lets anybody in.
    assert hub.allow_existing_users and not hub.allow_all
    assert hub.remarks == ()


def test_the_plugin_need_not_be_installed_nor_loaded(load):
    load(NATIVE)

    assert "nativeauthenticator" not in sys.modules


def test_a_subclass_in_the_file_names_what_is_not_called(load):
    hub = load(
        "from traitlets import Bool\n"
        "from jupyterhub.auth import Authenticator\n"
        "class NativeAuthenticator(Authenticator):\n"
        "    open_signup = Bool(False, config=True)\n"
        "NativeAuthenticator.__module__ = 'nativeauthenticator.nativeauthenticator'\n"
        "class Ours(NativeAuthenticator):\n"
        "    async def authenticate(self, handler, data):\n"
        "        return None\n"
        "c.JupyterHub.authenticator_class = Ours\n"
        "c.Ours.open_signup = True\n"
        "c.NativeAuthenticator.tos = 'Terms'\n"
    )

    assert (hub.authenticator_class, hub.signup) == ("local", "open")
    assert hub.signup_terms == "Terms"
    (remark,) = hub.remarks
    assert "of its methods authenticate none is called" in remark


@pytest.mark.parametrize(
    ("lines", "values"),
    [
        (("enable_signup = False",), {"signup": "off"}),
        (("enable_signup = False", "open_signup = True"), {"signup": "off"}),
        (("open_signup = True",), {"signup": "open"}),
        (("ask_email_on_signup = True",), {"signup_ask_email": True}),
        (("tos = '<b>Be nice</b>'",), {"signup_terms": "<b>Be nice</b>"}),
        (
            ("allow_self_approval_for = '.*@e.org'", "secret_key = 'x' * 20"),
            {"signup_self_approval": ".*@e.org", "signup_ask_email": True},
        ),
        (
            ("self_approval_email = ('a@b', 'S', 'Go {approval_url}')",),
            {"signup_mail": ("a@b", "S", "Go {approval_url}")},
        ),
        (
            ("self_approval_server = {'url': 'm', 'usr': 'u', 'pwd': 'p'}",),
            {"signup_mail_server": {"url": "m", "usr": "u", "pwd": "p"}},
        ),
        (("minimum_password_length = 6",), {"password_min_length": 6}),
        (("check_common_password = False",), {"password_refuse_common": False}),
        (
            ("allowed_failed_logins = 3",),
            {"failed_logins_allowed": 3, "failed_login_delay": 600},
        ),
        (
            ("allowed_failed_logins = 3", "seconds_before_next_try = 1200"),
            {"failed_logins_allowed": 3, "failed_login_delay": 1200},
        ),
        (("import_from_firstuse = True",), {"firstuse_passwords": "passwords.dbm"}),
        (
            (
                "import_from_firstuse = True",
                "firstuse_db_path = '/srv/old.dbm'",
                "delete_firstuse_db_after_import = True",
            ),
            {
                "firstuse_passwords": "/srv/old.dbm",
                "delete_firstuse_passwords": True,
            },
        ),
        (("firstuse_db_path = '/srv/old.dbm'",), {"firstuse_passwords": ""}),
    ],
)
@pytest.mark.parametrize("section", ["NativeAuthenticator", "Authenticator"])
def test_settings_of_the_plugin_are_obeyed(load, lines, values, section):
    hub = load(NATIVE + "".join(f"c.{section}.{line}\n" for line in lines))

    assert {name: getattr(hub, name) for name in values} == values
    assert [each for each in hub.remarks if "secret_key" not in each] == []


def test_the_hubs_own_setting_goes_first(load):
    hub = load(
        f"{NATIVE}c.NativeAuthenticator.open_signup = True\n"
        "c.Hub.signup = 'approval'\nc.Hub.password_min_length = 14\n"
        "c.NativeAuthenticator.minimum_password_length = 3\n"
    )

    assert (hub.signup, hub.password_min_length) == ("approval", 14)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("allow_2fa", True, "not needed; everybody may set up a second factor"),
        ("recaptcha_key", "'k'", "is not supported"),
        ("recaptcha_secret", "'k'", "is not supported"),
        ("secret_key", "'k' * 20", "links are signed with HUB_SECRET_KEY"),
        ("open_sign_up", True, "is it misspelt? There is `open_signup`"),
    ],
)
def test_the_rest_is_named(load, name, value, said):
    (remark,) = load(f"{NATIVE}c.NativeAuthenticator.{name} = {value}").remarks

    assert remark.startswith(f"c.NativeAuthenticator.{name}: ")
    assert said in remark


def test_every_trait_of_the_plugin_has_an_answer():
    """By the list of release 1.3.0."""
    from hubsite.config.hub_config import declared_places
    from hubsite.config.unsupported import ADVICE

    traits = (
        *("recaptcha_key", "recaptcha_secret", "tos", "self_approval_server"),
        *("secret_key", "allow_self_approval_for", "self_approval_email"),
        *("check_common_password", "minimum_password_length"),
        *("allowed_failed_logins", "seconds_before_next_try", "enable_signup"),
        *("open_signup", "ask_email_on_signup", "import_from_firstuse"),
        *("firstuse_db_path", "delete_firstuse_db_after_import", "allow_2fa"),
    )
    known = declared_places() | ADVICE.keys()
    assert {f"NativeAuthenticator.{name}" for name in traits} <= known


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("c.Hub.signup = 'yes'", "'off', 'approval' or 'open'"),
        ("c.NativeAuthenticator.tos = 3", "a string"),
        ("c.NativeAuthenticator.open_signup = 'yes'", "True or False"),
        ("c.NativeAuthenticator.allow_self_approval_for = '('", "regular expression"),
        ("c.NativeAuthenticator.self_approval_email = ('a', 'b')", "three strings"),
        (
            "c.NativeAuthenticator.self_approval_email = ('a', 'b', 'c')",
            "{approval_url}",
        ),
        (
            "c.NativeAuthenticator.self_approval_email = "
            "('a\\nBcc: x@y', 'b', '{approval_url}')",
            "one line",
        ),
    ],
)
def test_an_odd_value_stops_the_start(load, line, said):
    with pytest.raises(ConfigError, match="expected") as problem:
        load(NATIVE + line)

    assert said in str(problem.value)


def test_its_settings_mean_nothing_to_others(load):
    hub = load(
        "c.JupyterHub.authenticator_class = 'local'\n"
        "c.NativeAuthenticator.open_signup = True\n"
    )

    assert hub.signup == "off"
    (remark,) = hub.remarks
    assert "c.JupyterHub.authenticator_class = 'native' reads them" in remark


@pytest.mark.parametrize("method", ["dummy", "null", "pam"])
def test_a_sign_up_beside_another_method_is_named(load, method):
    hub = load(
        f"c.JupyterHub.authenticator_class = {method!r}\n"
        "c.Hub.signup = 'open'\nc.Hub.password_min_length = 12\n"
    )

    assert (
        "c.Hub.password_min_length, c.Hub.signup: have no effect; people sign in by "
        f"{method!r}"
    ) in hub.remarks


def test_local_passwords_have_the_same_sign_up(load):
    hub = load(
        "c.JupyterHub.authenticator_class = 'local'\nc.Hub.signup = 'approval'\n"
    )

    assert (hub.signup, hub.remarks) == ("approval", ())


def test_rules_of_passwords_reach_django(tmp_path):
    path = tmp_path / "jupyterhub_config.py"
    path.write_text(
        f"{NATIVE}c.NativeAuthenticator.minimum_password_length = 6\n"
        "c.NativeAuthenticator.check_common_password = False\n"
    )
    script = (
        "import django; django.setup()\n"
        "from django.contrib.auth.password_validation import validate_password\n"
        "validate_password('qwerty'); print('fine')\n"
        "try: validate_password('qwert')\n"
        "except Exception as problem: print(problem.messages)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=hub_settings.BASE_DIR,
        env={
            "DJANGO_SETTINGS_MODULE": "hubsite.settings",
            "HUB_CONFIG": str(path),
            "HUB_DATA_DIR": str(tmp_path / "data"),
        },
        capture_output=True,
        text=True,
        check=True,
    )

    assert "fine" in done.stdout
    assert "at least 6 characters" in done.stdout


# At the start


def hub_with(path: Path, **changes: Any) -> HubConfig:
    return replace(hub_settings.HUB, firstuse_passwords=str(path), **changes)


@pytest.mark.django_db
def test_the_start_imports_firstuses_file(tmp_path):
    path = write_sqlite(tmp_path / "passwords.dbm")

    assert import_firstuse(hub_with(path)) == [f"{path}: imported 2 passwords"]

    assert User.objects.get(name="grace").check_password(OLD)
    assert path.exists()
    # Every start does this.
    assert import_firstuse(hub_with(path)) == []


@pytest.mark.django_db
def test_the_file_is_deleted_if_that_is_configured(tmp_path):
    path = write_sqlite(tmp_path / "passwords.dbm")
    hub = hub_with(path, delete_firstuse_passwords=True)

    import_firstuse(hub)

    assert not path.exists()
    assert import_firstuse(hub) == []


@pytest.mark.django_db
def test_a_file_with_entries_that_stay_behind_is_kept(tmp_path, monkeypatch):
    people = {"grace": bcrypted(OLD), "alan": b"no digest"}
    monkeypatch.setattr("tests.accounts.test_imported_passwords.PEOPLE", people)
    path = write_sqlite(tmp_path / "passwords.dbm")

    remarks = import_firstuse(hub_with(path, delete_firstuse_passwords=True))

    assert path.exists()
    assert "1 entries are no names or digests" in remarks[1]
    assert "'alan'" in remarks[1]


@pytest.mark.django_db
def test_a_file_that_can_not_be_read_stops_the_start(tmp_path):
    path = tmp_path / "passwords.dbm"
    path.write_bytes(b"something else")

    with pytest.raises(ConfigError, match="FirstUse's passwords"):
        import_firstuse(hub_with(path))


def test_the_start_names_what_links_in_mails_lack(settings):
    hub = replace(settings.HUB, signup="approval", signup_self_approval=".*")
    settings.EMAIL_HOST, settings.PUBLIC_URL = "", ""
    assert "set HUB_EMAIL_HOST" in what_sign_up_lacks(hub)[0]
    settings.EMAIL_HOST = "mail"
    assert "set HUB_PUBLIC_URL" in what_sign_up_lacks(hub)[0]
    settings.PUBLIC_URL = "https://hub.example.org"
    assert what_sign_up_lacks(hub) == []
    assert what_sign_up_lacks(replace(hub, signup="off")) == []
