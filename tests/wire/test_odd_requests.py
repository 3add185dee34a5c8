"""Odd requests to every address of the API get JupyterHub's responses.

JupyterHub's responses are recorded (`odd_requests.py`). The statuses are the same,
responses have the same keys of the same types, and errors have the same format. Where
JupyterHub fails with 500, this hub responds with 400. No request results in a 500.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from tests.conftest import API, BearerClient
from tests.factories import make_service, make_token
from tests.servers.settler import Settler
from tests.wire.odd_requests import ADDRESSES, RECORDED, SHUTDOWN, Player, cases
from web.environ import decoded

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "how-to" / "moving-from-jupyterhub.md"

# Requests that are answered otherwise on purpose, and words of the table that say so.
KEPT = {
    r": (NaN|infinity|NUL|NUL in a key|half a pair|huge integer)$": (
        "a NUL character, half a surrogate pair, a number beyond floating point"
    ),
    r"{new}: (long|longer)$|: list of long texts$|^PATCH /users/{user}: name: long": (
        "more than 255 characters"
    ),
    r"^POST /(users|groups): (usernames|groups): (?!list of texts)": (
        "whose letters are the names"
    ),
    r"^PATCH /users/{user}: groups: list$": "`groups` in `PATCH /users`",
    r"content type 'multipart": "if its content type is `multipart/form-data`",
    r": note: longer text$": "notes longer than 1023 characters",
    r": expires_in: true$": "`expires_in: true` is one second",
    r"^PATCH .*: display_name: ": "take any `display_name`",
    r"/properties: a: beyond 64 bits$": "integers beyond 64 bits in `properties`",
    r"^POST /services/{new}: (oauth_redirect_uri|api_token): ": (
        "any text as `oauth_redirect_uri`"
    ),
    r"^PATCH /shares/{user}/{server}: scopes: ": (
        "from somebody with whom nothing is shared"
    ),
}
# Where JupyterHub's database fails at what this one can store.
STORED_HERE = {"POST /users/{user}/tokens: note: beyond 64 bits"}


@pytest.fixture
def player(settings: Any, settler: Settler) -> Player:
    settings.HUB = replace(
        django_settings.HUB,
        proxy_api_url="http://127.0.0.1:9",
        allow_named_servers=True,
    )
    _, secret = make_token(make_service("ops", admin=True))
    client = BearerClient(secret)

    def send(
        method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        spelt = f"{API}{path}"
        response = client.generic(
            method,
            spelt,
            body or b"",
            content_type=headers.get("Content-Type", ""),
            # As the hub's web server hands a path on.
            PATH_INFO=decoded(spelt.encode(), API.encode()).decode("latin-1"),
            RAW_URI=spelt,
        )
        if response.streaming:
            response.close()
            return response.status_code, b""
        return response.status_code, response.content

    return Player(send)


@pytest.mark.parametrize("address", [str(each) for each in (*ADDRESSES, SHUTDOWN)])
def test_answers_odd_requests_as_jupyterhub_does(address: str, player: Player) -> None:
    recorded = json.loads(RECORDED.read_text())
    wrong = {}
    for case in cases():
        if case.id.startswith(f"{address}: "):
            told = player.play(case)
            if not agrees(case.id, recorded[case.id], told):
                wrong[case.id] = (recorded[case.id], told)
    assert not wrong


def agrees(case: str, theirs: dict[str, Any], ours: dict[str, Any]) -> bool:
    """Tell whether an answer is JupyterHub's, or what the hub says instead."""
    if ours == theirs or (ours["status"] == 201 and theirs["status"] == 202):
        # A start that is waited for, or not, ends with either status.
        return True
    if case in STORED_HERE:
        return bool(ours["status"] == 201)
    if theirs["status"] == 500:
        refused = ours["status"] == 400
        return refused or (is_kept(case) and ours["status"] < 400)
    return is_kept(case) and ours["status"] < 500


def is_kept(case: str) -> bool:
    return any(re.search(pattern, case) for pattern in KEPT)


def test_what_is_kept_stands_in_the_table() -> None:
    table = TABLE.read_text("utf-8")
    assert [words for words in KEPT.values() if words not in table] == []


def test_every_request_is_recorded() -> None:
    assert {case.id for case in cases()} == json.loads(RECORDED.read_text()).keys()
