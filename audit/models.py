"""The audit log: events with actor, action, target, time and client address.

Rows are only added; triggers in the database enforce that for every program. A row
contains the names of its actor and target instead of foreign keys, so that the row
outlives both. Seals chain the events by hashes, and signed checkpoints vouch for the
seals; see `audit.chain`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.db import models
from django.utils import timezone

# The recorded actions, `noun.verb`, and the words for each after the actor's name.
ACTIONS: Final = {
    "user.create": "created",
    "user.rename": "renamed",
    "user.promote": "promoted",
    "user.demote": "demoted",
    "user.block": "blocked",
    "user.deactivate": "deactivated",
    "user.activate": "activated",
    "user.invite": "created a password link for",
    "user.delete": "deleted",
    "user.set_email": "changed the e-mail address of",
    "user.set_auth_state": "changed the auth state of",
    "user.set_info": "changed the profile of",
    "group.create": "created",
    "group.add_members": "added members to",
    "group.remove_members": "removed members from",
    "group.set_properties": "changed the properties of",
    "group.delete": "deleted",
    "role.define": "defined",
    "role.assign": "assigned",
    "role.withdraw": "withdrew",
    "role.delete": "deleted",
    "service.create": "created",
    "service.delete": "deleted",
    "token.issue": "issued",
    "token.revoke": "revoked",
    "token.disable": "disabled",
    "token.enable": "enabled",
    "token.rename": "changed the note of",
    "token.narrow": "narrowed",
    "token.widen": "widened",
    "token.extend": "changed the expiry of",
    "token.limit": "changed the limits of",
    "token.rotate": "rotated",
    "token.freeze": "froze",
    "token.unfreeze": "unfroze",
    "token.end_secret": "ended an earlier secret of",
    "token.trip": "used an earlier secret of",
    "token.expire": "removed expired",
    "token.use": "used",
    "token.use_lost": "could not record all uses of",
    "token.leak": "reported the leak of",
    "token.shorten": "shortened the life of",
    "request.ask": "asked for the approval of the token",
    "request.withdraw": "withdrew the token",
    "request.approve": "approved the token",
    "request.refuse": "refused the token",
    "policy.define": "defined the token",
    "policy.delete": "deleted the token",
    "server.create": "created",
    "server.edit": "edited",
    "server.delete": "deleted",
    "server.start": "started",
    "server.stop": "stopped",
    "server.open": "opened",
    "client.end": "ended",
    "client.renew": "gave a new secret to",
    "device.approve": "approved a device for",
    "device.deny": "denied a device for",
    "proxy.announce": "registered",
    "share.grant": "shared",
    "share.revoke": "stopped sharing",
    "sharecode.issue": "created a share link to",
    "sharecode.revoke": "revoked a share link to",
    "sharecode.accept": "accepted a share link to",
    "session.login": "signed in",
    "session.logout": "signed out",
    "session.refuse": "failed to sign in",
    "import.begin": "began to import",
    "import.finish": "imported",
    "export.finish": "exported",
    "audit.purge": "deleted old events from the",
    "audit.begin": "began a new hash chain of the",
}


@dataclass(frozen=True, slots=True)
class Actor:
    """The principal that performs an action, and the credential.

    `kind` is `user`, `service`, `system` (start-up, command line) or `anonymous`.
    """

    kind: str
    name: str
    token_id: int | None = None
    address: str = ""

    @property
    def label(self) -> str:
        """The actor's name for people: a user by name, the hub without its parts."""
        if self.kind == "system":
            return "the hub"
        return f"service {self.name}" if self.kind == "service" else self.name

    @classmethod
    def system(cls, name: str) -> Actor:
        """The hub itself, in one of its parts (`config`, `command line`)."""
        return cls("system", name)

    @classmethod
    def of_request(cls, request: Any, user: Any = None) -> Actor:
        """Who asks: `user`, or the owner of the token, or the person signed in."""
        # Set by Django REST framework; pages have sessions only.
        token = getattr(request, "auth", None)
        if token is not None and user is None:
            actor: Actor = token.actor(request.META.get("REMOTE_ADDR", ""))
            return actor
        user = request.user if user is None else user
        if not user.is_authenticated:
            return cls.anonymous(request)
        address = request.META.get("REMOTE_ADDR", "")
        return cls("user", user.get_username(), None, address)

    @classmethod
    def anonymous(cls, request: Any) -> Actor:
        """A person who has not signed in."""
        return cls("anonymous", "", None, request.META.get("REMOTE_ADDR", ""))


