"""The parts of a rendered page, by the names of JupyterHub's blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Self

from django.utils.safestring import SafeString, mark_safe

# The variable of a template's context with the mark of this page's parts.
MARK = "parts_mark"


def opening(mark: str, name: str) -> str:
    return f"\ue000{mark}+{name}\ue001"


def closing(mark: str, name: str) -> str:
    return f"\ue000{mark}-{name}\ue001"


@dataclass(slots=True)
class Part:
    """A piece of a page: texts, and the parts between them."""

    name: str
    first: str = ""
    # The texts after each inner part, by its name. A part that is there several times,
    # such as an entry of a list, has the text after the last one.
    after: dict[str, str] = field(default_factory=dict)
    last: str = ""

    def add(self, text: str) -> None:
        if self.last:
            self.after[self.last] += text
        else:
            self.first += text


class Parts:
    """All parts of one page; templates ask for their texts."""

    def __init__(self) -> None:
        self.found: dict[str, Part] = {}

    @classmethod
    def read(cls, page: str, mark: str) -> Self:
        """Take a page apart at the marks that `{% part %}` has left."""
        parts = cls()
        root = Part("page")
        open_parts = [root]
        pieces = re.split(rf"\ue000{mark}([+-])([\w-]+)\ue001", page)
        root.add(pieces[0])
        for sign, name, text in zip(
            pieces[1::3], pieces[2::3], pieces[3::3], strict=True
        ):
            if sign == "+":
                outer = open_parts[-1]
                outer.last = name
                outer.after[name] = ""
                open_parts.append(Part(name))
            else:
                done = open_parts.pop()
                parts.found.setdefault(done.name, done)
            open_parts[-1].add(text)
        parts.found["page"] = root
        return parts

    def has(self, name: str) -> bool:
        return name in self.found

    def text(self, name: str) -> SafeString:
        """Return the beginning of a part, up to its first inner part."""
        part = self.found.get(name)
        # The hub's own templates have escaped what had to be escaped.
        return mark_safe(part.first if part else "")  # noqa: S308

    def after(self, outer: str, inner: str) -> SafeString:
        """Return the text of a part after one of its inner parts."""
        part = self.found.get(outer)
        return mark_safe(part.after.get(inner, "") if part else "")  # noqa: S308


def without_marks(page: str, mark: str) -> str:
    """Return the page as it is without a site's templates."""
    return re.sub(rf"\ue000{mark}[+-][\w-]+\ue001", "", page)
