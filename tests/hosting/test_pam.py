"""Sign in with a system account, by JupyterHub's own class for PAM.

The rules are real ones, but in a folder of the test instead of the library's, so that
the tests do not need root.
"""

from __future__ import annotations

import grp
import os
import pwd
from ctypes import POINTER, c_char_p, c_int
from pathlib import Path
from types import SimpleNamespace

import pamela
import pytest

from accounts.models import User
from tests.factories import make_user

pytestmark = pytest.mark.django_db

RIGHT = "correct horse battery"


class Services:
    """A folder of PAM services, as `/etc/pam.d` is one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.check = folder / "check"
        self.check.write_text(
            '#!/bin/sh\n[ "$PAM_TYPE" = auth ] || exit 0\n'
            f'[ "$(tr -d "\\0")" = "{RIGHT}" ]\n'
        )
        self.check.chmod(0o700)

    def add(self, name: str, *, account: str = "pam_permit.so") -> None:
        """Add a service in which one password is right for everybody."""
        (self.folder / name).write_text(
            f"auth required pam_exec.so quiet expose_authtok {self.check}\n"
            f"account required {account}\n"
        )


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    start = pamela.LIBPAM.pam_start_confdir
    start.restype = c_int
    start.argtypes = [
        *(c_char_p, c_char_p, POINTER(pamela.PamConv), c_char_p),
        POINTER(pamela.PamHandle),
    ]
    folder = tmp_path / "pam.d"
    folder.mkdir()

    def start_here(service, name, conversation, handle):
        return start(service, name, conversation, str(folder).encode(), handle)

    monkeypatch.setattr(pamela, "PAM_START", start_here)
    services = Services(folder)
    services.add("login")
    return services


@pytest.fixture
def pam(host, services, system):
    """Run JupyterHub's class with these settings, which a file has."""

    def settle(lines: str = "c.Authenticator.allow_all = True") -> None:
        host(f"c = get_config()\nc.JupyterHub.authenticator_class = 'pam'\n{lines}")

    return settle


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Accounts and groups of a system, because the machine of a test has few."""
    known = SimpleNamespace(
        accounts={"ada": 5001, "grace": 5002}, groups={}, of={}, members={}
    )

    def getpwnam(name):
        # As a directory with domains does it, and as MySQL tells letters apart.
        account = name.rpartition("\\")[2]
        return pwd.struct_passwd(
            (account, "x", known.accounts[account], 100, "", "/", "/bin/sh")
        )

    def getpwuid(uid):
        names = {uid: name for name, uid in known.accounts.items()}
        return getpwnam(names[uid])

    def getgrnam(name):
        return grp.struct_group((name, "x", known.groups[name], []))

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    monkeypatch.setattr(grp, "getgrnam", getgrnam)
    monkeypatch.setattr(
        os, "getgrouplist", lambda name, own: [own, *known.of.get(name, ())]
    )
    return known


def test_the_password_decides(pam, browser):
    pam()

    assert browser.sign_in("ada", "something else").status_code == 403
    assert not User.objects.exists()

    assert browser.sign_in("ada", RIGHT).status_code == 302
    assert User.objects.get().name == "ada"


def test_a_file_without_a_class_means_pam(host, services, system, browser):
    host("c = get_config()\nc.Authenticator.allowed_users = {'ada'}")

    assert browser.sign_in("grace", RIGHT).status_code == 403
    assert browser.sign_in("ada", RIGHT).status_code == 302


def test_the_named_service_decides(pam, services, browser, another_browser):
    services.add("jupyterhub", account="pam_deny.so")
    services.add("good")

    pam("c.PAMAuthenticator.service = 'jupyterhub'\nc.Authenticator.allow_all = True")
    assert browser.sign_in("ada", RIGHT).status_code == 403


def test_another_service_may_let_in(pam, services, browser):
    services.add("login", account="pam_deny.so")
    services.add("good")

    pam(
        "c.LocalAuthenticator.service = 'x'\nc.PAMAuthenticator.service = 'good'\n"
        "c.Authenticator.allow_all = True"
    )
    assert browser.sign_in("ada", RIGHT).status_code == 302


def test_an_account_that_pam_refuses_stays_out_whatever_is_set(pam, services, browser):
    """pamela checks the account itself, so `check_account` can't open it."""
    services.add("login", account="pam_deny.so")

    pam("c.PAMAuthenticator.check_account = False\nc.Authenticator.allow_all = True")
    assert browser.sign_in("ada", RIGHT).status_code == 403


