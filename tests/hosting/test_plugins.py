"""Plugins for JupyterHub, unmodified, in the process that the hub's command runs."""

from __future__ import annotations

import dbm
import hashlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from accounts.models import User
from tests.factories import make_user
from tests.hosting.sites import NEWEST, OLDEST
from tests.ports import free_ports

pytestmark = pytest.mark.django_db

both_ends = pytest.mark.parametrize(
    "plugins", [NEWEST, OLDEST], ids=["newest", "oldest"]
)

FIRST_USE = """
c.JupyterHub.authenticator_class = "firstuseauthenticator.FirstUseAuthenticator"
"""
PASSWORD, OTHER = "my-first-password", "somebody-elses"


@both_ends
def test_first_use_keeps_the_first_password(hosting, plugins, browser, another_browser):
    with hosting.apart(FIRST_USE, plugins):
        assert browser.sign_in("Ada", PASSWORD).status_code == 302
        assert another_browser.sign_in("ada", OTHER).status_code == 403
        assert another_browser.sign_in("ada", PASSWORD).status_code == 302

    assert User.objects.get().name == "ada"
    # The file is relative to the folder in which the hub was started.
    with dbm.open(str(hosting.folder / "passwords.dbm")) as file:
        assert file.keys() == [b"ada"]


@both_ends
def test_first_use_says_what_is_wrong_with_a_password(hosting, plugins, browser):
    lines = "c.FirstUseAuthenticator.min_password_length = 12"
    with hosting.apart(FIRST_USE + lines, plugins):
        page = browser.sign_in("ada", "short")

    assert page.status_code == 403
    assert "at least 12 characters long" in page.content.decode()
    assert not User.objects.exists()


@both_ends
def test_first_use_may_be_for_people_with_an_account(
    hosting, plugins, browser, another_browser
):
    make_user("ada")
    lines = "c.FirstUseAuthenticator.create_users = False"
    with hosting.apart(FIRST_USE + lines, plugins):
        assert browser.sign_in("grace", PASSWORD).status_code == 403
        assert another_browser.sign_in("ada", PASSWORD).status_code == 302

    assert User.objects.get().name == "ada"


@both_ends
def test_people_of_first_use_change_their_password(
    hosting, plugins, browser, another_browser
):
    new = "my-second-password"
    page = "/hub/auth/change-password"
    fields = {"oldpassword": PASSWORD, "password1": new, "password2": new}
    with hosting.apart(FIRST_USE, plugins):
        assert browser.get(page)["Location"].startswith("/hub/login?next=")
        browser.sign_in("ada", PASSWORD)
        another_browser.sign_in("ada", PASSWORD)
        assert f'href="{page}"' in browser.get("/hub/profile").content.decode()

        for wrong, said in (
            ({"oldpassword": OTHER}, "This is not your current password."),
            ({"password2": OTHER}, "This is another password."),
            ({"password1": "short", "password2": "short"}, "at least 7 characters"),
        ):
            refused = browser.submit(page, **{**fields, **wrong})
            assert refused.status_code == 400
            assert said in refused.content.decode()
        assert browser.submit(page, **fields)["Location"] == "/hub/profile"
        # Other browsers are signed out, this one is not.
        assert browser.get("/hub/profile").status_code == 200
        assert another_browser.get("/hub/profile").status_code == 302

        assert another_browser.sign_in("ada", PASSWORD).status_code == 403
        assert another_browser.sign_in("ada", new).status_code == 302


def test_guesses_of_the_current_password_are_limited(hosting, browser):
    with hosting.apart(FIRST_USE + "c.Hub.failed_logins_allowed = 1", NEWEST):
        browser.sign_in("ada", PASSWORD)
        # One is free for the known browser, and one for the name and the network.
        for _ in range(3):
            page = browser.submit(
                "/hub/auth/change-password",
                oldpassword=OTHER,
                password1="a-new-password",
                password2="a-new-password",
            )

    assert "Too many failed attempts" in page.content.decode()


def test_other_classes_have_no_page_for_passwords(hosting, browser):
    assert browser.get("/hub/auth/change-password").status_code == 404
    config = """
    c.JupyterHub.authenticator_class = "hashauthenticator.HashAuthenticator"
    c.HashAuthenticator.secret_key = "a-key"
    """
    with hosting.apart(config, NEWEST):
        assert browser.get("/hub/auth/change-password").status_code == 404
        make_user("ada")
        browser.force_login(User.objects.get())
        page = browser.get("/hub/profile").content.decode()

    assert "does not store your password" in page


