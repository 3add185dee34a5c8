"""Hundreds of callers with requests at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

ASKING = 300
AT_ONCE = 48


class Crowd:
    """Many callers with one administrator's token."""

    def __init__(self, api: str, token: str) -> None:
        self.api = api
        self.headers = {"Authorization": f"token {token}"}

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        return requests.request(
            method, f"{self.api}{path}", json=body, headers=self.headers, timeout=60
        )

    def all_ask(self, requests: Iterable[tuple[str, str, Any]]) -> Counter[int]:
        """Send all these at once and count the answers by status."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            replies = list(pool.map(lambda each: self.ask(*each), requests))
        for reply in replies:
            if reply.status_code >= 400:
                assert reply.json()["status"] == reply.status_code, reply.text
        return Counter(reply.status_code for reply in replies)
