"""The policy for an owner's tokens, and the only place that compares tokens with it.

The page, the API, the admin, the command line, OAuth and device sign-ins all issue and
change tokens by `tokens.actions`, which calls this module. Policies are rows of
`TokenPolicy` for everybody, for groups and for roles; the strictest value of each rule
applies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.timesince import timeuntil

from accounts.models import User
from accounts.rights import members_among, raw_scopes
from database.statements import first_row
from scopes.access import Access, Identity, expand
from scopes.definitions import INHERIT
from scopes.refusals import Forbidden, Invalid
from services.models import Service
from tokens import networks
from tokens.models import APIToken, CreatedVia, Purpose, TokenPolicy, TokenRequest

# Most scopes in the message of a refusal.
MOST_NAMED: Final = 20

ANY: Final = "SELECT 1 FROM tokens_tokenpolicy LIMIT 1"


class AgainstPolicy(Forbidden):
    """A token, or a change of one, that the policy for its owner does not allow."""


class LivesTooLong(AgainstPolicy):
    """A life beyond the longest one."""


class NeedsApproval(AgainstPolicy):
    """A token that an administrator has to approve; `scopes` are those that need it."""

    def __init__(self, message: str, scopes: Collection[str]) -> None:
        super().__init__(message)
        self.scopes = sorted(scopes)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules for one owner, merged; None and empty are no rule."""

    max_expires_in: int | None = None
    default_expires_in: int | None = None
    note_required: bool = False
    ceilings: tuple[tuple[str, ...], ...] = ()
    networks: list[str] | None = None
    approval_scopes: frozenset[str] = frozenset()
    max_tokens: int | None = None
    max_unused_days: int | None = None
    # When a longest life was changed last.
    life_changed_at: datetime | None = field(default=None, compare=False)
    # The names of the merged policies, for messages.
    names: tuple[str, ...] = field(default=(), compare=False)

    def __bool__(self) -> bool:
        return self != NO_POLICY

    @property
    def source(self) -> str:
        """The policies that apply, in the words of a refusal."""
        return "the policy for " + (" and ".join(self.names) or "everybody")


NO_POLICY: Final = Policy()


def policy_for(owner: User | Service) -> Policy:
    """Return the policy for an owner's new tokens and for changes of tokens."""
    if first_row(ANY, ()) is None:
        return NO_POLICY
    return merge(policies_of(owner))


def policies_of(owner: User | Service) -> QuerySet[TokenPolicy]:
    """Return the policies that apply to an owner."""
    everybody = Q(role=None, group=None)
    if isinstance(owner, Service):
        theirs = Q(role__in=owner.roles.all())
    else:
        groups = owner.groups.all()
        theirs = (
            Q(group__in=groups)
            | Q(role__in=owner.roles.all())
            | Q(role__in=groups.values("roles"))
        )
    rows = TokenPolicy.objects.filter(everybody | theirs)
    return rows.select_related("role", "group").order_by("pk")


def merge(rows: Iterable[TokenPolicy]) -> Policy:
    """Merge policies: of each rule the strictest value applies."""
    rows = list(rows)
    if not rows:
        return NO_POLICY
    allowed: list[str] | None = None
    for row in rows:
        allowed = networks.overlap(allowed, row.networks)
    return Policy(
        max_expires_in=_least(row.max_expires_in for row in rows),
        default_expires_in=_least(row.default_expires_in for row in rows),
        note_required=any(row.note_required for row in rows),
        ceilings=tuple(
            tuple(row.scope_ceiling) for row in rows if row.scope_ceiling is not None
        ),
        networks=allowed,
        approval_scopes=frozenset(
            scope for row in rows for scope in row.approval_scopes or ()
        ),
        max_tokens=_least(row.max_tokens for row in rows),
        max_unused_days=_least(row.max_unused_days for row in rows),
        life_changed_at=max(
            (row.changed_at for row in rows if row.max_expires_in is not None),
            default=None,
        ),
        names=tuple(str(row) for row in rows),
    )


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)


# Checks, each of which refuses with a sentence


def check_note(policy: Policy, note: str) -> None:
    """Refuse a token without a note, where one is required."""
    if policy.note_required and not note.strip():
        raise AgainstPolicy(
            f"A note is required by {policy.source}: write what the token is for."
        )


def check_expiry(policy: Policy, expires_in: int | None) -> None:
    """Refuse a lifetime, in seconds, that is longer than allowed; None is without end.

    The policy's default is for callers who state none.
    """
    longest = policy.max_expires_in
    if longest is not None and (expires_in is None or expires_in > longest):
        raise LivesTooLong(
            f"A token may be valid for {in_words(longest)} at most, by {policy.source}:"
            f" choose {longest} seconds or less."
        )


