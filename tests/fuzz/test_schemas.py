"""Every request that a schema allows gets a response that the schema allows.

The tests use two schemas, in this process and always with the same examples: the hub's
own, and JupyterHub's published one (a copy is beside this file). The latter is wrong or
incomplete in places that clients never used. These are listed here with reasons, and no
other difference is accepted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from django.conf import settings as django_settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case, CheckContext, Response
from schemathesis.checks import CHECKS
from schemathesis.config import SchemathesisConfig

from api.openapi.schema import description
from tests.factories import (
    make_group,
    make_server,
    make_service,
    make_share,
    make_token,
    make_user,
)
from tests.servers.settler import Settler

pytestmark = [pytest.mark.django_db, pytest.mark.fuzz, pytest.mark.slow]

EXAMPLES = 12
NAMES = {
    "name": "alan",
    "user": "alan",
    "owner": "alan",
    "server_name": "lab",
    "server": "lab",
    "group": "data301",
}


def bounded() -> SchemathesisConfig:
    """Ask for the same few examples at every run."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": 301,
            "generation": {"max-examples": EXAMPLES, "deterministic": True},
            "phases": {"stateful": {"enabled": False}},
        }
    )
    return config


def load(raw: dict[str, Any]) -> Any:
    schema = schemathesis.openapi.from_dict(deepcopy(raw), config=bounded())
    schema.app = WSGIHandler()
    # Shutting down would end this process. The description in YAML is text, which
    # schemathesis would take apart again. Its client makes one slash of two, and so
    # asks for a server that is called "progress".
    return schema.exclude(path_regex=r"/(shutdown|openapi\.yaml|servers//progress)$")


few = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)

ours = load(description())
# What JupyterHub's file gets wrong or leaves out, as asking a JupyterHub shows.

# Fields that are null where there is nothing to say; the file marks none of them.
NULLABLE = {
    "User": (
        *("user_info", "server", "pending", "last_activity", "auth_state", "servers"),
    ),
    "Server": (
        *("display_name", "pending", "url", "progress_url", "started"),
        *("last_activity", "state", "user_options", "full_url", "full_progress_url"),
    ),
    "Service": ("url", "info", "display", "command", "prefix"),
    "Token": (
        *("user", "service", "expires_at", "last_activity", "note", "session_id"),
        "oauth_client",
    ),
    "NewToken": ("expires_at", "last_activity", "session_id"),
    "RequestIdentity": ("token_id", "session_id"),
}

# Refusals have no bodies there, and only a few of their statuses are named. They all
# have the same form.
REFUSALS = frozenset({400, 403, 404, 405, 409, 413, 429, 503})

# Successes whose body the file describes otherwise.
OTHER_BODIES = {
    "GET /services": "an object by name, where the file has an array",
}


def corrected(raw: dict[str, Any]) -> dict[str, Any]:
    """Mark what may be null."""
    for name, fields in NULLABLE.items():
        shape = raw["components"]["schemas"][name]
        for part in (shape, *shape.get("allOf", ())):
            for key in set(fields) & part.get("properties", {}).keys():
                part["properties"][key] = {"anyOf": [part["properties"][key], NULL]}
    return raw


NULL = {"type": "null"}
FILE = Path(__file__).parent / "jupyterhub-rest-api.yml"
# YAML reads the examples of moments as moments, which JSON does not have.
read = json.loads(json.dumps(yaml.safe_load(FILE.read_text("utf-8")), default=str))
theirs = load(corrected(read))


@pytest.fixture(autouse=True)
def hub(settings: Any, settler: Settler) -> Iterator[None]:
    """Be without a proxy, and keep the test's transaction open between requests."""
    settings.HUB = replace(
        django_settings.HUB,
        proxy_api_url="http://127.0.0.1:9",
        allow_named_servers=True,
    )
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def credentials(db: None) -> dict[str, str]:
    """Have something of everything, and a token that may do all with it."""
    alan, grace = make_user("alan"), make_user("grace")
    make_group("data301", users=[alan])
    make_share(make_server(alan, "lab"), user=grace)
    make_service("portal")
    _, secret = make_token(make_service("fuzzer", admin=True))
    return {"Authorization": f"token {secret}"}


def at_home(case: Case) -> Case:
    """Let about half of the requests name something that exists."""
    for name, value in (case.path_parameters or {}).items():
        if name in NAMES and len(str(value)) % 2:
            case.path_parameters[name] = NAMES[name]
    return case


# OAuth2 answers in its own shape, or with pages. The file knows neither the way to
# sign-in nor what a client is told that can't prove itself.
OAUTH2_STATUSES = frozenset({302, 400, 401, 403, 405})


def check_by_name(*names: str) -> list[Any]:
    return list(CHECKS.get_by_names(list(names)))


def does_not_crash(ctx: CheckContext, response: Response, case: Case) -> None:
    """A service that is not there (503) is an answer; 500 is none."""
    assert response.status_code < 500 or response.status_code == 503, response.text


def documents_its_status(ctx: CheckContext, response: Response, case: Case) -> None:
    """The file names the status, or the answer is a refusal like all others."""
    documented = case.operation.definition.raw["responses"]
    status = response.status_code
    # Other methods are tried as well; some of them are missing in the file.
    if str(status) in documented or (is_foreign(case) and status < 400):
        return
    if "/oauth2/" in label(case) and status in OAUTH2_STATUSES:
        return
    assert status in REFUSALS, f"{label(case)} answered {status}"
    body = response.json()
    assert body["status"] == status, body
    assert isinstance(body["message"], str), body


def documents_its_body(ctx: CheckContext, response: Response, case: Case) -> None:
    """What was answered with success looks as the file says."""
    described = not is_foreign(case) and label(case) not in OTHER_BODIES
    if described and response.status_code < 300:
        for check in check_by_name("response_schema_conformance"):
            check(ctx, response, case)


def is_foreign(case: Case) -> bool:
    """Tell whether this tries another method than the operation's own."""
    return case.method != case.operation.method.upper()


def label(case: Case) -> str:
    path = case.operation.path.removeprefix("/hub/api")
    return f"{case.operation.method.upper()} {path or '/'}"


@ours.parametrize()
@few
def test_our_schema(case: Case, credentials: dict[str, str]) -> None:
    at_home(case).call_and_validate(
        headers=credentials,
        checks=[
            does_not_crash,
            *check_by_name(
                "status_code_conformance",
                "content_type_conformance",
                "response_schema_conformance",
            ),
        ],
    )


@theirs.parametrize()
@few
def test_their_schema(case: Case, credentials: dict[str, str]) -> None:
    at_home(case).call_and_validate(
        headers=credentials,
        checks=[does_not_crash, documents_its_status, documents_its_body],
    )
