"""The files of JupyterHub that are served below `/hub/static`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.contrib.staticfiles.finders import FileSystemFinder

# Pictures and sources that no page names: nine of ten files. Each file that may be
# served takes memory in each process.
LEFT_OUT: Final = (
    *("svgs", "svgs-full"),
    *("components/*/src/*", "components/*/scss/*", "components/*/less/*"),
)


class JupyterHubFinder(FileSystemFinder):
    """Finds the files that pages written for JupyterHub may name."""

    def list(self, ignore_patterns: Iterable[str] | None) -> Any:
        return super().list([*(ignore_patterns or ()), *LEFT_OUT])
