"""The hub's sign-up in the place of NativeAuthenticator, with the real plugin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core.cache import cache

from accounts.imported_passwords import import_passwords, native_passwords
from accounts.models import SignUp, User
from hubsite.config.hub_config import declared_places
from hubsite.config.unsupported import ADVICE
from tests.factories import BY
from tests.hosting.sites import PLUGINS, ROOT

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> Any:
    """Run the program beside this file with the plugin."""
    if not PLUGINS.is_dir():
        pytest.fail("The plugins are missing; `start.py test` installs them.")
    done = subprocess.run(
        [sys.executable, "-m", "tests.hosting.native_rows", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(PLUGINS)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_every_setting_of_the_plugin_has_an_answer():
    known = declared_places() | ADVICE.keys()

    traits = run()["traits"]

    assert len(traits) > 15
    assert [name for name in traits if f"NativeAuthenticator.{name}" not in known] == []


def test_people_of_the_plugin_sign_in_as_before(browser, another_browser):
    found = run()
    import_passwords(native_passwords(found["rows"]), by=BY)

    # The plugin has one name for each spelling.
    first = browser.sign_in("Grace", "a password of the old hub")
    assert first["Location"].startswith("/hub/accounts/2fa/authenticate/")
    cache.clear()
    second = browser.submit(first["Location"], code=found["code"])
    assert second.status_code == 302
    assert browser.get("/hub/home").status_code == 200
    assert another_browser.sign_in("alan", "another password").status_code == 302
    assert another_browser.get("/hub/home").status_code == 200
    waiting = another_browser.__class__().sign_in("mallory", "a password that waits")
    assert "nobody has decided about it yet" in waiting.content.decode()

    assert set(User.objects.values_list("name", flat=True)) == {"grace", "alan"}
    assert [row.name for row in SignUp.objects.all()] == ["mallory"]
    assert Authenticator.objects.get().user.name == "grace"
    for user in User.objects.all():
        assert user.password.startswith("argon2$argon2id$")


@pytest.mark.parametrize(
    ("lines", "remarks"),
    [
        ("c.JupyterHub.authenticator_class = NativeAuthenticator", 0),
        (
            "class Ours(NativeAuthenticator):\n"
            "    def validate_username(self, name):\n"
            "        return name.startswith('u')\n"
            "c.JupyterHub.authenticator_class = Ours",
            1,
        ),
    ],
)
def test_a_file_may_import_the_plugin(tmp_path, lines, remarks):
    path = Path(tmp_path / "jupyterhub_config.py")
    path.write_text(
        "from nativeauthenticator import NativeAuthenticator\n"
        f"{lines}\n"
        "c.NativeAuthenticator.open_signup = True\n"
        "c.NativeAuthenticator.tos = 'Terms'\n"
    )

    found = run("-f", str(path))

    assert (found["class"], found["signup"], found["terms"]) == (
        *("local", "open"),
        "Terms",
    )
    assert len(found["remarks"]) == remarks
    assert all("validate_username" in remark for remark in found["remarks"])
