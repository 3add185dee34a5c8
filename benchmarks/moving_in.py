"""Measure the import of a large JupyterHub database.

    python benchmarks/moving_in.py [--users N] [--tokens N] [--postgresql URL]

Makes a database of JupyterHub 6.1 with so many users, each in a group, and tokens, and
prints the seconds of `manage.py import_jupyterhub` into an empty hub, and of a second
run, which finds everything there. The limit of 120 s is for 100,000 of both.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT = 120.0
CREATED = "2026-01-01 00:00:00.000000"


def make(path: Path, users: int, tokens: int) -> None:
    """Write a database with JupyterHub's own tables."""
    from jupyterhub import orm
    from sqlalchemy import create_engine, insert, text

    engine = create_engine(f"sqlite:///{path}")
    orm.Base.metadata.create_all(engine)
    tables = orm.Base.metadata.tables
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('f460b0348206')"))

        def add(table: str, rows: list[dict[str, object]]) -> None:
            connection.execute(insert(tables[table]), rows)

        add("roles", [{"id": 1, "name": "user", "scopes": ["self"]}])
        groups = [{"id": n, "name": f"group-{n}"} for n in range(1, 101)]
        add("groups", groups)
        add("oauth_clients", [{"id": 1, "identifier": "jupyterhub"}])
        everybody = range(1, users + 1)
        add(
            "users",
            [{"id": n, "name": f"user-{n}", "cookie_id": str(n)} for n in everybody],
        )
        add("user_role_map", [{"user_id": n, "role_id": 1} for n in everybody])
        add(
            "user_group_map",
            [{"user_id": n, "group_id": n % 100 + 1} for n in everybody],
        )
        add("spawners", [{"id": n, "user_id": n, "name": ""} for n in everybody])
        add("api_tokens", [token(n, users) for n in range(1, tokens + 1)])
    engine.dispose()


def token(number: int, users: int) -> dict[str, object]:
    secret, salt = secrets.token_hex(16), secrets.token_hex(8)
    digest = hashlib.sha512((salt + secret).encode()).hexdigest()
    return {
        "id": number,
        "user_id": number % users + 1,
        "hashed": f"sha512:1:{salt}:{digest}",
        "prefix": secret[:4],
        "client_id": "jupyterhub",
        "note": "from a benchmark",
        "scopes": ["inherit"],
    }


def run(old: Path, data: Path, env: dict[str, str]) -> tuple[float, float]:
    """Import, and return the seconds that passed and those of the processor."""
    began, before = time.monotonic(), cpu()
    subprocess.run(  # noqa: S603 - this file's own command
        [
            *(sys.executable, ROOT / "manage.py", "import_jupyterhub", old),
            *("--data-dir", data),
        ],
        env=env,
        check=True,
    )
    return time.monotonic() - began, cpu() - before


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--postgresql", help="the URL of an empty database")
    options = parser.parse_args()
    env = dict(os.environ)
    env.pop("HUB_DATABASE_URL", None)
    if options.postgresql:
        env["HUB_DATABASE_URL"] = options.postgresql
    with tempfile.TemporaryDirectory() as folder:
        old, data = Path(folder) / "jupyterhub.sqlite", Path(folder) / "data"
        make(old, options.users, options.tokens)
        subprocess.run(  # noqa: S603
            [sys.executable, ROOT / "manage.py", "migrate", "-v", "0"],
            env={**env, "HUB_DATA_DIR": str(data)},
            check=True,
        )
        first, second = run(old, data, env), run(old, data, env)
    for name, (seconds, used) in (("first", first), ("second", second)):
        print(f"{name} import: {seconds:.1f} s, {used:.1f} s of them on a processor")
    if max(options.users, options.tokens) <= 100_000 and first[0] > LIMIT:
        sys.exit(f"slower than {LIMIT:.0f} s")


if __name__ == "__main__":
    main()
