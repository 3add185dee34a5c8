"""Policies for tokens, requests that an administrator decides, and owners' wishes."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Group, Role, User
from tokens.models.token import APIToken, CreatedVia


class TokenPolicy(models.Model):
    """Rules for the tokens of a role's holders, of a group's members, or of everybody.

    A null column is no rule. If several policies apply to a user, the strictest value
    of each rule does. New tokens follow a policy at once; tokens that exist follow it
    from `effective_from` on, and never if that is null. Lifetimes are in seconds.
    """

    scope_permissions: ClassVar[dict[str, tuple[str, ...]]] = {
        "view": ("admin:users",),
        "add": ("admin:users",),
        "change": ("admin:users",),
        "delete": ("admin:users",),
    }

    role = models.OneToOneField(
        Role, models.CASCADE, null=True, blank=True, related_name="token_policy"
    )
    group = models.OneToOneField(
        Group, models.CASCADE, null=True, blank=True, related_name="token_policy"
    )
    max_expires_in = models.PositiveBigIntegerField(null=True, blank=True)
    default_expires_in = models.PositiveBigIntegerField(null=True, blank=True)
    note_required = models.BooleanField(default=False)
    scope_ceiling = models.JSONField(null=True, blank=True)
    networks = models.JSONField(null=True, blank=True)
    approval_scopes = models.JSONField(null=True, blank=True)
    max_tokens = models.PositiveIntegerField(null=True, blank=True)
    max_unused_days = models.PositiveIntegerField(null=True, blank=True)
    effective_from = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now)
    changed_by = models.CharField(max_length=300, blank=True)

    class Meta:
        verbose_name = "token policy"
        verbose_name_plural = "token policies"
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(role=None) | Q(group=None),
                name="token_policy_has_one_subject",
            ),
            # One row without role and group, for everybody.
            models.UniqueConstraint(
                models.Value(1),
                condition=Q(role=None, group=None),
                name="token_policy_of_everybody",
            ),
        )

    def __str__(self) -> str:
        if self.role is not None:
            return f"role {self.role.name}"
        if self.group is not None:
            return f"group {self.group.name}"
        return "everybody"


class TokenRequest(models.Model):
    """A token, or a change of one, that needs an approval by a policy.

    With a `token`, the request changes that token: `scopes` widens it, `expires_in`
    extends it. Without one, it asks for a new token, which the requester collects after
    the approval, because its secret is shown once. An empty list of scopes is a token
    that only identifies its owner; without a list, the scopes stay as they are.
    """

    class State(models.TextChoices):
        PENDING = "pending", "waiting for a decision"
        APPROVED = "approved", "approved"
        REFUSED = "refused", "refused"
        COLLECTED = "done", "carried out"
        WITHDRAWN = "gone", "withdrawn"

    scope_filters: ClassVar[dict[str, str]] = {
        "user": "user__name",
        "group": "user__groups__name",
    }
    scope_permissions: ClassVar[dict[str, tuple[str, ...]]] = {
        "view": ("read:tokens",),
        "change": ("admin:users",),
    }

    user = models.ForeignKey(User, models.CASCADE, related_name="token_requests")
    token = models.ForeignKey(
        APIToken, models.CASCADE, null=True, blank=True, related_name="requests"
    )
    note = models.CharField(max_length=1023, blank=True)
    reason = models.CharField(max_length=1023, blank=True)
    scopes = models.JSONField(null=True, blank=True)
    # The scopes of `token` when this was asked for.
    scopes_before = models.JSONField(null=True, blank=True)
    expires_in = models.PositiveBigIntegerField(null=True, blank=True)
    networks = models.JSONField(null=True, blank=True)
    rate_limit = models.PositiveIntegerField(null=True, blank=True)
    created = models.DateTimeField(default=timezone.now)
    created_via = models.CharField(max_length=8, choices=CreatedVia, blank=True)
    created_by = models.CharField(max_length=300, blank=True)
    created_address = models.CharField(max_length=64, blank=True)
    state = models.CharField(max_length=8, choices=State, default=State.PENDING)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=300, blank=True)
    decision_note = models.CharField(max_length=1023, blank=True)

    class Meta:
        verbose_name = "token request"
        ordering = ("id",)
        indexes = (
            models.Index(
                fields=("id",),
                condition=Q(state="pending"),
                name="token_request_pending",
            ),
        )

    def __str__(self) -> str:
        return f"r{self.pk}"

    @property
    def scopes_named(self) -> str:
        """The scopes in one line, for the people who ask and decide."""
        if self.scopes is None:
            return "not changed"
        return ", ".join(self.scopes) or "none, the token only identifies its owner"


class TokenPreferences(models.Model):
    """The mails that the owner of tokens has chosen; alarms are always sent.

    `reminder_days` lists the days before an expiry at which a reminder is sent; null
    means the hub's default.
    """

    user = models.OneToOneField(
        User, models.CASCADE, primary_key=True, related_name="token_preferences"
    )
    reminder_days = models.JSONField(null=True, blank=True)
    mail_created = models.BooleanField(default=True)
    mail_expiring = models.BooleanField(default=True)
    mail_new_network = models.BooleanField(default=True)
    mail_disabled = models.BooleanField(default=True)

    class Meta:
        verbose_name_plural = "token preferences"

    def __str__(self) -> str:
        return f"preferences of {self.user_id}"
