"""People, the groups they are in, and the roles that give both their scopes."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models import Q
from django.utils import timezone

NAME_LENGTH = 255


class Role(models.Model):
    """A named list of raw scopes, held by users, groups and services."""

    name = models.CharField(max_length=NAME_LENGTH, unique=True)
    description = models.CharField(max_length=1023, blank=True)
    scopes = models.JSONField(default=list)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Group(models.Model):
    """A named set of users; its roles are theirs as well."""

    name = models.CharField(max_length=NAME_LENGTH, unique=True)
    properties = models.JSONField(default=dict, blank=True)
    created = models.DateTimeField(default=timezone.now)
    roles = models.ManyToManyField(Role, related_name="groups", blank=True)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(condition=~Q(name=""), name="group_has_a_name"),
        )

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager["User"]):
    """Finds users by name, as Django's authentication asks it to."""

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(name=username)


class User(AbstractBaseUser):
    """A person with an account.

    Names are compared exactly and case-sensitively; whoever accepts one from
    outside normalises it first where the wire says so. `admin` shows on the wire
    and means "holds the role admin"; rights are asked of `access` alone.
    """

    name = models.CharField(max_length=NAME_LENGTH, unique=True)
    email = models.EmailField(blank=True)
    admin = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    user_info = models.JSONField(null=True, blank=True)
    created = models.DateTimeField(default=timezone.now)
    last_activity = models.DateTimeField(null=True, blank=True, db_index=True)
    groups = models.ManyToManyField(Group, related_name="users", blank=True)
    roles = models.ManyToManyField(Role, related_name="users", blank=True)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "name"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(condition=~Q(name=""), name="user_has_a_name"),
        )

    def __str__(self) -> str:
        return self.name
