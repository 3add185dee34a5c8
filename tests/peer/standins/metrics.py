"""Stand-in for the metrics of JupyterHub's module `metrics`."""

from __future__ import annotations

import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.peer.app import current


class Metric:
    """A metric of `prometheus_client`, read from the hub's page at each look."""

    def __init__(self, name):
        self.name = name

    def collect(self):
        app = current.app
        app.settle()
        text = requests.get(
            f"{app.peer.hub_url}metrics",
            headers={"Authorization": f"token {app.peer.admin_token()}"},
            timeout=100,
        ).text
        families = text_string_to_metric_families(text)
        return [each for each in families if each.name == self.name]
