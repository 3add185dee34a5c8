"""What a site's templates need: other sites, and blocks that the hub's pages lack.

A scan reads the sources and renders nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, TemplateNotFound, TemplateSyntaxError, nodes

from hubsite.site_pages.sources import BASES, environment_for

# The most templates and characters that are read, so that a wrong folder costs little.
MOST_FILES = 500
MOST_CHARACTERS = 1_000_000

PLACE = "c.JupyterHub.template_paths"
# Blocks of JupyterHub's templates that have no counterpart, with what to do.
LACKING = {
    **dict.fromkeys(
        ("username_input_attrs", "password_input_attrs"),
        "override the block of the whole field, without `_attrs`",
    ),
    **dict.fromkeys(
        ("otp_input", "otp_input_attrs"),
        "the second factor has a page of its own",
    ),
    **dict.fromkeys(
        ("expiration_options", "token_row", "client_row"),
        "the page of tokens is the hub's; override `main` to replace it",
    ),
}
# JupyterHub's templates for pages that are not rendered from them.
OTHER_PAGES = {
    "admin.html": "the admin keeps the hub's own pages",
}
# Elements with addresses, and the directives of the policy that allow their sites.
SITES = {
    "script": ("script-src",),
    "link": ("style-src", "font-src", "img-src"),
    "img": ("img-src",),
    "source": ("img-src", "media-src"),
    "video": ("media-src",),
    "audio": ("media-src",),
    "iframe": ("frame-src",),
}
ADDRESS = re.compile(
    rf"<({'|'.join(SITES)})\b[^>]*?\b(?:src|href)\s*=\s*[\"']?((?:https?:)?//[^\s\"'>]+)",
    re.IGNORECASE,
)
IN_STYLE = re.compile(r"(?:url\(\s*|@import\s+)[\"']?(https?://[^\s\"')]+)", re.I)
# Style sheets of this site load their fonts from another one.
FONTS = {"https://fonts.googleapis.com": "https://fonts.gstatic.com"}
HANDLER = re.compile(r"<\w[^>{]*?\s(on[a-z]+)\s*=", re.IGNORECASE)
SCRIPT_ADDRESS = re.compile(r"=\s*[\"']\s*javascript:", re.IGNORECASE)
BLOCK = re.compile(r"\{%-?\+?\s*(block\s+(\w+)|endblock)\b")


@dataclass(slots=True)
class Source:
    """One template of the site."""

    name: str
    text: str
    extends: str = ""
    blocks: tuple[str, ...] = ()
    # Blocks within others, which are shown where they stand.
    inner: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()
    problem: str = ""


@dataclass(slots=True)
class Scan:
    """All templates of the site, by name; the first folder with a name has it."""

    sources: dict[str, Source] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def scan(folders: Iterable[str], options: Mapping[str, Any]) -> Scan:
    """Read the templates in the folders of `c.JupyterHub.template_paths`."""
    found = Scan()
    environment = environment_for([*folders], dict(options))
    for folder in map(Path, folders):
        if not folder.is_dir():
            found.missing.append(str(folder))
            continue
        for path in sorted(folder.rglob("*.html"))[:MOST_FILES]:
            name = path.relative_to(folder).as_posix()
            if name not in found.sources:
                found.sources[name] = _read(environment, name, path)
    return found


def _read(environment: Environment, name: str, path: Path) -> Source:
    try:
        text = path.read_text("utf-8")[:MOST_CHARACTERS]
    except (OSError, UnicodeDecodeError) as error:
        return Source(name, "", problem=str(error))
    source = Source(name, text)
    try:
        tree = environment.parse(text, name)
    except TemplateSyntaxError as error:
        source.problem = f"line {error.lineno}: {error.message}"
        return source
    used = set()
    for node in tree.find_all(
        (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)
    ):
        for constant in node.find_all(nodes.Const):
            if isinstance(constant.value, str):
                used.add(constant.value)
                if not (
                    _exists(environment, constant.value)
                    or getattr(node, "ignore_missing", False)
                ):
                    source.problem = (
                        f"line {node.lineno}: there is no template {constant.value!r}"
                    )
        if isinstance(node, nodes.Extends) and isinstance(node.template, nodes.Const):
            source.extends = str(node.template.value)
    source.uses = frozenset(used)
    blocks = list(tree.find_all(nodes.Block))
    source.blocks = tuple(block.name for block in blocks)
    source.inner = frozenset(
        inner.name for block in blocks for inner in block.find_all(nodes.Block)
    )
    return source


def _exists(environment: Environment, name: str) -> bool:
    loader = environment.loader
    try:
        return bool(loader and loader.get_source(environment, name))
    except (TemplateNotFound, UnicodeDecodeError):
        return False


def remarks(found: Scan) -> Iterator[str]:
    """Yield what of the templates is not honoured, with the name of the block."""
    for folder in found.missing:
        yield f"{PLACE}: there is no folder {folder}; the hub's own pages are shown"
    used = {name for source in found.sources.values() for name in source.uses}
    for name, source in found.sources.items():
        place = f"{PLACE}: {name}"
        if name in OTHER_PAGES:
            yield f"{place}: is not used; {OTHER_PAGES[name]}"
            continue
        if source.problem:
            yield f"{place}: {source.problem}; the hub's own page is shown instead"
            continue
        if not is_page(name) and name not in used:
            yield f"{place}: is not used; no page of the hub has this name"
            continue
        known = _known_blocks(found, source) | source.inner
        for block in source.blocks if source.extends else ():
            if block in LACKING and block not in known:
                yield (
                    f"{place}: block `{block}` has no counterpart here; "
                    f"{LACKING[block]}"
                )
            elif block not in known:
                yield (
                    f"{place}: block `{block}` is not shown; the page that this "
                    "template extends has no such block, as in JupyterHub 6"
                )
        yield from _forbidden(place, source)


def _forbidden(place: str, source: Source) -> Iterator[str]:
    """Yield scripts that the hub's Content-Security-Policy refuses."""
    said = set()
    for pattern in (HANDLER, SCRIPT_ADDRESS):
        for match in pattern.finditer(source.text):
            kind = match[1].lower() if pattern is HANDLER else "a javascript: address"
            where = block_at(source.text, match.start())
            if (kind, where) not in said:
                said.add((kind, where))
                yield (
                    f"{place}: {where}: {kind} is refused by the hub's "
                    "Content-Security-Policy; put the script into a script element, "
                    "with addEventListener"
                )


