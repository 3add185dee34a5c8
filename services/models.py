"""Services: programs with an account of their own."""

# Unset options are null, as in the API, and not empty.
# ruff: noqa: DJ001

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.functional import cached_property

from accounts.models import NAME_LENGTH, Role
from accounts.rights import read_access
from scopes.access import Access


class Service(models.Model):
    """A program that uses the API, or that people sign in to.

    Unset options are null, as the API shows them for token owners. `from_config` marks
    services of the configuration, which can't be changed while the hub runs.
    """

    name = models.CharField(max_length=NAME_LENGTH, unique=True)
    admin = models.BooleanField(default=False)
    url = models.CharField(max_length=2047, null=True, blank=True)
    command = models.JSONField(null=True, blank=True)
    cwd = models.CharField(max_length=4095, null=True, blank=True)
    environment = models.JSONField(null=True, blank=True)
    user = models.CharField(max_length=NAME_LENGTH, null=True, blank=True)
    info = models.JSONField(null=True, blank=True)
    display = models.BooleanField(null=True, blank=True)
    timeout = models.PositiveIntegerField(default=30)
    pid = models.PositiveIntegerField(default=0)
    from_config = models.BooleanField(default=False)
    oauth_client_id = models.CharField(max_length=NAME_LENGTH, null=True, blank=True)
    oauth_redirect_uri = models.CharField(max_length=1023, null=True, blank=True)
    oauth_no_confirm = models.BooleanField(default=False)
    oauth_client_allowed_scopes = models.JSONField(null=True, blank=True)
    created = models.DateTimeField(default=timezone.now)
    roles = models.ManyToManyField(Role, related_name="services", blank=True)

    scope_filters: ClassVar[dict[str, str]] = {"service": "name"}
    scope_permissions: ClassVar[dict[str, tuple[str, ...]]] = {
        "view": ("list:services",),
        "add": ("admin:services",),
        "change": ("admin:services",),
        "delete": ("admin:services",),
    }

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(condition=~Q(name=""), name="service_has_a_name"),
        )

    def __str__(self) -> str:
        return self.name

    @cached_property
    def access(self) -> Access:
        """The service's rights, read in one query at the first use."""
        return read_access("service", self.pk, self.name)
