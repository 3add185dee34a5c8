"""A whole hub with settings of its own proxy."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hubsite.process.proxy_process import check_free, find_proxy
from tests.hubsite.conftest import RunningHub, status_of

pytestmark = pytest.mark.slow


@pytest.fixture
def certificate(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Write a key and a certificate of this machine, and yield both paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    key_file, certificate_file = tmp_path / "hub.key", tmp_path / "hub.crt"
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    yield key_file, certificate_file


def test_proxy_speaks_https_with_the_configured_certificate(
    hub: RunningHub, certificate: tuple[Path, Path]
) -> None:
    key, crt = certificate
    hub.declare(f"c.JupyterHub.ssl_key = {str(key)!r}")
    hub.declare(f"c.JupyterHub.ssl_cert = {str(crt)!r}")
    # JupyterHub's name of the program, with an option of the operator.
    hub.declare(
        "c.ConfigurableHTTPProxy.command = "
        "['configurable-http-proxy', '--custom-header', 'X-Through: ours']"
    )
    hub.start()

    context = ssl.create_default_context(cafile=str(crt))
    page = f"https://localhost:{hub.port}/hub/login"
    with urlopen(page, context=context, timeout=60) as reply:
        assert reply.status == 200
        cookies = reply.headers.get_all("Set-Cookie")
    assert cookies and all("Secure" in cookie for cookie in cookies)
    assert f"https://127.0.0.1:{hub.port}/" in hub.said()
    command = Path(f"/proc/{hub.pids()['proxy']}/cmdline").read_bytes()
    assert b"X-Through: ours" in command


def test_hub_gets_only_the_paths_of_its_route(hub: RunningHub) -> None:
    hub.declare("c.JupyterHub.hub_routespec = '/hub/api'")
    hub.start()

    assert status_of(f"{hub.url}api/") == 200
    assert status_of(f"{hub.own_url}login") == 200
    with pytest.raises(HTTPError, match="404"):
        urlopen(f"{hub.url}login", timeout=60)


def test_program_that_is_not_there_is_replaced_by_that_of_the_hub() -> None:
    own = find_proxy("")

    assert find_proxy(["/no/such/configurable-http-proxy", "--x"]) == [*own, "--x"]
    assert find_proxy(["/no/such/program"]) == ["/no/such/program"]
    assert find_proxy("env X=1 chp") == ["env", "X=1", "chp"]


def test_a_port_in_use_is_reported_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(OSError, match="in use") as refused:
            check_free(f"http://127.0.0.1:{port}", "JupyterHub.bind_url")

    assert refused.value.strerror == (
        f"port {port} on 127.0.0.1: Address already in use"
        " (c.JupyterHub.bind_url names the address)"
    )
    check_free(f"http://127.0.0.1:{port}", "JupyterHub.bind_url")
