"""Remarks at the start about settings that have no effect here.

A remark tells the operator what to do instead. Operators read a few lines once, so
a section that belongs to another program is one line, and "misspelt" is used only
together with the right spelling.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from hubsite.config import native
from hubsite.config.announcements import PAGE_VARIABLES
from hubsite.config.authenticators import WayIn
from hubsite.config.response_settings import (
    ANSWER_SETTINGS,
    COOKIE_ATTRIBUTES,
    content_security_policy,
    cookie_attributes,
)
from hubsite.config.roles import GROUP_KEYS, ROLE_KEYS
from hubsite.config.unsupported import (
    ADVICE,
    FORMER_GROUPS,
    KNOWN_AUTHENTICATORS,
    PLAIN,
    SECTIONS,
)

# Sections of a hosted class's helpers, which the class makes with its own settings.
HELPERS = {"LTI13LaunchValidator": "LTI13Authenticator"}
# The least similarity of two words of which one is the other misspelt.
ALIKE = 0.8


def unused(
    file: Mapping[str, Any],
    taken: Collection[str],
    declared: Collection[str],
    *,
    way_in: WayIn,
    hosted: Collection[str],
    keeps_auth_state: bool,
) -> Iterator[str]:
    """Yield a remark for everything in `file` that is not `taken` and has no effect.

    `declared` are the settings of the hub, as `Section.name`. `hosted` are the
    sections of hosted classes, which read them themselves.
    """
    ours = {"Authenticator", *KNOWN_AUTHENTICATORS_SECTIONS, *way_in.lineage}
    known = {place.partition(".")[0] for place in (*declared, *PLAIN)} | {"Application"}
    for section in sorted(file):
        if "auth_state_hook" in file[section] and not keeps_auth_state:
            yield (
                f"c.{section}.auth_state_hook: is called with None, for no auth state "
                "is kept; set c.Authenticator.enable_auth_state"
            )
        left = [
            name
            for name in sorted(file[section])
            if f"{section}.{name}" not in taken
            and _in_plain_section(section, name) not in PLAIN
        ]
        if way_in.is_hosted and section in way_in.lineage:
            # The class reads its sections itself.
            if "group_whitelist" in file[section]:
                yield f"c.{section}.group_whitelist: {FORMER_GROUPS}"
            continue
        # Classes of batchspawner begin with the word, and KubeSpawner has helper
        # classes.
        if not left or section in hosted or is_of_spawners(section):
            continue
        if way_in.is_hosted and HELPERS.get(section) in way_in.lineage:
            continue
        if section in ours or section.endswith("Authenticator"):
            yield from _of_authenticator(file, section, left, way_in, declared)
        elif section in known:
            for name in left:
                yield f"c.{section}.{name}: {_advice(section, name, file, declared)}"
        else:
            yield f"c.{section}: {_of_stranger(section, known | ours | {'Spawner'})}"


def of_pages(
    template_vars: Collection[str],
    template_paths: Collection[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Yield remarks on values that no page shows, and on the site's own templates."""
    if template_paths:
        # Templates are rare, and Jinja takes a while to load.
        from hubsite.site_pages import scan

        yield from scan.remarks(scan.scan(template_paths, options or {}))
        # The site's templates may use any value.
        return
    if unused := _spelt_out(set(template_vars) - PAGE_VARIABLES):
        yield (
            f"c.JupyterHub.template_vars: {unused}: no page shows that; pages show "
            f"{_spelt_out(PAGE_VARIABLES)}"
        )


