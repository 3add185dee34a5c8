"""Configurations of the shapes of TLJH's and of the chart for Kubernetes.

Both are more programs than files: they read values from elsewhere, import a module
beside them, run further pieces of Python and print what they do.
"""

from __future__ import annotations

import json
import os
from http.cookiejar import CookieJar
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from tests.hubsite.conftest import RunningHub, hub

pytestmark = pytest.mark.slow

__all__ = ["hub"]

VALUES = """
import json, pathlib

FOLDER = pathlib.Path(__file__).parent

def get_config(key, default=None):
    found = json.loads((FOLDER / "values.json").read_text())
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return default
        found = found[part]
    return found

def set_if_given(section, name, key):
    if (value := get_config(key)) is not None:
        setattr(section, name, value)
"""
OF_THE_CHART = """
c = get_config()

import os, sys
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from chart_values import get_config, set_if_given

c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.JupyterHub.last_activity_interval = 60
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
for name, key in (("allow_named_servers", "named"), ("template_vars", "vars")):
    set_if_given(c.JupyterHub, name, f"hub.{key}")
labels = c.KubeSpawner.common_labels = {}
labels["app"] = "jupyterhub"
c.KubeSpawner.node_affinity_preferred.append({"weight": 100})
c.KubeSpawner.init_containers.append({"name": "block"})
c.JupyterHub.services = []
c.JupyterHub.load_roles = []
c.JupyterHub.services.append({"name": "culler", "api_token": "0123456789abcdef"})
c.JupyterHub.load_roles.append(
    {"name": "culling", "scopes": ["list:users"], "services": ["culler"]}
)
c.JupyterHub.cookie_secret = "ab" * 32
c.CryptKeeper.keys = ("cd" * 32).split(";")
for section, settings in get_config("hub.config", {}).items():
    print(f"Loading section {section}")
    c[section].update(settings)
for key, text in sorted(get_config("hub.extraConfig", {}).items()):
    print(f"Loading {key}")
    exec(text)
"""
OF_ONE_MACHINE = """
from glob import glob
import os
from one_machine import apply, MachineSpawner

c = get_config()
c.JupyterHub.spawner_class = MachineSpawner
c.JupyterHub.cleanup_servers = False
c.SystemdSpawner.unit_name_template = "jupyter-{USERNAME}"
apply(c)
for path in sorted(glob(os.path.join(os.path.dirname(__file__), "more.d", "*.py"))):
    load_subconfig(path)
"""
MACHINE = """
from jupyterhub.spawner import SimpleLocalProcessSpawner
from traitlets import Dict

class MachineSpawner(SimpleLocalProcessSpawner):
    user_groups = Dict(config=True)

def apply(c):
    c.MachineSpawner.user_groups = {"a": ["ada"]}
    c.Authenticator.admin_users = {"ada"}
    c.Authenticator.allowed_users = {"ada", "alan"}
    c.Spawner.mem_limit = "1G"
"""
SIGN_IN = """
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = "correct horse"
"""


def opened(hub: RunningHub) -> str:
    """Sign in, and return the page Home."""
    cookies = CookieJar()
    browser = build_opener(HTTPCookieProcessor(cookies))
    browser.open(f"{hub.own_url}login", timeout=60).read()
    value = next(each.value for each in cookies if each.name == "_xsrf")
    fields = {"username": "ada", "password": "correct horse", "_xsrf": value}
    address = f"{hub.own_url}login?next=/hub/home"
    with browser.open(address, urlencode(fields).encode(), timeout=60) as reply:
        assert reply.url.endswith("/hub/home"), reply.url
        return str(reply.read().decode())


def test_the_charts_configuration_starts_and_signs_in(hub: RunningHub) -> None:
    values = {
        "hub": {
            "named": True,
            "vars": {"announcement": "From the values"},
            "config": {
                "JupyterHub": {"authenticator_class": "dummy", "admin_access": True},
                "DummyAuthenticator": {"password": "correct horse"},
                "Authenticator": {"admin_users": ["ada"], "allow_all": True},
            },
            "extraConfig": {"10": 'c.JupyterHub.spawner_class = "simple"'},
        }
    }
    (hub.folder / "values.json").write_text(json.dumps(values))
    (hub.folder / "chart_values.py").write_text(VALUES)
    hub.declare(OF_THE_CHART)
    hub.start()

    page = opened(hub)

    assert "From the values" in page and 'href="/hub/admin/"' in page
    assert "Name of the new server" in page


def test_one_machines_configuration_starts_and_signs_in(hub: RunningHub) -> None:
    more = hub.folder / "more.d"
    more.mkdir()
    (more / "10-sign-in.py").write_text(SIGN_IN)
    (hub.folder / "one_machine.py").write_text(MACHINE)
    hub.env["PYTHONPATH"] = os.pathsep.join(
        [str(hub.folder), *filter(None, [hub.env.get("PYTHONPATH")])]
    )
    hub.declare(OF_ONE_MACHINE)
    hub.start()

    assert 'href="/hub/admin/"' in opened(hub)
