"""What an import keeps, what it leaves, and what nobody gains by it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from accounts import auth_state
from accounts.actions import create_user, delete_user, update_user
from accounts.models import AuthState, Group, User
from audit.models import Actor, Event
from moving.jupyterhub_database import OldDatabase
from moving.models import ImportedRow
from oauth.actions import matches
from oauth.models import OAuthClient
from scopes.refusals import Invalid
from servers.models import Server, Share
from sharing.actions import find_share_code
from tests.moving.databases import FOLDER, database, facts, import_file
from tokens import imported
from tokens.actions.importing import import_token
from tokens.actions.revocation import revoke_token
from tokens.actions.rotation import rotate_token
from tokens.leaks import Finding, end_leaked, find_leaked, next_report, receive
from tokens.models import APIToken, CreatedVia, Purpose
from tokens.verification import find_secret, verify

pytestmark = pytest.mark.django_db

BY = Actor.system("test")
SECRETS = facts("6.1.1")["secrets"]
PLAIN = SECRETS["carol: plain"]
KEY = bytes.fromhex(facts("6.1.1")["crypt_key"])


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return the database of a JupyterHub 6.1.1."""
    return database("6.1.1", tmp_path)


@contextmanager
def changed(path: Path) -> Iterator[sqlite3.Connection]:
    with sqlite3.connect(path) as connection:
        yield connection
    connection.close()


def change(path: Path, *statements: str) -> None:
    with changed(path) as connection:
        for statement in statements:
            connection.execute(statement)


def where_note(note: str, assignment: str) -> str:
    return f"UPDATE api_tokens SET {assignment} WHERE note = '{note}'"


# Of the token 0123456789abcdef0123456789abcdef.
HASHED = (
    "sha512:1:00112233aabbccdd:95074207e0c9869a94cdace5876731b5f477cca709be7659065dada"
    "b34b4f2097e1956b9459523685938ff59f8ff993f8796b6ddc8ea7999220f75956023b7de"
)
SCANNER, HERSELF = "für den Scanner", "by herself"
PAST = "'2020-01-01 00:00:00.000000'"


def users() -> set[str]:
    return set(User.objects.values_list("name", flat=True))


def test_people_come_with_what_they_have(old: Path) -> None:
    import_file(old)

    assert users() == {
        *("ada", "bob", "carol", "dave", "erin", "grace", "heidi", "mallory", "zoë")
    }
    assert set(User.objects.filter(admin=True).values_list("name", flat=True)) == {
        "ada"
    }
    assert not User.objects.get(name="bob").roles.filter(name="admin").exists()
    # A line of `api_tokens` gives its user no role.
    assert not User.objects.get(name="grace").roles.exists()
    seminar = Group.objects.get(name="Übung 7")
    assert {user.name for user in seminar.users.all()} == {"dave", "zoë"}
    assert Group.objects.get(name="students").properties == {
        "limit": 3,
        "ü": ["x", None],
    }
    assert User.objects.get(name="carol").last_activity is not None
    assert not any(user.has_usable_password() for user in User.objects.all())


def test_the_old_database_is_only_read(old: Path) -> None:
    before = old.read_bytes()
    files = set(old.parent.iterdir())

    import_file(old)

    assert old.read_bytes() == before
    assert set(old.parent.iterdir()) == files


def test_a_dry_run_changes_nothing_and_reports_the_same(old: Path) -> None:
    report = import_file(old, is_dry_run=True)

    assert not User.objects.exists()
    assert not ImportedRow.objects.exists()
    assert not Event.objects.filter(action__startswith="import.").exists()
    assert import_file(old).counts() == report.counts()


def test_an_import_is_recorded_as_a_whole(old: Path) -> None:
    import_file(old)

    begin, finish = Event.objects.filter(action__startswith="import.").order_by("pk")
    assert (begin.action, finish.action) == ("import.begin", "import.finish")
    assert finish.detail["counts"]["tokens"]["imported"] == APIToken.objects.count()
    assert PLAIN not in str(finish.detail)
    assert set(APIToken.objects.values_list("created_via", flat=True)) == {"import"}
    purposes = APIToken.objects.values_list("purpose", flat=True)
    assert set(purposes) == {"import", "server", "service", "client"}


