"""Run JupyterHub's own tests against this hub: `python -m tests.peer --help`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.peer.run import FILES, make_template, run

HELP = """\
Runs JupyterHub's own tests against a hub of ours; tests/peer/README.md explains it.

    python -m tests.peer [FILE...] [ARGS]    ARGS go to pytest

Without a file, all of these run, one after the other:"""


def main(arguments: list[str]) -> int:
    if arguments in (["-h"], ["--help"]):
        print(HELP, *FILES, sep="\n    ")
        return 0
    files = [each for each in arguments if each.partition("::")[0].endswith(".py")]
    rest = [each for each in arguments if each not in files]
    with tempfile.TemporaryDirectory(prefix="peer-") as folder:
        template = make_template(Path(folder) / "data")
        return run(files or FILES, *rest, template=template).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
