"""Passwords of JupyterHub's plugins: their digests, their files, and the import."""

from __future__ import annotations

import dbm.dumb
import importlib
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from django.contrib.auth.hashers import check_password, identify_hasher
from django.test import RequestFactory

from accounts import hashing, imported_passwords
from accounts.backends import HubBackend, WaitingError
from accounts.hashing import imported_digest, is_imported
from accounts.imported_passwords import (
    ImportedPassword,
    firstuse_passwords,
    import_passwords,
    native_passwords,
)
from accounts.models import SignUp, User
from accounts.password_files import read_password_file
from audit.models import Event
from scopes.refusals import Invalid
from tests.factories import BY, PASSWORD, make_user

pytestmark = pytest.mark.django_db

OLD = "a password of the old hub"
SECRET = "JBSWY3DPEHPK3PXP"


def bcrypted(password: str, prefix: bytes = b"2b") -> bytes:
    """Hash as the plugins do, at the lowest cost."""
    return bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4, prefix))


def row(name: str = "grace", password: str = OLD, **columns: Any) -> dict[str, Any]:
    """Return a row of NativeAuthenticator's table."""
    return {
        "id": 1,
        "username": name,
        "password": bcrypted(password),
        "is_authorized": 1,
        "login_email_sent": 0,
        "email": None,
        "has_2fa": 0,
        "otp_secret": SECRET,
    } | columns


def take(*rows: dict[str, Any], **options: Any) -> Any:
    return import_passwords(native_passwords(rows), by=BY, **options)


def sign_in(name: str, password: str) -> User | None:
    request = RequestFactory().post("/hub/login")
    return HubBackend().authenticate(request, username=name, password=password)


# Digests


@pytest.mark.parametrize("prefix", [b"2a", b"2b"])
def test_a_digest_of_a_plugin_signs_in_and_is_renewed(prefix):
    digest = imported_digest(bcrypted(OLD, prefix))
    user = make_user("grace")
    User.objects.filter(pk=user.pk).update(password=digest)

    assert sign_in("grace", "another password") is None
    user.refresh_from_db()
    assert user.password == digest

    assert sign_in("grace", OLD) == user
    user.refresh_from_db()
    assert identify_hasher(user.password).algorithm == "argon2"
    assert check_password(OLD, user.password)
    assert sign_in("grace", OLD) == user


def test_a_digest_of_php_signs_in():
    digest = bcrypted(OLD).replace(b"$2b$", b"$2y$")

    assert check_password(OLD, imported_digest(digest))
    assert not check_password("another", imported_digest(digest))


@pytest.mark.parametrize("length", [71, 72, 73, 200])
def test_a_long_password_signs_in(length):
    password = ("é" + "x" * length)[:length]
    user = make_user("grace")
    take(row(password=password))

    assert sign_in("grace", password) == user
    # Renewed, every letter counts.
    assert sign_in("grace", password + "x") is None
    assert sign_in("grace", password) == user


@pytest.mark.parametrize(
    "digest",
    [
        *("", "$2b$12$short", "plain", "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA"),
        # Years of computing.
        b"$2b$31$" + b"a" * 53,
        b"$2b$15$" + b"a" * 53,
        b"$2b$03$" + b"a" * 53,
        b"$2b$04$" + b"a" * 52 + b"\xff",
        b"$2b$04$" + b"a" * 54,
    ],
)
def test_refuses_digests_that_can_not_be_verified(digest):
    assert imported_digest(digest) is None


def test_loads_the_library_only_for_such_digests():
    """Most hubs have none, and each process would hold the library."""
    for name in [name for name in sys.modules if name.split(".")[0] == "bcrypt"]:
        sys.modules.pop(name)
    make_user("grace", password=PASSWORD)

    assert sign_in("grace", PASSWORD)
    assert sign_in("grace", "wrong") is None

    assert "bcrypt" not in sys.modules


