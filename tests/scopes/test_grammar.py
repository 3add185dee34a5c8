"""The syntax of scopes, their errors, and their descriptions."""

from __future__ import annotations

import pytest

from scopes.grammar import RawScope, check_scopes, describe
from scopes.refusals import Invalid


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("read:users", ("read:users", None, None)),
        ("read:users!user=ada", ("read:users", "user", "ada")),
        ("read:users!user", ("read:users", "user", None)),
        ("read:users!user=", ("read:users", "user", "")),
        ("servers!server=ada/", ("servers", "server", "ada/")),
        ("read:users!user=a!b=c", ("read:users", "user", "a!b=c")),
        ("read:users!", ("read:users", "", None)),
    ],
)
def test_a_scope_is_taken_apart_and_put_together(
    text: str, parts: tuple[str, str | None, str | None]
) -> None:
    scope = RawScope.parse(text)

    assert (scope.name, scope.kind, scope.value) == parts
    assert str(scope) == text


@pytest.mark.parametrize(
    "text",
    [
        "self",
        "inherit",
        "(no_scope)",
        "read:users",
        "read:users!user=nobody",
        "read:users!user",
        "read:users!group=no such group",
        "read:services!service",
        "read:services!service=x",
        "access:servers!server",
        "access:servers!server=ada/",
        "access:servers!server=ada/lab",
        # They reach no server; see tests/servers/test_actions.py.
        "access:servers!server=ada",
        "access:servers!server=/lab",
        "read:users!user=a=b",
    ],
)
def test_scopes_that_exist_pass(text: str) -> None:
    check_scopes([text])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "Scope 'x' for token does not exist"),
        ("", "Scope '' for token does not exist"),
        ("read:users:x!user=a", "Scope 'read:users:x!user=a' for token does not exist"),
        ("all", "Draft scope 'all' is now called 'inherit'"),
        ("all!user=a", "Draft scope 'all' is now called 'inherit'"),
        (
            "read:users!colour=red",
            "Scope filter '!colour=red' in scope 'read:users!colour=red'"
            " for token does not exist",
        ),
        (
            "read:users!group",
            "Scope filter '!group' in scope 'read:users!group'"
            " for token does not exist",
        ),
        (
            "read:users!user=",
            "Scope filter '!user=' in scope 'read:users!user='"
            " for token does not exist",
        ),
        (
            "read:users!",
            "Scope filter '!' in scope 'read:users!' for token does not exist",
        ),
        ("self!user=ada", "Scope 'self' for token takes no filter: 'self!user=ada'"),
        ("inherit!user", "Scope 'inherit' for token takes no filter: 'inherit!user'"),
    ],
)
def test_other_texts_are_refused_with_a_reason(text: str, message: str) -> None:
    with pytest.raises(Invalid) as refusal:
        check_scopes(["read:hub", text])

    assert refusal.value.message == message


def test_the_reason_names_the_holder() -> None:
    with pytest.raises(Invalid, match="Scope 'x' for role tutor does not exist"):
        check_scopes(["x"], holder="role tutor")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("read:users!user=ada", "(only user ada)"),
        ("read:users!user", "(only the owner)"),
        ("read:users!group=math", "(only members of group math)"),
        ("read:groups!group=math", "(only group math)"),
        ("servers!server=ada/", "(only the default server of user ada)"),
        ("servers!server=ada/lab", "(only server lab of user ada)"),
        ("servers!server=ada", "(no server, for ada names no owner)"),
        ("read:services!service=x", "(only service x)"),
        ("read:services!service", "(only the service itself)"),
        ("access:servers!server", "(only the server itself)"),
    ],
)
def test_filters_are_put_in_words(text: str, words: str) -> None:
    assert describe(text).endswith(words)


def test_what_is_no_scope_describes_itself() -> None:
    assert describe("long:gone!user=a") == "long:gone!user=a"
