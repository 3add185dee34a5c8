"""Odd requests to every address of the API get JupyterHub's responses.

JupyterHub's responses are recorded (`odd_requests.py`). The statuses are the same,
responses have the same keys of the same types, and errors have the same format. Where
JupyterHub fails with 500, this hub responds with 400. No request results in a 500.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Difference:
    """Requests that are answered otherwise on purpose, and how."""

    # A pattern of whole names, such as "PATCH /users/{user}: name: long text".
    requests: str
    theirs: tuple[int, ...]
    ours: int
    # Words of the table of differences that say so.
    words: str

    def covers(self, case: str, theirs: int, ours: int) -> bool:
        return (
            ours == self.ours
            and theirs in self.theirs
            and re.fullmatch(self.requests, case) is not None
        )


NAMES_LONG = "more than 255 characters"
UNSUITABLE = "half a surrogate pair, a number beyond floating point"
DISPLAY = r"zero|blank|control characters|list|object|long text|longer text"
KEPT = (
    Difference(
        r".*: [^{]+: (NaN|infinity|NUL|half a pair|huge integer)|.*: NUL in a key",
        (200, 201, 202, 204, 409),
        400,
        UNSUITABLE,
    ),
    Difference(
        r"POST /(users|groups|services)/{new}: {new}: NUL", (201,), 404, "or 404 in an"
    ),
    Difference(
        r"PUT /users/{user}/servers/{new}: {new}: NUL", (400,), 404, "or 404 in an"
    ),
    Difference(
        r"POST /(users|groups|services)/{new}: {new}: (long|longer)"
        r"|POST /(users: usernames|groups: groups): list of long texts",
        (201,),
        400,
        NAMES_LONG,
    ),
    Difference(
        r"PATCH /users/{user}: name: (long|longer) text", (200,), 400, NAMES_LONG
    ),
    Difference(
        r"POST /users: usernames: (text|not UTF-8|accents|object with a key"
        r"|object of objects)|POST /groups: groups: (blank|text|list of null"
        r"|list of numbers|list of empty text)",
        (201,),
        400,
        "whose letters are the names",
    ),
    # Of these letters, a request before has made one a group.
    Difference(
        r"POST /groups: groups: (control characters|not UTF-8|slash|accents)",
        (409,),
        400,
        "whose letters are the names",
    ),
    Difference(
        r"PATCH /users/{user}: groups: list", (200,), 400, "`groups` in `PATCH /users`"
    ),
    Difference(
        r"(PATCH /users/{user}|PUT /groups/{group}/properties)"
        r": content type 'multipart/form-data(; boundary=x)?'",
        (400,),
        200,
        "if its content type is `multipart/form-data`",
    ),
    Difference(
        r"POST /users(/{user}/tokens)?"
        r": content type 'multipart/form-data(; boundary=x)?'",
        (400,),
        201,
        "if its content type is `multipart/form-data`",
    ),
    Difference(
        r"POST /users/{user}/tokens: note: longer text",
        (201,),
        400,
        "notes longer than 1023 characters",
    ),
    Difference(
        r"POST /users/{user}/tokens: expires_in: true",
        (201,),
        400,
        "`expires_in: true` is one second",
    ),
    Difference(
        rf"PATCH /users/{{user}}/server(s/{{server}})?: display_name: ({DISPLAY})",
        (200,),
        400,
        "take any `display_name`",
    ),
    # The status is the same; the number becomes a floating point number.
    Difference(
        r"PUT /groups/{group}/properties: a: beyond 64 bits",
        (200,),
        200,
        "integers beyond 64 bits in `properties`",
    ),
    Difference(
        r"POST /services/{new}: (oauth_redirect_uri: (blank|text|control characters"
        r"|not UTF-8|slash|accents|long text|longer text)"
        r"|api_token: control characters)",
        (201,),
        400,
        "any text as `oauth_redirect_uri`",
    ),
    Difference(
        r"PATCH /shares/{user}/{server}: scopes"
        r": (list of texts|list of long texts|list of empty text|twice the same)",
        (500,),
        200,
        "from somebody with whom nothing is shared",
    ),
)
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
    if ours["status"] == 201 and theirs["status"] == 202:
        # A start that is waited for, or not, ends with either status.
        theirs = theirs | {"status": 201}
    if ours == theirs:
        return True
    if case in STORED_HERE:
        return bool(ours["status"] == 201)
    if theirs["status"] == 500 and ours["status"] == 400:
        return True
    statuses = theirs["status"], ours["status"]
    return any(each.covers(case, *statuses) for each in KEPT)


def test_what_is_kept_stands_in_the_table() -> None:
    table = TABLE.read_text("utf-8")
    assert [each.words for each in KEPT if each.words not in table] == []


def test_every_request_is_recorded() -> None:
    assert {case.id for case in cases()} == json.loads(RECORDED.read_text()).keys()
