"""The addresses of proxy and hub, compared with those of JupyterHub itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any
from urllib.parse import urlsplit

import pytest
from jupyterhub.app import JupyterHub
from traitlets.config import Config

from hubsite.config.hub_config import HubConfig
from hubsite.config.load import build_config

EVERYWHERE = {"": "", "*": "", "0.0.0.0": "", "::": "", None: ""}
BOUND = [{}, {"bind_url": "http://127.0.0.1:9000/a/"}, {"bind_url": "https://hub"}]
PARTS: list[dict[str, Any]] = [
    {},
    *({"ip": ip} for ip in ("", "10.0.0.1", "*", "::1")),
    *({"port": port} for port in (8000, 80)),
    *({"base_url": base} for base in ("/", "/b")),
    {"ip": "10.0.0.1", "port": 80},
    {"port": 8000, "base_url": "/b"},
    {"ssl_cert": "cert.pem"},
    {"ssl_cert": "cert.pem", "ip": "10.0.0.1"},
]
HUB_BOUND = [
    *({}, {"hub_bind_url": ""}),
    *({"hub_bind_url": url} for url in ("http://127.0.0.1:9000", "http://0.0.0.0")),
]
HUB_PARTS: list[dict[str, Any]] = [
    {},
    *({"hub_ip": ip} for ip in ("", "10.0.0.1", "0.0.0.0")),
    *({"hub_port": 9001}, {"hub_ip": "10.0.0.1", "hub_port": 9001}),
]
REACHED: list[dict[str, Any]] = [
    *({}, {"hub_connect_ip": "172.17.0.1"}, {"hub_connect_port": 7}),
]


def mixes(*parts: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for chosen in product(*parts):
        yield {name: value for each in chosen for name, value in each.items()}


def both(settings: dict[str, Any]) -> tuple[JupyterHub, HubConfig]:
    JupyterHub.clear_instance()
    theirs = JupyterHub(config=Config({"JupyterHub": dict(settings)}))
    own = Config({"JupyterHub": {**settings, "authenticator_class": "dummy"}})
    return theirs, build_config(own)


def place(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    host = EVERYWHERE.get(parts.hostname, parts.hostname)
    return (
        parts.scheme,
        str(host),
        parts.port or {"http": 80, "https": 443}[parts.scheme],
    )


def test_the_proxy_listens_where_jupyterhubs_does() -> None:
    for settings in mixes(BOUND, PARTS):
        theirs, own = both(settings)

        assert place(own.bind_url) == place(theirs.bind_url), settings
        assert own.base_url == theirs.base_url, settings


def test_the_hub_listens_and_is_reached_where_jupyterhub_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "machine")
    for settings in mixes(HUB_BOUND, HUB_PARTS, REACHED):
        theirs, own = both(settings)
        theirs.init_hub()

        bind = place(f"http://{own.hub_ip}:{own.hub_port}")
        assert bind == place(theirs.hub.bind_url), settings
        assert place(own.hub_connect_url) == place(theirs.hub.api_url), settings


@pytest.mark.parametrize(
    ("settings", "listens_at"),
    [
        ({"bind_url": "http://127.0.0.1:9000", "port": 80}, "http://:80"),
        ({"bind_url": "http://127.0.0.1:9000", "base_url": "/b"}, "http://:8000"),
        ({"bind_url": "http://:9000", "ip": "::1"}, "http://[::1]:8000"),
        ({"bind_url": "https://hub"}, "the proxy speaks http"),
        ({"hub_bind_url": "http://:9000", "hub_port": 9001}, "hub_port: has no effect"),
        ({"bind_url": "http://10.0.0.1:80", "ip": "10.0.0.1", "port": 80}, ""),
        ({"bind_url": "http://:8000/a", "base_url": "/"}, ""),
        ({"bind_url": "https://:443", "ssl_cert": "cert.pem"}, ""),
        ({"hub_bind_url": "http://:9000", "hub_port": 9000}, ""),
    ],
)
def test_settings_that_contradict_each_other_are_named(
    settings: dict[str, Any], listens_at: str
) -> None:
    remarks = both(settings)[1].remarks

    assert bool(remarks) == bool(listens_at)
    assert listens_at in "".join(remarks)
