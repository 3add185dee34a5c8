"""The longest body of each call: stated, and refused before it is read or parsed."""

from __future__ import annotations

import asyncio
import json
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from django.urls import get_resolver

from accounts.models import User
from accounts.naming import MOST_NAMED
from api.bodies import LARGEST_WITH_NAMES, USUAL, USUAL_VALUES, VALUES_WITH_SCOPES
from api.openapi.schema import description
from api.parsers import PIECE, JSONParser
from scopes.grammar import LARGEST_WITH_SCOPES, MAX_SCOPE_LENGTH, MAX_SCOPES
from scopes.refusals import Invalid
from tests.conftest import API, BearerClient
from tests.factories import make_token
from tests.web.test_bodies import Client
from tokens.models import APIToken
from web.bodies import LIMITS, SMALL, BodyReader, RefusedError, limit_of_method
from web.paths import find_view

LARGEST = 10_000_000


def limit_of(method: str, path: str) -> int | None:
    return limit_of_method({"REQUEST_METHOD": method, "PATH_INFO": f"{API}{path}"})


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "/users/alan/tokens", LARGEST_WITH_SCOPES),
        ("POST", "/shares/alan/lab", LARGEST_WITH_SCOPES),
        ("POST", "/users", LARGEST_WITH_NAMES),
        ("DELETE", "/groups/math/users", LARGEST_WITH_NAMES),
        ("PATCH", "/users/alan", USUAL),
        ("PATCH", "/proxy", USUAL),
        ("POST", "/shutdown", USUAL),
        ("POST", "/oauth2/token", SMALL),
        # Calls that read no body.
        ("GET", "/users", SMALL),
        ("DELETE", "/users/alan", SMALL),
        ("POST", "/nothing/here", SMALL),
    ],
)
def test_a_call_reads_as_much_as_its_body_can_mean(
    method: str, path: str, limit: int
) -> None:
    assert limit_of(method, path) == limit
    assert limit < LARGEST


def test_every_address_of_the_api_has_a_limit() -> None:
    def views(patterns: Any) -> list[Any]:
        found = []
        for pattern in patterns:
            if hasattr(pattern, "url_patterns"):
                found += views(pattern.url_patterns)
            else:
                found.append(pattern.callback)
        return found

    for view in views(get_resolver("api.urls").url_patterns):
        assert hasattr(view, LIMITS), view


def test_the_description_states_the_limit() -> None:
    for path, methods in description()["paths"].items():
        for method, operation in methods.items():
            if "requestBody" in operation:
                address = path.replace("{", "").replace("}", "")
                view: Any = find_view(address).func
                limit = view.limits_bodies[method.upper()]
                said = operation["requestBody"]["description"]
                assert said.endswith(f" of at most {limit:,} bytes.")


@pytest.mark.parametrize("length", ["stated", "chunked"])
def test_a_longer_body_is_refused_before_it_has_arrived(length: str) -> None:
    async def known(environ: dict[str, Any]) -> bool:
        return True

    async def read() -> None:
        environ = {"REQUEST_METHOD": "POST", "PATH_INFO": f"{API}/users/alan/tokens"}
        if length == "stated":
            environ["CONTENT_LENGTH"] = str(LARGEST_WITH_SCOPES + 1)
        else:
            environ["HTTP_TRANSFER_ENCODING"] = "chunked"
        bodies = BodyReader(LARGEST, 30, known, limit_of_method=limit_of_method)
        async with bodies.read(environ, client.receive, "caller"):
            pass

    client = Client([b"x" * 10_000] * 900)
    with pytest.raises(RefusedError) as refused:
        asyncio.run(read())

    assert refused.value.status == 413
    assert f"larger than {LARGEST_WITH_SCOPES} bytes" in refused.value.message
    assert client.read <= (0 if length == "stated" else LARGEST_WITH_SCOPES + 10_000)


@pytest.mark.django_db
def test_other_servers_get_the_same_answer(admin: BearerClient, alan: User) -> None:
    body = {"note": "x" * (LARGEST_WITH_SCOPES + 1)}
    tokens = APIToken.objects.count()

    reply = admin.post(f"{API}/users/alan/tokens", body)

    assert reply.status_code == 413
    assert "larger than" in reply.json()["message"]
    assert APIToken.objects.count() == tokens


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["users/alan/tokens", "services/x"])
def test_a_body_of_too_many_scopes_is_not_parsed(
    admin: BearerClient, alan: User, path: str
) -> None:
    scopes = ["x"] * (VALUES_WITH_SCOPES + 1)

    reply = admin.post(f"{API}/{path}", {"scopes": scopes})

    assert reply.status_code == 400
    assert "too many values" in reply.json()["message"]


@pytest.mark.django_db
def test_the_longest_scopes_are_read(alan: User, bearer: Any) -> None:
    name = "read:users:name!user="
    scopes = [
        name + f"{number:04}".rjust(MAX_SCOPE_LENGTH - len(name), "x")
        for number in range(MAX_SCOPES)
    ]

    reply = bearer(make_token(alan)[1]).post(
        f"{API}/users/alan/tokens", {"scopes": scopes}
    )

    assert reply.status_code == 400
    assert reply.json()["message"].startswith("Not assigning requested scopes")


def test_the_most_names_with_the_longest_spelling_fit() -> None:
    names = ["x" * 255] * MOST_NAMED
    assert len(json.dumps({"usernames": names}, separators=(",", ":"))) < (
        LARGEST_WITH_NAMES
    )


@pytest.mark.parametrize("value", ["1", "[]", "{}", '""'])
def test_a_body_of_too_many_values_is_not_parsed(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.parsers.orjson.loads", lambda text: pytest.fail("parsed"))
    body = f'{{"usernames": [{",".join([value] * (USUAL_VALUES + 1))}]}}'

    with pytest.raises(Invalid, match="values"):
        JSONParser().parse(BytesIO(body.encode()))


class Body(bytes):
    """A body that notes how many bytes are searched at a time, and up to where."""

    most = end = 0

    def count(self, part: Any, start: Any = 0, end: Any = None, /) -> int:
        end = len(self) if end is None else end
        self.most, self.end = max(self.most, end - start), max(self.end, end)
        return super().count(part, start, end)


def test_values_are_counted_in_pieces_and_not_beyond_the_limit() -> None:
    # No other thread runs while one piece is counted.
    body = Body(b"[" + b"1," * (2 * USUAL_VALUES) + b"1]")

    with pytest.raises(Invalid, match="values"):
        JSONParser().parse(SimpleNamespace(read=lambda: body))

    assert body.most <= PIECE
    assert body.end <= 2 * USUAL_VALUES + PIECE
