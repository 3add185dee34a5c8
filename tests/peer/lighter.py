"""Loaded before JupyterHub: leaves out a library that takes long to load.

JupyterHub's application loads jsonschema for its events, and that looks for a library
with which to check addresses (`rfc3987_syntax`), which builds a parser as it is loaded.
No test needs it, and jsonschema goes without it.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
