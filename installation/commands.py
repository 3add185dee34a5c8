"""The commands of `start.py`: run the hub, test it, check and format its code."""

# ruff: noqa: S603, S606 - the programs are ours

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from installation.packages import (
    install_authenticators,
    install_oldest,
    node,
    set_up,
)
from installation.services_for_tests import (
    find_chromium,
    find_docker,
    find_redis,
    find_slapd,
    find_slurm,
    postgresql,
)
from installation.steps import PYTHON, ROOT, VENV, run, step

# The code whose types are checked; tests and benchmarks are not.
CODE = [
    *("accounts", "api", "audit", "client", "controller", "database", "hubsite"),
    *("installation", "integrations", "moving", "oauth", "scopes", "servers"),
    *("services", "sharing", "tokens", "web", "manage.py", "start.py"),
]
TEMPLATES = ("templates",)
HELP = """\
Sets the hub up and runs it; sets everything up and tests it.

    start.py [-f CONFIG] [--data-dir DIR]   set up, then run the hub
    start.py setup                          only set up
    start.py test [--quick] [ARGS]          set up, then test; ARGS go to pytest
    start.py check                          lint, format, templates, types, migrations
    start.py fmt                            put code and templates in shape
    start.py lock                           choose anew which versions are installed

Everything ends up in this folder: Python packages in .venv, the proxy in node_modules,
database, secrets and logs in data. Steps that were done are not done again."""


def run_command(arguments: Sequence[str]) -> int:
    """Run one command; a failure ends with one line of advice."""
    try:
        return main(arguments)
    except subprocess.CalledProcessError as error:
        command = " ".join(map(str, error.cmd[:6]))
        sys.exit(f"ERROR: `{command} …` failed, see above")
    except KeyboardInterrupt:
        return 130


def main(arguments: Sequence[str]) -> int:
    command, *rest = arguments or ("",)
    if command in ("-h", "--help", "help"):
        print(HELP)
        return 0
    if command == "setup" and not rest:
        set_up()
        return 0
    others = {"check": check, "fmt": fmt, "lock": lock}
    if command == "test" or (command in others and not rest):
        os.chdir(ROOT)
        return test(rest) if command == "test" else others[command]()
    if command and not command.startswith("-"):
        print(HELP, file=sys.stderr)
        return 2
    set_up()
    # Developers restart the hub often and have notebooks open.
    os.environ.setdefault("HUB_KEEP_SERVERS", "1")
    hub = [str(PYTHON), str(ROOT / "manage.py"), "hub", *arguments]
    # The hub replaces this process, so that signals reach the hub.
    os.execv(hub[0], hub)


def test(arguments: Sequence[str]) -> int:
    """Run all tests on SQLite, and all but those of browser and peer on PostgreSQL."""
    quick = "--quick" in arguments
    rest = [argument for argument in arguments if argument != "--quick"]
    set_up(tests=True)
    env = {name: value for name, value in os.environ.items() if name[:4] != "HUB_"}
    pytest = [str(PYTHON), "-m", "pytest", "-n", "2", "--dist", "loadgroup", *rest]
    install_authenticators()
    with tempfile.TemporaryDirectory(prefix="hub-test-") as folder:
        env["HUB_DATA_DIR"] = folder
        if quick:
            print("Tests on SQLite, without a browser and what is slow", flush=True)
            return _pytest([*pytest, "-m", "not slow and not browser"], env)
        env["CHROMIUM"] = find_chromium()
        # Playwright's own Node lacks libraries on a minimal machine; the proxy's Node
        # works already.
        env.setdefault("PLAYWRIGHT_NODEJS_PATH", node())
        install_oldest()
        # Looked for before the first run, so that a missing one is reported early.
        find_slurm()
        find_redis()
        find_slapd()
        find_docker()
        with postgresql() as url:
            print("Tests on SQLite", flush=True)
            status = _pytest(pytest, env)
            if status:
                return status
            env |= {"HUB_DATABASE_URL": url, "TEST_DATABASE_URL": url}
            print("Tests on PostgreSQL", flush=True)
            return _pytest([*pytest, "-m", "not browser and not peer"], env)


def _pytest(command: Sequence[str], env: dict[str, str]) -> int:
    status = subprocess.run(command, env=env, check=False).returncode
    # The selection had no tests for the second database, which is not a failure.
    return 0 if status == 5 and "TEST_DATABASE_URL" in env else status


def check() -> int:
    set_up(tests=True)
    env = dict(os.environ)
    failed = []
    templates = sorted(
        str(path) for folder in TEMPLATES for path in Path(folder).rglob("*.html")
    )
    manage = [str(PYTHON), "manage.py"]
    commands = {
        "ruff": [tool("ruff"), "check", "."],
        "format": [tool("ruff"), "format", "--check", "."],
        "templates": [tool("djade"), "--target-version", "5.2", "--check", *templates],
        "types": [tool("mypy"), *(name for name in CODE if Path(name).exists())],
        "django": [*manage, "check", "--fail-level", "WARNING"],
        "migrations": [*manage, "makemigrations", "--check", "--dry-run"],
    }
    with tempfile.TemporaryDirectory(prefix="hub-check-") as folder:
        env["HUB_DATA_DIR"] = folder
        for name, command in commands.items():
            print(f"== {name}", flush=True)
            if subprocess.run(command, env=env, check=False).returncode:
                failed.append(name)
    print(f"Failed: {', '.join(failed)}" if failed else "All checks passed")
    return 1 if failed else 0


def fmt() -> int:
    set_up(tests=True)
    run([tool("ruff"), "check", "--fix", "--exit-zero", "."])
    run([tool("ruff"), "format", "."])
    templates = [str(path) for name in TEMPLATES for path in Path(name).rglob("*.html")]
    if templates:
        subprocess.run(
            [tool("djade"), "--target-version", "5.2", *templates], check=False
        )
    return 0


def lock() -> int:
    """Write the lock files again; they contain no address for downloads."""
    set_up(tests=True)
    run([str(PYTHON), "-m", "pip", "install", "--quiet", "uv"])
    options = ["--generate-hashes", "--universal", "--no-emit-index-url"]
    apart = ("-oldest", "-authenticators", "-authenticators-oldest")
    for name in ("", "-notebook", "-dev", "-node", "-postgresql", *apart):
        alone = ["--no-deps"] if name in apart else []
        with step(f"requirements{name}.txt"):
            run(
                [
                    *(tool("uv"), "pip", "compile", "--quiet", "--upgrade", *alone),
                    *(*options, "--no-header", "--python-version", "3.11"),
                    *(f"requirements{name}.in", "-o", f"requirements{name}.txt"),
                ]
            )
    with step("package-lock.json"):
        npm = shutil.which("npm") or sys.exit("ERROR: npm is needed")
        run([npm, "update", "--ignore-scripts", "--omit-lockfile-registry-resolved"])
    return 0


def tool(name: str) -> str:
    return str(VENV / "bin" / name)
