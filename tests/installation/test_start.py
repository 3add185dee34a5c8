"""`start.py` on incomplete machines, with one line for each problem."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from installation import services_for_tests
from installation.steps import ROOT, download

START = ROOT / "start.py"


def test_the_first_file_is_read_by_every_python():
    """An old Python must come as far as the sentence that refuses it."""
    source = START.read_text("ascii")

    tree = ast.parse(source, feature_version=(3, 4))

    newer_than_python_2 = (ast.AnnAssign, ast.JoinedStr, ast.Nonlocal, ast.AsyncFor)
    assert not [n for n in ast.walk(tree) if isinstance(n, newer_than_python_2)]
    assert not [
        function
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        and (function.returns or function.args.kwonlyargs)
    ]
    future = [n for n in tree.body if isinstance(n, ast.ImportFrom)]
    assert "__future__" not in {n.module for n in future}
    # What needs a new Python is imported after the refusal.
    refusal = next(n for n in tree.body if isinstance(n, ast.If))
    assert all(n.lineno > refusal.lineno for n in future)


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.9", "3.10"])
def test_an_old_python_is_refused_in_words(version: str, tmp_path: Path):
    """Runs the real interpreter where there is one, and a version number otherwise."""
    program = shutil.which(f"python{version}")
    if (
        program is None
        or subprocess.run([program, "--version"], check=False).returncode
    ):
        script = tmp_path / "start.py"
        told = tuple(map(int, version.split(".")))
        source = START.read_text().replace("import sys\n", f"{PRETEND}{told}\n", 1)
        script.write_text(source)
        command = [sys.executable, str(script)]
    else:
        command = [program, str(START)]

    refused = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        f"ERROR: Python 3.11 or later is needed, this is {version}; on Debian 12: "
        "apt-get install python3 python3-venv"
    ]


PRETEND = "import sys\nsys.version_info = "


@pytest.mark.parametrize(
    "words",
    [
        "NewConnectionError: [Errno -3] Temporary failure in name resolution",
        "npm error code EAI_AGAIN",
        "npm error code ENOTFOUND",
    ],
)
def test_a_missing_network_is_reported_in_one_line(words: str):
    command = [sys.executable, "-c", f"import sys; print({words!r}); sys.exit(1)"]

    with pytest.raises(SystemExit) as ended:
        download("pip", command, "name a mirror in PIP_INDEX_URL")

    assert str(ended.value).startswith("ERROR: No network: pip could not download")
    assert "PIP_INDEX_URL" in str(ended.value)
    assert "\n" not in str(ended.value)


def test_another_failure_of_a_download_shows_its_output(capfd: pytest.CaptureFixture):
    command = [sys.executable, "-c", "print('no such version'); raise SystemExit(1)"]

    with pytest.raises(subprocess.CalledProcessError):
        download("pip", command, "name a mirror in PIP_INDEX_URL")

    assert "no such version" in capfd.readouterr().err


def test_a_browser_that_does_not_start_is_reported_before_the_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    browser = tmp_path / "chromium"
    browser.write_text("#!/bin/sh\necho 'libatomic.so.1: not found' >&2\nexit 127\n")
    browser.chmod(0o755)
    monkeypatch.setenv("CHROMIUM", str(browser))

    with pytest.raises(SystemExit) as ended:
        services_for_tests.find_chromium()

    assert "libatomic.so.1" in str(ended.value)
    assert str(browser) in str(ended.value)
