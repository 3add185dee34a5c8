"""Set up, run and test the hub on a Debian that has nothing else installed.

A machine in use has libraries that were installed and forgotten. So this script runs
the README's two commands in a minimal Debian 12, which `debootstrap` makes in a
temporary folder: the first as an ordinary user, until the hub responds; the second as
root, which installs Debian's packages, with a few tests that need a browser.

The script needs root, for mounts and for `chroot`. It runs in namespaces of its own, so
that its mounts and processes end with it. It uses the machine's network.
"""

# ruff: noqa: S310, S603, S607 - its own programs and its own address

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
SUITE = "bookworm"
# The README's requirements, and the certificates for downloads.
PACKAGES = "python3,python3-venv,ca-certificates"
BROWSER_TESTS = ("tests/browser/test_pages.py", "-k", "sign_in or home")
# The hub's address in the README.
HEALTH = "http://127.0.0.1:8000/hub/health"
# Seconds, generous because the machine may be slow or busy.
START_TIMEOUT = 600
STOP_TIMEOUT = 60
# Set in the process that runs in namespaces of its own.
INSIDE = "FRESH_DEBIAN_INSIDE"
# This machine's certificates for downloads, in the environment and as files.
CERTIFICATES = (
    *("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("NODE_EXTRA_CA_CERTS",),
)


def main() -> int:
    if os.geteuid() != 0:
        sys.exit("ERROR: Only root can make a fresh Debian; run this as root")
    if INSIDE not in os.environ:
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        command = [*namespaces, sys.executable, __file__]
        return subprocess.run(command, env=os.environ | {INSIDE: "1"}).returncode
    with tempfile.TemporaryDirectory(prefix="fresh-debian-", dir="/var/tmp") as name:
        root = Path(name) / "root"
        make_debian(root)
        with mounted(root):
            debian = Debian(root)
            debian.clone()
            debian.run_hub()
            return debian.run_tests()


def make_debian(root: Path) -> None:
    if shutil.which("debootstrap") is None:
        print("== Debian package: debootstrap", flush=True)
        apt = ["apt-get", "-qq", "-y", "--no-install-recommends"]
        run(["apt-get", "-qq", "update"])
        run([*apt, "install", "debootstrap"])
    print(f"== A fresh Debian ({SUITE}) with {PACKAGES}", flush=True)
    minimal = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE]
    made = subprocess.run([*minimal, str(root)], capture_output=True, text=True)
    if made.returncode:
        sys.exit(f"ERROR: debootstrap failed:\n{made.stdout[-3000:]}{made.stderr}")
    shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
    trusted = Path("/etc/ssl/certs/ca-certificates.crt")
    if trusted.exists():
        shutil.copy(trusted, root / trusted.relative_to("/"))


@contextlib.contextmanager
def mounted(root: Path) -> Iterator[None]:
    """Mount the file systems that programs expect on every Linux."""
    mounts = {
        "proc": ["-t", "proc", "proc"],
        "sys": ["--rbind", "/sys"],
        "dev": ["--rbind", "/dev"],
        "tmp": ["-t", "tmpfs", "tmpfs"],
    }
    try:
        for name, what in mounts.items():
            run(["mount", *what, str(root / name)])
        yield
    finally:
        # The folder is deleted next, but the mounted file systems must not be.
        for name in mounts:
            subprocess.run(["umount", "--lazy", "--recursive", str(root / name)])


class Debian:
    """A Debian in a folder, with one ordinary user and a clone of this project."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
        } | {name: os.environ[name] for name in CERTIFICATES if name in os.environ}

    def clone(self) -> None:
        run(self.inside("root", "/", "useradd", "--create-home", "ada"))
        source = f"file://{PROJECT}"
        target = str(self.root / "home" / "ada" / "hub")
        run(["git", "-c", "safe.directory=*", "clone", "-q", source, target])
        run(self.inside("root", "/", "chown", "-R", "ada:ada", "/home/ada/hub"))

    def run_hub(self) -> None:
        """Run the README's first command as an ordinary user until the hub responds."""
        print("== python3 start.py, as an ordinary user", flush=True)
        command = self.inside("ada", "/home/ada/hub", "python3", "start.py")
        hub = subprocess.Popen(command, env=self.env | {"HOME": "/home/ada"})
        begun = time.monotonic()
        try:
            while not answers(HEALTH):
                if hub.poll() is not None:
                    sys.exit("ERROR: the hub ended before it answered")
                if time.monotonic() - begun > START_TIMEOUT:
                    sys.exit(f"ERROR: no answer from {HEALTH}")
                time.sleep(0.2)
            print(f"== Answered after {time.monotonic() - begun:.0f} s", flush=True)
        finally:
            hub.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                hub.wait(STOP_TIMEOUT)
        if hub.returncode not in (0, -signal.SIGTERM):
            sys.exit(f"ERROR: the hub ended with status {hub.returncode}")

    def run_tests(self) -> int:
        """Run the README's second command as root, with tests that need a browser."""
        print("== python3 start.py test, with tests of pages", flush=True)
        command = ["python3", "start.py", "test", *BROWSER_TESTS]
        inside = self.inside("root", "/home/ada/hub", *command)
        return subprocess.run(inside, env=self.env | {"HOME": "/root"}).returncode

    def inside(self, user: str, folder: str, *command: str) -> Sequence[str]:
        """Return the command that runs another one in this Debian."""
        shell = 'cd "$1" && shift && exec "$@"'
        who = f"--userspec={user}:{user}"
        return [
            "chroot",
            who,
            str(self.root),
            "sh",
            "-c",
            shell,
            "sh",
            folder,
            *command,
        ]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"ERROR: `{' '.join(map(str, error.cmd))}` failed, see above")
