"""A program for a Python with NativeAuthenticator: what the plugin has and stores.

Prints its settings, and rows of its table as it makes them, with a current code of the
second factor. With `-f FILE` it prints what the hub makes of a configuration instead.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def store() -> dict[str, Any]:
    import onetimepass
    from jupyterhub import orm
    from nativeauthenticator import NativeAuthenticator
    from nativeauthenticator.orm import UserInfo
    from sqlalchemy import create_engine
    from sqlalchemy.orm import sessionmaker

    engine = create_engine("sqlite://")
    orm.Base.metadata.create_all(engine)
    db = sessionmaker(bind=engine)()
    plugin = NativeAuthenticator(db=db)
    plugin.create_user(
        "Grace", "a password of the old hub", email="g@example.org", has_2fa=True
    )
    plugin.create_user("alan", "another password")
    plugin.create_user("mallory", "a password that waits")
    UserInfo.change_authorization(db, "grace")
    UserInfo.change_authorization(db, "alan")
    people = UserInfo.all_users(db)
    columns = [column.name for column in UserInfo.__table__.columns]
    rows = [{name: getattr(row, name) for name in columns} for row in people]
    for row in rows:
        row["password"] = row["password"].decode()
    return {
        "traits": sorted(NativeAuthenticator.class_own_traits(config=True)),
        "rows": rows,
        "code": f"{onetimepass.get_totp(people[0].otp_secret):06}",
    }


def read(path: str) -> dict[str, Any]:
    from hubsite.config.load import load_config

    hub = load_config(Path(path))
    return {
        "class": hub.authenticator_class,
        "signup": hub.signup,
        "terms": hub.signup_terms,
        "remarks": hub.remarks,
    }


if __name__ == "__main__":
    print(json.dumps(read(sys.argv[2]) if "-f" in sys.argv else store()))
