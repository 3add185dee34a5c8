"""Each declared setting of the configuration is used by some code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from functools import cache

import pytest
from traitlets import HasTraits

from hubsite.config.environment import Site, variables
from hubsite.config.hub_config import HubConfig, declared_fields, declared_places
from hubsite.config.unsupported import ADVICE, PLAIN
from tests.test_architecture import ROOMS, ROOT

# What makes the object, and what writes about it, does not count as reading it.
WRITERS = {"hub_config.py", "environment.py", "reference.py", "unsupported.py"}
# Names under which the code has the configuration, and the site's settings.
HOLDERS = {"HUB", "hub", "config", "_config", "SITE", "site"}


@cache
def sources() -> tuple[ast.Module, ...]:
    return tuple(
        ast.parse(path.read_text("utf-8"))
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name not in WRITERS or room != "hubsite"
    )


def read_attributes() -> set[str]:
    """Return the attributes that code reads of what may be the configuration."""
    return {
        node.attr
        for source in sources()
        for node in ast.walk(source)
        if isinstance(node, ast.Attribute) and name_of(node.value) in HOLDERS
    }


def name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def asked_words() -> Iterator[str]:
    """Yield patterns of the words that code looks something up by."""
    for source in sources():
        for node in ast.walk(source):
            asked: list[ast.expr] = []
            if isinstance(node, ast.Call):
                asked = node.args
            elif isinstance(node, ast.Subscript):
                asked = [node.slice]
            for each in asked:
                if isinstance(each, ast.Constant) and isinstance(each.value, str):
                    yield re.escape(each.value)
                elif isinstance(each, ast.JoinedStr):
                    parts = [
                        re.escape(str(part.value))
                        if isinstance(part, ast.Constant)
                        else r"\w+"
                        for part in each.values
                    ]
                    # One that is made of little else fits every word.
                    if sum(len(part) for part in parts if part != r"\w+") > 6:
                        yield "".join(parts)


def without_reader(names: Iterable[str]) -> list[str]:
    return sorted(set(names) - read_attributes())


def never_asked_for(words: Iterable[str]) -> list[str]:
    patterns = set(asked_words())
    return [word for word in words if not any(re.fullmatch(p, word) for p in patterns)]


def test_every_declared_setting_has_a_reader() -> None:
    assert without_reader(each.name for each in fields(HubConfig)) == []


def test_every_variable_has_a_reader() -> None:
    names = (str(trait.name) for trait in variables().values())
    assert without_reader(names) == []
    assert issubclass(Site, HasTraits)


@pytest.mark.parametrize(
    "name", ["template_vars", "tornado_settings"], ids=lambda name: name
)
def test_every_key_of_a_description_has_a_reader(name: str) -> None:
    (setting,) = [each for each in declared_fields() if each.name == name]
    # Attributes of cookies are spelt in any way, and read in small letters.
    keys = [key for key in re.findall(r"`(\w+)`", setting.metadata["says"])]
    assert len(keys) > 3
    small = {key for key in keys if key != key.lower()}
    assert never_asked_for(set(keys) - small) == []
    assert {key.lower() for key in small} <= cookie_attributes()


def cookie_attributes() -> set[str]:
    from hubsite.config.response_settings import COOKIE_ATTRIBUTES

    return set(COOKIE_ATTRIBUTES)


def test_what_nobody_reads_would_be_noticed() -> None:
    assert without_reader(["no_such_setting", "base_url"]) == ["no_such_setting"]
    assert never_asked_for(["no_such_key", "headers"]) == ["no_such_key"]


def test_every_setting_of_jupyterhub_has_an_answer() -> None:
    """A setting is read, or named at the start, or has a reason to do nothing."""
    from jupyter_events.logger import EventLogger
    from jupyterhub.app import JupyterHub
    from jupyterhub.auth import Authenticator, LocalAuthenticator
    from jupyterhub.proxy import ConfigurableHTTPProxy

    read, known = declared_places(), set(declared_places()) | set(ADVICE) | set(PLAIN)
    assert not read & (ADVICE.keys() | PLAIN.keys())
    assert not ADVICE.keys() & PLAIN.keys()
    for cls in (JupyterHub, Authenticator, LocalAuthenticator, ConfigurableHTTPProxy):
        sections = [each.__name__ for each in cls.__mro__]
        for trait in cls.class_traits(config=True):
            assert {f"{section}.{trait}" for section in sections} & known, trait
    assert EventLogger.class_traits(config=True).keys() >= {"handlers"}
    assert all(ADVICE.values()) and all(PLAIN.values())


def test_places_of_sources_are_those_of_the_code() -> None:
    assert all((ROOT / room).is_dir() for room in ROOMS)
    folder = ROOT / "hubsite" / "config"
    assert {
        path.name for path in (*folder.glob("*.py"), *folder.parent.glob("*.py"))
    } >= WRITERS
