"""Where the templates of pages come from, and the nonces of their scripts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader
from jinja2.ext import Extension

BASES = Path(__file__).parent / "templates"

# Jinja's tags, expressions and comments, and the elements that a nonce allows.
DELIMITED = re.compile(r"(\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\})", re.DOTALL)
INLINE = re.compile(r"<(script|style)\b(?![^>]*\bnonce=)", re.IGNORECASE)


class Nonces(Extension):
    """Gives the scripts and styles in the source of templates the page's nonce.

    The source is the operator's. What variables contain gets no nonce, so that the
    Content-Security-Policy refuses scripts in other people's texts as on every page.
    """

    def preprocess(
        self, source: str, name: str | None, filename: str | None = None
    ) -> str:
        pieces = DELIMITED.split(source)
        # Every second piece is a tag, an expression or a comment.
        pieces[::2] = [
            INLINE.sub(r'<\1 nonce="{{ csp_nonce }}"', piece) for piece in pieces[::2]
        ]
        return "".join(pieces)


def environment_for(folders: list[str], options: dict[str, Any]) -> Environment:
    """Return the environment of a site's templates, as JupyterHub makes it.

    `templates/NAME` is always the base; `NAME` is the site's template if it has one.
    """
    options = {"autoescape": True, **options}
    options.pop("enable_async", None)
    extensions = [*options.pop("extensions", ()), Nonces]
    loader = ChoiceLoader(
        [
            PrefixLoader({"templates": FileSystemLoader(BASES)}, "/"),
            FileSystemLoader([*folders, BASES]),
        ]
    )
    return Environment(loader=loader, extensions=extensions, **options)  # noqa: S701
