"""The metrics for monitoring, with JupyterHub's names."""

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
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from accounts.models import User
from audit.actions import record
from audit.models import Event
from audit.sealing import seal_events
from hubsite import memberships
from hubsite.config.hub_config import HubConfig
from hubsite.metrics import CONTROLLER, HANDLERS, handler_of
from scopes.refusals import Busy
from servers.limits import Capacity
from servers.metrics import ServerMetrics
from tests.conftest import API
from tests.factories import (
    BY,
    make_server,
    make_service,
    make_token,
    make_user,
    make_users,
)

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


def test_is_open_if_the_configuration_allows_it(
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


def test_gauges_show_the_state_of_the_audit_log(scrape: Any) -> None:
    names = ("sealed_events", "unsealed_events")
    times = ("oldest_unsealed_timestamp_seconds", "checkpoint_timestamp_seconds")
    waiting = Event.objects.count()
    found = scrape()
    assert [found[(f"jupyterhub_audit_{name}",)] for name in names] == [0, waiting]
    assert found[(f"jupyterhub_audit_{times[1]}",)] == 0
    now = timezone.now()
    seal_events(now=now)
    found = scrape()
    assert [found[(f"jupyterhub_audit_{name}",)] for name in names] == [waiting, 0]
    assert found[(f"jupyterhub_audit_{times[0]}",)] == 0
    assert found[(f"jupyterhub_audit_{times[1]}",)] == pytest.approx(now.timestamp())
    event = record(BY, "user.create", "user", "ada")
    assert scrape()[(f"jupyterhub_audit_{times[0]}",)] == pytest.approx(
        event.at.timestamp()
    )


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


# The controller's part


def written_by_controller(folder: Path) -> ServerMetrics:
    """Let there be a controller that has started a server and seen a start fail."""
    own = CollectorRegistry()
    metrics = ServerMetrics(own)
    metrics.observe_spawn(0.4, "success")
    metrics.observe_spawn(3, "failure", "throttled")
    metrics.observe_proxy("add", 0.01, True)
    path = folder / CONTROLLER
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(generate_latest(own))
    return metrics


def test_adds_up_what_the_controller_measured_and_what_was_refused_here(
    scrape: Any, settings: Any, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path
    name = "jupyterhub_server_spawn_duration_seconds"
    throttled = (f"{name}_count", "throttled", "failure")
    before = scrape()
    assert before[(f"{name}_count", "", "success")] == 0

    written_by_controller(tmp_path)
    settings.HUB = HubConfig(concurrent_spawn_limit=1)
    with pytest.raises(Busy):
        Capacity(active=1, starting=1).require()
    after = scrape()

    assert after[throttled] == before[throttled] + 2
    assert after[(f"{name}_count", "", "success")] == 1
    assert after[(f"{name}_bucket", "0.5", "", "success")] == 1
    assert after[("jupyterhub_proxy_add_duration_seconds_count", "success")] >= 1


def test_no_family_is_listed_twice(
    bearer: Any, ada: User, settings: Any, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path
    written_by_controller(tmp_path)
    text = bearer(make_token(ada)[1]).get("/hub/metrics").content.decode()
    told = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(told) == len({line.split()[2] for line in told})


@pytest.mark.parametrize("content", [b"", b"\xff", b"jupyterhub_x{", b"{}{}\n"])
def test_a_file_that_can_not_be_read_hides_nothing_else(
    scrape: Any, settings: Any, tmp_path: Path, content: bytes
) -> None:
    settings.DATA_DIR = tmp_path
    written_by_controller(tmp_path)
    (tmp_path / CONTROLLER).write_bytes(content)
    assert ("jupyterhub_running_servers",) in scrape()


# What the official dashboards ask, by name, with the labels that they select or group
# by; those of the scrape itself (`app`, `namespace`) are Prometheus' own.
ASKED: tuple[tuple[str, dict[str, str | None]], ...] = (
    ("jupyterhub_running_servers", {}),
    ("jupyterhub_active_users", {"period": "24h"}),
    ("jupyterhub_active_users", {"period": "7d"}),
    ("jupyterhub_active_users", {"period": "30d"}),
    ("jupyterhub_request_duration_seconds_bucket", {"le": "+Inf", "handler": None}),
    ("jupyterhub_request_duration_seconds_count", {"code": None}),
    ("jupyterhub_server_spawn_duration_seconds_bucket", {"le": "+Inf"}),
    ("jupyterhub_server_spawn_duration_seconds_count", {"status": "failure"}),
    ("jupyterhub_server_spawn_duration_seconds_count", {"status": "error"}),
    (
        "jupyterhub_user_group_info",
        {
            "username": "alan",
            "username_safe": "alan",
            "username_escaped": "alan",
            "usergroup": "data301",
        },
    ),
)


def test_official_dashboards_find_every_series(
    ada: User, alan: User, bearer: Any, client: Client
) -> None:
    make_server(alan, ready=True)
    client.get(f"{API}/users/alan/server/progress")
    text = bearer(make_token(ada)[1]).get("/hub/metrics").content.decode()
    found = [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    for name, labels in ASKED:
        assert any(
            sample.name == name
            and all(
                label in sample.labels and wanted in (None, sample.labels[label])
                for label, wanted in labels.items()
            )
            for sample in found
        ), (name, labels)
    # The panels leave out the streams of progress by their handler.
    handlers = {sample.labels.get("handler") for sample in found}
    assert "jupyterhub.apihandlers.users.SpawnProgressAPIHandler" in handlers


def test_running_servers_are_never_below_zero(scrape: Any, alan: User) -> None:
    running = ("jupyterhub_running_servers",)
    server = make_server(alan, failure="it exited while starting")
    assert scrape()[running] == 0
    server.pending = "stop"
    server.save()
    assert scrape()[running] == 0


# Groups of users


NAMES = (
    *("ada", "ada-l", "Ada", "ada.lovelace", "ada--l", "a@b.example", "9lives"),
    *("", "-x-", "é", "x" * 63, "x" * 64, "über-lange.Namen@" * 5, "_"),
)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_spelt_as_kubespawner_spells_them(name: str) -> None:
    from kubespawner.slugs import escape_slug, safe_slug

    assert (memberships.safe(name), memberships.escaped(name)) == (
        safe_slug(name),
        escape_slug(name),
    )


def test_groups_show_which_members_are_active(scrape: Any, data301: Any) -> None:
    now = timezone.now()
    data301.users.add(
        make_user("here", last_activity=now),
        make_user("gone", last_activity=now - timedelta(days=3)),
        running := make_user("running", last_activity=now - timedelta(days=3)),
    )
    make_server(running, ready=True)

    told = {key[2] for key in scrape() if key[0] == "jupyterhub_user_group_info"}

    assert told == {"here", "running"}


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
    # JupyterHub has no such addresses.
    assert unknown <= {
        "api.leaks.LeakedTokensView",
        "api.openapi.views.DescriptionView",
        "api.token_management.RotationView",
        "api.token_management.StateView",
        "api.token_management.TokenView",
        "api.token_management.TokensView",
        "api.token_notices.NoticeView",
        "api.token_notices.NoticesView",
        "api.token_notices.PreferencesView",
        "api.token_requests.AskView",
        "api.token_requests.CollectView",
        "api.token_requests.DecisionView",
        "api.token_requests.RequestView",
        "api.token_requests.RequestsView",
        "api.openapi.views.YAMLDescriptionView",
    }


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


@pytest.mark.parametrize("workers", [False, True], ids=["one", "several"])
def test_a_configuration_may_import_jupyterhub(workers: bool, tmp_path: Path) -> None:
    config = tmp_path / "jupyterhub_config.py"
    # JupyterHub registers metrics of its own under the same names.
    config.write_text("import batchspawner, jupyterhub.metrics\n")
    script = """
import django
django.setup()
import hubsite.urls
from hubsite.metrics import DatabaseCollector, LOGOUT_DURATION, registry
from prometheus_client import generate_latest
DatabaseCollector.collect = lambda self: ()
LOGOUT_DURATION.observe(0.1)
print(generate_latest(registry()).decode())
"""
    env = {
        **os.environ,
        "HUB_CONFIG": str(config),
        "HUB_DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "hubsite.settings",
    }
    if workers:
        env["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    told = samples(done.stdout)
    assert told["jupyterhub_logout_duration_seconds_count",] == 1
    # Theirs knows nothing.
    assert ("jupyterhub_total_users",) not in told
    assert done.stdout.count("# TYPE jupyterhub_login_duration_seconds histogram") == 1


@pytest.mark.django_db
def test_a_service_without_the_scope_is_refused_with_a_page(client: Client) -> None:
    _, secret = make_token(make_service("scraper"))

    refused = client.get("/hub/metrics", headers={"Authorization": f"token {secret}"})

    assert refused.status_code == 403
    assert "read:metrics" in refused.content.decode()
