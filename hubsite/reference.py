"""The reference pages that are made from the code they describe.

`python manage.py reference` writes them; a test compares them with what the code
says, so they can't fall behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from api.schema import description
from hubsite.config.configuration import declared_fields
from hubsite.config.environment import variables
from hubsite.config.unsupported import ADVICE
from scopes.definitions import DEFAULT_ROLES, SCOPES
from scopes.grammar import MAX_SCOPE_LENGTH, MAX_SCOPES

MADE = "<!-- Made by `python manage.py reference`; edit the code instead. -->"


def write_reference(folder: Path) -> list[Path]:
    """Write every page into `folder` and return the pages that changed."""
    changed = []
    for name, text in pages().items():
        page = folder / name
        if not page.exists() or page.read_text("utf-8") != text:
            page.write_text(text, "utf-8")
            changed.append(page)
    return changed


def pages() -> dict[str, str]:
    """Return the text of each page by its file name."""
    return {
        "settings.md": _page("Settings", _settings()),
        "scopes.md": _page("Scopes and default roles", _scopes()),
        "endpoints.md": _page("Endpoints of the REST API", _endpoints()),
    }


def _page(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"# {title}", "", MADE, "", *lines]).rstrip() + "\n"


def _settings() -> Iterable[str]:
    yield "The hub is described by `jupyterhub_config.py`, the site it runs on by the"
    yield "environment. An odd value stops the start and names itself; what is set and"
    yield "means nothing here is reported once, with what to do instead."
    yield ""
    yield "## `jupyterhub_config.py`"
    yield ""
    yield "Addresses: `c.JupyterHub.bind_url` (its path is the base URL), `base_url`,"
    yield "`ip`, `port`, `hub_bind_url`, `hub_ip`, `hub_port`, `hub_connect_ip`,"
    yield "`hub_connect_url`, with JupyterHub's meanings and defaults."
    yield "`c.JupyterHub.authenticator_class` is `local` (the default), `dummy`, `pam`"
    yield "or `null`."
    yield ""
    yield "| setting | default | what it does |"
    yield "| --- | --- | --- |"
    for each in declared_fields():
        places = [f"`c.{place}`" for place in each.metadata["places"]]
        names = places[0] + "".join(f" (also {older})" for older in places[1:])
        default = each.default
        if default is MISSING and each.default_factory is not MISSING:
            default = each.default_factory()
        yield f"| {names} | {_default(default)} | {_cell(each.metadata['says'])} |"
    yield ""
    yield "## Settings of JupyterHub that mean nothing here"
    yield ""
    yield "| setting | what the hub says |"
    yield "| --- | --- |"
    for place, advice in sorted(ADVICE.items()):
        yield f"| `c.{place}` | {_cell(advice)} |"
    yield ""
    yield "## Environment"
    yield ""
    yield "`HUB_<NAME>_FILE` names a file that holds the value, for secrets."
    yield ""
    yield "| variable | default | what it does |"
    yield "| --- | --- | --- |"
    for name, trait in variables().items():
        # The folder of this very checkout is nobody else's default.
        default = "`data`" if name == "HUB_DATA_DIR" else _default(trait.default())
        yield f"| `{name}` | {default} | {_cell(trait.help)} |"


def _scopes() -> Iterable[str]:
    yield "A scope may carry a filter: `read:users!user=ada`, `!group=math`,"
    yield "`!server=ada/lab`, `!service=grader`; `!user`, `!server` and `!service`"
    yield "alone mean the owner of the token or role. Several filters on one scope add"
    yield "up."
    yield ""
    yield f"A request names at most {MAX_SCOPES:,} scopes, each of at most"
    yield f"{MAX_SCOPE_LENGTH:,} characters; more is refused with 400 before any of"
    yield "them is looked at. Each process that meets a token works out what its scopes"
    yield "mean, which takes a few milliseconds and about a megabyte for a thousand of"
    yield "them; a filter for a group reaches more people. The limit holds for"
    yield "tokens, shares, share codes, services that are added at run time, and OAuth,"
    yield "where the error is `invalid_scope`. It does not hold for what the"
    yield "configuration declares."
    yield ""
    yield "| scope | permits | brings with it |"
    yield "| --- | --- | --- |"
    for name, scope in SCOPES.items():
        children = ", ".join(f"`{child}`" for child in scope.subscopes)
        yield f"| `{name}` | {_cell(scope.description)} | {children} |"
    yield ""
    yield "## Default roles"
    yield ""
    yield "| role | what it is | scopes |"
    yield "| --- | --- | --- |"
    for name, role in DEFAULT_ROLES.items():
        held = ", ".join(f"`{scope}`" for scope in role["scopes"])
        yield f"| `{name}` | {_cell(role['description'])} | {held} |"


def _endpoints() -> Iterable[str]:
    schema = description()
    yield "Paths are relative to the hub's base URL. `/hub/api/docs/` shows the same in"
    yield "the browser and lets you try calls."
    yield ""
    yield "Where several scopes stand, any of them will do. What comes back is cut down"
    yield "to what the caller's scopes show."
    yield ""
    yield "| method and path | what it does | scope | answers |"
    yield "| --- | --- | --- | --- |"
    for path, methods in sorted(schema["paths"].items()):
        for method, operation in methods.items():
            if method == "parameters":
                continue
            answers = ", ".join(sorted(operation["responses"]))
            call = f"`{method.upper()} {path}`"
            words = _cell(operation["summary"])
            if operation.get("deprecated"):
                words += " (deprecated)"
            yield f"| {call} | {words} | {_needs(operation)} | {answers} |"


def _needs(operation: dict[str, Any]) -> str:
    """Say who may call, from what the description says of it."""
    if {} in operation["security"]:
        return "none, not even a token"
    if operation["security"] == [{"session": []}]:
        return "a session"
    scopes = re.findall(r"`([^`]+)`", operation.get("description", ""))
    return ", ".join(f"`{scope}`" for scope in scopes) or "any token"


def _default(value: Any) -> str:
    if isinstance(value, frozenset | tuple | dict | list) and value:
        return _cell(", ".join(f"`{each}`" for each in value))
    if value in (None, "") or isinstance(value, frozenset | tuple | dict | list):
        return ""
    return f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").strip()
