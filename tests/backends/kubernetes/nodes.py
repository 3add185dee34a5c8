"""Scheduler and kubelet in one, which run pods as processes of this machine.

They are an ordinary client of the API, so that they work with the stand-in and with a
real kube-apiserver. They bind pods, run the commands of their containers, report status
and events, and delete pods.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import requests

from tests.backends.kubernetes.standin import Object, moment

NAMESPACE = "default"
NODE = "node1"
MARK = "HUB_TEST_KUBERNETES"


class Nodes:
    """Scheduler and kubelet: runs pods as processes of this machine."""

    def __init__(
        self, url: str, token: str, folder: Path, certificate: Path | None
    ) -> None:
        self.root = f"{url}/api/v1/namespaces/{NAMESPACE}"
        self.folder = folder
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token}"
        # What the environment says of proxies and certificates is about other hosts.
        self.session.trust_env = False
        self.session.verify = str(certificate) if certificate else False
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.addresses: dict[str, str] = {}
        self.events = 0
        self.ending = threading.Event()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def pods(self) -> dict[str, Object]:
        items = self.session.get(f"{self.root}/pods", timeout=10).json()["items"]
        return {item["metadata"]["name"]: item for item in items}

    def watch(self) -> None:
        """Look at all pods, then at what changes, again and again."""
        while not self.ending.is_set():
            try:
                reply = self.session.get(f"{self.root}/pods", timeout=10)
                reply.raise_for_status()
                listing = reply.json()
                for pod in listing["items"]:
                    self.see("MODIFIED", pod)
                # Of those that went between two watches nobody tells.
                there = {pod["metadata"]["uid"] for pod in listing["items"]}
                for uid in self.running.keys() - there:
                    self.kill(uid, 0)
                version = listing["metadata"]["resourceVersion"]
                with self.session.get(
                    f"{self.root}/pods",
                    params={
                        **{"watch": "true", "timeoutSeconds": "2"},
                        "resourceVersion": version,
                    },
                    stream=True,
                    timeout=10,
                ) as stream:
                    stream.raise_for_status()
                    for line in stream.iter_lines(chunk_size=1):
                        if line and not self.ending.is_set():
                            event = json.loads(line)
                            self.see(event["type"], event["object"])
            except requests.RequestException:
                self.ending.wait(0.2)

    def see(self, change: str, pod: Object) -> None:
        metadata, uid = pod["metadata"], pod["metadata"]["uid"]
        if change == "DELETED":
            self.kill(uid, 0)
        elif "deletionTimestamp" in metadata:
            grace = metadata.get("deletionGracePeriodSeconds", 0)
            self.tell(pod, "Killing", "Stopping container notebook")
            self.kill(uid, grace)
            self.ask("DELETE", f"pods/{metadata['name']}", {"gracePeriodSeconds": 0})
        elif not pod["spec"].get("nodeName"):
            binding = {
                **{"apiVersion": "v1", "kind": "Binding"},
                "metadata": {"name": metadata["name"], "uid": uid},
                "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
            }
            self.ask("POST", f"pods/{metadata['name']}/binding", binding)
            self.tell(pod, "Scheduled", f"Successfully assigned to {NODE}")
        elif uid not in self.running and pod["status"]["phase"] == "Pending":
            self.run(pod)

    def run(self, pod: Object) -> None:
        container = pod["spec"]["containers"][0]
        command = [*(container.get("command") or ()), *(container.get("args") or ())]
        given = {each["name"]: each.get("value", "") for each in container["env"]}
        uid = pod["metadata"]["uid"]
        # A pod has its network to itself. Here it has an address of its own, and what
        # would listen on all addresses is told to listen on that one.
        address = f"127.0.1.{len(self.addresses) % 250 + 1}"
        self.addresses[uid] = address
        service = given.get("JUPYTERHUB_SERVICE_URL", "")
        given["JUPYTERHUB_SERVICE_URL"] = service.replace("//0.0.0.0:", f"//{address}:")
        with (self.folder / f"{uid}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env={"PATH": os.environ["PATH"], MARK: str(self.folder), **given},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        with self.lock:
            self.running[uid] = process
        self.tell(pod, "Started", f"Started container {container['name']}")
        self.report(pod, "Running", {"running": {"startedAt": moment()}})
        threading.Thread(target=self.wait, args=(pod, process), daemon=True).start()

    def wait(self, pod: Object, process: subprocess.Popen[bytes]) -> None:
        """Report the end of a container that ends by itself."""
        status = process.wait()
        if self.running.get(pod["metadata"]["uid"]) is process:
            over = {"exitCode": status if status >= 0 else 128 - status}
            phase = "Failed" if status else "Succeeded"
            self.report(pod, phase, {"terminated": {**over, "finishedAt": moment()}})

    def kill(self, uid: str, grace: float) -> None:
        with self.lock:
            process = self.running.pop(uid, None)
        if process is None:
            return
        if grace:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(grace)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def report(self, pod: Object, phase: str, state: Object) -> None:
        container = pod["spec"]["containers"][0]
        address = self.addresses[pod["metadata"]["uid"]]
        status = {
            **{"phase": phase, "podIP": address, "hostIP": "127.0.0.1"},
            "podIPs": [{"ip": address}],
            "startTime": moment(),
            "containerStatuses": [
                {
                    **{"name": container["name"], "image": container["image"]},
                    **{"imageID": "", "restartCount": 0, "state": state},
                    "ready": "running" in state,
                }
            ],
        }
        self.ask("PATCH", f"pods/{pod['metadata']['name']}/status", {"status": status})

    def tell(self, pod: Object, reason: str, message: str) -> None:
        self.events += 1
        metadata = pod["metadata"]
        event = {
            **{"apiVersion": "v1", "kind": "Event", "type": "Normal", "count": 1},
            "metadata": {"name": f"{metadata['name']}.{metadata['uid']}.{self.events}"},
            "involvedObject": {
                **{"kind": "Pod", "apiVersion": "v1", "namespace": NAMESPACE},
                **{"name": metadata["name"], "uid": metadata["uid"]},
            },
            **{"reason": reason, "message": message},
            **{"firstTimestamp": moment(), "lastTimestamp": moment()},
            **{"eventTime": None, "source": {"component": "kubelet", "host": NODE}},
        }
        self.ask("POST", "events", event)

    def ask(self, method: str, path: str, body: Object) -> None:
        kind = "merge-patch+json" if method == "PATCH" else "json"
        # A pod may be gone by the time that something is said of it.
        self.session.request(
            method,
            f"{self.root}/{path}",
            data=json.dumps(body),
            headers={"Content-Type": f"application/{kind}"},
            timeout=10,
        )

    def end(self) -> None:
        self.ending.set()
        for uid in list(self.running):
            self.kill(uid, 0)
        self.thread.join(15)
