"""One site for each backend: its lines of `jupyterhub_config.py` and its programs.

All sites start a real `jupyterhub-singleuser`, and for servers named `stub…` a program
that is ready at once. The spawner of a server named `…slow` waits first, so that a test
can act at that moment.
"""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.backends import docker, kubernetes, slurm
from tests.backends.machine import processes
from tests.servers import stub

BIN = Path(sys.prefix) / "bin"
# Seconds that a slow server's start rests before anything happens.
REST = 2.5
MARK = "HUB_TEST_SITE"

COMMON = """
import asyncio
c.JupyterHub.allow_named_servers = True
c.JupyterHub.authenticator_class = "dummy"
c.Spawner.start_timeout = c.Spawner.http_timeout = 60
c.Spawner.cmd = [{single_user!r}]
c.Spawner.args = ["--allow-root"]
c.Spawner.environment = {{"PYTHONPATH": {path!r}, "{mark}": {folder!r}}}

async def before(spawner):
    {prepare}
    if spawner.name.startswith("stub"):
        spawner.cmd, spawner.args = {stub!r}, []
    if spawner.name.endswith("slow"):
        await asyncio.sleep({rest})

c.Spawner.pre_spawn_hook = before
"""


@dataclass
class Site:
    """A backend, as its operator configures it and as a test looks into it.

    `running` names all that runs there: process ids, jobs, containers, pods.
    """

    name: str
    user: str
    config: str
    running: Callable[[], set[str]]
    remove_all: Callable[[], None]
    env: dict[str, str] = field(default_factory=dict)
    # Where the hub listens for its servers.
    address: str = "127.0.0.1"
    # What a test of one backend alone asks.
    backend: Any = None


def account() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def common(folder: Path, *, stub_command: list[str], prepare: str = "pass") -> str:
    return COMMON.format(
        single_user=str(BIN / "jupyterhub-singleuser"),
        path=str(fast_imports(folder)),
        mark=MARK,
        folder=str(folder),
        stub=stub_command,
        prepare=prepare,
        rest=REST,
    )


def fast_imports(folder: Path) -> Path:
    """Return a folder for PYTHONPATH that halves how long a single-user server takes.

    An optional checker of formats compiles a grammar when it is imported; jsonschema
    does without if it is not there.
    """
    path = folder / "path"
    path.mkdir(exist_ok=True)
    (path / "rfc3987_syntax.py").write_text("raise ImportError\n")
    return path


def stub_program(folder: Path) -> str:
    """Return a stub that can be run by its name."""
    program = folder / "stub"
    shutil.copy(stub.__file__, program)
    program.chmod(0o755)
    return str(program)


@contextmanager
def local(folder: Path) -> Iterator[Site]:
    """Start servers as processes of the account that has the user's name."""
    config = """
c.JupyterHub.spawner_class = "localprocess"
"""
    yield _local_site("local", account(), folder, config)


@contextmanager
def simple(folder: Path) -> Iterator[Site]:
    """Start servers as processes of the hub's own account."""
    config = f"""
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/home/{{username}}"
"""
    yield _local_site("simple", "ada", folder, config)


def _local_site(name: str, user: str, folder: Path, config: str) -> Site:
    def running() -> set[str]:
        # A server may have processes of its own; the first one is the server.
        found = processes(**{MARK: str(folder)})
        return {str(pid) for pid in found if _parent(pid) not in found}

    def remove_all() -> None:
        for pid in processes(**{MARK: str(folder)}):
            os.kill(pid, 9)

    stub_command = [sys.executable, stub.__file__]
    text = config + common(folder, stub_command=stub_command)
    return Site(name, user, text, running, remove_all)


def _parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


@contextmanager
def slurm_site(folder: Path) -> Iterator[Site]:
    """Submit servers as jobs of the account that runs the tests."""
    with slurm.cluster() as cluster:
        config = f"""
c.JupyterHub.spawner_class = "batchspawner.MultiSlurmSpawner"
c.MultiSlurmSpawner.daemon_resolver = {dict.fromkeys(slurm.NODES, "127.0.0.1")}
c.BatchSpawnerBase.exec_prefix = ""
c.BatchSpawnerBase.batchspawner_singleuser_cmd = "{BIN}/batchspawner-singleuser"
c.Spawner.env_keep = {["PATH", "LANG", *cluster.env]}
"""
        # Not into somebody's home.
        prepare = f"""spawner.req_homedir = {str(cluster.folder / "home")!r}
    *_, node = spawner.name.rpartition("-on-")
    if node in {slurm.NODES}:
        spawner.req_options = f"--nodelist={{node}}"
    if spawner.name.endswith("-late"):
        spawner.batch_submit_cmd = f"sleep 4; {{spawner.batch_submit_cmd}}"
"""
        (cluster.folder / "home").mkdir()
        yield Site(
            name="slurm",
            user=account(),
            config=config
            + common(folder, stub_command=[stub_program(folder)], prepare=prepare),
            running=lambda: set(cluster.jobs()),
            remove_all=cluster.cancel_all,
            env=cluster.env,
            backend=cluster,
        )


@contextmanager
def docker_site(folder: Path, number: int) -> Iterator[Site]:
    """Start servers in containers."""
    with docker.daemon(number) as daemon:
        shared = {path: path for path in (*daemon.mounts, str(folder))}
        config = f"""
c.JupyterHub.spawner_class = "docker"
c.DockerSpawner.image = {docker.IMAGE!r}
c.DockerSpawner.remove = True
c.DockerSpawner.read_only_volumes = {shared}
"""
        yield Site(
            name="docker",
            user="ada",
            config=config
            + common(folder, stub_command=[sys.executable, stub.__file__]),
            running=daemon.running,
            remove_all=daemon.remove_all,
            env=daemon.env,
            address=daemon.address,
        )


@contextmanager
def kubernetes_site(folder: Path) -> Iterator[Site]:
    """Create servers as pods."""
    with kubernetes.kubernetes() as cluster:
        config = """
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.KubeSpawner.image = "example.org/notebook:1"
"""
        yield Site(
            name="kubernetes",
            user="ada",
            config=config
            + common(folder, stub_command=[sys.executable, stub.__file__]),
            running=lambda: {
                pod["metadata"]["uid"] for pod in cluster.nodes.pods().values()
            },
            remove_all=cluster.remove_all,
            env=cluster.env,
            backend=cluster,
        )
