"""Kubernetes for KubeSpawner: an API, and nodes that run pods.

The API is a stand-in, unless the environment names a real kube-apiserver and its etcd:
`KUBE_APISERVER` and `ETCD`, the paths of the two programs.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.backends.kubernetes.nodes import MARK, Nodes
from tests.backends.kubernetes.real import RealAPI
from tests.backends.kubernetes.standin import StandIn
from tests.backends.machine import Unavailable, processes, wait_until


class Kubernetes:
    """An API that answers and nodes that run pods; `env` leads a client to it."""

    def __init__(self, api: RealAPI | StandIn, folder: Path) -> None:
        self.api = api
        self.folder = folder
        self.nodes = Nodes(api.url, api.token, folder, api.certificate)
        cluster: dict[str, str] = {"server": api.url}
        if api.certificate:
            cluster["certificate-authority"] = str(api.certificate)
        config = {
            **{"apiVersion": "v1", "kind": "Config", "current-context": "hub"},
            "clusters": [{"name": "hub", "cluster": cluster}],
            "users": [{"name": "hub", "user": {"token": api.token}}],
            "contexts": [
                {"name": "hub", "context": {"cluster": "hub", "user": "hub"}},
            ],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config))
        self.env = {"KUBECONFIG": str(path)}

    def running(self) -> set[int]:
        """Return the processes of all pods."""
        return processes(**{MARK: str(self.folder)})

    def remove_all(self) -> None:
        for name in self.nodes.pods():
            self.nodes.ask("DELETE", f"pods/{name}", {"gracePeriodSeconds": 0})
        wait_until(lambda: not self.running(), "the processes of all pods ended")

    def end(self) -> None:
        self.nodes.end()
        wait_until(lambda: not self.running(), "the processes of all pods ended")


@contextmanager
def kubernetes() -> Iterator[Kubernetes]:
    """Start the API and the nodes: the real one if the environment names it."""
    folder = Path(tempfile.mkdtemp(prefix="hub-kubernetes-", dir="/tmp"))
    names = ("KUBE_APISERVER", "ETCD")
    try:
        if all(os.environ.get(name) for name in names):
            api: RealAPI | StandIn = RealAPI(
                folder, *(os.environ[name] for name in names)
            )
        elif any(os.environ.get(name) for name in names):
            raise Unavailable(f"Give both or none of {' and '.join(names)}.")
        else:
            api = StandIn()
        try:
            found = Kubernetes(api, folder)
            try:
                yield found
            finally:
                found.end()
        finally:
            api.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
