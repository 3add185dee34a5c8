"""The environment of a server, compared with a recorded one of JupyterHub 6.1.1.

The records were made with `base_url` /jupyter/, the hub at 127.0.0.1:23101, a memory
limit, a directory, a default URL, one allowed scope and one variable of the site; one
with a public address, a named server and a user whose name must be quoted.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.spawners.hosted_spawner import Host
from oauth.clients import server_client_id
from tests.controller.spawners import configuration, context, get, run, started

RECORDS = json.loads(Path(__file__).with_name("environments.json").read_text("utf-8"))
# By this, and by nothing else, a server of ours differs.
OURS = {"HUB_ATTEMPT"}


def given(host: Host, about: Any) -> dict[str, str]:
    async def scenario() -> dict[str, str]:
        hosted = host.spawner(about)
        async with started(hosted) as url:
            await get(f"{url}api")
            # The stub keeps its secrets to itself; the kernel does not.
            assert hosted.process is not None
            path = Path(f"/proc/{hosted.spawner.pid}/environ")
            entries = path.read_bytes().decode().split("\0")
            return dict(entry.split("=", 1) for entry in entries if entry)

    return run(scenario())


@pytest.mark.django_db
@pytest.mark.parametrize("case", sorted(RECORDS))
def test_environment_is_jupyterhubs(
    case: str, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = RECORDS[case]
    user, server = record["user"], record["server"]
    settings.DATA_DIR = tmp_path / "data"
    settings.PUBLIC_URL = "https://hub.example/jupyter" if case == "public" else ""
    settings.HUB = replace(
        settings.HUB, base_url="/jupyter/", hub_connect_url="http://127.0.0.1:23101"
    )
    for name in ("LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV"):
        monkeypatch.delenv(name, raising=False)
    for name in ("CONDA_DEFAULT_ENV", "CONDA_ROOT", "JUPYTERHUB_SINGLEUSER_APP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "<lang>")
    config = configuration(tmp_path)
    config.Spawner.mem_limit = "1G"
    config.Spawner.notebook_dir = "~/{username}"
    config.Spawner.default_url = "/lab"
    config.Spawner.environment = {"OWN": lambda s: f"{s.user.name}:{s.name}"}
    config.Spawner.oauth_client_allowed_scopes = ["read:users!user"]
    host = Host(config, "simple")
    monkeypatch.setenv("PATH", "<path>")

    env = given(
        host,
        context(user, server, client_id=server_client_id(user, server), attempt="0a"),
    )

    assert env.keys() >= OURS
    for name in OURS:
        del env[name]
    assert env["JUPYTERHUB_API_TOKEN"] == env["JPY_API_TOKEN"] == "the-token"
    env |= {"JUPYTERHUB_API_TOKEN": "<token>", "JPY_API_TOKEN": "<token>"}
    env["HOME"] = env["HOME"].replace(str(tmp_path), "<homes>")
    url = env["JUPYTERHUB_SERVICE_URL"]
    env["JUPYTERHUB_SERVICE_URL"] = re.sub(r":\d+/", ":<port>/", url)
    assert env == record["env"]
