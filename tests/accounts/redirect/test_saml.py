"""SAML by its plugin, which needs JupyterHub's check of forms to be off."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from installation.packages import AUTHENTICATORS
from tests.accounts.redirect.conftest import Browser, HostingHub, path_of, settings_of

PROGRAM = Path(__file__).parent / "saml.py"


def make_response(name: str, target: str) -> Any:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), name, target],
        env={"PYTHONPATH": str(AUTHENTICATORS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_signed_response(site: HostingHub) -> None:
    made = make_response("Grace", f"{site.own_url}login")
    for line in settings_of(
        "SAMLAuthenticator",
        {
            "metadata_content": made["metadata"],
            "recipient": f"{site.own_url}login",
            "allow_all": True,
        },
    ):
        site.declare(line)
    site.declare(
        "c.JupyterHub.authenticator_class = 'samlauthenticator.SAMLAuthenticator'"
    )
    site.declare("c.JupyterHub.tornado_settings = {'xsrf_cookies': False}")
    site.declare("c.JupyterHub.redirect_to_server = False")
    site.start_both()
    browser = Browser(site)

    begun = browser.step("/hub/login")
    assert begun.headers["Location"].startswith("https://idp.uni.example/sso")
    assert "EntityDescriptor" in browser.get("/hub/metadata").text

    forged = base64.b64decode(made["response"]).replace(b"Grace", b"Ada")
    liar = Browser(site)
    sent = {"SAMLResponse": base64.b64encode(forged).decode()}
    assert liar.post("/hub/login", sent).status_code >= 400
    assert liar.name == ""

    response = browser.post("/hub/login", {"SAMLResponse": made["response"]})
    assert path_of(response) == "/hub/home", response.text
    assert browser.name == "grace"
