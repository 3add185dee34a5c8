"""Lines to copy, with which programs use a token.

The lines read the secret from where it is stored, because what is typed in a shell is
kept in its history.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

READ = """\
read -rs JUPYTERHUB_API_TOKEN && export JUPYTERHUB_API_TOKEN
"""

CURL = """\
curl -H "Authorization: token $JUPYTERHUB_API_TOKEN" {api_url}/user
"""

PYTHON = """\
import os

import requests

api_url = "{api_url}"
token = os.environ["JUPYTERHUB_API_TOKEN"]

reply = requests.get(
    f"{{api_url}}/user", headers={{"Authorization": f"token {{token}}"}}
)
reply.raise_for_status()
print(reply.json())
"""

KEYRING = """\
python3 -m keyring set {host} {user}
"""

GET = 'export JUPYTERHUB_API_TOKEN="$(python3 -m keyring get {host} {user})"'

LOAD = "set -a; . ./.env; set +a"

ENV = """\
JUPYTERHUB_API_TOKEN={secret}
JUPYTERHUB_API_URL={api_url}
"""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A text to copy, with the id of its element."""

    name: str
    title: str
    text: str
    # Sentences, each with a line of code after it, or "".
    hints: tuple[tuple[str, str], ...] = ()


def snippets(secret: str, *, api_url: str, host: str, user: str) -> list[Snippet]:
    """Return the lines for a new token; those with the secret are for files."""
    values = {
        "secret": secret,
        "api_url": api_url,
        # A name may have characters with a meaning in a shell.
        "host": shlex.quote(host),
        "user": shlex.quote(user),
    }
    return [
        Snippet(
            "read",
            "In a shell, without leaving the token in its history",
            READ,
            (
                (
                    "Paste the token after that, and press Enter. It isn't shown.",
                    "",
                ),
            ),
        ),
        Snippet("curl", "With curl, afterwards", CURL.format(**values)),
        Snippet("python", "In Python, afterwards", PYTHON.format(**values)),
        Snippet(
            "env",
            "In a file .env",
            ENV.format(**values),
            (
                (
                    "Keep the file out of version control, and readable by you alone:",
                    "chmod 600 .env",
                ),
                ("A shell reads the file by", LOAD),
            ),
        ),
        Snippet(
            "keyring",
            "In the keyring of your computer",
            KEYRING.format(**values),
            (
                (
                    "The command needs Python's package keyring:",
                    "python3 -m pip install keyring",
                ),
                (
                    "Paste the token when the command asks for a password. A shell"
                    " reads it by",
                    GET.format(**values),
                ),
                ("Python reads it by", f"keyring.get_password({host!r}, {user!r})"),
            ),
        ),
    ]