class Event(models.Model):
    """One action, written once and never changed."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    actor_kind = models.CharField(max_length=16)
    actor_name = models.CharField(max_length=255, db_index=True)
    token_id = models.BigIntegerField(null=True, blank=True)
    address = models.CharField(max_length=64, blank=True)
    action = models.CharField(max_length=64, db_index=True)
    target_kind = models.CharField(max_length=16)
    target_name = models.CharField(max_length=511, db_index=True)
    detail = models.JSONField(default=dict)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.actor_name} {self.action} {self.target}"

    @property
    def actor(self) -> str:
        """The actor for people: a user's name, or the name with the kind."""
        # Rows of earlier versions can't be changed and contain the older word.
        kind = {"stranger": "anonymous"}.get(self.actor_kind, self.actor_kind)
        if kind == "user" or not self.actor_name:
            return self.actor_name or kind
        return f"{self.actor_name} ({kind})"

    @property
    def words(self) -> str:
        """The action for people, as the verb of a sentence."""
        return ACTIONS.get(self.action, self.action)

    @property
    def sentence(self) -> str:
        """The event in words, such as "ada signed in"."""
        of_oneself = self.action in ("session.login", "session.logout") and (
            self.target_name == self.actor_name
        )
        if of_oneself:
            return f"{self.actor} {self.words}"
        target = "audit log" if self.target_kind == "audit" else self.target
        if self.action == "session.refuse":
            return " as ".join(
                filter(None, (f"{self.actor} {self.words}", self.target_name))
            )
        return f"{self.actor} {self.words} {target}"

    @property
    def target(self) -> str:
        """The targets for people; of many, the number and the first names."""
        names = self.detail.get("names")
        if self.target_name or not names:
            return f"{self.target_kind} {self.target_name}".strip()
        shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
        parts = self.detail.get("parts")
        of = f" (part {self.detail.get('part')} of {parts})" if parts else ""
        return f"{len(names)} {self.target_kind}s{of}: {shown}"


class Purge(models.Model):
    """The announcement that events older than `before` may be deleted.

    Retention is the only reason to delete events. The database refuses to delete an
    event without such a row, and the row itself stays.
    """

    before = models.DateTimeField()
    at = models.DateTimeField(default=timezone.now)
    actor_name = models.CharField(max_length=255)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"events before {self.before:%Y-%m-%d %H:%M}"


class Seal(models.Model):
    """The place of one event in the hash chain.

    A seal outlives its event until all earlier events are purged too, so that the chain
    has no gap; so its event may be gone, and there is no constraint.
    """

    sequence = models.BigIntegerField(primary_key=True)
    event = models.OneToOneField(
        Event, models.DO_NOTHING, db_constraint=False, related_name="seal"
    )
    # The time of the event, which says whether a purge may have deleted the event.
    at = models.DateTimeField()
    content = models.BinaryField(max_length=32)
    digest = models.BinaryField(max_length=32)

    class Meta:
        ordering = ("sequence",)

    def __str__(self) -> str:
        return f"{self.sequence}"


class CheckpointQuerySet(models.QuerySet["Checkpoint"]):
    def starts(self) -> CheckpointQuerySet:
        """Checkpoints at which a chain begins; the latest counts."""
        return self.exclude(kind=Checkpoint.Kind.SEAL).order_by("-pk")

    def ends(self) -> CheckpointQuerySet:
        """Checkpoints up to which events are sealed, the latest first."""
        return self.exclude(kind=Checkpoint.Kind.PURGE).order_by("-sequence", "-pk")


class Checkpoint(models.Model):
    """A signed statement: the hash of the chain up to `sequence` is `digest`."""

    class Kind(models.TextChoices):
        # A chain begins here; `detail` has the events that were there before.
        FIRST = "first"
        # A batch of events was sealed.
        SEAL = "seal"
        # Events before the time in `detail` may be gone, and seals up to here are.
        PURGE = "purge"

    kind = models.CharField(max_length=8, choices=Kind.choices)
    sequence = models.BigIntegerField(db_index=True)
    digest = models.BinaryField(max_length=32)
    at = models.DateTimeField()
    detail = models.JSONField(default=dict)
    public_key = models.CharField(max_length=64)
    signature = models.CharField(max_length=128)

    objects = CheckpointQuerySet.as_manager()

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.kind} {self.sequence}"
