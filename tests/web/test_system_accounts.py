"""Sign in with a system account: PAM's rules, and the system's groups.

The rules are real ones, but in a folder of the test instead of the library's, so that
the tests do not need root.
"""

from __future__ import annotations

import grp
import pwd
from ctypes import POINTER, c_char_p, c_int
from pathlib import Path
from types import SimpleNamespace

import pamela
import pytest

from accounts import system_accounts
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
def pam(configure, services):
    """Configure a hub whose people are accounts of the system."""

    def settle(**settings):
        configure(authenticator_class="pam", **{"allow_all": True, **settings})

    settle()
    return settle


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Accounts and groups of a system, for the machine of a test has few."""
    known = SimpleNamespace(accounts={"ada": 5001, "grace": 5002}, groups={}, of={})

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
        system_accounts.os,
        "getgrouplist",
        lambda name, own: [own, *known.of.get(name, ())],
    )
    return known


def test_the_password_decides(pam, browser):
    assert browser.sign_in("ada", "something else").status_code == 403
    assert not User.objects.exists()

    assert browser.sign_in("ada", RIGHT).status_code == 302
    assert User.objects.get().name == "ada"


def test_the_named_service_decides(pam, services, browser):
    services.add("jupyterhub", account="pam_deny.so")

    pam(pam_service="jupyterhub")
    assert browser.sign_in("ada", RIGHT).status_code == 403
    pam(pam_service="no-such-service")
    assert browser.sign_in("ada", RIGHT).status_code == 403

    pam(pam_service="login")
    assert browser.sign_in("ada", RIGHT).status_code == 302


def test_the_account_is_checked_unless_that_is_not_wanted(pam, services, browser):
    services.add("login", account="pam_deny.so")

    assert browser.sign_in("ada", RIGHT).status_code == 403
    pam(pam_check_account=False)
    assert browser.sign_in("ada", RIGHT).status_code == 302


def test_names_and_passwords_are_encoded_as_configured(pam, services, browser):
    services.check.write_text(
        '#!/bin/sh\n[ "$PAM_TYPE" = auth ] || exit 0\n'
        "[ \"$(tr -d '\\0' | od -An -tx1 | tr -d ' \\n')\" = e4 ]\n"
    )

    assert browser.sign_in("ada", "ä").status_code == 403
    pam(pam_encoding="latin-1")
    assert browser.sign_in("ada", "ä").status_code == 302


def test_what_can_not_be_encoded_is_a_wrong_password(pam, browser):
    pam(pam_encoding="ascii")

    assert browser.sign_in("ada", "ä").status_code == 403


def test_pam_is_given_the_name_as_it_was_typed(pam, services, browser):
    services.check.write_text('#!/bin/sh\n[ "$PAM_USER" = Ada ]\n')

    assert browser.sign_in("ada", RIGHT).status_code == 403
    assert browser.sign_in("Ada", RIGHT).status_code == 302
    assert User.objects.get().name == "ada"


def test_one_account_with_several_names_is_one_person(pam, system, browser):
    pam(pam_normalize_username=True)

    assert browser.sign_in("UNI\\ada", RIGHT).status_code == 302
    assert User.objects.get().name == "ada"


def test_a_name_without_account_stays_out(pam, system, browser):
    pam(pam_normalize_username=True)

    assert browser.sign_in("mallory", RIGHT).status_code == 403
    assert not User.objects.exists()


def test_members_of_allowed_groups_come_in(pam, system, browser):
    pam(allow_all=False, pam_allowed_groups=frozenset({"students", "guests"}))
    system.groups = {"students": 7001, "guests": 7002}
    system.of = {"ada": [7002], "grace": [7009]}

    assert browser.sign_in("grace", RIGHT).status_code == 403
    assert browser.sign_in("mallory", RIGHT).status_code == 403
    assert browser.sign_in("ada", RIGHT).status_code == 302


def test_a_group_that_is_missing_lets_nobody_in(pam, system, browser, caplog):
    pam(allow_all=False, pam_allowed_groups=frozenset({"students"}))

    assert browser.sign_in("ada", RIGHT).status_code == 403
    assert "The system has no group students" in caplog.text


def test_members_of_admin_groups_administer(pam, system, browser, another_browser):
    pam(pam_admin_groups=frozenset({"wheel"}))
    system.groups, system.of = {"wheel": 7003}, {"ada": [7003]}

    browser.sign_in("ada", RIGHT)
    another_browser.sign_in("grace", RIGHT)

    assert User.objects.get(name="ada").admin
    assert not User.objects.get(name="grace").admin


def test_leaving_the_admin_groups_ends_the_right(pam, system, browser, another_browser):
    pam(pam_admin_groups=frozenset({"wheel"}), admin_users=frozenset({"grace"}))
    system.groups = {"wheel": 7003}
    for name in ("ada", "grace"):
        make_user(name, admin=True)

    browser.sign_in("ada", RIGHT)
    another_browser.sign_in("grace", RIGHT)

    assert not User.objects.get(name="ada").admin
    assert User.objects.get(name="grace").admin


def test_a_directory_that_is_away_takes_no_right(pam, system, browser):
    pam(pam_admin_groups=frozenset({"wheel"}))
    make_user("ada", admin=True)

    assert browser.sign_in("ada", RIGHT).status_code == 302
    assert User.objects.get(name="ada").admin
