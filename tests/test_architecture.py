"""The structure of the code: allowed imports, and forbidden code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from django.apps import apps

from installation.commands import CODE

ROOT = Path(__file__).resolve().parent.parent

# Each room is imported by those to its right, and imports none of them.
ROOMS = (
    *("scopes", "database", "web", "audit", "accounts", "services", "tokens", "oauth"),
    *("servers", "sharing", "controller", "api", "moving", "hubsite"),
)
# Words that name no subject: what is in such a file belongs somewhere else.
NAMELESS = {"utils", "helpers", "misc", "common", "util", "tools", "manager", "core"}


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def sources(*rooms: str) -> Iterator[Path]:
    """Go through the code of some rooms, or of all; migrations are generated."""
    for room in rooms or ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Name every module that is imported anywhere, inside functions as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name their room"
            yield node.lineno, node.module or ""
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name | ast.Attribute)
            and getattr(node.func, "id", getattr(node.func, "attr", ""))
            in ("import_module", "import_string", "__import__")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, str(node.args[0].value)


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_imports_point_one_way():
    wrong = [
        f"{place(path, line)} imports {module}"
        for path in sources()
        for line, module in imported(parse(path))
        if (target := module.partition(".")[0]) in ROOMS
        and ROOMS.index(target) > ROOMS.index(room_of(path))
    ]

    assert not wrong


def test_no_modules_import_each_other():
    """Imports for types count too: a circle of types is a circle of subjects."""
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
            ".__init__"
        ): path
        for path in sources()
    }
    imports = {
        name: {
            found
            for node in ast.walk(parse(path))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            for found in (f"{node.module}.{alias.name}", node.module or "")
            if found in names and found != name
        }
        for name, path in names.items()
    }

    try:
        tuple(TopologicalSorter(imports).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_types_of_all_code_are_checked():
    folders = {path.parent.name for path in ROOT.glob("[a-z]*/*.py")}
    files = {path.name for path in ROOT.glob("*.py")}

    assert folders - {"tests", "benchmarks", "data"} | files == set(CODE)


def test_code_imports_no_tests():
    wrong = [
        place(path, line)
        for path in sources()
        for line, module in imported(parse(path))
        if module.partition(".")[0] == "tests"
    ]

    assert not wrong


def test_scopes_are_pure():
    """The vocabulary of rights asks no database and knows no request."""
    allowed = {"django.db.models"}  # Q, and names of types
    wrong = [
        f"{place(path, line)} imports {module}"
        for path in sources("scopes")
        for line, module in imported(parse(path))
        if module.partition(".")[0] in ("django", "rest_framework")
        and module not in allowed
    ]

    assert not wrong


def test_foreign_keys_point_left():
    wrong = []
    for model in apps.get_models():
        room = model._meta.app_label
        if room not in ROOMS:
            continue
        for field in model._meta.get_fields():
            if field.is_relation and not field.auto_created and field.related_model:
                target = field.related_model._meta.app_label
                if target in ROOMS and ROOMS.index(target) > ROOMS.index(room):
                    wrong.append(str(field))

    assert not wrong


def test_scopes_are_compared_in_one_file():
    """Nobody but `scopes/` looks into a scope: others ask `Access`.

    A comparison with a scope's name, a membership in `.scopes`, or taking a scope
    apart at its `!` would be a second law.
    """
    from scopes.definitions import SCOPES

    # What the vocabulary itself is told about, or lists, is no decision.
    names = {name for name in SCOPES if ":" in name or name == "admin-ui"}
    wrong = []
    for path in sources(*(room for room in ROOMS if room != "scopes")):
        for node in ast.walk(parse(path)):
            if not isinstance(node, ast.Compare):
                continue
            sides = [node.left, *node.comparators]
            named = any(
                isinstance(side, ast.Constant) and side.value in names for side in sides
            )
            inside = any(
                isinstance(operator, ast.In | ast.NotIn)
                and isinstance(side, ast.Attribute)
                and side.attr == "scopes"
                and isinstance(side.value, ast.Attribute | ast.Name)
                and getattr(side.value, "attr", getattr(side.value, "id", ""))
                == "access"
                for operator, side in zip(node.ops, node.comparators, strict=True)
            )
            if named or inside:
                wrong.append(f"{place(path, node.lineno)}: {ast.unparse(node)}")

    assert not wrong


# Where the wire itself speaks of the flag: only administrators make administrators,
# and it is shown. Everything else asks `access`.
READS_ADMIN = {
    "accounts/answer_actions.py": "makes it agree with an authenticator's answer",
    "accounts/actions.py": "refuses to let others change administrators",
    "accounts/admin/activation.py": "leaves administrators to administrators",
    "accounts/admin/invitations.py": "leaves administrators to administrators",
    "accounts/admin/users.py": "shows it",
    "accounts/backends.py": "makes it agree with the configuration",
    "api/users.py": "passes it to the action",
    "hubsite/process/prepare.py": "looks for the first administrator",
    "hubsite/config/reconcile.py": "makes it agree with the configuration",
    "services/actions.py": "gives the role with it",
    "services/admin.py": "shows it",
}


def test_admin_flag_is_no_right():
    """`admin` decides nothing: whatever is allowed is allowed by scopes."""
    wrong = []
    for path in sources():
        if str(path.relative_to(ROOT)) in READS_ADMIN:
            continue
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.If | ast.IfExp | ast.While):
                decides = node.test
            elif isinstance(node, ast.BoolOp):
                decides = node
            else:
                continue
            for part in ast.walk(decides):
                if isinstance(part, ast.Attribute) and part.attr in (
                    *("admin", "is_superuser"),
                ):
                    wrong.append(f"{place(path, node.lineno)}: {ast.unparse(part)}")

    assert not wrong


def test_models_keep_digests_and_no_secrets():
    wrong = [
        str(field)
        for model in apps.get_models()
        if model._meta.app_label in ROOMS
        for field in model._meta.concrete_fields
        # The key of a row holds nothing.
        if not field.is_relation
        and re.search(r"secret|plain|(^|_)token$|(^|_)code$", field.name)
    ]

    assert not wrong


def test_views_and_serializers_change_no_rows():
    """A change has a verb and a transaction in `actions.py`."""
    writes = {
        *("save", "delete", "update", "create", "bulk_create", "bulk_update"),
        *("get_or_create", "update_or_create"),
    }
    wrong = []
    views = [*ROOT.glob("*/views.py"), *ROOT.glob("*/views/*.py")]
    for path in [*sources("api"), *views]:
        for node in ast.walk(parse(path)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in writes
                and ".objects" in ast.unparse(node.func.value)
            ):
                wrong.append(f"{place(path, node.lineno)}: {ast.unparse(node.func)}")

    assert not wrong


def test_views_of_the_api_leave_steps_to_the_framework():
    """Authentication and permissions are classes, so no view can forget them."""
    wrong = [
        place(path, node.lineno)
        for path in (*sources("api"), ROOT / "hubsite" / "metrics.py")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef)
        and node.name in ("dispatch", "initial", "check_permissions", "setup")
    ]

    assert not wrong


def test_locks_are_taken_in_one_module():
    """`database/locks.py` states all locks and the order in which they are taken."""
    locking = re.compile(
        r"select_for_update|pg_(try_)?advisory|FOR (NO KEY )?UPDATE|FOR (KEY )?SHARE"
        r"|SKIP LOCKED|LOCK TABLE|lock_timeout'"
    )
    wrong = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in sources()
        if path != ROOT / "database" / "locks.py"
        and (match := locking.search(path.read_text("utf-8")))
    ]

    assert not wrong


def test_our_apps_send_each_other_no_signals():
    wrong = [
        place(path, line)
        for path in sources()
        for line, module in imported(parse(path))
        if module in ("django.db.models.signals", "django.dispatch")
    ]

    assert not wrong


def test_files_are_named_by_nouns():
    wrong = [str(path.relative_to(ROOT)) for path in sources() if path.stem in NAMELESS]

    assert not wrong


def test_every_module_has_a_docstring():
    silent = [
        str(path.relative_to(ROOT))
        for path in sources()
        if path.name not in ("__init__.py", "apps.py")
        and not ast.get_docstring(parse(path))
    ]

    assert not silent


TEXTS = {".py", ".md", ".html", ".css", ".js", ".toml", ".txt", ".json", ".in", ".yml"}
# The folders of one machine say nothing on another.
MACHINE = re.compile(r"(?<![\w.~])/(?:work|root|home/(?!\{|jovyan)[a-z]+|tmp/plan)/")


@pytest.mark.parametrize(
    "folder", [*ROOMS, "tests", "docs", "templates", "benchmarks", "."]
)
def test_no_path_of_a_machine_is_written_down(folder):
    place = ROOT / folder
    found = place.glob("*") if folder == "." else place.rglob("*")
    wrong = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in found
        if path.is_file()
        and path.suffix in TEXTS
        and path != Path(__file__).resolve()
        and (match := MACHINE.search(path.read_text("utf-8", "replace")))
    ]

    assert not wrong
