"""What monitoring reads, under JupyterHub's names."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from accounts.models import User
from hubsite.config import HubConfig
from hubsite.metrics import HANDLERS, handler_of
from tests.conftest import API
from tests.factories import make_server, make_token, make_user, make_users

ROOT = Path(__file__).resolve().parents[2]


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Read an answer: name and values of labels, by their names, to value."""
    return {
        (sample.name, *(v for _, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def scrape(db: None, bearer: Any) -> Any:
    monitor = make_user("monitor", scopes=["read:metrics"])
    client = bearer(make_token(monitor)[1])
    return lambda: samples(client.get("/hub/metrics").content.decode())


@pytest.mark.parametrize("path", ["/hub/metrics", f"{API}/metrics"])
def test_needs_a_scope_and_refuses_with_a_page(
    path: str, mallory: User, ada: User, bearer: Any, as_: Any
) -> None:
    strangers = (bearer(None), bearer(make_token(mallory)[1]), as_(mallory))
    for client in strangers:
        refused = client.get(path)
        assert refused.status_code == 403
        assert refused["Content-Type"].startswith("text/html")
    for client in (bearer(make_token(ada)[1]), as_(ada)):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer["Content-Type"].startswith("text/plain")


def test_is_open_where_the_configuration_says_so(
    db: None, client: Client, settings: Any
) -> None:
    settings.HUB = HubConfig(authenticate_prometheus=False)
    assert client.get("/hub/metrics").status_code == 200


def test_gauges_are_counted_in_the_database(scrape: Any) -> None:
    now = timezone.now()
    for days, number in ((0.5, 1), (3, 2), (20, 3), (60, 4)):
        make_users(number, f"d{number}-", last_activity=now - timedelta(days=days))
    make_server(make_user(), ready=True)
    make_server(make_user())
    found = scrape()
    assert found[("jupyterhub_total_users",)] == 13
    assert found[("jupyterhub_running_servers",)] == 1
    # Who scrapes is active, too.
    assert found[("jupyterhub_active_users", "24h")] == 2
    assert found[("jupyterhub_active_users", "7d")] == 4
    assert found[("jupyterhub_active_users", "30d")] == 7


def test_requests_are_counted_by_the_names_of_jupyterhub(
    scrape: Any, client: Client
) -> None:
    name = "jupyterhub_request_duration_seconds_count"
    key = (name, "403", "jupyterhub.apihandlers.users.SelfAPIHandler", "GET")
    before = scrape().get(key, 0)
    client.get(f"{API}/user")
    assert scrape()[key] == before + 1


def test_attempts_to_sign_in_are_counted(scrape: Any, client: Client) -> None:
    before = scrape()
    client.post("/hub/login", {"username": "ada", "password": "wrong"})
    after = scrape()
    key = ("jupyterhub_login_duration_seconds_count", "failure")
    assert after[key] >= before[key]
    assert ("jupyterhub_login_duration_seconds_count", "success") in after


def test_the_process_is_measured(scrape: Any) -> None:
    found = scrape()
    assert found[("process_resident_memory_bytes",)] > 0
    assert any(name[0] == "python_info" for name in found)


def views(resolver: URLResolver) -> Any:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLPattern):
            yield pattern.callback
        else:
            yield from views(pattern)


def test_every_view_of_the_api_has_a_name_of_jupyterhub() -> None:
    unknown = {
        name
        for view in views(get_resolver())
        if (name := handler_of(view, 200)).startswith("api.")
    }
    # JupyterHub does not describe itself.
    assert unknown <= {"api.schema.DescriptionView"}


def test_no_name_stands_for_a_view_that_is_gone() -> None:
    there = {
        f"{made_from.__module__}.{made_from.__name__}"
        for view in views(get_resolver())
        if hasattr(made_from := getattr(view, "view_class", view), "__name__")
    }
    assert not set(HANDLERS) - there


def test_workers_meet_in_a_folder(tmp_path: Path) -> None:
    script = """
import os, django
django.setup()
from hubsite.metrics import REQUEST_DURATION, registry
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
for _ in range(2):
    if not os.fork():
        REQUEST_DURATION.labels("GET", "x", "200").observe(0.1)
        os._exit(0)
    os.wait()
found = CollectorRegistry()
MultiProcessCollector(found)
print(generate_latest(found).decode())
"""
    out = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={
            **os.environ,
            "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
            "DJANGO_SETTINGS_MODULE": "hubsite.settings",
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    key = ("jupyterhub_request_duration_seconds_count", "200", "x", "GET")
    assert samples(out)[key] == 2