def usual_expiry(policy: Policy, configured: int | None) -> int | None:
    """Return the lifetime of a token for which nobody states one.

    `configured` is that of a hub without a policy.
    """
    return _least((policy.default_expires_in, policy.max_expires_in, configured))


def check_end(policy: Policy, token: APIToken, ends: datetime | None) -> None:
    """Refuse an end after the longest life; the life begins with the creation."""
    life = None if ends is None else int((ends - token.created).total_seconds())
    check_expiry(policy, life)


def check_renewal(policy: Policy, token: APIToken, scopes: Sequence[str]) -> None:
    """Refuse more rights or a later end for a token that could not be issued anew.

    Otherwise the owner of an old token could go on for ever without the note, the
    scopes and the networks that the policy demands of new tokens.
    """
    if not token.client_id:
        check_note(policy, token.note)
    check_ceiling(policy, token.owner, scopes)
    if not networks.covers(policy.networks, token.networks):
        check_networks(policy, token.networks or ["0.0.0.0/0", "::/0"])


def least(one: int | None, other: int | None) -> int | None:
    """Return the smaller of two limits, of which None is none."""
    return _least((one, other))


def check_ceiling(policy: Policy, owner: User | Service, scopes: Sequence[str]) -> None:
    """Refuse scopes beyond the ceiling."""
    beyond = beyond_ceiling(policy, owner, scopes)
    if beyond:
        raise AgainstPolicy(
            f"A token may not have {named(beyond)}, by {policy.source}: leave"
            f" {'this scope' if len(beyond) == 1 else 'these scopes'} out."
        )


def beyond_ceiling(
    policy: Policy, owner: User | Service, scopes: Sequence[str]
) -> frozenset[str]:
    """Return the expanded scopes that are beyond a ceiling of the policy."""
    if not policy.ceilings:
        return frozenset()
    wanted = meaning(owner, scopes)
    identity = _identity(owner)
    return frozenset(
        scope
        for ceiling in policy.ceilings
        for scope in Access.of(expand(ceiling, identity)).lacking(wanted, members_among)
    )


def within_ceiling(
    policy: Policy, owner: User | Service, scopes: Sequence[str]
) -> list[str]:
    """Return those raw scopes that are within the ceilings of the policy."""
    if not policy.ceilings:
        return list(scopes)
    return [raw for raw in scopes if not beyond_ceiling(policy, owner, [raw])]


def check_networks(policy: Policy, wanted: list[str] | None) -> list[str] | None:
    """Return the networks of a token; without wanted ones, those of the policy."""
    if policy.networks is None:
        return wanted
    if not policy.networks:
        raise AgainstPolicy(
            f"No network is allowed by {policy.source}: the policies exclude each"
            " other, so an administrator has to change them."
        )
    if wanted is None:
        return policy.networks
    if not networks.covers(policy.networks, wanted):
        raise AgainstPolicy(
            f"A token may be used from {networks.listed(policy.networks)} only, by"
            f" {policy.source}: choose networks within."
        )
    return wanted


def needing_approval(
    policy: Policy, owner: User | Service, scopes: Sequence[str]
) -> frozenset[str]:
    """Return the wanted scopes that an administrator has to approve."""
    if not policy.approval_scopes:
        return frozenset()
    # What a policy names, with the scopes in it: `admin:users` includes `read:users`,
    # which is harmless by itself.
    powerful = Access.of(policy.approval_scopes)
    wanted = Access.of(meaning(owner, scopes))
    return powerful.intersect(wanted, members_among).scopes


def bounded(policy: Policy, owner: User | Service, scopes: Sequence[str]) -> list[str]:
    """Return the scopes of a token that nobody has approved.

    Where some scopes need an approval, "all permissions of the owner" are those of now:
    otherwise a role that the owner gets later would give the token these scopes.
    """
    if not policy.approval_scopes or INHERIT not in scopes:
        return list(scopes)
    kind = "user" if isinstance(owner, User) else "service"
    held = [raw for raw in raw_scopes(kind, owner.pk) if raw != INHERIT]
    others = [raw for raw in scopes if raw != INHERIT]
    return list(dict.fromkeys([*held, *others]))