def test_names_without_a_password_take_as_long_as_others(monkeypatch):
    """While there are imported digests, the time does not tell who has one."""
    costs: dict[str, list[str]] = {"bcrypt": [], "argon2": []}

    def hashed(kind: str) -> Any:
        return lambda *args, **kwargs: costs[kind].append(name)

    monkeypatch.setattr(hashing.ImportedPasswordHasher, "encode", hashed("bcrypt"))
    monkeypatch.setattr(hashing, "make_password", hashed("argon2"))
    names = [f"nobody-{number}" for number in range(64)]
    for name in names:
        sign_in(name, "a guess")
    assert costs == {"bcrypt": [], "argon2": names}

    make_user("grace")
    take(row("grace"))
    hashing.forget_imported_digests()
    costs["argon2"].clear()
    for name in [*names, *names]:
        sign_in(name, "a guess")

    slow = costs["bcrypt"][: len(costs["bcrypt"]) // 2]
    # The same ones each time.
    assert costs["bcrypt"] == [*slow, *slow]
    assert 16 < len(slow) < 48
    assert len(costs["argon2"]) == 2 * (64 - len(slow))


# Import of Native's rows


def test_stores_what_a_plugin_knows():
    known = make_user("grace")

    report = take(
        row("grace", email="grace@example.org", has_2fa=1),
        row("alan", email="not an address"),
        row("mallory", is_authorized=0, email="m@example.org", has_2fa=1),
        row("a/b"),
        row("no-digest", password=""),
        {"username": "empty", "password": None},
    )

    assert (report.stored, report.created, report.kept) == (3, 2, 0)
    assert (report.waiting, report.second_factors) == (1, 1)
    assert report.odd == ["a/b", "empty"]
    known.refresh_from_db()
    assert (is_imported(known.password), known.email) == (True, "grace@example.org")
    alan = User.objects.get(name="alan")
    assert (is_imported(alan.password), alan.email) == (True, "")
    assert [role.name for role in alan.roles.all()] == ["user"]
    # Nobody let her in, so she has no account.
    assert not User.objects.filter(name="mallory").exists()
    waiting = SignUp.objects.get()
    assert (waiting.name, waiting.email) == ("mallory", "m@example.org")
    assert waiting.state == "pending"
    assert get_adapter().decrypt(waiting.totp) == SECRET
    assert SECRET not in waiting.totp


def test_a_secret_counts_only_where_it_is_switched_on():
    """The plugin fills the column for everybody."""
    take(row("grace", has_2fa=1), row("alan", has_2fa=0), row("eve", has_2fa=None))

    factor = Authenticator.objects.get()
    assert factor.user.name == "grace"
    assert factor.type == "totp"
    assert SECRET not in str(factor.data)
    assert factor.wrap().validate_code is not None
    assert get_adapter().decrypt(factor.data["secret"]) == SECRET


def test_a_second_import_changes_nothing():
    rows = [row("grace", has_2fa=1), row("mallory", is_authorized=0)]
    take(*rows)
    before = list(User.objects.order_by("pk").values())
    events = Event.objects.count()

    report = take(*rows)

    assert (report.stored, report.kept, report.waiting) == (0, 1, 0)
    assert list(User.objects.order_by("pk").values()) == before
    assert SignUp.objects.count() == Authenticator.objects.count() == 1
    assert Event.objects.count() == events


def test_never_overwrites_a_password_of_this_hub():
    chosen = make_user("ada", password=PASSWORD)
    take(row("grace"))
    grace = User.objects.get(name="grace")
    assert sign_in("grace", OLD) == grace
    renewed = User.objects.get(name="grace").password

    report = take(row("ada"), row("grace", password="another one", has_2fa=1))

    assert (report.stored, report.kept) == (0, 2)
    assert not Authenticator.objects.exists()
    chosen.refresh_from_db()
    assert chosen.check_password(PASSWORD)
    assert User.objects.get(name="grace").password == renewed


def test_a_password_chosen_during_the_import_stays(monkeypatch):
    """Somebody may sign in between the reading and the storing of a batch."""
    user = make_user("grace")
    store = imported_passwords._store

    def meanwhile(changes: Any) -> None:
        user.set_password(PASSWORD)
        user.save()
        store(changes)

    monkeypatch.setattr(imported_passwords, "_store", meanwhile)
    take(row("grace"))

    user.refresh_from_db()
    assert user.check_password(PASSWORD)


def test_takes_a_change_in_the_old_hub_while_nobody_has_used_this_one():
    take(row("grace", has_2fa=1))
    Authenticator.objects.all().delete()

    report = take(row("grace", password="changed there since", has_2fa=1))

    assert report.stored == 1
    assert sign_in("grace", "changed there since")
    # Removed here.
    assert not Authenticator.objects.exists()


def test_does_not_ask_again_about_a_sign_up_that_was_decided():
    take(row("mallory", is_authorized=0))
    SignUp.objects.update(state="refused")

    assert take(row("mallory", is_authorized=0)).waiting == 0
    assert SignUp.objects.count() == 1


def test_a_withdrawn_person_has_an_account_without_a_password():
    """Native lets an operator withdraw: the account is there, the sign-in is not."""
    withdrawn = make_user("mallory")

    take(row("mallory", is_authorized=0))

    withdrawn.refresh_from_db()
    assert not withdrawn.has_usable_password()
    assert sign_in("mallory", "a guess") is None
    with pytest.raises(WaitingError, match="nobody has decided"):
        sign_in("mallory", OLD)
    assert SignUp.objects.get().name == "mallory"


def test_a_dry_run_reports_the_same_and_writes_nothing():
    make_user("grace")
    rows = [row("grace", has_2fa=1), row("alan"), row("mallory", is_authorized=0)]
    events = Event.objects.count()

    planned = take(*rows, is_dry_run=True)

    assert User.objects.count() == 1
    assert not User.objects.get().has_usable_password()
    assert not SignUp.objects.exists()
    assert Event.objects.count() == events
    assert planned == take(*rows)


def test_reports_progress():
    seen: list[int] = []

    take(*(row(f"user-{number}") for number in range(1500)), progress=seen.append)

    assert seen == [1000, 500]
    assert User.objects.filter(password__startswith="bcrypt$").count() == 1500


def test_no_digest_reaches_the_audit_log():
    take(row("grace"), row("mallory", is_authorized=0))

    assert "$2b$" not in str(list(Event.objects.values()))
    assert Event.objects.filter(action="user.import_password").exists()
    assert Event.objects.filter(action="sign_up.import").exists()


# FirstUse's files


PEOPLE = {"ada": bcrypted("ada's password"), "grace": bcrypted(OLD)}


def write_sqlite(path: Path) -> Path:
    """Write a file as Python 3.13 does."""
    with sqlite3.connect(path) as file:
        file.execute(
            "CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)"
        )
        rows = [(name.encode(), digest) for name, digest in PEOPLE.items()]
        file.executemany("INSERT INTO Dict VALUES (?, ?)", rows)
    file.close()
    return path


def write_dumb(path: Path) -> Path:
    with dbm.dumb.open(str(path), "c") as file:
        for name, digest in PEOPLE.items():
            file[name] = digest
    return path


def write_with(module: str, path: Path) -> Path:
    opened: Any = importlib.import_module(module).open(str(path), "c")
    with opened as file:
        for name, digest in PEOPLE.items():
            file[name.encode()] = digest
    return path


def written(format: str, folder: Path) -> Path:
    path = folder / "passwords.dbm"
    if format == "sqlite":
        return write_sqlite(path)
    if format == "dumb":
        return write_dumb(path)
    return write_with(f"dbm.{format}", path)


def has(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


FORMATS = ["sqlite", "dumb", *(each for each in ("gnu", "ndbm") if has(f"dbm.{each}"))]


@pytest.mark.parametrize("format", FORMATS)
def test_reads_a_file_and_leaves_it_as_it_is(tmp_path, format):
    path = written(format, tmp_path)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    assert read_password_file(path) == PEOPLE

    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


@pytest.mark.parametrize("suffix", [".dat", ".dir"])
def test_reads_a_file_by_the_name_of_a_part(tmp_path, suffix):
    write_dumb(tmp_path / "passwords.dbm")

    assert read_password_file(tmp_path / f"passwords.dbm{suffix}") == PEOPLE


@pytest.mark.parametrize(
    ("module", "name", "head"),
    [
        ("dbm.gnu", "passwords.dbm", (0x13579ACE).to_bytes(4, "little")),
        ("dbm.gnu", "passwords.dbm", (0x13579ACF).to_bytes(4, "big")),
        ("dbm.ndbm", "passwords.dbm.db", b""),
    ],
)
def test_names_the_module_that_a_python_lacks(
    tmp_path, monkeypatch, module, name, head
):
    (tmp_path / name).write_bytes(head + bytes(4096))
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(Invalid, match=f"a file of {module}, which this Python"):
        read_password_file(tmp_path / "passwords.dbm")


@pytest.mark.parametrize("content", [b"", b"other bytes", b"SQLite format 3\0" * 9])
def test_refuses_other_files(tmp_path, content):
    path = tmp_path / "passwords.dbm"
    path.write_bytes(content)

    with pytest.raises(Invalid, match=r"passwords\.dbm"):
        read_password_file(path)


@pytest.mark.parametrize(
    "values", ["'ada', 'x'", "x'61', 500000000000", "NULL, x'62'", "x'ff', x'62'"]
)
def test_refuses_entries_of_other_types(tmp_path, values):
    path = tmp_path / "passwords.dbm"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE Dict (key, value)")
        connection.execute(f"INSERT INTO Dict VALUES ({values})")
        connection.commit()

    with pytest.raises(Invalid, match="can't be read"):
        read_password_file(path)


@pytest.mark.parametrize(
    "line",
    [
        *("5", "'ada', 5", "'ada', ('x', 1)", "5, (0, 3)", "'ada', (-5, 2)"),
        *("'ada', (0, 100000000000000000)", "(" * 10_000, "'ada'"),
    ],
)
def test_refuses_a_damaged_index(tmp_path, line):
    path = tmp_path / "passwords.dbm"
    path.with_suffix(".dbm.dat").write_bytes(b"abc")
    path.with_suffix(".dbm.dir").write_text(f"{line}\n")

    with pytest.raises(Invalid, match="can't be read"):
        read_password_file(path)


def test_refuses_an_index_with_endless_entries(tmp_path, monkeypatch):
    path = tmp_path / "passwords.dbm"
    path.with_suffix(".dbm.dat").write_bytes(b"x" * 100)
    lines = (f"'{number}', (0, 100)\n" for number in range(20))
    path.with_suffix(".dbm.dir").write_text("".join(lines))
    monkeypatch.setattr("accounts.password_files.MOST_BYTES", 1000)

    with pytest.raises(Invalid, match="is larger than"):
        read_password_file(path)


def test_refuses_a_missing_file(tmp_path):
    with pytest.raises(Invalid, match="There is no file of passwords"):
        read_password_file(tmp_path / "passwords.dbm")


def test_refuses_a_file_beyond_the_limit(tmp_path, monkeypatch):
    path = write_sqlite(tmp_path / "passwords.dbm")
    monkeypatch.setattr("accounts.password_files.MOST_PEOPLE", 1)

    with pytest.raises(Invalid, match="more than 1 names"):
        read_password_file(path)


def test_imports_a_file(tmp_path):
    report = import_passwords(
        firstuse_passwords(write_sqlite(tmp_path / "passwords.dbm")), by=BY
    )

    assert (report.stored, report.created) == (2, 2)
    assert sign_in("grace", OLD) == User.objects.get(name="grace")


def test_the_usual_spelling_of_a_name_counts(tmp_path, monkeypatch):
    path = tmp_path / "passwords.dbm"
    with dbm.dumb.open(str(path), "c") as file:
        file["Grace"], file["grace"] = bcrypted("wrong"), bcrypted(OLD)
        file["Alan"] = bcrypted(OLD)

    import_passwords(firstuse_passwords(path), by=BY)

    assert set(User.objects.values_list("name", flat=True)) == {"grace", "alan"}
    assert sign_in("grace", OLD)
    assert sign_in("alan", OLD)


def test_takes_one_person_as_the_plugin_does():
    first = ImportedPassword("grace", bcrypted(OLD))

    import_passwords([first, ImportedPassword("grace", bcrypted("x"))], by=BY)

    assert sign_in("grace", OLD)