def of_groups(load_groups: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield remarks on parts of groups without an effect, which JupyterHub accepts."""
    for name, group in load_groups.items():
        if unused := _spelt_out(group.keys() - GROUP_KEYS):
            yield (
                f"c.JupyterHub.load_groups: {name!r}: {unused}: has no effect; "
                f"a group has {_spelt_out(GROUP_KEYS)}"
            )


def of_scopes(
    custom_scopes: Mapping[str, Any], load_roles: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    """Yield remarks on definitions and scopes with less effect than expected."""
    for name, definition in custom_scopes.items():
        if not isinstance(definition, Mapping):
            continue
        if unused := _spelt_out(definition.keys() - {"description", "subscopes"}):
            yield f"c.JupyterHub.custom_scopes: {name!r}: {unused}: has no effect"
    for role in load_roles:
        if unused := _spelt_out(role.keys() - ROLE_KEYS):
            yield (
                f"c.JupyterHub.load_roles: {role['name']!r}: {unused}: has no effect; "
                f"a role has {_spelt_out(ROLE_KEYS)}"
            )
        for scope in role.get("scopes", ()):
            _, kind, value = scope.partition("!server=")
            if kind and not all(value.partition("/")[:2]):
                yield (
                    f"c.JupyterHub.load_roles: {role['name']!r}: {scope!r} reaches "
                    "no server; a server is named by its owner and a slash"
                )


def of_answers(
    tornado_settings: Mapping[str, Any], *, is_hosted: bool = False
) -> Iterator[str]:
    """Yield remarks on settings of a web server that the hub does not have."""
    place = "c.JupyterHub.tornado_settings"
    # The last one is for the addresses of a hosted authenticator.
    known = ANSWER_SETTINGS | ({"xsrf_cookies"} if is_hosted else set())
    if unused := _spelt_out(tornado_settings.keys() - known):
        yield f"{place}: {unused}: has no effect, the hub's web server is not Tornado"
    policy = content_security_policy(tornado_settings)
    if unused := _spelt_out(policy.keys() - {"frame-ancestors", "report-uri"}):
        yield (
            f"{place}: Content-Security-Policy: of a policy only frame-ancestors is "
            f"taken over, the rest is the hub's own: {unused}"
        )
    for key in ("cookie_options", "xsrf_cookie_kwargs"):
        options = cookie_attributes(tornado_settings.get(key) or {})
        if "path" in options:
            yield (
                f"{place}: {key}: 'path': has no effect on the hub's own cookies; each "
                "has its own path, as in JupyterHub"
            )
        if unused := _spelt_out(options.keys() - COOKIE_ATTRIBUTES - {"path"}):
            yield (
                f"{place}: {key}: {unused}: has no effect on the hub's own cookies; "
                "set c.JupyterHub.cookie_max_age_days for how long a sign-in lasts"
            )
        if options.get("samesite") == "None" and not options.get("secure"):
            yield (
                f"{place}: {key}: browsers refuse cookies with SameSite=None that are "
                "not Secure; set 'Secure': True as well"
            )


def _spelt_out(words: Iterable[str]) -> str:
    return ", ".join(repr(word) for word in sorted(map(str, words)))


KNOWN_AUTHENTICATORS_SECTIONS = frozenset(
    section for sections in KNOWN_AUTHENTICATORS.values() for section in sections
)


def _in_plain_section(section: str, name: str) -> str:
    # JupyterHub is an Application, and inherits from that section.
    return f"{'JupyterHub' if section == 'Application' else section}.{name}"


def is_of_spawners(section: str) -> bool:
    return "Spawner" in section or section.endswith("Reflector") or section == "Pool"


def sections_of_proxies(file: Iterable[str]) -> list[str]:
    """Return the sections that a hosted class of proxies may read.

    The class is not imported here, so its parents are not known by name.
    """
    return [section for section in file if section.endswith("Proxy")]


def _of_authenticator(
    file: Mapping[str, Any],
    section: str,
    names: list[str],
    way_in: WayIn,
    declared: Collection[str],
) -> Iterator[str]:
    """Yield remarks on settings of sign-in, those of one kind in one line."""
    foreign = []
    for name in names:
        advice = ADVICE.get(f"Authenticator.{name}")
        if way_in.is_native and section in way_in.lineage:
            advice = ADVICE.get(f"{native.SECTION}.{name}", advice)
        if section not in way_in.lineage and section != "Authenticator":
            foreign.append(name)
        elif advice:
            yield f"c.{section}.{name}: {advice}"
        elif section in KNOWN_AUTHENTICATORS_SECTIONS:
            foreign.append(name)
        else:
            known = _names("Authenticator", declared)
            if way_in.is_native:
                known += _names(native.SECTION, declared)
            similar = _similar(name, known)
            yield f"c.{section}.{name}: {_unknown(similar, 'this hub')}"
    if foreign:
        places = ", ".join(f"c.{section}.{name}" for name in foreign)
        have = "has" if len(foreign) == 1 else "have"
        yield f"{places}: {have} no effect; {_why_foreign(section, way_in)}"


def _why_foreign(section: str, way_in: WayIn) -> str:
    if spelt := {each.lower(): each for each in way_in.lineage}.get(section.lower()):
        return f"is it misspelt? There is c.{spelt}"
    if section == native.SECTION:
        return (
            f"people sign in by {way_in.named or way_in.short!r}; "
            "c.JupyterHub.authenticator_class = 'native' reads them"
        )
    for short, sections in KNOWN_AUTHENTICATORS.items():
        if section == sections[0] and way_in.short != short:
            return (
                f"people sign in by {way_in.named or way_in.short!r}; "
                f"c.JupyterHub.authenticator_class = {short!r} reads them"
            )
    return f"people sign in by {way_in.named or way_in.short!r}"


def _advice(
    section: str, name: str, file: Mapping[str, Any], declared: Collection[str]
) -> str:
    place = _in_plain_section(section, name)
    if place == "JupyterHub.admin_access" and file[section][name] is False:
        return "has no effect, as in JupyterHub; the role `admin` opens all servers"
    if advice := ADVICE.get(place):
        return advice
    like = place.partition(".")[0]
    program = "JupyterHub" if like == "JupyterHub" else "this hub"
    return _unknown(_similar(name, _names(like, declared)), program)


def _unknown(similar: str, program: str) -> str:
    if similar:
        return (
            "is not a setting that this hub knows; is it misspelt? "
            f"There is `{similar}`"
        )
    return f"has no effect; {program} has no such setting"


def _of_stranger(section: str, known: Iterable[str]) -> str:
    if advice := SECTIONS.get(section):
        return advice
    if similar := _similar(section, known):
        return f"is no section of this hub; is it misspelt? There is c.{similar}"
    return "belongs to another program or to an extension, which this hub does not use"


def _names(section: str, declared: Collection[str]) -> list[str]:
    """Return every setting that a section may contain, with or without an effect."""
    places = (*declared, *ADVICE, *PLAIN)
    return [
        place.partition(".")[2] for place in places if place.startswith(f"{section}.")
    ]


def _similar(word: str, known: Iterable[str]) -> str:
    spelt = {each.lower(): each for each in known}
    found = get_close_matches(word.lower(), spelt, n=1, cutoff=ALIKE)
    return spelt[found[0]] if found else ""
