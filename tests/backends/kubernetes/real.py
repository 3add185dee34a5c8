"""A real kube-apiserver with its etcd, if the environment names the programs."""

from __future__ import annotations

import secrets
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from tests.backends.kubernetes.nodes import NAMESPACE, NODE
from tests.backends.kubernetes.standin import Object
from tests.backends.machine import wait_until
from tests.ports import free_ports


class RealAPI:
    """A kube-apiserver with its etcd, both ended with the tests."""

    def __init__(self, folder: Path, apiserver: str, etcd: str) -> None:
        self.folder = folder
        self.token = secrets.token_hex(16)
        self.daemons: list[subprocess.Popen[bytes]] = []
        store, peers, port = free_ports(3)
        self.url = f"https://127.0.0.1:{port}"
        # It makes one for itself at its start.
        self.certificate: Path | None = folder / "certs" / "apiserver.crt"
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {self.token}"
        self.session.trust_env = False
        self.session.verify = str(self.certificate)
        tokens = folder / "tokens.csv"
        tokens.write_text(f'{self.token},hub,hub,"system:masters"\n')
        tokens.chmod(0o600)
        key = str(folder / "key.pem")
        subprocess.run(
            ["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True
        )
        clients = f"http://127.0.0.1:{store}"
        others = f"http://127.0.0.1:{peers}"
        self._run(
            *(etcd, "--data-dir", str(folder / "etcd"), "--name", "hub"),
            *("--listen-client-urls", clients, "--advertise-client-urls", clients),
            *("--listen-peer-urls", others, "--initial-advertise-peer-urls", others),
            *("--initial-cluster", f"hub={others}"),
        )
        self._run(
            *(apiserver, "--etcd-servers", clients, "--secure-port", str(port)),
            *("--bind-address", "127.0.0.1", "--cert-dir", str(folder / "certs")),
            *("--service-cluster-ip-range", "10.96.0.0/24"),
            *("--token-auth-file", str(tokens), "--authorization-mode", "RBAC"),
            *("--disable-admission-plugins", "ServiceAccount"),
            *("--service-account-issuer", "https://kubernetes.default.svc"),
            *("--service-account-key-file", key),
            *("--service-account-signing-key-file", key),
        )
        wait_until(self._is_up, "kube-apiserver is ready", self._logs, 90)
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        self._ask("POST", "/api/v1/nodes", node)

    def _run(self, *command: str) -> None:
        log = self.folder / f"{Path(command[0]).name}.log"
        with log.open("wb") as output:
            self.daemons.append(
                subprocess.Popen(
                    command,
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )

    def _is_up(self) -> bool:
        for daemon in self.daemons:
            if daemon.poll() is not None:
                raise RuntimeError(f"{daemon.args!r} has ended:\n{self._logs()}")
        with suppress(requests.RequestException, OSError):
            place = f"/api/v1/namespaces/{NAMESPACE}"
            return self._ask("GET", "/readyz").ok and self._ask("GET", place).ok
        return False

    def _ask(self, method: str, path: str, body: Object | None = None) -> Any:
        return self.session.request(method, f"{self.url}{path}", json=body, timeout=10)

    def _logs(self) -> str:
        return "\n".join(
            f"== {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def end(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(60)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
