"""Find the processes of a start whose controller was killed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from traitlets import Unicode
from traitlets.config import Config

from controller import recovery
from controller.pids import beginning
from controller.spawners import kinds
from controller.spawners.hosted_spawner import Host
from tests.controller.spawners import configuration, context, get, run


@pytest.fixture
def config(tmp_path: Path, settings: Any) -> Config:
    settings.DATA_DIR = tmp_path / "data"
    return configuration(tmp_path)


def test_local_process_is_found_by_its_environment(config: Config) -> None:
    attempt = os.urandom(16).hex()
    host = Host(config, "simple")

    async def scenario() -> None:
        lost = host.spawner(context(attempt=attempt))
        url = await lost.start("the-token")
        await get(f"{url}api")
        pid = lost.spawner.pid
        assert recovery.processes_of(attempt) == {pid}

        # The controller was killed before it could store anything.
        later = host.spawner(context(attempt=attempt))
        assert await recovery.find_and_end(later, attempt) is True

        assert beginning(pid) is None
        lost.spawner.proc.wait(60)
        assert await recovery.find_and_end(later, attempt) is False

    run(scenario())


def test_process_that_ignores_to_be_ended_is_killed(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "PATIENCE", 0.3)
    config.Spawner.args = ["--deaf"]
    attempt = os.urandom(16).hex()
    host = Host(config, "simple")

    async def scenario() -> None:
        lost = host.spawner(context(attempt=attempt))
        url = await lost.start("the-token")
        await get(f"{url}api")

        assert await recovery.find_and_end(host.spawner(context()), attempt) is True
        assert lost.spawner.proc.wait(60) == -9

    run(scenario())


def test_processes_of_other_attempts_are_left_alone(config: Config) -> None:
    other = subprocess.Popen(["sleep", "30"], env={"HUB_ATTEMPT": "another"})
    try:
        hosted = Host(config, "simple").spawner(context())

        assert run(recovery.find_and_end(hosted, "anothe")) is False
        assert run(recovery.find_and_end(hosted, "")) is False

        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_server_named_after_its_owner_is_asked_for(config: Config) -> None:
    """As of DockerSpawner and KubeSpawner: nothing is stored, and it knows its own."""
    from jupyterhub.spawner import Spawner

    running = {"jupyter-alan"}

    class Named(Spawner):
        async def start(self) -> tuple[str, int]:
            return "127.0.0.1", 1

        async def poll(self) -> int | None:
            return None if f"jupyter-{self.user.name}" in running else 0

        async def stop(self, now: bool = False) -> None:
            running.remove(f"jupyter-{self.user.name}")

    config.JupyterHub.spawner_class = Named
    hosted = Host(config, "").spawner(context())

    assert run(recovery.find_and_end(hosted, "0a")) is True
    assert not running
    assert run(recovery.find_and_end(hosted, "0a")) is False


# Slurm, as far as its commands say what they are; the real one has tests of its own.


@pytest.fixture
def slurm(config: Config, tmp_path: Path) -> Any:
    """A spawner whose `squeue` and `scancel` are two lines of shell."""
    from batchspawner import SlurmSpawner

    jobs = tmp_path / "jobs"
    jobs.write_text("")

    class Slurm(SlurmSpawner):
        exec_prefix = Unicode("")

    config.JupyterHub.spawner_class = Slurm
    config.Slurm.batch_query_cmd = f"grep '^{{job_id}}|' {jobs} | cut -d'|' -f3,4"
    config.Slurm.batch_cancel_cmd = f"sed -i '/^{{job_id}}|/d' {jobs}"
    config.Slurm.state_running_re = "^RUNNING"
    return jobs


def test_job_of_slurm_is_found_by_its_comment(
    config: Config, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.write_text("41|(null)|RUNNING|n1\n42|hub:0a1b|RUNNING|n2\n43|x|RUNNING|n3\n")
    monkeypatch.setattr(recovery, "LIST_JOBS", f"cat {slurm}")
    hosted = Host(config, "").spawner(context("root", attempt="0a1b"))

    assert run(recovery.find_and_end(hosted, "0a1b")) is True

    assert "hub:0a1b" not in slurm.read_text()
    assert slurm.read_text().count("\n") == 2
    assert run(recovery.find_and_end(hosted, "0a1b")) is False


def test_slurm_that_does_not_answer_is_no_reason_to_despair(
    config: Config, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "LIST_JOBS", "false")
    hosted = Host(config, "").spawner(context("root"))

    assert run(recovery.find_and_end(hosted, "0a1b")) is False


def test_job_bears_its_attempt(config: Config, slurm: Path) -> None:
    hosted = Host(config, "").spawner(context("root"))

    kinds.mark(hosted.spawner, "0a1b")

    assert hosted.spawner.batch_submit_cmd.endswith(" --comment=hub:0a1b")
    assert hosted.spawner.environment["HUB_ATTEMPT"] == "0a1b"
    assert "HUB_ATTEMPT" in hosted.spawner.req_keepvars.split(",")


def test_comment_of_the_site_stays(config: Config, slurm: Path) -> None:
    config.Slurm.req_options = "--comment=teaching"
    hosted = Host(config, "").spawner(context("root"))

    kinds.mark(hosted.spawner, "0a1b")

    assert "hub:" not in hosted.spawner.batch_submit_cmd


def test_nothing_is_marked_without_an_attempt(config: Config) -> None:
    hosted = Host(config, "simple").spawner(context("root"))

    kinds.mark(hosted.spawner, "")

    assert "HUB_ATTEMPT" not in hosted.spawner.environment
