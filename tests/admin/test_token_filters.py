"""Filters of the list of tokens, and the page that identifies a token."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tests.admin.conftest import rows, text
from tests.factories import BY, make_group, make_role, make_service, make_token
from tokens import policy
from tokens.actions.rotation import rotate_token
from tokens.models import APIToken, CreatedVia, TokenExchange, TokenPolicy
from tokens.states import STATES

pytestmark = pytest.mark.django_db
LIST = "tokens_apitoken"
IDENTIFY = "admin:tokens_apitoken_identify"


def change(token, **columns):
    APIToken.objects.filter(pk=token.pk).update(**columns)
    return str(token)


@pytest.fixture
def listed(as_, ada, pages):
    client = as_(ada)
    return lambda **query: sorted(rows(client.get(pages.list(LIST), query)))


def test_filters_by_purpose_origin_and_expiry(listed, alan):
    now = timezone.now()
    person = change(make_token(alan)[0], purpose="")
    program = change(
        make_token(alan)[0],
        purpose="program",
        created_via="device",
        expires_at=now + timedelta(days=20),
    )
    soon = change(
        make_token(alan)[0], purpose="server", expires_at=now + timedelta(days=3)
    )

    assert listed(purpose="person") == [person]
    assert listed(purpose="program") == [program]
    assert listed(via="device") == [program]
    assert listed(expires="week") == [soon]
    assert listed(expires="month") == sorted([program, soon])
    assert listed(expires="never") == [person]


def test_filters_by_unused_since_and_frozen(listed, alan):
    now = timezone.now()
    old = now - timedelta(days=200)
    used = change(make_token(alan)[0], created=old, last_activity=now)
    never = change(make_token(alan)[0], created=old)
    fresh = change(make_token(alan)[0])
    long_ago = change(
        make_token(alan)[0], created=old, last_activity=now - timedelta(days=100)
    )
    frozen = change(make_token(alan)[0], frozen_at=now)

    assert listed(used="not_30") == listed(used="not_90") == sorted([never, long_ago])
    assert listed(used="not_180") == [never]
    assert listed(used="not_365") == []
    assert listed(state="frozen") == [frozen]
    assert frozen not in listed(state="active")
    assert {used, fresh} <= set(listed(state="active"))


def test_filters_by_a_scope_with_its_filter(listed, ada):
    wide = str(make_token(ada, scopes=["read:users"])[0])
    narrow = str(make_token(ada, scopes=["read:users!group=data301"])[0])
    make_token(ada, scopes=["read:users:name"])

    assert listed(scope="read:users") == sorted([wide, narrow])
    assert listed(scope="read:users!group=data301") == [narrow]


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("10.1.0.0/16", "10.1.200.3", "10.10.0.1"),
        ("10.1.16.0/20", "10.1.31.255", "10.1.32.0"),
        ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.70"),
        ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
        ("64:ff9b::/96", "64:ff9b::102:304", "64:ff9c::1"),
        ("::/0", "::1", "10.0.0.1"),
    ],
)
def test_filters_by_network(listed, alan, network, inside, outside):
    seen = change(make_token(alan)[0], last_address=inside)
    change(make_token(alan)[0], last_address=outside)
    change(make_token(alan)[0], last_address="")
    change(make_token(alan)[0], last_address="unix:")
    limited = change(make_token(alan)[0], networks=["198.51.100.0/24", inside, outside])
    change(make_token(alan)[0], networks=[outside])

    assert listed(network=network) == sorted([seen, limited])


def test_a_text_that_is_no_network_shows_all(as_, ada, alan, pages):
    make_token(alan)

    reply = as_(ada).get(pages.list(LIST), {"network": "10.0.0"})

    assert reply.status_code == 302
    assert "e=1" in reply["Location"]


def test_the_field_of_a_filter_keeps_the_others(as_, ada, alan, pages):
    make_token(alan)

    page = as_(ada).get(pages.list(LIST), {"state": "active", "q": "al"})
    body = page.content.decode()

    form = body[body.index('class="typed-filter"') :]
    assert '<input type="hidden" name="state" value="active">' in form
    assert '<input type="hidden" name="q" value="al">' in form


def violated(token, subject, **rules):
    """Tell what the policy itself says about a token."""
    row = TokenPolicy(**subject, **rules)
    return bool(policy.violations(token, policy.merge([row])))


@pytest.mark.parametrize(
    "rules",
    [
        {"max_expires_in": 86_400},
        {"note_required": True},
        {"scope_ceiling": ["read:users"]},
        {"networks": ["10.0.0.0/8", "2001:db8::/32"]},
        {"max_unused_days": 30},
        {"max_expires_in": 30 * 86_400, "note_required": True},
        {},
    ],
)
def test_filters_by_a_violated_policy(listed, ada, alan, ci, rules):
    now = timezone.now()
    ago = now - timedelta(days=90)
    for columns in (
        {},
        {"note": "laptop", "expires_at": now + timedelta(hours=20)},
        {"note": " \t", "expires_at": now + timedelta(days=2)},
        {"note": "x", "networks": ["10.1.0.0/16"]},
        {"note": "x", "networks": ["10.1.0.0/16", "192.0.2.0/24"]},
        {"note": "x", "networks": ["2001:db8:1::/48"], "scopes": []},
        {"scopes": ["read:users:name"], "created": ago},
        {"scopes": ["read:users!group=data301"], "created": ago, "last_activity": now},
        {"scopes": ["list:users", "read:users"], "last_activity": ago},
        {"expires_at": ago + timedelta(days=95), "created": ago, "note": "y"},
    ):
        for owner in (ada, alan, ci):
            change(make_token(owner)[0], **columns)
    TokenPolicy.objects.create(**rules)
    expected = [
        str(token)
        for token in APIToken.objects.select_related("user", "service")
        if violated(token, {}, **rules)
    ]

    found = listed(policy="violated")

    assert found == sorted(expected)
    assert listed(policy="in_force") == []
    TokenPolicy.objects.update(effective_from=ago)
    assert listed(policy="in_force") == found


def test_a_policy_concerns_its_group_and_role_only(listed, alan, mallory):
    theirs = str(make_token(alan)[0])
    other = str(make_token(mallory)[0])
    by_service = str(make_token(make_service("nightly"))[0])
    group = make_group("limited")
    group.users.add(alan)
    role = make_role("robots", "read:hub", services=[by_service_owner()])
    TokenPolicy.objects.create(group=group, max_expires_in=60)

    assert listed(policy="violated") == [theirs]
    TokenPolicy.objects.create(role=role, max_expires_in=60)
    assert listed(policy="violated") == sorted([theirs, by_service])
    role.groups.add(make_group("crowd", users=[mallory]))
    assert listed(policy="violated") == sorted([theirs, by_service, other])


def by_service_owner():
    return APIToken.objects.get(service__name="nightly").service


# Identify


def test_identifies_a_token_by_secret_and_by_sha256(as_, ada, alan, pages):
    token, secret = make_token(alan, note="laptop")
    make_token(alan, note="phone")
    change(
        token,
        last_activity=timezone.now(),
        last_address="192.0.2.9",
        last_agent="curl/8",
    )
    client = as_(ada)

    for given in (secret, hashlib.sha256(secret.encode()).hexdigest().upper()):
        reply = client.post(reverse(IDENTIFY), {"secret": f" {given} "})
        body = reply.content.decode()
        assert pages.of(token) in body
        assert given not in body
        assert "no-store" in reply["Cache-Control"]
        for said in ("alan", "laptop", "192.0.2.9", "curl/8"):
            assert said in text(reply)


def test_identifies_an_earlier_secret(as_, ada, alan):
    token, secret = make_token(alan)
    rotate_token(token, overlap=60, by=BY)

    reply = as_(ada).post(reverse(IDENTIFY), {"secret": secret})

    assert f"an earlier secret of token {token}" in text(reply)


def test_identifies_a_token_that_was_never_used_since_an_older_hub(as_, ada, alan):
    token, secret = make_token(alan)
    change(token, fingerprint="")

    reply = as_(ada).post(reverse(IDENTIFY), {"secret": secret})

    assert f"This is token {token}" in text(reply)


@pytest.mark.parametrize("given", ["", "x" * 500, "nothing", "a" * 64, "\0", "é"])
def test_other_texts_identify_nothing(as_, ada, alan, given):
    make_token(alan)

    reply = as_(ada).post(reverse(IDENTIFY), {"secret": given})

    assert reply.status_code == 200
    assert "This is" not in text(reply)


def test_identifies_only_what_the_person_may_see(as_, grace, mallory):
    _, secret = make_token(mallory)

    reply = as_(grace).post(reverse(IDENTIFY), {"secret": secret})

    assert "No token that you may see" in text(reply)


def test_a_token_in_the_search_field_is_not_kept_in_an_address(as_, ada, alan, pages):
    _, secret = make_token(alan)

    reply = as_(ada).get(pages.list(LIST), {"q": secret}, follow=True)

    assert reply.redirect_chain == [(reverse(IDENTIFY), 302)]
    assert "looks like a whole token" in text(reply)
    assert secret not in reply.content.decode()


def states(reply):
    """Read the states of a list, by the tokens' names."""
    found = re.findall(
        r'<td class="field-state"><span [^>]*>(\w+)', reply.content.decode()
    )
    return dict(zip(rows(reply), found, strict=True))