def block_at(text: str, place: int) -> str:
    """Return the innermost block around a place in a template, in words."""
    around = []
    for match in BLOCK.finditer(text, 0, place):
        if match[2]:
            around.append(match[2])
        elif around:
            around.pop()
    return f"block `{around[-1]}`" if around else "outside of blocks"


def is_page(name: str) -> bool:
    """Return whether a page of the hub is rendered from a template of this name."""
    return bool(re.fullmatch(r"[45]\d\d\.html", name)) or (BASES / name).is_file()


def _known_blocks(found: Scan, source: Source) -> set[str]:
    """Return the blocks of the templates that one extends, directly or not."""
    known: set[str] = set()
    seen: set[str] = {source.name}
    name = source.extends
    while name:
        own = found.sources.get(name)
        # A template that extends its own name means the hub's.
        is_ours = name.startswith("templates/") or own is None or name in seen
        plain = name.removeprefix("templates/")
        if own is None or is_ours:
            base = _base(plain)
            known.update(base.blocks)
            name = base.extends
            seen.add(plain)
        else:
            known.update(own.blocks)
            seen.add(name)
            name = own.extends
    return known


def _base(name: str) -> Source:
    path = BASES / name
    if not path.is_file():
        return Source(name, "")
    return _read(environment_for([], {}), name, path)


# Sites of other people in a template


def sites(found: Scan, template_vars: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the sites from which templates load something, by directive.

    Only addresses in the sources and in the configuration count, because these are the
    operator's.
    """
    allowed: dict[str, set[str]] = {}

    def allow(address: str, directives: Iterable[str]) -> None:
        if origin := _origin(address):
            for directive in directives:
                allowed.setdefault(directive, set()).add(origin)
                if directive == "font-src" and origin in FONTS:
                    allowed[directive].add(FONTS[origin])

    for source in found.sources.values():
        for element, address in ADDRESS.findall(source.text):
            allow(address, SITES[element.lower()])
        for address in IN_STYLE.findall(source.text):
            allow(address, SITES["link"])
    for text in _texts(template_vars):
        for element, address in ADDRESS.findall(text):
            allow(address, SITES[element.lower()])
        if re.fullmatch(r"https?://\S+", text):
            end = urlsplit(text).path.rpartition(".")[2]
            kind = {"js": "script", "css": "link"}.get(end, "img")
            allow(text, SITES[kind])
    return {directive: sorted(origins) for directive, origins in allowed.items()}


def _origin(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    # An address with a variable in its host belongs to nobody who is known here.
    if not re.fullmatch(r"[\w.-]+(:\d+)?", parts.netloc):
        return ""
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme else parts.netloc


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
