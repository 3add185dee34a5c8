"""Fill JupyterHub's database directly, because its API would take an hour.

Run by JupyterHub's own Python, after the hub has run once and made its roles:
`preload_jupyterhub.py DATABASE_URL USERS MEMBERS`. Users u000000... get the role
`user` and a token each; `big` has so many members, `small` none.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
from datetime import UTC, datetime

from jupyterhub import orm
from sqlalchemy import create_engine, insert, select, text

CHUNK = 5000


def main() -> None:
    url, count, members = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    users, tokens = orm.User.__table__, orm.APIToken.__table__
    roles = orm.Base.metadata.tables["user_role_map"]
    now = datetime.now(UTC).replace(tzinfo=None)
    engine = create_engine(url)
    with engine.begin() as db:
        role = db.execute(
            select(orm.Role.id).where(orm.Role.name == "user")
        ).scalar_one()
        start = (
            db.execute(select(users.c.id).order_by(users.c.id.desc())).scalar() or 0
        ) + 1
        for low in range(0, count, CHUNK):
            numbers = range(low, min(count, low + CHUNK))
            db.execute(
                insert(users),
                [
                    {
                        "id": start + i,
                        "name": f"u{i:06}",
                        "admin": False,
                        "created": now,
                        "last_activity": now,
                        "cookie_id": secrets.token_hex(16),
                    }
                    for i in numbers
                ],
            )
            db.execute(
                insert(roles),
                [{"user_id": start + i, "role_id": role} for i in numbers],
            )
            db.execute(insert(tokens), [token(start + i, i, now) for i in numbers])
        for name, size in (("big", members), ("small", 0)):
            group = db.execute(
                insert(orm.Group.__table__).values(name=name, properties={})
            ).inserted_primary_key[0]
            for low in range(0, size, CHUNK):
                db.execute(
                    insert(orm.user_group_map),
                    [
                        {"user_id": start + i, "group_id": group}
                        for i in range(low, min(size, low + CHUNK))
                    ],
                )
        if engine.dialect.name == "postgresql":
            db.execute(
                text("SELECT setval('users_id_seq', (SELECT max(id) FROM users))")
            )


def token(user: int, number: int, now: datetime) -> dict[str, object]:
    """Return a token's columns as JupyterHub stores them: SHA-512, one round."""
    secret = hashlib.sha256(f"bench:{number}".encode()).hexdigest()[:32]
    salt = secrets.token_hex(8)
    digest = hashlib.sha512(salt.encode() + secret.encode()).hexdigest()
    return {
        "user_id": user,
        "hashed": f"sha512:1:{salt}:{digest}",
        "prefix": secret[:4],
        "client_id": "jupyterhub",
        "created": now,
        "note": "preloaded",
        "scopes": ["inherit"],
    }


if __name__ == "__main__":
    main()
