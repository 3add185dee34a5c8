"""Loaded before JupyterHub to leave out a library that takes long to load.

JupyterHub's application imports jsonschema for its events, which imports a library to
check addresses (`rfc3987_syntax`), which builds a parser at its import. No test needs
that library, and jsonschema works without it.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
