"""Fixtures for tests with several sessions, which need PostgreSQL."""

from __future__ import annotations

from tests.controller.conftest import GIVEN

if not GIVEN.startswith("postgres"):
    # SQLite has one writer at a time, and nobody who could end a connection.
    collect_ignore = [
        *("test_order.py", "test_sessions.py", "test_failover.py", "test_stress.py"),
        *("test_last_administrator.py", "test_sealing.py"),
    ]