def test_names_and_passwords_are_encoded_as_configured(pam, services, browser):
    services.check.write_text(
        '#!/bin/sh\n[ "$PAM_TYPE" = auth ] || exit 0\n'
        "[ \"$(tr -d '\\0' | od -An -tx1 | tr -d ' \\n')\" = e4 ]\n"
    )

    pam("c.PAMAuthenticator.encoding = 'latin-1'\nc.Authenticator.allow_all = True")
    assert browser.sign_in("ada", "ä").status_code == 302


def test_pam_gets_the_name_as_it_was_typed(pam, services, system, browser):
    services.check.write_text('#!/bin/sh\n[ "$PAM_USER" = Ada ]\n')
    pam()

    assert browser.sign_in("ada", RIGHT).status_code == 403
    assert browser.sign_in("Ada", RIGHT).status_code == 302
    assert User.objects.get().name == "ada"


def test_one_account_with_several_names_is_one_person(pam, browser):
    pam(
        "c.PAMAuthenticator.pam_normalize_username = True\n"
        "c.Authenticator.allow_all = True"
    )

    assert browser.sign_in("UNI\\ada", RIGHT).status_code == 302
    assert User.objects.get().name == "ada"


def test_a_name_that_the_system_does_not_know_never_gets_in(pam, browser):
    """JupyterHub lets it in at the second sign-in, which is not to be copied."""
    pam()

    for _ in range(3):
        assert browser.sign_in("mallory", RIGHT).status_code == 500
        assert browser.get("/hub/home").status_code == 302
    assert not User.objects.exists()


def test_system_users_are_made_if_that_is_wanted(
    pam, hosting, browser, another_browser
):
    made = hosting.folder / "made"
    adder = hosting.folder / "adder"
    adder.write_text(f'#!/bin/sh\necho "$@" >> {made}\n')
    adder.chmod(0o700)
    pam(
        "c.Authenticator.allow_all = True\n"
        "c.LocalAuthenticator.create_system_users = True\n"
        f"c.LocalAuthenticator.add_user_cmd = [{str(adder)!r}, '--home', '/h/USERNAME']"
        "\nc.LocalAuthenticator.uids = {'mallory': 7777}"
    )

    assert browser.sign_in("ada", RIGHT).status_code == 302
    assert another_browser.sign_in("mallory", RIGHT).status_code == 302

    assert made.read_text() == "--home /h/mallory --uid 7777 mallory\n"


def test_members_of_allowed_groups_come_in(pam, system, browser, another_browser):
    system.groups = {"students": 7001, "guests": 7002}
    system.of = {"ada": [7002], "grace": [7009]}
    pam("c.LocalAuthenticator.allowed_groups = {'students', 'guests'}")

    assert browser.sign_in("grace", RIGHT).status_code == 403
    assert another_browser.sign_in("ada", RIGHT).status_code == 302


def test_a_group_that_is_missing_lets_nobody_in(pam, browser):
    pam("c.PAMAuthenticator.allowed_groups = {'students'}")

    assert browser.sign_in("ada", RIGHT).status_code == 403


def test_members_of_admin_groups_administer(pam, system, browser, another_browser):
    system.groups, system.of = {"wheel": 7003}, {"ada": [7003]}
    pam("c.PAMAuthenticator.admin_groups = {'wheel'}\nc.Authenticator.allow_all = True")

    browser.sign_in("ada", RIGHT)
    another_browser.sign_in("grace", RIGHT)

    assert User.objects.get(name="ada").admin
    assert not User.objects.get(name="grace").admin


def test_leaving_the_admin_groups_ends_the_right(pam, system, browser, another_browser):
    system.groups = {"wheel": 7003}
    pam(
        "c.PAMAuthenticator.admin_groups = {'wheel'}\n"
        "c.Authenticator.admin_users = {'grace'}\nc.Authenticator.allow_all = True"
    )
    for name in ("ada", "grace"):
        make_user(name, admin=True)

    browser.sign_in("ada", RIGHT)
    another_browser.sign_in("grace", RIGHT)

    assert not User.objects.get(name="ada").admin
    assert User.objects.get(name="grace").admin


def test_a_directory_that_is_away_takes_no_right(pam, browser):
    pam("c.PAMAuthenticator.admin_groups = {'wheel'}\nc.Authenticator.allow_all = True")
    make_user("ada", admin=True)

    # As in JupyterHub, nobody is let in with rights that may have ended.
    assert browser.sign_in("ada", RIGHT).status_code == 500
    assert User.objects.get(name="ada").admin
