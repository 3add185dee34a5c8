"""Fill the hub's database directly, and print the secrets of the first 1,000 tokens.

Run in the hub's environment, after it has run once: `preload_hub.py USERS MEMBERS`.
The same rows as `preload_jupyterhub.py` makes: a token for each user, `big` and
`small`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubsite.settings")

import django

django.setup()

from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402

from accounts.models import Group, Role, User  # noqa: E402
from audit.models import Actor  # noqa: E402
from tokens.actions.issuing import issue_token  # noqa: E402
from tokens.models import APIToken  # noqa: E402

CHUNK = 5000
SECRETS = 1000


def main() -> None:
    count, members = int(sys.argv[1]), int(sys.argv[2])
    role = Role.objects.get(name="user")
    by = Actor.system("benchmark")
    now = timezone.now()
    big, _ = Group.objects.get_or_create(name="big")
    Group.objects.get_or_create(name="small")
    secrets: list[str] = []
    digest = ""
    for low in range(0, count, CHUNK):
        numbers = range(low, min(count, low + CHUNK))
        users = User.objects.bulk_create(
            User(name=f"u{i:06}", password="!", last_activity=now)  # noqa: S106
            for i in numbers
        )
        User.roles.through.objects.bulk_create(
            User.roles.through(user=user, role=role) for user in users
        )
        User.groups.through.objects.bulk_create(
            User.groups.through(user=user, group=big)
            for i, user in zip(numbers, users, strict=True)
            if i < members
        )
        while len(secrets) < min(SECRETS, count):
            token, secret = issue_token(users[len(secrets)], by=by, note="preloaded")
            secrets.append(secret)
            digest = token.digest
        # The other tokens are never used, so they need no digest of their own.
        APIToken.objects.bulk_create(
            APIToken(
                user=user,
                public_id=f"bench{i:07}",
                digest=digest,
                scopes=["inherit"],
                note="preloaded",
            )
            for i, user in zip(numbers, users, strict=True)
            if i >= SECRETS
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    print(json.dumps(secrets))


if __name__ == "__main__":
    main()
