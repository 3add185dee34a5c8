#!/usr/bin/env python3
"""Run `manage.py revocation_drill` beside a hub of four web processes: README.md."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from hubs import ROOT, OurHub


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=4, help="web processes")
    parser.add_argument("--port", type=int, default=18_600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="revocation-") as folder:
        hub = OurHub(Path(folder), options.port, workers=options.workers)
        hub.prepare(1, 1)
        try:
            done = subprocess.run(  # noqa: S603 - our own
                [
                    *(sys.executable, str(ROOT / "manage.py"), "revocation_drill"),
                    *("--trials", str(options.trials)),
                    *("--processes", str(options.workers)),
                ],
                env={**os.environ, **hub.environment()},
                check=False,
            )
        finally:
            hub.stop()
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