def test_a_second_import_changes_nothing(old: Path) -> None:
    import_file(old)
    rows = [
        *User.objects.values(),
        *APIToken.objects.values(),
        *Server.objects.values(),
    ]

    report = import_file(old)

    assert not +report.came
    assert rows == [
        *User.objects.values(),
        *APIToken.objects.values(),
        *Server.objects.values(),
    ]


def test_what_is_newer_here_is_kept(old: Path, bearer: Callable[..., Any]) -> None:
    import_file(old)
    ada, erin = User.objects.get(name="ada"), User.objects.get(name="erin")
    update_user(ada, admin=False, by=BY)
    update_user(erin, name="erinn", by=BY)
    Group.objects.get(name="students").users.remove(erin)
    assert verify(PLAIN) is not None
    revoke_token(find_secret(PLAIN), by=BY)
    revoke_token(APIToken.objects.get(note="für den Scanner"), by=BY)
    delete_user(User.objects.get(name="mallory"), by=BY)
    Group.objects.get(name="Übung 7").delete()

    import_file(old)

    ada.refresh_from_db()
    assert not ada.admin
    assert not ada.roles.filter(name="admin").exists()
    assert not {"erin", "mallory"} & users()
    assert not erin.groups.exists()
    assert not Group.objects.filter(name="Übung 7").exists()
    for label in ("carol: plain", "carol: note", "mallory: plain"):
        assert bearer(SECRETS[label]).get("/hub/api/user").status_code == 403


def test_what_is_new_in_the_old_hub_is_added(old: Path) -> None:
    import_file(old)
    change(
        old,
        "INSERT INTO users (id, name, admin, cookie_id) VALUES (99, 'late', 0, 'x')",
        "INSERT INTO user_role_map (user_id, role_id, managed_by_auth)"
        " SELECT 99, id, 0 FROM roles WHERE name = 'user'",
        "UPDATE users SET last_activity = '2041-01-01 00:00:00.000000'"
        " WHERE name = 'carol'",
        "INSERT INTO api_tokens (id, user_id, hashed, prefix, client_id, scopes)"
        f" VALUES (999, 99, '{HASHED}', '0123', 'jupyterhub', '[\"self\"]')",
    )

    report = import_file(old)

    assert +report.came == {"users": 1, "tokens": 1, "assignments of roles": 1}
    assert User.objects.get(name="carol").last_activity.year == 2041
    bearer = verify("0123456789abcdef0123456789abcdef")
    assert bearer is not None
    assert bearer.owner_name == "late"


def test_a_stranger_with_the_name_of_a_deleted_person_gets_nothing(
    old: Path, bearer: Callable[..., Any]
) -> None:
    import_file(old)
    delete_user(User.objects.get(name="heidi"), by=BY)
    stranger = create_user("heidi", by=BY)
    with changed(old) as connection:
        connection.execute("DELETE FROM user_group_map")
        connection.execute(
            "INSERT INTO user_group_map SELECT u.id, g.id FROM users u, groups g "
            "WHERE u.name = 'heidi'"
        )

    report = import_file(old)

    assert not stranger.groups.exists()
    assert {role.name for role in stranger.roles.all()} <= {"user"}
    assert not stranger.api_tokens.exists()
    assert report.left["users", "deleted here after an earlier import"] == 1


def test_a_person_who_is_here_already_gets_what_the_old_hub_gave(old: Path) -> None:
    carol = create_user("carol", by=BY)

    import_file(old)

    assert [group.name for group in carol.groups.all()] == ["students"]
    assert verify(PLAIN) is not None
    assert users() >= {"carol"}


def test_blocked_people_hold_nothing(
    old: Path, monkeypatch: pytest.MonkeyPatch, bearer: Callable[..., Any]
) -> None:
    blocked = replace(settings.HUB, blocked_users={"ada", "carol"})
    monkeypatch.setattr(settings, "HUB", blocked)

    import_file(old)

    for name in ("ada", "carol"):
        user = User.objects.get(name=name)
        assert not user.admin
        assert not user.roles.exists()
        assert not user.groups.exists()
    answer = bearer(SECRETS["ada: command line"]).get("/hub/api/users")
    assert answer.status_code == 403


