"""The static files of JupyterHub, for pages that were written for it; no Jinja."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def data_files(configured: str) -> Path | None:
    """Return the folder of JupyterHub's static files, and of those a site adds there.

    `static_url` of a template names files of it: jQuery, RequireJS, style sheets.
    """
    places = [Path(configured)] if configured else []
    places.append(Path(sys.prefix) / "share" / "jupyterhub")
    try:
        known = distribution("jupyterhub")
    except PackageNotFoundError:
        known = None
    if known is not None:
        places += [
            Path(str(known.locate_file(file))).resolve().parents[1]
            for file in known.files or ()
            if file.as_posix().endswith("share/jupyterhub/templates/page.html")
        ]
    return next((place for place in places if (place / "static").is_dir()), None)
