"""Shapes of public configurations that name an authenticator class."""

from __future__ import annotations

import pytest

from accounts.models import User
from tests.hosting.sites import WITH_STATE, Hosting

pytestmark = pytest.mark.django_db

ONE_MACHINE = """
c = get_config()
c.Authenticator.allowed_users = {"teacher", "student1"}
c.PAMAuthenticator.open_sessions = False
c.JupyterHub.load_groups = {"formgrade-course101": ["teacher"]}
c.JupyterHub.load_roles = [
    {
        "name": "formgrade-course101",
        "groups": ["formgrade-course101"],
        "scopes": ["access:services!service=course101"],
    }
]
"""
PAM_SETTINGS = """
c = get_config()
c.JupyterHub.authenticator_class = "pam"
c.PAMAuthenticator.service = "jupyterhub-login"
c.PAMAuthenticator.open_sessions = False
c.PAMAuthenticator.check_account = True
c.PAMAuthenticator.pam_normalize_username = True
c.PAMAuthenticator.allowed_groups = {"students"}
c.PAMAuthenticator.admin_groups = {"wheel"}
"""
OF_OTHERS = """
from jupyterhub.auth import DummyAuthenticator

class Anybody(DummyAuthenticator):
    def authenticate(self, handler, data):
        return data["username"].split("@")[0]

c.JupyterHub.authenticator_class = Anybody
c.DummyAuthenticator.password = "of no use"
"""
REFUSES = """
from jupyterhub.auth import Authenticator

class Closed(Authenticator):
    async def authenticate(self, handler, data):
        return None

c.JupyterHub.authenticator_class = Closed
"""


@pytest.mark.parametrize("text", [ONE_MACHINE, PAM_SETTINGS, OF_OTHERS, REFUSES])
def test_nothing_is_remarked_on(hosting: Hosting, text: str) -> None:
    hosting.configure(text)

    assert hosting.settings.HUB.remarks == ()


def test_a_hook_after_the_sign_in_gives_state(hosting, browser, monkeypatch):
    from accounts import auth_state

    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", "7" * 64)
    with hosting.here(WITH_STATE):
        assert browser.sign_in("ada", "any").status_code == 302

        user = User.objects.get()
        assert auth_state.read(user.pk, user.name) == {"project": "physics"}


def test_a_dummy_of_others_is_theirs(hosting, browser):
    with hosting.here(OF_OTHERS):
        assert browser.sign_in("ada@example.org", "x").status_code == 302

    assert User.objects.get().name == "ada"


def test_a_class_may_refuse_everybody(hosting, browser):
    with hosting.here(REFUSES):
        assert browser.sign_in("ada", "x").status_code == 403
    assert not User.objects.exists()
