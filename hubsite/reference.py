"""The reference pages that are generated from the code.

`python manage.py reference` writes them; a test compares them with the code, so that
they are always current.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from accounts.naming import MOST_NAMED
from api.bodies import USUAL_VALUES, VALUES_WITH_SCOPES
from api.openapi.schema import description
from hubsite.config.environment import variables
from hubsite.config.hub_config import declared_fields
from hubsite.config.unsupported import ADVICE
from scopes.definitions import DEFAULT_ROLES, SCOPES
from scopes.grammar import MAX_SCOPE_LENGTH, MAX_SCOPES
from web.bodies import SMALL

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
    yield "`jupyterhub_config.py` describes the hub, and the environment describes the"
    yield "site. An invalid value stops the start, with the name of the setting. The"
    yield "start reports each setting without a meaning here once, with a replacement."
    yield ""
    yield "## `jupyterhub_config.py`"
    yield ""
    yield "Addresses: `c.JupyterHub.bind_url` (its path is the base URL), `base_url`,"
    yield "`ip`, `port`, `hub_bind_url`, `hub_ip`, `hub_port`, `hub_connect_ip`,"
    yield "`hub_connect_url`, with JupyterHub's meanings and defaults."
    yield "`c.JupyterHub.proxy_class` is a class of proxies, see"
    yield "[the guide](../how-to/configuration.md#the-proxy)."
    yield "`c.JupyterHub.authenticator_class` is `local`, `native`, `dummy`, `null`, or"
    yield "a class of JupyterHub, of a plugin or of the file, which reads its sections"
    yield "itself; `pam` if a file does not set it, `local` without a file."
    yield ""
    yield "| setting | default | meaning |"
    yield "| --- | --- | --- |"
    for each in declared_fields():
        places = [f"`c.{place}`" for place in each.metadata["places"]]
        names = places[0] + "".join(f" (also {older})" for older in places[1:])
        default = each.default
        if default is MISSING and each.default_factory is not MISSING:
            default = each.default_factory()
        yield f"| {names} | {_default(default)} | {_cell(each.metadata['says'])} |"
    yield ""
    yield "## Settings of JupyterHub without a meaning here"
    yield ""
    yield "| setting | advice of the hub |"
    yield "| --- | --- |"
    for place, advice in sorted(ADVICE.items()):
        yield f"| `c.{place}` | {_cell(advice)} |"
    yield ""
    yield "## Environment"
    yield ""
    yield "`HUB_<NAME>_FILE` names a file that holds the value, for secrets."
    yield ""
    yield "| variable | default | meaning |"
    yield "| --- | --- | --- |"
    for name, trait in variables().items():
        # The path of this checkout differs from the default elsewhere.
        default = "`data`" if name == "HUB_DATA_DIR" else _default(trait.default())
        yield f"| `{name}` | {default} | {_cell(trait.help)} |"


def _scopes() -> Iterable[str]:
    yield "A scope may carry a filter: `read:users!user=ada`, `!group=math`,"
    yield "`!server=ada/lab`, `!service=grader`; `!user`, `!server` and `!service`"
    yield "alone mean the owner of the token or role. Several filters of one scope are"
    yield 'combined by "or".'
    yield ""
    yield f"A request names at most {MAX_SCOPES:,} scopes, each of at most"
    yield f"{MAX_SCOPE_LENGTH:,} characters; more is refused with 400 before any"
    yield "scope is checked. Each process expands the scopes of each token, which takes"
    yield "a few milliseconds and about a megabyte for a thousand scopes. To reach many"
    yield "people, use a filter for a group. The limit applies to tokens, shares, share"
    yield "codes, services that are added at run time, and OAuth, where the error is"
    yield "`invalid_scope`. It does not apply to declarations of the configuration."
    yield ""
    yield "| scope | permits | implies |"
    yield "| --- | --- | --- |"
    for name, scope in SCOPES.items():
        children = ", ".join(f"`{child}`" for child in scope.subscopes)
        yield f"| `{name}` | {_cell(scope.description)} | {children} |"
    yield ""
    yield "## Default roles"
    yield ""
    yield "| role | description | scopes |"
    yield "| --- | --- | --- |"
    for name, role in DEFAULT_ROLES.items():
        held = ", ".join(f"`{scope}`" for scope in role["scopes"])
        yield f"| `{name}` | {_cell(role['description'])} | {held} |"


def _endpoints() -> Iterable[str]:
    schema = description()
    yield "Paths are relative to the hub's base URL. `/hub/api/docs/` shows the same in"
    yield "the browser and lets you try calls."
    yield ""
    yield "One of several listed scopes is sufficient. Responses have only the keys"
    yield "that the caller's scopes show."
    yield ""
    yield "A body has at most as many bytes as the table says; a longer one is refused"
    yield "with 413 and not read. Tokens, shares and services name at most"
    yield f"{MAX_SCOPES:,} scopes of {MAX_SCOPE_LENGTH:,} characters, and lists have at"
    yield f"most {MOST_NAMED:,} names. A body has at most {USUAL_VALUES:,} values, and"
    yield f"{VALUES_WITH_SCOPES:,} if it names scopes. Calls"
    yield f"without a number ignore the body, and read at most {SMALL:,} bytes."
    yield ""
    yield "| method and path | effect | scope | body | answers |"
    yield "| --- | --- | --- | ---: | --- |"
    for path, methods in sorted(schema["paths"].items()):
        for method, operation in methods.items():
            if method == "parameters":
                continue
            answers = ", ".join(sorted(operation["responses"]))
            call = f"`{method.upper()} {path}`"
            words = _cell(operation["summary"])
            if operation.get("deprecated"):
                words += " (deprecated)"
            body = _longest_body(operation)
            yield f"| {call} | {words} | {_needs(operation)} | {body} | {answers} |"


def _longest_body(operation: dict[str, Any]) -> str:
    """Return the limit of a call's body from its OpenAPI description."""
    found = re.search(
        r"[0-9][0-9,]*", operation.get("requestBody", {}).get("description", "")
    )
    return found[0] if found else ""


def _needs(operation: dict[str, Any]) -> str:
    """Return the required scopes of a call from its OpenAPI description."""
    if {} in operation["security"]:
        return "none, not even a token"
    if operation["security"] == [{"session": []}]:
        return "a session"
    if {"client": []} in operation["security"]:
        return "any token, or an OAuth client"
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
