"""A stand-in for kube-apiserver with the calls that KubeSpawner uses.

It has pods and events like the API: list and watch with resource versions and
selectors, create with validation and 409, binding, status, graceful deletion. It may
differ from the real API, with which `test_kubernetes.py` compares it.
"""

from __future__ import annotations

import copy
import json
import re
import secrets
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
KINDS = {"pods": "Pod", "events": "Event"}


class Refused(Exception):
    """What the API answers instead, as an object of kind Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            **{"kind": "Status", "apiVersion": "v1", "status": "Failure"},
            **{"reason": reason, "message": message, "code": code, "metadata": {}},
        }


# What is stored


class Store:
    """Objects by kind, namespace and name, and every change that there was."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.version = 1
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.log: list[tuple[int, str, str, Object]] = []

    def _note(self, change: str, plural: str, item: Object) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.log.append((self.version, change, plural, copy.deepcopy(item)))
        self.changed.notify_all()

    def create(self, plural: str, namespace: str, item: Object) -> Object:
        metadata = item.setdefault("metadata", {})
        if metadata.setdefault("namespace", namespace) != namespace:
            raise Refused(400, "BadRequest", "the namespaces do not match")
        if plural == "pods":
            check_pod(item)
            item["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
        with self.changed:
            key = (plural, namespace, metadata["name"])
            if key in self.objects:
                name = f'{plural} "{metadata["name"]}"'
                raise Refused(409, "AlreadyExists", f"{name} already exists")
            metadata["uid"] = str(uuid.uuid4())
            metadata["creationTimestamp"] = moment()
            self.objects[key] = item
            self._note("ADDED", plural, item)
            return copy.deepcopy(item)

    def read(self, plural: str, namespace: str, name: str) -> Object:
        found = self.objects.get((plural, namespace, name))
        if found is None:
            raise Refused(404, "NotFound", f'{plural} "{name}" not found')
        return copy.deepcopy(found)

    def bind(self, namespace: str, name: str, node: str) -> None:
        with self.changed:
            self.read("pods", namespace, name)
            pod = self.objects["pods", namespace, name]
            if pod["spec"].get("nodeName"):
                raise Refused(409, "Conflict", "the pod is assigned to a node")
            pod["spec"]["nodeName"] = node
            self._note("MODIFIED", "pods", pod)

    def set_status(self, namespace: str, name: str, status: Object) -> Object:
        with self.changed:
            self.read("pods", namespace, name)
            pod = self.objects["pods", namespace, name]
            pod["status"] = {**pod["status"], **status}
            self._note("MODIFIED", "pods", pod)
            return copy.deepcopy(pod)

    def delete(self, plural: str, namespace: str, name: str, options: Object) -> Object:
        """Remove at once, or ask the node to end the pod first, as the API does."""
        with self.changed:
            self.read(plural, namespace, name)
            item = self.objects[plural, namespace, name]
            grace = options.get("gracePeriodSeconds")
            if grace is None:
                grace = item.get("spec", {}).get("terminationGracePeriodSeconds", 30)
            on_node = plural == "pods" and item["spec"].get("nodeName")
            over = item.get("status", {}).get("phase") in ("Succeeded", "Failed")
            if on_node and not over and grace > 0:
                if "deletionTimestamp" not in item["metadata"]:
                    item["metadata"]["deletionTimestamp"] = moment()
                    item["metadata"]["deletionGracePeriodSeconds"] = grace
                    self._note("MODIFIED", plural, item)
            else:
                del self.objects[plural, namespace, name]
                self._note("DELETED", plural, item)
            return copy.deepcopy(item)

    def watch(
        self, plural: str, namespace: str, since: int, seconds: float, selects: Any
    ) -> Iterator[Object]:
        """Yield changes after a version, until the time is up."""
        end = time.monotonic() + seconds
        place = next((i for i, e in enumerate(self.log) if e[0] > since), len(self.log))
        while True:
            with self.changed:
                left = end - time.monotonic()
                if place >= len(self.log) and left > 0:
                    self.changed.wait(left)
                found = self.log[place:]
                place += len(found)
            for _, change, kind, item in found:
                inside = item["metadata"]["namespace"] == namespace
                if kind == plural and inside and selects(item):
                    yield {"type": change, "object": item}
            if time.monotonic() >= end:
                return


LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?([eE][0-9]+|m|[kMGTPE]i?)?")


def check_pod(pod: Object) -> None:
    """Refuse what kube-apiserver refuses of a pod, for what KubeSpawner can ask."""

    def need(condition: object, field: str, value: object) -> None:
        if not condition:
            message = f"Pod is invalid: {field}: Invalid value: {value!r}"
            raise Refused(422, "Invalid", message)

    need((pod.get("apiVersion"), pod.get("kind")) == ("v1", "Pod"), "kind", pod)
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    name = metadata.get("name", "")
    need(SUBDOMAIN.fullmatch(name), "metadata.name", name)
    for key, value in (metadata.get("labels") or {}).items():
        need(VALUE.fullmatch(value), "metadata.labels", value)
        need(VALUE.fullmatch(key.rpartition("/")[2]), "metadata.labels", key)
    for value in (metadata.get("annotations") or {}).values():
        need(isinstance(value, str), "metadata.annotations", value)
    policy = spec.setdefault("restartPolicy", "Always")
    need(policy in ("Always", "OnFailure", "Never"), "spec.restartPolicy", policy)
    volumes = {each["name"] for each in spec.get("volumes") or ()}
    containers = spec.get("containers") or []
    need(containers, "spec.containers", containers)
    for each in containers:
        need(LABEL.fullmatch(each.get("name", "")), "containers.name", each)
        need(each.get("image"), "containers.image", each)
        for part in (*(each.get("command") or ()), *(each.get("args") or ())):
            need(isinstance(part, str), "containers.args", part)
        for variable in each.get("env") or ():
            need(variable.get("name"), "containers.env.name", variable)
            value = variable.get("value", "")
            need(isinstance(value, str), "containers.env.value", variable)
        for port in each.get("ports") or ():
            need(0 < port["containerPort"] < 65536, "containers.ports", port)
            label = port.get("name")
            need(label is None or len(label) <= 15, "containers.ports.name", label)
        for mount in each.get("volumeMounts") or ():
            need(mount["name"] in volumes, "containers.volumeMounts", mount)
        for amounts in (each.get("resources") or {}).values():
            for amount in (amounts or {}).values():
                need(QUANTITY.fullmatch(str(amount)), "containers.resources", amount)


def moment() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# How it is asked


class Handler(BaseHTTPRequestHandler):
    """One request; HTTP/1.1, with watches as chunks."""

    protocol_version = "HTTP/1.1"
    store: Store
    token: str
    available: threading.Event

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def answer(self) -> None:
        try:
            self.proceed()
        except Refused as refused:
            self.reply(refused.status, refused.code)

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = answer

    def proceed(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or "{}") or {}
        if self.headers.get("Authorization") != f"Bearer {self.token}":
            raise Refused(401, "Unauthorized", "Unauthorized")
        if not self.available.is_set():
            raise Refused(503, "ServiceUnavailable", "the API is being upgraded")
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        match url.path.strip("/").split("/"):
            case ["api", "v1", "namespaces", namespace, ("pods" | "events") as plural]:
                if self.command == "GET":
                    return self.list_or_watch(plural, namespace, query)
                if self.command == "POST":
                    return self.reply(self.store.create(plural, namespace, body), 201)
            case ["api", "v1", "namespaces", namespace, "pods" as plural, name]:
                if self.command == "GET":
                    return self.reply(self.store.read(plural, namespace, name))
                if self.command == "DELETE":
                    options = {**body}
                    if "gracePeriodSeconds" in query:
                        options["gracePeriodSeconds"] = int(query["gracePeriodSeconds"])
                    return self.reply(
                        self.store.delete(plural, namespace, name, options)
                    )
            case ["api", "v1", "namespaces", namespace, "pods", name, "binding"]:
                self.store.bind(namespace, name, body["target"]["name"])
                return self.reply({"kind": "Status", "status": "Success"}, 201)
            case ["api", "v1", "namespaces", namespace, "pods", name, "status"]:
                if self.command == "PATCH":
                    return self.reply(
                        self.store.set_status(namespace, name, body["status"])
                    )
        raise Refused(
            404, "NotFound", f"{self.command} {url.path} is none of what is imitated"
        )

    def list_or_watch(self, plural: str, namespace: str, query: dict[str, str]) -> None:
        selects = selector(query)
        if query.get("watch") not in ("true", "True", "1"):
            with self.store.changed:
                items = [
                    copy.deepcopy(item)
                    for (kind, place, _), item in self.store.objects.items()
                    if (kind, place) == (plural, namespace) and selects(item)
                ]
                version = str(self.store.version)
            kind = f"{KINDS[plural]}List"
            metadata = {"resourceVersion": version}
            head = {"kind": kind, "apiVersion": "v1", "metadata": metadata}
            return self.reply({**head, "items": items})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        since = int(query.get("resourceVersion") or 0)
        seconds = float(query.get("timeoutSeconds") or 300)
        with suppress(OSError):
            for event in self.store.watch(plural, namespace, since, seconds, selects):
                self.chunk(json.dumps(event).encode() + b"\n")
            self.chunk(b"")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def reply(self, data: Object, status: int = 200) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def selector(query: dict[str, str]) -> Any:
    """Return a function that tells whether labels and fields of an object fit."""

    def pairs(text: str) -> list[tuple[str, str]]:
        parts = (part.partition("=") for part in text.split(",") if part)
        return [(name, value.lstrip("=")) for name, _, value in parts]

    labels = pairs(query.get("labelSelector", ""))
    fields = pairs(query.get("fieldSelector", ""))

    def selects(item: Object) -> bool:
        held = item["metadata"].get("labels") or {}
        if any(held.get(name) != value for name, value in labels):
            return False
        for path, value in fields:
            found: Any = item
            for part in path.split("."):
                found = found.get(part, "")
            if found != value:
                return False
        return True

    return selects


class StandIn:
    """The API as an HTTP server on this machine."""

    certificate: Path | None = None

    def __init__(self) -> None:
        self.token = secrets.token_hex(16)
        # Cleared while the API is out of order.
        self.available = threading.Event()
        self.available.set()
        bound = {"store": Store(), "token": self.token, "available": self.available}
        handler = type("Bound", (Handler,), bound)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()
