"""The app of the import and the export."""

from __future__ import annotations

from django.apps import AppConfig


class MovingConfig(AppConfig):
    """Moving from JupyterHub and back."""

    name = "moving"
