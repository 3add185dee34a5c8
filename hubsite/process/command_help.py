"""The text of `manage.py --help`: the hub's own commands first, then Django's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from django.apps import apps
from django.core.management import ManagementUtility, get_commands

ROOT = Path(__file__).resolve().parents[2]


class HubManagement(ManagementUtility):
    """Django's command line, with a help text that begins with the hub's commands."""

    def main_help_text(self, commands_only: bool = False) -> str:
        text: str = super().main_help_text(commands_only)
        if commands_only:
            return text
        return "\n".join([*self.own_commands(), "", "All commands:", text])

    def own_commands(self) -> Iterator[str]:
        """Yield a line for each command of the hub, with its purpose."""
        yield "Commands of the hub:"
        yield ""
        ours = {app.name for app in apps.get_app_configs() if is_own(Path(app.path))}
        for name, app in sorted(get_commands().items()):
            if app in ours:
                summary = self.fetch_command(name).help.partition("\n")[0]
                yield f"    {name:<12} {summary}"


def is_own(folder: Path) -> bool:
    return folder.parent == ROOT
