"""Share servers by name and by code."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.actions import update_user
from accounts.models import Group, User
from audit.models import Event
from scopes.access import Access
from scopes.refusals import Forbidden, Invalid
from servers.models import Server, Share, ShareCode
from servers.named_server_actions import create_server, edit_server
from sharing.actions import (
    accept_share_code,
    find_share_code,
    grant_share,
    issue_share_code,
    revoke_share,
    revoke_share_codes,
    revoke_shares,
)
from tests.factories import BY, make_group, make_server, make_share, make_user

pytestmark = pytest.mark.django_db


def test_a_share_gives_access_by_default(ada: User, alan: User, mallory: User) -> None:
    server = make_server(alan, "lab")

    share = grant_share(server, mallory, by=BY, access=ada.access)

    assert share.raw_scopes() == ["access:servers!server=alan/lab"]
    assert mallory.access.allows("access:servers", obj=server)


def test_shares_accumulate(ada: User, alan: User, mallory: User) -> None:
    server = make_server(alan, "lab")
    grant_share(server, mallory, by=BY, access=ada.access)

    share = grant_share(
        server,
        mallory,
        scopes=["read:servers!server=alan/lab", "access:servers"],
        by=BY,
        access=ada.access,
    )

    assert share.scopes == ["access:servers", "read:servers"]
    assert Share.objects.count() == 1


@pytest.mark.parametrize(
    "scope",
    [
        "access:servers!server=alan/other",
        "access:servers!user=alan",
        "access:servers!server",
        "no:such:scope",
        "self",
        "inherit",
        "(no_scope)",
        "",
    ],
)
def test_other_scopes_are_not_shared(
    ada: User, alan: User, mallory: User, scope: str
) -> None:
    with pytest.raises(Invalid):
        grant_share(
            make_server(alan, "lab"), mallory, scopes=[scope], by=BY, access=ada.access
        )
    assert not Share.objects.exists()


def test_nobody_shares_what_they_lack(alan: User, mallory: User) -> None:
    access = Access.of({"shares!user=alan", "access:servers!user=alan"})
    server = make_server(alan, "lab")

    grant_share(server, mallory, by=BY, access=access)
    with pytest.raises(Forbidden, match="read:servers!server=alan/lab"):
        grant_share(server, mallory, scopes=["read:servers"], by=BY, access=access)

    assert Share.objects.get().scopes == ["access:servers"]


def test_a_share_follows_its_server_and_not_its_name(
    named: None, alan: User, mallory: User
) -> None:
    server = make_server(alan, "lab")
    make_share(server, user=mallory)

    edit_server(alan, "lab", new_name="den", by=BY)
    create_server(alan, "lab", by=BY)
    update_user(alan, name="turing", by=BY, by_admin=True)

    mallory = User.objects.get(pk=mallory.pk)
    assert mallory.access.has("access:servers")
    reached = mallory.access.limit("access:servers", queryset=Server.objects.all())
    assert "access:servers!server=turing/den" in mallory.access.scopes
    assert server in reached
    assert Server.objects.get(name="lab") not in reached


def test_members_gain_and_lose_what_is_shared_with_the_group(
    alan: User, mallory: User
) -> None:
    server = make_server(alan, "lab")
    guests = make_group("guests", users=[mallory])
    make_share(server, group=guests)

    assert User.objects.get(name="mallory").access.allows("access:servers", obj=server)
    guests.users.remove(mallory)
    assert not User.objects.get(name="mallory").access.allows(
        "access:servers", obj=server
    )


def test_revoking_some_scopes_leaves_the_rest(alan: User, mallory: User) -> None:
    share = make_share(
        make_server(alan, "lab"),
        user=mallory,
        scopes=["access:servers", "read:servers"],
    )

    left = revoke_share(share, scopes=["access:servers!server=alan/lab"], by=BY)
    again = revoke_share(share, scopes=["access:servers!server=alan/lab"], by=BY)

    assert left is not None
    assert again is not None
    assert again.scopes == ["read:servers"]
    assert Event.objects.filter(action="share.revoke").count() == 1


def test_the_second_revocation_sees_the_first(alan: User, mallory: User) -> None:
    scopes = ["access:servers", "read:servers", "users:activity"]
    share = make_share(make_server(alan, "lab"), user=mallory, scopes=scopes)
    second = Share.objects.get(pk=share.pk)
    revoke_share(share, scopes=["access:servers!server=alan/lab"], by=BY)

    left = revoke_share(second, scopes=["read:servers!server=alan/lab"], by=BY)

    assert left is not None
    assert left.scopes == ["users:activity"]
    revoke_share(share, by=BY)
    assert revoke_share(second, by=BY) is None


def test_a_share_is_shown_even_if_who_has_it_is_gone(
    ada: User, alan: User, mallory: User
) -> None:
    server = make_server(alan, "lab")
    grant_share(server, mallory, by=BY, access=ada.access)

    again = grant_share(server, mallory, by=BY, access=ada.access)

    User.objects.filter(pk__in=(alan.pk, mallory.pk)).delete()
    assert (again.recipient.name, str(again.server)) == ("mallory", "alan/lab")


def test_a_share_without_scopes_is_none(alan: User, mallory: User) -> None:
    share = make_share(make_server(alan, "lab"), user=mallory)

    assert revoke_share(share, by=BY) is None
    assert not Share.objects.exists()
    assert not mallory.access.has("access:servers!server=alan/lab")


def test_all_shares_of_a_server_end_together(
    alan: User, mallory: User, data301: Group
) -> None:
    lab, den = make_server(alan, "lab"), make_server(alan, "den")
    make_share(lab, user=mallory)
    make_share(lab, group=data301)
    kept = make_share(den, user=mallory)

    assert revoke_shares(lab, by=BY) == 2

    assert list(Share.objects.all()) == [kept]
    event = Event.objects.get(action="share.revoke")
    assert sorted(event.detail["recipients"]) == ["data301", "mallory"]


# Share codes


def test_a_code_is_kept_as_a_digest_only(ada: User, alan: User) -> None:
    invitation, code = issue_share_code(
        make_server(alan, "lab"), by=BY, access=ada.access
    )

    stored = ShareCode.objects.get()
    assert stored.digest.startswith("$argon2id$")
    assert code not in str(vars(stored))
    assert code not in str(list(Event.objects.values()))
    assert find_share_code(code, timezone.now()) == invitation


@pytest.mark.parametrize("expires_in", [59, -1, 0, 365 * 24 * 3600 + 1])
def test_codes_last_a_minute_to_a_year(ada: User, alan: User, expires_in: int) -> None:
    with pytest.raises(Invalid, match="expires_in"):
        issue_share_code(
            make_server(alan, "lab"), expires_in=expires_in, by=BY, access=ada.access
        )
    assert not ShareCode.objects.exists()


def test_a_code_is_good_for_many_until_it_expires(
    ada: User, alan: User, mallory: User
) -> None:
    server = make_server(alan, "lab")
    invitation, code = issue_share_code(server, expires_in=60, by=BY, access=ada.access)
    later = timezone.now() + timedelta(seconds=61)

    accept_share_code(invitation, mallory, by=BY)
    accept_share_code(invitation, make_user("edsger"), by=BY)

    invitation.refresh_from_db()
    assert invitation.exchange_count == 2
    assert invitation.last_exchanged_at is not None
    assert sorted(share.user.name for share in server.shares.all()) == [
        "edsger",
        "mallory",
    ]
    assert find_share_code(code, later) is None


def test_nobody_accepts_their_own_server(ada: User, alan: User) -> None:
    invitation, _ = issue_share_code(make_server(alan, "lab"), by=BY, access=ada.access)

    with pytest.raises(Invalid, match="your own server"):
        accept_share_code(invitation, alan, by=BY)
    assert not Share.objects.exists()


def test_wrong_codes_open_nothing(ada: User, alan: User) -> None:
    _, code = issue_share_code(make_server(alan, "lab"), by=BY, access=ada.access)
    swapped = code[:-1] + ("0" if code[-1] != "0" else "1")

    for wrong in ("", "unknown", swapped, code.upper(), f"hub{code[4:]}", f"{code} "):
        assert find_share_code(wrong, timezone.now()) is None


def test_codes_are_revoked_one_or_all(ada: User, alan: User) -> None:
    lab, den = make_server(alan, "lab"), make_server(alan, "den")
    first, code = issue_share_code(lab, by=BY, access=ada.access)
    issue_share_code(lab, by=BY, access=ada.access)
    other, _ = issue_share_code(den, by=BY, access=ada.access)

    assert revoke_share_codes(lab, [other.pk], by=BY) == 0
    assert revoke_share_codes(lab, [first.pk], by=BY) == 1
    assert find_share_code(code, timezone.now()) is None
    assert revoke_share_codes(lab, None, by=BY) == 1
    assert list(ShareCode.objects.all()) == [other]
