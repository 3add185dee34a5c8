"""A real Slurm cluster of three nodes on this machine.

Debian's daemons with a private configuration: munge with a key of its own, one
slurmctld, and a slurmd for each node, with different names and ports. Nothing is read
from or written to the machine's own Slurm. The cluster needs no systemd and no control
groups. Any account can run it; without root, jobs run as that account.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.backends.machine import (
    PATIENCE,
    Unavailable,
    find,
    processes,
    wait_until,
)
from tests.ports import free_ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
PACKAGES = "slurmctld slurmd slurm-client munge"
NODES = ("n1", "n2", "n3")
# In the environment of everything that belongs to a cluster, jobs included.
MARK = "HUB_TEST_CLUSTER"


class Cluster:
    """A cluster that runs; `env` is what Slurm's commands need to find it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.account = pwd.getpwuid(os.geteuid()).pw_name
        self.env = {"SLURM_CONF": str(folder / "slurm.conf"), MARK: str(folder)}
        self.daemons: list[subprocess.Popen[bytes]] = []

    def command(self, *words: str) -> str:
        """Run one of Slurm's commands and return what it prints."""
        done = subprocess.run(
            words,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """Return the state of every job that is not over, by its id."""
        lines = self.command("squeue", "-h", "-o", "%i %T").splitlines()
        return {line.split()[0]: line.split()[1] for line in lines}

    def idle_nodes(self) -> set[str]:
        lines = self.command("sinfo", "-h", "-N", "-o", "%N %T").splitlines()
        return {name for name, state in map(str.split, lines) if state == "idle"}

    def cancel_all(self) -> None:
        """End all jobs, and wait until the nodes have nothing left to do."""
        if jobs := self.jobs():
            self.command("scancel", *jobs)
        wait_until(lambda: not self.jobs(), "the jobs ended")

    def processes(self) -> set[int]:
        """Return the processes of the cluster that are there: daemons, steps, jobs."""
        return processes(**{MARK: str(self.folder)})

    # Its daemons

    def start(self) -> None:
        os.chmod(self.folder, 0o755)
        munge = self._start_munge()
        self._configure(munge)
        conf = self.env["SLURM_CONF"]
        (self.folder / "state").mkdir(mode=0o700)
        self._run("slurmctld", "-D", "-i", "-f", conf)
        for name in NODES:
            (self.folder / "spool" / name).mkdir(parents=True)
            self._run("slurmd", "-D", "-f", conf, "-N", name, log=f"slurmd-{name}")
        wait_until(self._is_up, "all nodes of the cluster are idle", self.logs)

    def _is_up(self) -> bool:
        for daemon in self.daemons:
            if daemon.poll() is not None:
                raise RuntimeError(f"{daemon.args!r} has ended:\n{self.logs()}")
        try:
            return self.idle_nodes() == set(NODES)
        except RuntimeError:
            # The controller does not listen yet.
            return False

    @contextmanager
    def without_munge(self) -> Iterator[None]:
        """Let nobody prove to Slurm who they are; nothing is told to anybody."""
        munge = self.daemons[0]
        munge.terminate()
        munge.wait()
        try:
            yield
        finally:
            self.daemons[0] = self._popen(munge.args, "munged")  # type: ignore[arg-type]

    def _start_munge(self) -> Path:
        # Nobody but munge may look into the folder of its key; the socket is for all.
        private = self.folder / "munge"
        private.mkdir(mode=0o700)
        key = private / "key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        place = self.folder / "socket"
        place.mkdir(mode=0o755)
        munge_socket = place / "munge"
        self._run(
            "munged",
            "--foreground",
            f"--key-file={key}",
            f"--socket={munge_socket}",
            f"--pid-file={place / 'pid'}",
            f"--log-file={private / 'log'}",
            f"--seed-file={private / 'seed'}",
            "--num-threads=2",
        )
        wait_until(munge_socket.is_socket, "munge listens", self.logs)
        return munge_socket

    def _configure(self, munge: Path) -> None:
        host = socket.gethostname().partition(".")[0]
        control, *ports = free_ports(1 + len(NODES))
        folder = self.folder
        settings = {
            "ClusterName": "hub",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": control,
            "SlurmUser": self.account,
            "SlurmdUser": self.account,
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={munge}",
            "CredType": "cred/munge",
            "StateSaveLocation": folder / "state",
            "SlurmdSpoolDir": f"{folder}/spool/%n",
            "SlurmctldPidFile": folder / "slurmctld.pid",
            "SlurmdPidFile": f"{folder}/slurmd-%n.pid",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SwitchType": "switch/none",
            "MpiDefault": "none",
            "JobAcctGatherType": "jobacct_gather/none",
            "AccountingStorageType": "accounting_storage/none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_CPU",
            "SchedulerParameters": "batch_sched_delay=0",
            # Else nodes with more processors than the machine has are drained.
            "SlurmdParameters": "config_overrides",
            "ReturnToService": 2,
            "KillWait": 5,
            "MailProg": shutil.which("true") or "/bin/true",
        }
        lines = [f"{name}={value}" for name, value in settings.items()]
        lines += [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8"
            for name, port in zip(NODES, ports, strict=True)
        ]
        nodes = ",".join(NODES)
        lines.append(f"PartitionName=all Nodes={nodes} Default=YES MaxTime=60 State=UP")
        Path(self.env["SLURM_CONF"]).write_text("\n".join(lines) + "\n")

    def _run(self, program: str, *arguments: str, log: str = "") -> None:
        command = [find(program) or program, *arguments]
        self.daemons.append(self._popen(command, log or program))

    def _popen(self, command: Sequence[str], log: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{log}.log").open("ab") as output:
            return subprocess.Popen(
                command,
                # Jobs may get the environment of the daemons; it holds no more than
                # they need.
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **self.env},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def logs(self) -> str:
        return "\n".join(
            f"== {path.name}\n{path.read_text(errors='replace')[-2000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def end(self) -> None:
        """End jobs and daemons; raise if any process of theirs is left."""
        try:
            self.cancel_all()
        finally:
            for daemon in reversed(self.daemons):
                daemon.terminate()
            for daemon in self.daemons:
                try:
                    daemon.wait(60)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
            try:
                wait_until(lambda: not self.processes(), "all processes ended")
            except TimeoutError:
                left = self.processes()
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
                raise RuntimeError(f"Processes of Slurm were left: {left}") from None


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Start a cluster and end it completely."""
    require()
    # In /tmp itself: the name of a socket must not be long, and jobs of other
    # accounts must be able to get at the configuration.
    with tempfile.TemporaryDirectory(prefix="hub-slurm-", dir="/tmp") as name:
        found = Cluster(Path(name))
        try:
            found.start()
            yield found
        finally:
            found.end()


def require() -> None:
    """Raise `Unavailable` if programs of Slurm are missing."""
    missing = [name for name in PROGRAMS if find(name) is None]
    if missing:
        raise Unavailable(
            f"Slurm's programs {', '.join(missing)} are missing. Either install "
            f"Debian's packages: apt-get install --no-install-recommends {PACKAGES}\n"
            "or run `start.py test` as root, which does."
        )
