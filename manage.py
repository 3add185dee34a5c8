#!/usr/bin/env python3
"""Django's command line, with the hub's own commands."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubsite.settings")
    from hubsite.process import command_line

    command_line.run(sys.argv)


if __name__ == "__main__":
    main()