def test_one_state_everywhere(as_, ada, bearer, alan, pages):
    """The list, its filter, its export, the page of a token and the API agree."""
    now = timezone.now()
    ended, paused = {"expires_at": now - timedelta(days=1)}, {"disabled_at": now}
    ended |= {"created": now - timedelta(days=9)}
    frozen, revoked = {"frozen_at": now}, {"revoked_at": now}
    stopped = {"created_via": CreatedVia.EXCHANGE}
    expected = {}
    for state, columns in (
        ("active", {}),
        ("active", {"expires_at": now + timedelta(days=1)}),
        ("stopped", stopped),
        ("disabled", stopped | paused),
        ("frozen", stopped | paused | frozen),
        ("expired", stopped | paused | frozen | ended),
        ("revoked", stopped | paused | frozen | ended | revoked),
        ("disabled", paused),
        ("frozen", frozen),
        ("expired", ended),
        ("revoked", revoked),
    ):
        expected[change(make_token(alan)[0], **columns)] = state
    client = as_(ada)
    listed = states(client.get(pages.list(LIST)))
    export = b"".join(client.get(f"{pages.list(LIST)}export/")).decode()
    lines = list(csv.DictReader(io.StringIO(export)))
    _, secret = make_token(ada, scopes=["read:tokens"])

    assert listed == expected
    assert {line["Token"]: line["State"] for line in lines} == expected
    for state in STATES:
        found = rows(client.get(pages.list(LIST), {"state": state}))
        assert {name for name in found if name in expected} == {
            name for name, each in expected.items() if each == state
        }
    for name, state in expected.items():
        page = client.get(pages.of(APIToken.objects.get(pk=name[1:])))
        assert f">{state}</span>" in page.content.decode()
        reply = bearer(secret).get(f"/hub/api/tokens/{name}")
        assert reply.json()["state"] == state


def test_the_page_names_the_token_with_which_another_stopped(as_, ada, alan, pages):
    parent, _ = make_token(alan)
    token, _ = make_token(alan)
    change(token, created_via=CreatedVia.EXCHANGE)
    token.refresh_from_db()
    TokenExchange.objects.create(token=token, parent=parent, scopes=parent.scopes)
    shown = text(as_(ada).get(pages.of(token)))
    assert "for which it was exchanged" not in shown

    change(parent, disabled_at=timezone.now())

    shown = text(as_(ada).get(pages.of(token)))
    assert f"with {parent} , for which it was exchanged" in shown


def test_the_filter_by_policy_costs_few_queries(as_, ada, alan, pages):
    """A list of the admin takes twelve at most, also with a ceiling in a policy."""
    make_token(alan)
    TokenPolicy.objects.create(
        scope_ceiling=["read:users"],
        max_expires_in=60,
        note_required=True,
        networks=["10.0.0.0/8"],
        max_unused_days=9,
    )
    client = as_(ada)
    where = pages.list(LIST)
    client.get(where, {"policy": "violated"})

    with CaptureQueriesContext(connection) as queries:
        reply = client.get(where, {"policy": "violated"})

    assert len(rows(reply)) == 1
    assert len(queries) <= 12