def test_hash_checks_derived_passwords(hosting, browser):
    right = hashlib.pbkdf2_hmac("sha256", b"ada", b"a-key", 25000).hex()[:10]
    config = """
    c.JupyterHub.authenticator_class = "hashauthenticator.HashAuthenticator"
    c.HashAuthenticator.secret_key = "a-key"
    c.HashAuthenticator.password_length = 10
    c.Authenticator.allow_all = True
    """
    with hosting.apart(config, NEWEST):
        assert browser.sign_in("ada", "wrong").status_code == 403
        assert browser.sign_in("ada", right).status_code == 302


# LDAP, by a server of the test

SLAPD = shutil.which("slapd", path="/usr/sbin:/usr/bin:/sbin")
SETTINGS = """
{includes}
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
rootpw admin-password
directory {folder}/data
access to attrs=userPassword by anonymous auth by * none
access to * by users read by anonymous read
"""
ENTRIES = """\
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: uid=ada,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: ada
cn: Ada
sn: Lovelace
userPassword: password-of-ada

dn: uid=grace,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: grace
cn: Grace
sn: Hopper
userPassword: password-of-grace

dn: cn=staff,dc=example,dc=org
objectClass: groupOfNames
cn: staff
member: uid=ada,ou=people,dc=example,dc=org
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run an LDAP server with two people and a group; yield its port."""
    assert SLAPD, "the tests need Debian's package slapd"
    folder = tmp_path_factory.mktemp("ldap")
    (folder / "data").mkdir()
    schemas = ("core", "cosine", "inetorgperson", "nis")
    includes = "\n".join(f"include /etc/ldap/schema/{each}.schema" for each in schemas)
    config = folder / "slapd.conf"
    config.write_text(SETTINGS.format(includes=includes, folder=folder))
    subprocess.run(
        [str(Path(SLAPD).with_name("slapadd")), "-f", str(config)],
        input=ENTRIES.encode(),
        check=True,
    )
    (port,) = free_ports(1)
    command = [SLAPD, "-f", str(config), "-h", f"ldap://127.0.0.1:{port}/", "-d", "0"]
    server = subprocess.Popen(command)
    deadline = time.monotonic() + 30
    while not (folder / "pid").exists():
        assert server.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    yield port
    server.terminate()
    server.wait(30)


def ldap(port: int, lines: str = "") -> str:
    return (
        'c.JupyterHub.authenticator_class = "ldapauthenticator.LDAPAuthenticator"\n'
        'c.LDAPAuthenticator.server_address = "127.0.0.1"\n'
        f"c.LDAPAuthenticator.server_port = {port}\n"
        'c.LDAPAuthenticator.tls_strategy = "insecure"\n'
        "c.LDAPAuthenticator.bind_dn_template = "
        '"uid={username},ou=people,dc=example,dc=org"\n'
        f"{lines}"
    )


@pytest.mark.slow
@both_ends
def test_a_directory_checks_passwords(
    hosting, plugins, directory, browser, another_browser
):
    with hosting.apart(ldap(directory, "c.Authenticator.allow_all = True"), plugins):
        assert browser.sign_in("ada", "password-of-grace").status_code == 403
        # LDAP takes a bind without a password for an anonymous one.
        assert browser.sign_in("ada", "").status_code == 403
        assert browser.sign_in("ada", "password-of-ada").status_code == 302
        assert another_browser.sign_in("nobody", "x").status_code == 403

    assert User.objects.get().name == "ada"


@pytest.mark.slow
@both_ends
def test_groups_of_the_directory_decide_who_enters(
    hosting, plugins, directory, browser, another_browser
):
    lines = """
c.LDAPAuthenticator.allowed_groups = ["cn=staff,dc=example,dc=org"]
c.LDAPAuthenticator.group_search_filter = "(member={userdn})"
c.LDAPAuthenticator.group_attributes = ["member"]
"""
    with hosting.apart(ldap(directory, lines), plugins):
        assert browser.sign_in("grace", "password-of-grace").status_code == 403
        assert another_browser.sign_in("ada", "password-of-ada").status_code == 302


@pytest.mark.slow
def test_a_directory_that_is_away_is_an_error(hosting, browser):
    (port,) = free_ports(1)
    with hosting.apart(ldap(port, "c.Authenticator.allow_all = True"), NEWEST):
        page = browser.sign_in("ada", "password-of-ada")

    assert page.status_code == 500
    assert "An administrator of this hub finds the reason" in page.content.decode()
