#!/usr/bin/env python3
"""Install and run the hub, or install and test it. See `--help`.

Every Python from 2.7 on can parse this file, so that an old one is refused with a
message and not with a syntax error. Everything else is in the folder `installation`.
"""

# ruff: noqa: UP031 - Python 2.7 has no other format than this one

import sys

OLDEST = (3, 11)

if sys.version_info < OLDEST:
    sys.exit(
        "ERROR: Python 3.11 or later is needed, this is %d.%d; on Debian 12: "
        "apt-get install python3 python3-venv" % sys.version_info[:2]
    )

from installation.commands import run_command  # noqa: E402 - needs a new Python

if __name__ == "__main__":
    sys.exit(run_command(sys.argv[1:]))