def test_a_shorter_beginning_finds_a_token_among_several(old: Path) -> None:
    change(old, where_note(SCANNER, "prefix = substr(prefix, 1, 2)"))
    with changed(old) as connection:
        (hashed,) = connection.execute(
            "SELECT hashed FROM api_tokens WHERE note = ?", [SCANNER]
        ).fetchone()
        # Another token with the same beginning.
        connection.execute(
            "INSERT INTO api_tokens (user_id, hashed, prefix, client_id) "
            "SELECT user_id, ?, ?, 'jupyterhub' FROM api_tokens LIMIT 1",
            [hashed.replace(hashed[-4:], "0000"), SECRETS["carol: note"][:4]],
        )
    import_file(old)

    found = verify(SECRETS["carol: note"])

    assert found is not None
    assert found.owner_name == "carol"
    assert verify(SECRETS["carol: note"][:-1] + "x") is None


def test_a_token_without_scopes_tells_only_who_its_owner_is(
    old: Path, bearer: Callable[..., Any]
) -> None:
    change(
        old,
        where_note(HERSELF, "scopes = '[]'"),
        where_note(SCANNER, "scopes = '{}'"),
    )
    import_file(old)

    for label in ("mallory: to be without scopes", "carol: own", "carol: note"):
        client = bearer(SECRETS[label])
        assert client.get("/hub/api/user").json()["name"] == label.partition(":")[0]
        assert client.get("/hub/api/users/carol/tokens").status_code == 403
        assert client.post("/hub/api/users/carol/tokens").status_code == 403
        assert client.post("/hub/api/users/carol/server").status_code == 403


def test_a_token_holds_no_more_than_its_owner_now(
    old: Path, bearer: Callable[..., Any]
) -> None:
    import_file(old)

    # An administrator made it, who was demoted since.
    client = bearer(SECRETS["bob: users"])
    assert APIToken.objects.filter(scopes=["admin:users", "list:users"]).exists()
    assert client.post("/hub/api/users/new").status_code == 403
    assert client.get("/hub/api/users").status_code == 403


def test_digests_that_nobody_can_verify_are_left(old: Path) -> None:
    many = "hashed = 'sha512:999999:ab:' || substr(hashed, -128)"
    change(
        old,
        where_note(HERSELF, many),
        where_note(SCANNER, "hashed = 'md5:1:ab:cd'"),
        where_note("a long time", "prefix = ''"),
    )

    report = import_file(old)

    assert report.left["tokens", "a digest that can't be verified"] == 3


def test_expired_rows_are_left(old: Path) -> None:
    change(
        old,
        where_note(HERSELF, f"expires_at = {PAST}"),
        f"UPDATE share_codes SET expires_at = {PAST}",
    )

    report = import_file(old)

    assert report.left["tokens", "expired"] == 1
    assert report.left["share codes", "expired"] == 1
    assert verify(SECRETS["carol: own"]) is None


def test_the_configuration_and_the_database_have_one_token_together(old: Path) -> None:
    import_file(old)
    secret = SECRETS["carol: file"]
    mallory = User.objects.get(name="mallory")

    token = import_token(mallory, secret, by=BY)

    # As in JupyterHub, a known secret keeps its owner.
    assert token.user.name == "carol"
    assert APIToken.objects.filter(user__name="carol", note="from config").count() == 1
    assert token.created_via == CreatedVia.IMPORT


