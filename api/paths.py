"""What an address of the API is made of, for whoever reads addresses before Django."""

from __future__ import annotations

# Stands in a path for an encoded slash, which is a part of the name that it is found
# in and separates nothing. No name holds this code point, for it is no character.
ENCODED_SLASH = "\uffff"
