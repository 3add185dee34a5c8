"""The stand-in for Kubernetes responds like a real kube-apiserver.

If `KUBE_APISERVER` and `ETCD` name the programs, the same tests run with the real one;
a difference is a mistake of the stand-in.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.backends.hub import Hub
from tests.backends.kubernetes import Kubernetes
from tests.backends.kubernetes.standin import StandIn
from tests.backends.machine import wait_until
from tests.backends.sites import Site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("backends")]

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "a", "labels": {"app": "x"}},
    "spec": {
        "containers": [
            {
                "name": "notebook",
                "image": "example.org/a:1",
                "args": ["sleep", "60"],
                "env": [{"name": "A", "value": "b"}],
            }
        ]
    },
}


@pytest.fixture
def cluster(site_of: Callable[[str], Site]) -> Kubernetes:
    site = site_of("kubernetes")
    site.remove_all()
    found: Kubernetes = site.backend
    return found


def send(
    cluster: Kubernetes, method: str, path: str, body: Any = None, **query: str
) -> requests.Response:
    nodes = cluster.nodes
    return nodes.session.request(
        method, f"{nodes.root}/{path}", json=body, params=query, timeout=10
    )


def with_change(**change: Any) -> dict[str, Any]:
    """Return the pod with something else in it; names are paths, dots are `__`."""
    pod = copy.deepcopy(POD)
    for path, value in change.items():
        *parents, last = path.split("__")
        place: Any = pod
        for name in parents:
            place = place[int(name) if name.isdigit() else name]
        place[last] = value
    return pod


def test_a_pod_is_made_once_runs_and_goes(cluster: Kubernetes) -> None:
    made = send(cluster, "POST", "pods", POD)
    assert made.status_code == 201
    assert made.json()["status"]["phase"] == "Pending"
    again = send(cluster, "POST", "pods", POD)
    assert again.status_code == 409
    assert again.json()["reason"] == "AlreadyExists"

    wait_until(
        lambda: cluster.nodes.pods()["a"]["status"]["phase"] == "Running", "it runs"
    )
    pod = send(cluster, "GET", "pods/a").json()
    assert pod["spec"]["nodeName"]
    assert pod["status"]["podIP"]
    assert pod["status"]["containerStatuses"][0]["ready"] is True

    gone = send(cluster, "DELETE", "pods/a", gracePeriodSeconds="1")
    assert gone.status_code == 200
    assert gone.json()["metadata"]["deletionTimestamp"]
    wait_until(lambda: "a" not in cluster.nodes.pods(), "it is gone")
    assert cluster.running() == set()
    missing = send(cluster, "GET", "pods/a")
    assert (missing.status_code, missing.json()["reason"]) == (404, "NotFound")


def test_the_end_of_a_container_is_reported(cluster: Kubernetes) -> None:
    pod = with_change(
        spec__containers__0__args=["sh", "-c", "exit 3"], spec__restartPolicy="Never"
    )
    assert send(cluster, "POST", "pods", pod).status_code == 201

    wait_until(
        lambda: cluster.nodes.pods()["a"]["status"]["phase"] == "Failed", "it is over"
    )

    status = cluster.nodes.pods()["a"]["status"]["containerStatuses"][0]
    assert status["state"]["terminated"]["exitCode"] == 3


@pytest.mark.parametrize(
    "change",
    [
        {"metadata__name": "A_b"},
        {"metadata__labels": {"app": "not a label"}},
        {"spec__containers": []},
        {"spec__restartPolicy": "Sometimes"},
        {"spec__containers__0__name": "Note Book"},
        {"spec__containers__0__env": [{"name": "", "value": "x"}]},
        {"spec__containers__0__ports": [{"containerPort": 70000}]},
        {"spec__containers__0__ports": [{"containerPort": 1, "name": "a" * 16}]},
        {"spec__containers__0__volumeMounts": [{"name": "no", "mountPath": "/x"}]},
    ],
    ids=str,
)
def test_refuses_what_is_no_valid_pod(
    change: dict[str, Any], cluster: Kubernetes
) -> None:
    reply = send(cluster, "POST", "pods", with_change(**change))

    assert reply.status_code == 422, reply.text
    assert reply.json()["reason"] == "Invalid"
    assert cluster.nodes.pods() == {}


def test_refuses_a_quantity_that_is_none(cluster: Kubernetes) -> None:
    limits = {"limits": {"memory": "much"}}

    reply = send(
        cluster, "POST", "pods", with_change(spec__containers__0__resources=limits)
    )

    assert reply.status_code in (400, 422)


def test_needs_its_token(cluster: Kubernetes) -> None:
    nodes = cluster.nodes

    reply = requests.get(
        f"{nodes.root}/pods",
        headers={"Authorization": "Bearer no"},
        verify=nodes.session.verify,
        timeout=10,
    )

    assert reply.status_code == 401


def test_a_watch_returns_the_changes_after_a_list(cluster: Kubernetes) -> None:
    listing = send(cluster, "GET", "pods", labelSelector="app=x").json()
    assert (listing["kind"], listing["items"]) == ("PodList", [])
    send(cluster, "POST", "pods", POD)
    other = with_change(metadata__name="b", metadata__labels={"app": "y"})
    send(cluster, "POST", "pods", other)
    send(cluster, "DELETE", "pods/a", gracePeriodSeconds="0")
    send(cluster, "DELETE", "pods/b", gracePeriodSeconds="0")

    lines = send(
        cluster,
        *("GET", "pods"),
        watch="true",
        labelSelector="app=x",
        resourceVersion=listing["metadata"]["resourceVersion"],
        timeoutSeconds="1",
    ).text.splitlines()

    events = [json.loads(line) for line in lines]
    assert events[0]["type"] == "ADDED"
    assert events[-1]["type"] == "DELETED"
    assert {event["object"]["metadata"]["name"] for event in events} == {"a"}
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(versions)


def test_events_are_selected_by_what_they_are_about(cluster: Kubernetes) -> None:
    send(cluster, "POST", "pods", POD)
    wait_until(
        lambda: cluster.nodes.pods()["a"]["status"]["phase"] == "Running", "it runs"
    )

    found, none = (
        send(
            cluster, "GET", "events", fieldSelector=f"involvedObject.kind={kind}"
        ).json()["items"]
        for kind in ("Pod", "Node")
    )

    assert {"Scheduled", "Started"} <= {event["reason"] for event in found}
    assert none == []


@pytest.mark.parametrize("site", ["kubernetes"], indirect=True)
def test_pods_are_adopted_though_the_api_was_out_of_order(hub: Hub, site: Site) -> None:
    api = site.backend.api
    if not isinstance(api, StandIn):
        pytest.skip("a real API is not put out of order")
    hub.api("POST", f"users/{site.user}/servers/stub")
    hub.wait_until_ready("stub")
    before = site.running()

    hub.kill_controller()
    api.available.clear()
    try:
        hub.start_controller()
        wait_until(lambda: "can't be found out" in hub.logs(), "it was tried", hub.logs)
        time.sleep(2)
        assert hub.server("stub")["pending"] == "check"
    finally:
        api.available.set()

    hub.wait_until_ready("stub")
    assert site.running() == before
    assert hub.visit(hub.operator, "api", "stub") == 200