def check_approval(
    policy: Policy, owner: User | Service, scopes: Sequence[str]
) -> None:
    """Refuse scopes that need an approval."""
    powerful = needing_approval(policy, owner, scopes)
    if powerful:
        raise NeedsApproval(
            f"An administrator has to approve {named(powerful)}, by {policy.source}:"
            " ask for the approval, or leave"
            f" {'this scope' if len(powerful) == 1 else 'these scopes'} out.",
            powerful,
        )


def meaning(owner: User | Service, scopes: Sequence[str]) -> frozenset[str]:
    """Return what raw scopes give to a token of this owner now, expanded."""
    if "inherit" in scopes or "all" in scopes:
        return owner.access.scopes
    return expand(scopes, _identity(owner))


def violations(
    token: APIToken, policy: Policy, now: datetime | None = None
) -> list[str]:
    """Return in what an existing token violates a policy, as sentences."""
    now = now or timezone.now()
    found: list[str] = []
    if not follows_policies(token):
        return found
    longest = policy.max_expires_in
    if longest is not None and not is_excepted(token, policy):
        life = None if token.expires_at is None else token.expires_at - token.created
        if life is None:
            found.append("The token never expires.")
        elif life.total_seconds() > longest:
            found.append(f"The token lives longer than {in_words(longest)}.")
    if policy.note_required and not token.note.strip() and not token.client_id:
        found.append("The token has no note.")
    beyond = beyond_ceiling(policy, token.owner, token.scopes)
    if beyond:
        found.append(f"The token has {named(beyond)}.")
    if not networks.covers(policy.networks, token.networks):
        found.append("The token may be used from other networks.")
    if policy.max_unused_days is not None:
        unused = now - (token.last_activity or token.created)
        if unused.days >= policy.max_unused_days:
            found.append(f"The token was not used for {unused.days} days.")
    return found


def is_excepted(token: APIToken, policy: Policy) -> bool:
    """Return whether an administrator approved a longer life; see `excepted`."""
    since = policy.life_changed_at
    return since is not None and approved_ends(since).filter(token=token).exists()


def excepted(since: datetime) -> Q:
    """Match the tokens whose longer life an administrator has approved.

    An approval counts until the policy is changed, at the time `since`.
    """
    return Q(pk__in=approved_ends(since).values("token"))


def approved_ends(since: datetime) -> QuerySet[TokenRequest]:
    """Return the requests for a longer life that were approved since then."""
    return TokenRequest.objects.filter(
        state=TokenRequest.State.COLLECTED,
        token__isnull=False,
        scopes__isnull=True,
        decided_at__gte=since,
    ).order_by()


def follows_policies(token: APIToken) -> bool:
    """Return whether policies apply to an existing token; see `following`."""
    return token.purpose != Purpose.SERVER and (
        token.created_via == CreatedVia.IMPORT
        or (
            token.origin == APIToken.Origin.GENERATED
            and token.created_via not in (CreatedVia.SERVER, CreatedVia.SERVICE)
        )
    )


def following() -> Q:
    """Match the existing tokens to which policies apply.

    Tokens of servers and of service processes follow no policy, because they end with
    these, and neither do the secrets of the configuration, which an operator wrote
    there. Tokens from a database of JupyterHub are old tokens like others.
    """
    issued = Q(origin=APIToken.Origin.GENERATED) & ~Q(
        created_via__in=(CreatedVia.SERVER, CreatedVia.SERVICE)
    )
    return ~Q(purpose=Purpose.SERVER) & (issued | Q(created_via=CreatedVia.IMPORT))


def named(scopes: Collection[str]) -> str:
    """Return scopes as a short text."""
    some = ", ".join(sorted(scopes)[:MOST_NAMED])
    more = len(scopes) - MOST_NAMED
    return f"{some} and {more} more" if more > 0 else some


def in_words(seconds: int) -> str:
    """Return a number of seconds as people say it."""
    if seconds >= 86_400:
        days = seconds // 86_400
        return "1 day" if days == 1 else f"{days} days"
    now = timezone.now()
    return timeuntil(now + timedelta(seconds=seconds), now, depth=2)


def check_policy_fields(policy: TokenPolicy) -> None:
    """Refuse a policy that could not be followed."""
    policy.networks = networks.check_networks(policy.networks)
    longest, usual = policy.max_expires_in, policy.default_expires_in
    for name, value in (("longest", longest), ("default", usual)):
        if value is not None and value < 1:
            raise Invalid(f"The {name} life has to be at least one second.")
    if longest is not None and usual is not None and usual > longest:
        raise Invalid("The default life is longer than the longest life.")


def _identity(owner: User | Service) -> Identity:
    kind = "user" if isinstance(owner, User) else "service"
    return Identity(kind, owner.name)