def test_a_token_of_the_configuration_that_is_here_is_not_imported_again(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = SECRETS["carol: file"]
    hub = replace(settings.HUB, api_tokens={secret: "carol"})
    monkeypatch.setattr(settings, "HUB", hub)
    carol = create_user("carol", by=BY)
    token = import_token(carol, secret, note="from config", by=BY)

    import_file(old)

    assert [*carol.api_tokens.filter(note="from config")] == [token]
    revoke_token(token, by=BY)
    assert verify(secret) is None


def test_an_unused_token_is_rotated_and_its_old_secret_ends(old: Path) -> None:
    import_file(old)
    token = APIToken.objects.get(note="für den Scanner")
    secret = SECRETS["carol: note"]

    _, renewed = rotate_token(token, by=BY, overlap=60)

    assert verify(secret) is not None
    assert verify(renewed) is not None
    token.previous_secrets.update(ends_at=timezone.now() - timedelta(seconds=1))
    assert verify(secret) is None


def test_a_revoked_unused_token_stays_revoked(old: Path) -> None:
    import_file(old)
    revoke_token(APIToken.objects.get(note="für den Scanner"), by=BY)

    assert verify(SECRETS["carol: note"]) is None


def test_the_leak_of_an_unused_token_ends_it(old: Path) -> None:
    import_file(old)
    secret = SECRETS["carol: note"]
    receive([Finding(secret, "")], address="203.0.113.7")
    report = next_report()
    assert report is not None

    assert end_leaked(report, find_leaked(report)) == 1

    assert verify(secret) is None


def test_servers_that_run_are_adopted_with_their_token(old: Path) -> None:
    import_file(old)

    server = Server.objects.get(user__name="dave", name="mylab-2")
    port = facts("6.1.1")["servers"]["dave/mylab-2"]
    assert server.ready
    assert server.wanted == "running"
    assert server.user_options == {"image": "gpu", "n": [1]}
    assert server.state.keys() == {"pid"}
    assert server.url == f"http://127.0.0.1:{port}/user/dave/mylab-2/"
    assert server.token == find_secret(SECRETS["dave: server"])
    assert server.token.purpose == Purpose.SERVER
    oauth_client = OAuthClient.objects.get(server="dave/mylab-2")
    assert matches(oauth_client, SECRETS["dave: server"])
    assert not matches(oauth_client, SECRETS["carol: server"])
    stopped = Server.objects.get(user__name="dave", name="rest")
    assert not stopped.is_active
    assert stopped.user_options == {"image": "cpu"}


def test_anybody_may_write_the_note_of_a_server(old: Path) -> None:
    with changed(old) as connection:
        for name in ("carol", "mallory"):
            connection.execute(
                "UPDATE api_tokens SET note = 'Server at /user/dave/mylab-2/' WHERE id"
                " = (SELECT min(t.id) FROM api_tokens t JOIN users u"
                " ON u.id = t.user_id WHERE u.name = ? AND t.client_id = 'jupyterhub')",
                [name],
            )
    import_file(old)

    server = Server.objects.get(user__name="dave", name="mylab-2")
    assert server.token == find_secret(SECRETS["dave: server"])


def test_a_server_that_was_stopped_here_is_not_adopted_again(old: Path) -> None:
    import_file(old)
    Server.objects.filter(name="mylab-2").update(
        ready=False, wanted=Server.Wanted.STOPPED, state=None, url=""
    )

    import_file(old)

    assert not Server.objects.get(name="mylab-2").is_active


def test_shares_and_codes_come_along(old: Path) -> None:
    import_file(old)

    carol, heidi = (User.objects.get(name=name) for name in ("carol", "heidi"))
    assert Share.objects.get(user=carol).scopes == ["access:servers"]
    assert set(Share.objects.get(user=heidi).scopes) == {
        "access:servers",
        "read:servers",
    }
    assert Share.objects.get(group__name="students").server.name == "mylab-2"
    secret = SECRETS["code: dave's server"]
    assert find_share_code(secret[:-1] + "x", timezone.now()) is None
    for _ in range(2):
        found = find_share_code(secret, timezone.now())
        assert found is not None
        assert found.server.name == "mylab-2"
        assert found.digest.startswith("$argon2id$")


@pytest.fixture
def with_key(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def give(*keys: bytes) -> None:
        monkeypatch.setattr(settings, "HUB", replace(settings.HUB, crypt_keys=keys))

    return give


def test_auth_state_comes_with_the_key(
    old: Path, with_key: Callable[..., None]
) -> None:
    with_key(KEY)

    import_file(old)

    carol = User.objects.get(name="carol")
    assert auth_state.read(carol.pk, "carol") == {"upstream": "state of carol"}


def test_auth_state_is_encrypted_anew_if_the_old_key_is_another(
    old: Path, with_key: Callable[..., None]
) -> None:
    with_key(b"2" * 32)

    import_file(old, old_keys=(KEY,))

    carol = User.objects.get(name="carol")
    assert auth_state.read(carol.pk, "carol") == {"upstream": "state of carol"}


def test_auth_state_without_its_key_is_left_for_another_import(
    old: Path, with_key: Callable[..., None]
) -> None:
    with_key(b"2" * 32)
    report = import_file(old)
    assert report.left_of("auth states") == 4
    assert not AuthState.objects.exists()

    with_key(KEY)
    import_file(old)

    assert AuthState.objects.count() == 4


def test_passwords_of_native_sign_people_in(tmp_path: Path) -> None:
    import_file(database("5.4.6", tmp_path))

    assert User.objects.get(name="nat").check_password("nat's-Password-2")
    assert not User.objects.get(name="nat").check_password("ada's-Password-1")
    assert "waits" not in users()


def test_passwords_of_firstuse_come_from_their_file(tmp_path: Path) -> None:
    for part in FOLDER.glob("firstuse-passwords.dbm*"):
        name = part.name.removeprefix("firstuse-")
        (tmp_path / name).write_bytes(part.read_bytes())

    old = database("4.1.6", tmp_path)
    import_file(old, firstuse=tmp_path / "passwords.dbm")

    assert User.objects.get(name="fern").check_password("fern's-Password-4")


def test_a_password_does_not_go_to_a_stranger_of_that_name(tmp_path: Path) -> None:
    old = database("5.4.6", tmp_path)
    import_file(old)
    delete_user(User.objects.get(name="nat"), by=BY)
    import_file(old)
    assert "nat" not in users()
    create_user("nat", by=BY)

    import_file(old)

    assert not User.objects.get(name="nat").has_usable_password()


@pytest.mark.parametrize("content", [b"", b"no database at all" * 9])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.sqlite"
    path.write_bytes(content)

    with pytest.raises(Invalid):
        import_file(path)
    with pytest.raises(Invalid):
        import_file(tmp_path / "missing.sqlite")
    with pytest.raises(Invalid, match="Expected") as refused:
        import_file("postgresql://me:hidden@[::1")
    assert "hidden" not in str(refused.value)


def test_names_that_no_address_can_hold_are_left(old: Path) -> None:
    with changed(old) as connection:
        connection.executemany(
            "INSERT INTO users (name, admin, cookie_id) VALUES (?, 1, ?)",
            [("a/b", "1"), ("..", "2"), ("x" * 256, "3"), ("nul\0", "4"), ("", "5")],
        )

    report = import_file(old)

    assert report.left["users", "a name that this hub can't have"] == 5
    assert User.objects.count() == 9


def test_public_ids_of_unused_tokens_are_no_lookup_keys(old: Path) -> None:
    import_file(old)

    for public_id in APIToken.objects.values_list("public_id", flat=True):
        assert public_id.startswith("~~")
        assert verify(public_id) is None
    assert imported.find_imported(PLAIN) is None


def test_reads_see_one_moment(old: Path) -> None:
    with OldDatabase(str(old)) as reading:
        before = reading.count("users")
        with pytest.raises(sqlite3.OperationalError), changed(old) as connection:
            connection.execute("PRAGMA busy_timeout = 1")
            connection.execute("INSERT INTO users (name, cookie_id) VALUES ('n', 'n')")
        assert reading.count("users") == before


DEEP = "[" * 60_000
LATER = "expires_at = '9999-01-01 00:00:00.000000'"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE users SET encrypted_auth_state = 'a text'",
        "UPDATE users SET encrypted_auth_state = 99999999999",
        f"UPDATE groups SET properties = '{DEEP}'",
        f"UPDATE spawners SET state = '{DEEP}', user_options = '{DEEP}'",
        f"UPDATE services SET info = '{DEEP}'",
        f"UPDATE share_codes SET exchange_count = -5, {LATER}",
        f"UPDATE share_codes SET exchange_count = 'x', {LATER}",
    ],
)
def test_odd_values_stop_no_import(old: Path, statement: str) -> None:
    change(old, statement)

    import_file(old)

    assert User.objects.filter(name="carol").exists()


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE users SET created = 'x'", "The table users of .* can't be read"),
        ("UPDATE api_tokens SET expires_at = 'x'", "The table api_tokens of"),
        (
            "INSERT INTO groups (id, name) VALUES"
            " (901, 'a' || char(0)), (902, 'a' || char(65533))",
            r"is damaged: .*\(step: groups\)",
        ),
    ],
)
def test_a_damaged_database_is_named(old: Path, statement: str, why: str) -> None:
    change(old, statement)

    with pytest.raises(Invalid, match=why):
        import_file(old)
    with pytest.raises(Invalid, match=why):
        import_file(old, is_dry_run=True)


def test_of_two_servers_with_one_name_the_running_one_comes(old: Path) -> None:
    with changed(old) as connection:
        running = connection.execute(
            "SELECT name, user_id FROM spawners WHERE server_id IS NOT NULL LIMIT 1"
        ).fetchone()
        connection.execute(
            "INSERT INTO spawners (id, name, user_id, last_activity)"
            " VALUES (0, ?, ?, '2020-01-01 00:00:00.000000')",
            running,
        )

    report = import_file(old)

    assert report.left["servers", "of a name that is there twice"] == 1
    assert report.came["running servers"] == 2
