"""Each action locks in the common order, according to its statements."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.db import transaction
from django.test import Client
from django.utils import timezone

from accounts import actions as accounts
from accounts import auth_state, group_actions, managed_roles, sign_up_actions
from accounts.answer_actions import apply_answer
from accounts.answers import Answer
from accounts.models import Group, SignUp, User
from audit.models import Actor
from controller import cleanup, culler
from controller.records import Records, take_over
from controller.spawners.failures import SpawnFailed
from database.locks import ORDER, Advisory
from hubsite.config.reconcile import reconcile
from oauth import actions as oauth
from oauth import device_actions as devices
from oauth.exchange import issue_narrower
from oauth.models import OAuthClient, OAuthCode
from servers import actions, named_server_actions
from servers.activity import note_activity
from servers.credentials import Requested, issue_credentials
from servers.models import Server, ServerEvent, Share, ShareCode
from services.actions import create_service, delete_service
from services.models import Service
from sharing import actions as sharing
from tests import factories
from tests.database.recorder import recorded
from tokens import activity, approvals, bulk, leaks, policy_actions, tripwire
from tokens.actions import issuing, pausing, revocation, rotation
from tokens.models import (
    APIToken,
    LeakReport,
    PreviousSecret,
    TokenPolicy,
    TokenRequest,
)

BY = Actor.system("test")

pytestmark = pytest.mark.django_db


@pytest.fixture
def scene(settings: Any) -> SimpleNamespace:
    """Two users with servers, credentials, shares, codes and groups."""
    settings.HUB = replace(
        settings.HUB,
        allow_named_servers=True,
        cull_idle_timeout=60,
        cull_users=True,
        crypt_keys=(b"k" * 32,),
    )
    ada = factories.make_user("ada", admin=True)
    second = factories.make_user("bea", admin=True)
    users = [factories.make_user(name) for name in ("alan", "grace")]
    group = factories.make_group("math", users=users)
    servers = []
    for user in users:
        for name in ("", "lab"):
            server = Server.objects.create(user=user, name=name, user_options={})
            servers.append(server)
        issue_credentials(server, Requested(client=("read:users:name!user",)), by=BY)
    alan, grace = users
    client = OAuthClient.objects.get(server="alan/lab")
    sharing.grant_share(servers[1], grace, by=BY, access=ada.access)
    sharing.grant_share(servers[1], group, by=BY, access=ada.access)
    invitation, _ = sharing.issue_share_code(servers[3], by=BY, access=ada.access)
    code = oauth.issue_code(client, grace, redirect_uri="/x", scopes=[], by=BY)
    obtained = factories.make_token(grace, client_id=client.identifier, scopes=[])[0]
    plain = factories.make_token(alan)[0]
    return SimpleNamespace(
        **{"ada": ada, "second": second, "users": users, "alan": alan, "grace": grace},
        **{"group": group, "servers": servers, "client": client, "code": code},
        **{"invitation": invitation, "obtained": obtained, "plain": plain},
    )


def run(server: Server) -> Server:
    """Have a server run, as rows say it."""
    Server.objects.filter(pk=server.pk).update(
        wanted="running", ready=True, pending=None, generation=1, settled=1
    )
    server.refresh_from_db()
    return server


def controlled(scene: SimpleNamespace, act: Callable[[Records, Any], object]) -> None:
    """Do something as the leading controller does, about a server that starts."""
    server = actions.start_server(scene.alan, "lab", by=BY)[0]
    records = Records(take_over("test", {}))
    row = records.read(server.pk)
    with recorded() as recorder:
        act(records, row)
    scene.recorder = recorder


def settle_stopped(records: Records, row: Any) -> None:
    records.settle_stopped(row, {}, resumes=False, forgotten=True, cancelled={})


def stop_idle(scene: SimpleNamespace) -> None:
    old = timezone.now() - timedelta(hours=2)
    for server in scene.servers:
        run(server)
    Server.objects.update(last_activity=old, started=old)
    with recorded() as recorder:
        culler.stop_idle([server.pk for server in scene.servers], timezone.now())
    scene.recorder = recorder


def delete_idle(scene: SimpleNamespace) -> None:
    old = timezone.now() - timedelta(hours=2)
    User.objects.update(last_activity=old, created=old)
    ids = [user.pk for user in scene.users]
    with recorded() as recorder, transaction.atomic():
        assert culler.delete_idle(ids, timezone.now()) == 2
    scene.recorder = recorder


def purge(scene: SimpleNamespace) -> None:
    past = timezone.now() - timedelta(hours=1)
    APIToken.objects.update(expires_at=past)
    OAuthCode.objects.update(expires_at=past)
    ShareCode.objects.update(expires_at=past)


def removal(kind: str) -> Callable[[SimpleNamespace], object]:
    def remove(scene: SimpleNamespace) -> None:
        purge(scene)
        with recorded() as recorder:
            cleanup.REMOVALS[kind](timezone.now())
        scene.recorder = recorder

    return remove


def reconfigure(scene: SimpleNamespace) -> None:
    run(scene.servers[1])
    hub = replace(
        django_settings.HUB,
        admin_users=frozenset({"grace"}),
        blocked_users=frozenset({"alan", "bea"}),
        load_groups={"math": {"users": ["grace", "new"], "properties": {"a": 1}}},
    )
    with recorded() as recorder:
        reconcile(hub)
    # The first of these is ordered by what it has locked at first.
    first, *_, blocking, _ = [
        each for each in recorder.ended if Advisory.CONFIGURATION in each.taken
    ]
    expected = [Advisory.CONFIGURATION, Advisory.USER_NAMES, "accounts_role"]
    assert first.taken[: len(expected)] == expected
    assert blocking.taken[:2] == [Advisory.CONFIGURATION, Advisory.CAPACITIES]
    recorder.ended.remove(first)
    scene.recorder = recorder


def decide_about_a_device(scene: SimpleNamespace) -> None:
    codes = devices.ask(program="hub-token")
    request = devices.find_undecided(codes.user_code, timezone.now())
    assert request
    devices.deny(request, by=BY)
    codes = devices.ask(program="hub-token")
    request = devices.find_undecided(codes.user_code, timezone.now())
    assert request
    devices.approve(request, scene.grace, scopes=["inherit"], lifetime=60, by=BY)
    request = devices.find_by_device_code(codes.device_code, "hub-token")
    assert request
    devices.redeem(request, by=BY)
    devices.sweep(timezone.now() + timedelta(hours=1))


def redeem(scene: SimpleNamespace) -> None:
    promise = oauth.find_code(scene.code, scene.client, timezone.now())
    assert promise is not None
    oauth.redeem_code(promise, by=BY)


def add_service(scene: SimpleNamespace) -> None:
    create_service(
        "svc",
        by=BY,
        access=scene.ada.access,
        url="http://127.0.0.1:1",
        api_token="x" * 32,
    )


def remove_service(scene: SimpleNamespace) -> None:
    add_service(scene)
    with recorded() as recorder:
        delete_service(Service.objects.get(name="svc"), by=BY)
    scene.recorder = recorder


def after(
    prepare: Callable[[SimpleNamespace], Any],
    act: Callable[[SimpleNamespace, Any], object],
) -> Callable[[SimpleNamespace], object]:
    """Record an act, and not what has to be there before."""

    def do(scene: SimpleNamespace) -> None:
        given = prepare(scene)
        with recorded() as recorder:
            act(scene, given)
        scene.recorder = recorder

    return do


def started_before(scene: SimpleNamespace) -> None:
    for server in scene.servers:
        for _ in range(2):
            ServerEvent.objects.create(server=server, generation=0, data={})


def waiting(scene: SimpleNamespace) -> SignUp:
    """Have three people wait for one name; return the second."""
    return [SignUp.objects.create(name="new", password="x") for _ in range(3)][1]


def confirm(row: SignUp) -> None:
    link = sign_up_actions.link_for(row).rstrip("/").rpartition("/")[2]
    sign_up_actions.confirm(link, by=BY)


def waiting_for_an_account(scene: SimpleNamespace) -> SignUp:
    accounts.create_user("new", by=BY)
    return waiting(scene)


def exchanged(scene: SimpleNamespace) -> APIToken:
    """Have three tokens that depend on another; return that."""
    parent: APIToken = scene.plain
    for _ in range(3):
        issue_narrower(parent, [], None, public_id=parent.public_id, by=BY)
    return parent


def rotated(**options: Any) -> Callable[[SimpleNamespace], PreviousSecret]:
    def rotate(scene: SimpleNamespace) -> PreviousSecret:
        exchanged(scene)
        for _ in range(2):
            rotation.rotate_token(scene.plain, by=BY, **options)
        return PreviousSecret.objects.latest("pk")

    return rotate


def leaked(scene: SimpleNamespace) -> tuple[LeakReport, list[leaks.Leaked]]:
    """Have two tokens be found, the first by an earlier secret."""
    found = [factories.make_token(user) for user in (scene.grace, scene.alan)]
    for token, _ in found:
        issue_narrower(token, [], None, public_id=token.public_id, by=BY)
    rotation.rotate_token(found[0][0], by=BY)
    findings = [leaks.Finding(secret, "") for _, secret in found]
    leaks.receive(findings, address="192.0.2.1")
    report = leaks.next_report()
    assert report is not None
    return report, leaks.find_leaked(report)


def asked(scene: SimpleNamespace, **options: Any) -> TokenRequest:
    return approvals.ask(scene.alan, by=Actor("user", "alan"), reason="x", **options)


def approved(scene: SimpleNamespace) -> TokenRequest:
    request = asked(scene)
    approvals.decide(request, is_approved=True, by=BY)
    return request


def policy(scene: SimpleNamespace) -> TokenPolicy:
    past = timezone.now() - timedelta(days=1)
    return TokenPolicy.objects.create(
        max_expires_in=60, scope_ceiling=["users"], effective_from=past
    )


def removable(scene: SimpleNamespace) -> tuple[Records, Any]:
    """Have a shared server stop that is to be removed."""
    server = run(scene.servers[1])
    actions.stop_server(scene.alan, "lab", remove=True, by=BY)
    records = Records(take_over("test", {}))
    return records, records.read(server.pk)


def used(scene: SimpleNamespace) -> None:
    now = timezone.now().timestamp()
    for token in (scene.obtained, scene.plain):
        activity.tokens.note(token.pk, now)
    for user in reversed(scene.users):
        activity.users.note(user.pk, now)


def on_page(path: str, data: dict[str, Any]) -> Callable[[SimpleNamespace], object]:
    def post(scene: SimpleNamespace) -> None:
        client = Client(raise_request_exception=True)
        client.force_login(scene.ada)
        response = client.post(path.format(scene=scene), data)
        assert response.status_code in (200, 302), response.status_code

    return post


def answer(name: str) -> Answer:
    """Return an answer that changes everything."""
    return Answer.read(
        {
            "name": name,
            "admin": True,
            "groups": ["b", "a", "math"],
            "roles": [
                {"name": "user"},
                {"name": "role-z", "scopes": ["list:users"], "users": ["grace"]},
                {"name": "role-b", "scopes": ["proxy"], "groups": ["math"]},
                {"name": "admin", "services": ["ci"], "users": ["grace"]},
            ],
            "user_info": {"a": 1},
            "auth_state": {"a": 1},
        }
    )


ACTS: dict[str, Callable[[SimpleNamespace], object]] = {
    "start": lambda s: actions.start_server(s.alan, "lab", by=BY),
    "start anew": after(
        started_before, lambda s, _: actions.start_server(s.alan, "lab", by=BY)
    ),
    "start many": lambda s: actions.start_servers(Server.objects.all(), by=BY),
    "start many anew": after(
        started_before,
        lambda s, _: actions.start_servers(Server.objects.all(), by=BY),
    ),
    "stop": lambda s: actions.stop_server(run(s.servers[1]).user, "lab", by=BY),
    "stop and remove": lambda s: actions.stop_server(s.alan, "lab", remove=True, by=BY),
    "stop many": lambda s: actions.stop_servers(
        Server.objects.filter(pk=run(s.servers[1]).pk), by=BY
    ),
    "name a server": lambda s: named_server_actions.create_server(s.alan, "new", by=BY),
    "rename a server": lambda s: named_server_actions.edit_server(
        s.alan, "lab", new_name="other", by=BY
    ),
    "delete a server": lambda s: named_server_actions.delete_server(
        s.alan, "lab", by=BY
    ),
    "stop idle servers": stop_idle,
    "delete idle users": delete_idle,
    "create users": lambda s: accounts.create_users(["x", "y"], by=BY),
    "rename": lambda s: accounts.update_user(s.alan, name="turing", by=BY),
    "promote": lambda s: accounts.update_user(s.alan, admin=True, by=BY),
    "demote": lambda s: accounts.update_user(s.second, admin=False, by=BY),
    "deactivate": lambda s: (
        run(s.servers[1]),
        accounts.deactivate_users(User.objects.exclude(pk=s.ada.pk), by=BY),
    ),
    "delete": lambda s: accounts.delete_user(s.alan, by=BY),
    "delete as an administrator": lambda s: accounts.delete_user(
        s.second, by=Actor("user", "ada")
    ),
    "create groups": lambda s: group_actions.create_groups(
        ["a", "b"], users=["alan"], by=BY
    ),
    "add members": lambda s: group_actions.add_members(s.group, ["ada"], by=BY),
    "remove members": lambda s: group_actions.remove_members(s.group, ["alan"], by=BY),
    "set properties": lambda s: group_actions.set_properties(s.group, {"a": 1}, by=BY),
    "apply an answer": lambda s: apply_answer(answer(s.alan.name), by=BY),
    "apply a first answer": lambda s: apply_answer(answer("newcomer"), by=BY),
    "take all roles": lambda s: (
        apply_answer(answer(s.alan.name), by=BY),
        apply_answer(Answer("alan", roles=(), groups=()), by=BY),
    ),
    "load managed roles": lambda s: (
        apply_answer(answer(s.alan.name), by=BY),
        managed_roles.load_managed_roles(
            managed_roles.read_roles(
                [
                    {"name": "role-z", "groups": ["math", "new"], "users": ["grace"]},
                    {"name": "role-new", "services": ["ci"], "users": ["newcomer"]},
                ]
            ),
            reset=True,
            by=BY,
        ),
    ),
    "set auth state": lambda s: auth_state.set_auth_state(s.alan, {"a": 1}, by=BY),
    "delete users": lambda s: accounts.delete_users(
        User.objects.exclude(pk=s.ada.pk), by=Actor("user", "ada")
    ),
    "delete groups": lambda s: group_actions.delete_groups(Group.objects.all(), by=BY),
    "delete a group": lambda s: group_actions.delete_group(s.group, by=BY),
    "share with a user": lambda s: sharing.grant_share(
        s.servers[3], s.alan, by=BY, access=s.ada.access
    ),
    "share with a group": lambda s: sharing.grant_share(
        s.servers[3], s.group, by=BY, access=s.ada.access
    ),
    "accept": lambda s: sharing.accept_share_code(s.invitation, s.alan, by=BY),
    "revoke a share": lambda s: sharing.revoke_share(Share.objects.first(), by=BY),
    "revoke all shares": lambda s: sharing.revoke_shares(s.servers[1], by=BY),
    "revoke codes": lambda s: sharing.revoke_share_codes(s.servers[3], None, by=BY),
    "issue a token": lambda s: issuing.issue_token(s.alan, by=BY),
    "revoke a token": lambda s: revocation.revoke_token(s.obtained, by=BY),
    "revoke tokens": lambda s: revocation.revoke_tokens(APIToken.objects.all(), by=BY),
    "remove tokens": lambda s: revocation.remove_tokens(APIToken.objects.all(), by=BY),
    "disable tokens": lambda s: pausing.disable_tokens(APIToken.objects.all(), by=BY),
    "issue a code": lambda s: oauth.issue_code(
        s.client, s.grace, redirect_uri="/x", scopes=[], by=BY
    ),
    "redeem a code": redeem,
    "decide about a device": decide_about_a_device,
    "end clients": lambda s: oauth.delete_clients(OAuthClient.objects.all(), by=BY),
    "add a service": add_service,
    "delete a service": remove_service,
    "report activity": lambda s: note_activity(
        s.alan.pk, "alan", timezone.now(), {"lab": timezone.now(), "": timezone.now()}
    ),
    "activity of routes": lambda s: cleanup.raise_activity(
        [("grace", "", timezone.now()), ("alan", "lab", timezone.now())]
    ),
    "take over": lambda s: (run(s.servers[1]), take_over("other", {})),
    "begin": lambda s: controlled(s, lambda r, row: r.begin(row, "a", Requested())),
    "settle ready": lambda s: controlled(
        s, lambda r, row: r.settle_ready(row, {}, "http://x", [])
    ),
    "settle failed": lambda s: controlled(
        s, lambda r, row: r.settle_failed(row, {}, SpawnFailed("It fell."), [])
    ),
    "settle stopped": lambda s: controlled(s, settle_stopped),
    "stop all": lambda s: controlled(s, lambda r, row: r.stop_all()),
    **{f"remove {kind}": removal(kind) for kind in cleanup.REMOVALS},
    "reconcile": reconfigure,
    "approve a sign-up": after(
        waiting, lambda s, row: sign_up_actions.approve(row, by=BY)
    ),
    "approve a sign-up for an account": after(
        waiting_for_an_account, lambda s, row: sign_up_actions.approve(row, by=BY)
    ),
    "refuse a sign-up": after(
        waiting, lambda s, row: sign_up_actions.refuse(row, by=BY)
    ),
    "confirm a sign-up": after(
        waiting,
        lambda s, row: confirm(row),
    ),
    "exchange a token": lambda s: exchanged(s),
    "rotate a token": after(
        exchanged, lambda s, token: rotation.rotate_token(token, by=BY)
    ),
    "rotate a token again": after(
        rotated(overlap=60),
        lambda s, earlier: rotation.rotate_token(s.plain, by=BY, overlap=0),
    ),
    "end an earlier secret": after(
        rotated(overlap=60),
        lambda s, earlier: rotation.end_earlier_secret(earlier, by=BY),
    ),
    "raise an alarm": after(
        rotated(overlap=0, freezes=True),
        lambda s, earlier: tripwire.trip(earlier.pk, "192.0.2.1"),
    ),
    "end leaked tokens": after(leaked, lambda s, found: leaks.end_leaked(*found)),
    "ask for a token": lambda s: asked(s),
    "ask for another scope": lambda s: asked(s, token=s.plain, scopes=["self"]),
    "approve a request": after(
        asked, lambda s, row: approvals.decide(row, is_approved=True, by=BY)
    ),
    "approve another scope": after(
        lambda s: asked(s, token=s.plain, scopes=["self"]),
        lambda s, row: approvals.decide(row, is_approved=True, by=BY),
    ),
    "collect a token": after(
        approved, lambda s, row: approvals.collect(row, by=Actor("user", "alan"))
    ),
    "apply a policy": after(
        policy,
        lambda s, row: [policy_actions.apply_policies(timezone.now()) for _ in "ab"],
    ),
    "disable many tokens": after(
        lambda s: bulk.begin("disable", APIToken.objects.all(), by=BY),
        lambda s, change: bulk.step(change),
    ),
    "enable many tokens": after(
        lambda s: bulk.proceed(bulk.begin("disable", APIToken.objects.all(), by=BY)),
        lambda s, change: bulk.step(bulk.undo(change, APIToken.objects.all(), by=BY)),
    ),
    "write uses": after(used, lambda s, _: activity.flush()),
    "activate": after(
        lambda s: accounts.deactivate_users(User.objects.exclude(pk=s.ada.pk), by=BY),
        lambda s, _: accounts.activate_users(User.objects.all(), by=BY),
    ),
    "settle a removed server": after(
        removable,
        lambda s, given: settle_stopped(*given),
    ),
    "add a list on pages": after(
        lambda s: group_actions.create_group("b", by=BY),
        lambda s, _: on_page(
            "/hub/admin/accounts/user/add-list/",
            {"people": "grace\nnew\nalan\nnewer", "groups": "math\nb", "_add": "1"},
        )(s),
    ),
    "delete on pages": on_page(
        "/hub/admin/accounts/user/",
        {"action": "delete_users", "confirmed": "1", "select_across": "1"},
    ),
}


def test_each_action_locks_in_the_one_order(scene: SimpleNamespace) -> None:
    wrong = {}
    for name, act in ACTS.items():
        own = deepcopy(scene)
        own.recorder = None
        with transaction.atomic():
            with recorded() as recorder:
                act(own)
            disorder = (own.recorder or recorder).disorder
            transaction.set_rollback(True)
        if disorder:
            wrong[name] = disorder

    assert not wrong


def test_activity_waits_for_nobody(scene: SimpleNamespace) -> None:
    activity.tokens.note(scene.plain.pk, timezone.now().timestamp())
    activity.users.note(scene.alan.pk, timezone.now().timestamp())

    with recorded() as recorder:
        activity.flush()

    locking = [text for text in recorder.statements if " FOR " in text]
    assert len(locking) == 2
    assert all("SKIP LOCKED" in text for text in locking)


def test_each_lock_has_a_number_of_its_own() -> None:
    assert len(set(Advisory)) == len(Advisory.__members__)
    assert [lock for lock in ORDER if isinstance(lock, Advisory)] == list(Advisory)


def test_the_order_names_every_table() -> None:
    models = apps.get_models(include_auto_created=True)
    tables = {model._meta.db_table: model._meta.app_label for model in models}
    own = {
        table
        for table, label in tables.items()
        if label in ("accounts", "services", "tokens", "oauth", "servers")
    }

    assert own <= set(ORDER)
    assert {lock for lock in ORDER if isinstance(lock, str)} <= tables.keys()
