"""A real Docker daemon of its own on this machine, with an image made on the spot.

The daemon shares nothing with another one on the machine: socket, data and network
bridge are private, and no firewall is changed. No registry is used, because the image
has only empty folders. Containers run this machine's own `/usr` and Python environment,
mounted read-only.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.backends.machine import Unavailable, find, processes, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGE = "hub-test:latest"
MARK = "HUB_TEST_DOCKER"
HELP = (
    "What would help: run the tests as root on a Linux machine, or in a container "
    "that may mount and make network devices (--privileged), with Debian's packages: "
    "apt-get install --no-install-recommends docker.io iptables iproute2"
)


class Daemon:
    """A Docker daemon that runs; `env` leads a client to it."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder
        self.socket = folder / "docker.sock"
        self.env = {"DOCKER_HOST": f"unix://{self.socket}"}
        self.bridge = f"hubtest{number}"
        # Where the hub must listen for containers to reach it.
        self.address = f"172.29.{100 + number}.1"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def mounts(self) -> list[str]:
        """Return the folders that a container needs to run our Python."""
        wanted = {Path("/usr"), Path(sys.prefix), Path(sys.base_prefix), ROOT}
        # Those inside another come with it.
        return sorted(
            str(path) for path in wanted if not wanted.intersection(path.parents)
        )

    def client(self) -> Any:
        import docker  # type: ignore[import-untyped]

        return docker.APIClient(base_url=self.env["DOCKER_HOST"], version="auto")

    def running(self) -> set[str]:
        """Return the ids of the containers that run."""
        client = self.client()
        try:
            return {each["Id"] for each in client.containers(quiet=True)}
        finally:
            client.close()

    def start(self) -> None:
        self._make_bridge()
        command = [
            *(find("dockerd") or "dockerd", "--host", self.env["DOCKER_HOST"]),
            *("--data-root", str(self.folder / "data")),
            *("--exec-root", str(self.folder / "exec")),
            *("--pidfile", str(self.folder / "pid")),
            *("--bridge", self.bridge, "--ip-forward=false", "--ip-masq=false"),
            *("--iptables=false", "--ip6tables=false", "--shutdown-timeout=5"),
        ]
        log = self.folder / "log"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                env={"PATH": os.environ["PATH"], MARK: str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_until(self._is_up, "dockerd answers", self.log)
            self._make_image()
            self._try()
        except Exception as problem:
            raise Unavailable(
                f"dockerd does not run here: {problem}\n{self.log()}\n{HELP}"
            ) from problem

    def _make_bridge(self) -> None:
        ip = find("ip") or "ip"
        for arguments in (
            ("link", "add", self.bridge, "type", "bridge"),
            ("addr", "add", f"{self.address}/24", "dev", self.bridge),
            ("link", "set", self.bridge, "up"),
        ):
            done = subprocess.run([ip, *arguments], capture_output=True, check=False)
            if done.returncode:
                raise Unavailable(
                    f"No network for containers can be made: {done.stderr.decode()}"
                    f"{HELP}"
                )

    def _is_up(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            raise RuntimeError(f"dockerd ended with {self.process.returncode}")
        if not self.socket.is_socket():
            return False
        try:
            client = self.client()
        except Exception:
            return False
        with suppress(Exception):
            return bool(client.ping())
        return False

    def _make_image(self) -> None:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in ("dev", "etc", "proc", "root", "sys", "tmp", "usr"):
                folder = tarfile.TarInfo(name)
                folder.type = tarfile.DIRTYPE
                folder.mode = 0o1777 if name == "tmp" else 0o755
                tar.addfile(folder)
            for name in ("bin", "lib", "lib64", "sbin"):
                if not Path("/", name).is_symlink():
                    raise RuntimeError(f"/{name} is no link into /usr on this machine")
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
                tar.addfile(link)
            people = b"root:x:0:0:root:/root:/bin/sh\n"
            passwd = tarfile.TarInfo("etc/passwd")
            passwd.size = len(people)
            tar.addfile(passwd, io.BytesIO(people))
        client = self.client()
        name, _, tag = IMAGE.partition(":")
        client.import_image_from_data(archive.getvalue(), repository=name, tag=tag)
        client.close()

    def _try(self) -> None:
        """Run something in a container; a daemon that can't is of no use."""
        client = self.client()
        binds = {path: {"bind": path, "mode": "ro"} for path in self.mounts}
        container = client.create_container(
            IMAGE,
            [sys.executable, "-c", "import jupyterhub"],
            volumes=self.mounts,
            host_config=client.create_host_config(binds=binds),
        )
        client.start(container)
        status = client.wait(container, timeout=60)["StatusCode"]
        said = client.logs(container).decode()
        client.remove_container(container, force=True)
        client.close()
        if status:
            raise RuntimeError(f"a container ended with {status}: {said}")

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def remove_all(self) -> None:
        """End and remove all containers."""
        client = self.client()
        for each in client.containers(all=True, quiet=True):
            with suppress(Exception):
                client.remove_container(each, force=True)
        client.close()

    def end(self) -> None:
        """End daemon and containers; raise if any process of theirs is left."""
        if self.process and self.process.poll() is None:
            with suppress(Exception):
                self.remove_all()
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        ip = find("ip") or "ip"
        subprocess.run(
            [ip, "link", "delete", self.bridge], capture_output=True, check=False
        )
        self._unmount()
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            wait_until(lambda: not self._processes(), "all processes ended")
        except TimeoutError:
            left = self._processes()
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            raise RuntimeError(f"Processes of Docker were left: {left}") from None

    def _processes(self) -> set[int]:
        return processes(**{MARK: str(self.folder)})

    def _unmount(self) -> None:
        """Undo what a daemon that was killed has left mounted."""
        mounted = [
            line.split()[1]
            for line in Path("/proc/mounts").read_text().splitlines()
            if line.split()[1].startswith(f"{self.folder}/")
        ]
        for place in reversed(mounted):
            subprocess.run(["umount", "-l", place], capture_output=True, check=False)


@contextmanager
def daemon(number: int) -> Iterator[Daemon]:
    """Start a daemon, or raise `Unavailable`; several run beside each other."""
    require()
    # A socket's path must not be long.
    folder = Path(tempfile.mkdtemp(prefix="hub-docker-", dir="/tmp"))
    found = Daemon(folder, number)
    try:
        found.start()
        yield found
    finally:
        found.end()


def require() -> None:
    """Raise `Unavailable` if there is no need to try."""
    if os.geteuid() != 0:
        raise Unavailable(f"A Docker daemon needs root. {HELP}")
    missing = [
        name for name in ("dockerd", "runc", "iptables", "ip") if find(name) is None
    ]
    if missing:
        raise Unavailable(f"{', '.join(missing)} is not installed. {HELP}")
