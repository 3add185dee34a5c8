"""Each release's old secrets are answered here as JupyterHub answers them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.jupyterhub_databases.names import names
from tests.moving.databases import RELEASES, database, facts, import_file
from tokens.models import APIToken

pytestmark = pytest.mark.django_db

NAMED = ("users", "groups", "services", "user")
# What a token tells of its owner if it may nothing else.
IDENTITY = {"kind", "name", "groups", "admin", "user_info"}


def told(bearer: Callable[[str], Any], secret: str, probe: str) -> dict[str, Any]:
    answer = bearer(secret).get(f"/hub/api/{probe}")
    found: dict[str, Any] = {"status": answer.status_code}
    if answer.status_code == 200 and probe in NAMED:
        found["names"] = names(answer.json())
    return found


@pytest.mark.parametrize("release", RELEASES[2:])
def test_old_secrets_are_answered_as_by_6_1(
    release: str, tmp_path: Path, bearer: Callable[[str], Any]
) -> None:
    import_file(database(release, tmp_path))

    secrets, answers = facts(release)["secrets"], facts(release)["answers"]["6.1.1"]
    differing = {
        (label, probe): (expected, mine)
        for label, probes in answers.items()
        for probe, expected in probes.items()
        if (mine := told(bearer, secrets[label], probe)) != expected
    }
    assert len(answers) > 25
    assert differing == {}


@pytest.mark.parametrize("release", RELEASES[:2])
def test_secrets_of_early_releases_do_what_they_did_and_no_more(
    release: str, tmp_path: Path, bearer: Callable[[str], Any]
) -> None:
    """Since 3.0 a token tells its owner's name also under the owner's address."""
    import_file(database(release, tmp_path))

    secrets, answers = facts(release)["secrets"], facts(release)["answers"][release]
    gained, lost = set(), set()
    for label, probes in answers.items():
        owner = bearer(secrets[label]).get("/hub/api/user").json().get("name")
        for probe, expected in probes.items():
            mine = told(bearer, secrets[label], probe)
            if expected["status"] == 200 and mine != expected:
                lost.add((label, probe))
            elif expected["status"] != 200 and mine["status"] == 200:
                body = bearer(secrets[label]).get(f"/hub/api/{probe}").json()
                if probe != f"users/{owner}" or body.keys() - IDENTITY:
                    gained.add((label, probe))
    assert len(answers) > 20
    assert gained == set()
    # A service of 1.x saw its own entry, and since 2.0 only with a scope.
    expected_loss = {("service announce", "services/announce")}
    assert lost == (expected_loss if release < "2" else set())


@pytest.mark.parametrize("release", ("1.5.1", "6.1.1"))
def test_a_first_use_replaces_the_digest_and_the_second_works_as_well(
    release: str, tmp_path: Path, bearer: Callable[[str], Any]
) -> None:
    import_file(database(release, tmp_path))
    secrets = facts(release)["secrets"]
    before = APIToken.objects.filter(digest__startswith="sha512:").count()

    for label, secret in secrets.items():
        if label.startswith("code:") or label == "dave: expired":
            continue
        assert bearer(secret).get("/hub/api/user").status_code == 200, label
        assert bearer(secret).get("/hub/api/user").status_code == 200, label

    unused = APIToken.objects.filter(digest__startswith="sha512:")
    assert before >= len(secrets) - 2
    assert unused.count() == before - APIToken.objects.exclude(fingerprint="").count()
    assert not unused.exclude(fingerprint="").exists()
