"""Generated pages match the code, and the links and names on all pages exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from jupyterhub.auth import LocalAuthenticator, PAMAuthenticator

from controller.management.commands import routes
from hubsite.config.environment import variables
from hubsite.config.file import ConfigError
from hubsite.config.hub_config import declared_places
from hubsite.config.load import load_config
from hubsite.config.unsupported import ADVICE, PLAIN
from hubsite.management.commands import hub, reference, web
from hubsite.metrics import REQUEST_DURATION, registry
from hubsite.reference import pages
from hubsite.settings import BASE_DIR
from scopes.definitions import SCOPES
from tokens.management.commands import token

DOCS = BASE_DIR / "docs"
REFERENCE = DOCS / "reference"
PAGES = [BASE_DIR / "README.md", BASE_DIR / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(BASE_DIR))
)


@pytest.mark.parametrize("name", sorted(pages()))
def test_generated_pages_agree_with_the_code(name: str) -> None:
    stored = (REFERENCE / name).read_text("utf-8")
    assert stored == pages()[name], "run `python manage.py reference`"


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{link} leads nowhere"
        if heading:
            assert heading in anchors(target), f"{link}: no such heading"


@each_page
def test_files_exist(page: Path) -> None:
    """Modules that a page names are where the page says, from the project's folder."""
    for found in re.findall(
        r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|html))`", page.read_text("utf-8")
    ):
        installed = find_spec("jupyterhub")
        assert installed and installed.origin
        places = BASE_DIR, page.parent, Path(installed.origin).parents[1]
        assert any((place / found).is_file() for place in places), f"no file {found}"


def test_every_room_is_described() -> None:
    text = (DOCS / "explanation" / "architecture.md").read_text("utf-8")
    rooms = {path.parent.name for path in BASE_DIR.glob("*/apps.py")}
    rooms |= {"scopes", "database", "web", "sharing", "controller"}
    for room in rooms:
        assert f"| `{room}/` |" in text, f"{room} is not described"


@each_page
def test_variables_exist(page: Path) -> None:
    known = set(variables())
    known |= {f"{name}_FILE" for name in known} | {"HUB_<NAME>_FILE"}
    for found in re.findall(r"\bHUB_[A-Z<>_*]+", page.read_text("utf-8")):
        if found.endswith("*"):
            assert any(name.startswith(found[:-1]) for name in known), found
        else:
            assert found.rstrip("_") in known | {"HUB"}, f"{found} does not exist"


# Settings of classes that the hub hosts; plugins are not installed beside the hub.
HOSTED = {
    "PAMAuthenticator": set(PAMAuthenticator.class_traits(config=True)),
    "LocalAuthenticator": set(LocalAuthenticator.class_traits(config=True)),
    "LDAPAuthenticator": {"server_address", "bind_dn_template"},
}
OAUTH = {
    *("client_id", "client_secret", "oauth_callback_url", "authorize_url"),
    *("token_url", "userdata_url", "username_claim", "allowed_groups"),
    *("admin_groups", "auth_state_groups_key", "logout_redirect_url"),
}


@each_page
def test_settings_exist(page: Path) -> None:
    known = {*declared_places(), *ADVICE, *PLAIN}
    # Sections inherit, so any proxy and authenticator has the settings of all.
    known |= {each.replace("Proxy.", "ConfigurableHTTPProxy.") for each in known}
    for found in re.findall(r"\bc\.([A-Z]\w+\.\w+)", page.read_text("utf-8")):
        section, _, trait = found.partition(".")
        if section.endswith("Spawner"):
            assert trait in spawner_traits(section), f"c.{found} does not exist"
        elif section in HOSTED:
            assert trait in HOSTED[section], f"c.{found} does not exist"
        elif section.startswith("Traefik"):
            assert trait in proxy_traits(section), f"c.{found} does not exist"
        elif section.endswith("OAuthenticator"):
            known_here = known | {f"Authenticator.{each}" for each in OAUTH}
            assert f"Authenticator.{trait}" in known_here, f"c.{found} does not exist"
        else:
            assert found in known, f"c.{found} does not exist"


def proxy_traits(section: str) -> set[str]:
    """Return the settings of a class of proxies."""
    # The other classes need the clients of their databases.
    for module in ("fileprovider", "redis"):
        proxies = import_module(f"jupyterhub_traefik_proxy.{module}")
        [found] = [
            value
            for name, value in vars(proxies).items()
            if name.lower() == f"traefik{module}proxy"
        ]
        if section in {each.__name__ for each in found.__mro__}:
            return set(found.class_traits(config=True))
    return set()


def spawner_traits(section: str) -> set[str]:
    """Return what can be configured of a class of spawners."""
    modules = ("jupyterhub.spawner", "batchspawner", "dockerspawner", "kubespawner")
    for module in map(import_module, modules):
        if hasattr(module, section):
            return set(getattr(module, section).class_traits(config=True))
    raise AssertionError(f"there is no {section}")


@each_page
def test_scopes_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    for found in re.findall(r"[`\"]([a-z-]+(?::[a-z-]+)+)(?:![^`\"]*)?[`\"]", text):
        if found.split(":")[0] in {"custom", "http", "https", "urn"}:
            continue
        assert found in SCOPES, f"{found} is not a scope"


def test_commands_are_described() -> None:
    text = (REFERENCE / "commands.md").read_text("utf-8")
    for command in (hub, web, token, routes, reference):
        name = command.__name__.rpartition(".")[2]
        assert f"`manage.py {name}" in text
    usage = (BASE_DIR / "start.py").read_text("utf-8").partition('"""\n\n')[0]
    for line in re.findall(r"^    (start\.py\b.*?)   +\S", usage, re.MULTILINE):
        words = line.split(" [")[0]
        assert f"`{words}" in text, f"{words} is not described"


@pytest.mark.django_db
def test_metrics_are_described() -> None:
    text = (REFERENCE / "metrics.md").read_text("utf-8")
    REQUEST_DURATION.labels("GET", "some.handler", "200").observe(0)
    for metric in registry().collect():
        if metric.name.startswith("jupyterhub_"):
            assert f"`{metric.name}" in text, f"{metric.name} is not described"


def anchors(page: Path) -> set[str]:
    """Return the headings of a page as addresses name them."""
    return set(_anchors(page.read_text("utf-8")))


def _anchors(text: str) -> Iterator[str]:
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.lower())
        yield words.replace(" ", "-")


CONFIGURATIONS = [
    pytest.param(found[1], id=f"{page.stem}-{number}")
    for page in PAGES
    for number, found in enumerate(
        re.finditer(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    )
    if re.search(r"^c\.", found[1], re.MULTILINE)
]


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_configurations_are_read_as_they_stand(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever copies lines of a guide into a file gets a hub that starts."""
    # The guides say where auth state needs a key.
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", "7" * 64)
    path = tmp_path / "jupyterhub_config.py"
    path.write_text(f"c = get_config()\n{text}")

    try:
        load_config(path)
    except ConfigError as error:
        # The guide says beside these lines which package to install.
        assert re.search("no (spawner|proxy) of the name", str(error))
