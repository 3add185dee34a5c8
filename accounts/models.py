"""Users, their groups, and the roles that give both their scopes."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from itertools import chain
from typing import Any, ClassVar

from django.apps import apps
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.functional import cached_property

from accounts.rights import read_access
from scopes.access import Access, Identity, expand

NAME_LENGTH = 255

# Models of any room may declare two things about rights: `scope_filters`, the names
# with which filters of scopes find its rows, and `scope_permissions`, the scopes of
# which any one gives Django's permissions to view, add, change and delete.


class Role(models.Model):
    """A named list of raw scopes, held by users, groups and services."""

    name = models.CharField(max_length=NAME_LENGTH, unique=True)
    description = models.CharField(max_length=1023, blank=True)
    scopes = models.JSONField(default=list)
    # Whether an authenticator defined the role, by an answer or at the start.
    managed_by_auth = models.BooleanField(default=False, db_default=False)
    # Whether a start defined the role. Others are deleted with their last holder.
    is_declared = models.BooleanField(default=True, db_default=True)

    scope_permissions: ClassVar[dict[str, tuple[str, ...]]] = {
        "view": ("read:roles", "read:roles:users", "read:roles:groups"),
    }

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Group(models.Model):
    """A named set of users, who have the group's roles as well."""

    name = models.CharField(max_length=NAME_LENGTH, unique=True)
    properties = models.JSONField(default=dict, blank=True)
    created = models.DateTimeField(default=timezone.now)
    roles = models.ManyToManyField(Role, related_name="groups", blank=True)

    scope_filters: ClassVar[dict[str, str]] = {"group": "name"}
    scope_permissions: ClassVar[dict[str, tuple[str, ...]]] = {
        "view": ("list:groups",),
        "add": ("admin:groups",),
        "change": ("groups",),
        "delete": ("delete:groups",),
    }

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(condition=~Q(name=""), name="group_has_a_name"),
        )

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager["User"]):
    """Finds users by name for Django's authentication."""

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(name=username)


class User(AbstractBaseUser):
    """A person with an account.

    Names are compared exactly and case-sensitively; callers normalise names from
    outside first where the API does so. `admin` is shown in the API and means "has the
    role admin"; rights are decided by `access` alone.
    """

    name = models.CharField(max_length=NAME_LENGTH, unique=True)
    email = models.EmailField(blank=True)
    admin = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    user_info = models.JSONField(null=True, blank=True)
    created = models.DateTimeField(default=timezone.now)
    last_activity = models.DateTimeField(null=True, blank=True, db_index=True)
    # When the authenticator last confirmed or changed its data about the user.
    auth_refreshed_at = models.DateTimeField(null=True, blank=True, editable=False)
    groups = models.ManyToManyField(Group, related_name="users", blank=True)
    roles = models.ManyToManyField(
        Role, related_name="users", blank=True, through="UserRole"
    )

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "name"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    scope_filters: ClassVar[dict[str, str]] = {
        "user": "name",
        "group": "groups__name",
    }
    scope_permissions: ClassVar[dict[str, tuple[str, ...]]] = {
        "view": ("list:users",),
        "add": ("admin:users",),
        "change": ("admin:users",),
        "delete": ("delete:users",),
    }

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(condition=~Q(name=""), name="user_has_a_name"),
        )
        indexes = (
            # Finds the few inactive users without reading all.
            models.Index(
                fields=("name",), condition=Q(is_active=False), name="user_deactivated"
            ),
            # The smallest possible index: SQLite counts users with it for every page of
            # the list, and all other indexes are larger than SQLite's cache.
            models.Index(fields=("admin",), name="user_admin"),
        )

    def __str__(self) -> str:
        return self.name

    @cached_property
    def access(self) -> Access:
        """The user's rights, read in one query at the first use.

        An instance is used for one request, and so is this value.
        """
        return read_access("user", self.pk, self.name)

    def scopes_beyond_role_user(self) -> frozenset[str]:
        """Return the expanded scopes of roles that the role `user` does not include.

        A caller who can act as this user, with a token for instance, has these scopes.
        """
        mine: dict[str, list[str]] = {"user": []}
        for roles in (self.roles, Role.objects.filter(groups__users=self)):
            mine.update(roles.values_list("name", "scopes"))
        identity = Identity("user", self.name)
        usual = expand(mine.pop("user"), identity)
        return expand(chain.from_iterable(mine.values()), identity) - usual

    @classmethod
    def from_db(cls, *args: Any, **options: Any) -> User:
        user: User = super().from_db(*args, **options)
        user._note_stored()
        return user

    def refresh_from_db(
        self,
        using: str | None = None,
        fields: Iterable[str] | None = None,
        from_queryset: models.QuerySet[Any] | None = None,
    ) -> None:
        super().refresh_from_db(using, fields, from_queryset)
        self._note_stored()
        self.__dict__.pop("access", None)

    def save(self, *args: Any, **options: Any) -> None:
        """Write only those fields of a stored row that were changed since it was read.

        Libraries and commands read a user, wait for a person or another site, and save
        all fields. A right that was withdrawn meanwhile would come back.
        """
        stored = self.__dict__.get("_stored")
        whole = not args and options.get("update_fields") is None
        if whole and stored is not None and not options.get("force_insert"):
            present = self._present()
            options["update_fields"] = [
                name for name, value in present.items() if stored.get(name) != value
            ]
        super().save(*args, **options)
        self._note_stored()

    def _note_stored(self) -> None:
        self._stored = self._present()

    def _present(self) -> dict[str, Any]:
        """Return the fields that were read, without the identity of the row."""
        known = self.__dict__
        return {
            field.attname: _copied(known[field.attname])
            for field in self._meta.concrete_fields
            if field.attname in known and not field.primary_key
        }

    @property
    def is_staff(self) -> bool:
        """Whether this user may open Django's admin."""
        return self.access.has("admin-ui")

    def has_perm(self, perm: str, obj: object | None = None) -> bool:
        """Return Django's permission from scopes, for any row or for `obj`.

        A model without scopes for the permission is closed to everybody.
        """
        if not self.is_active:
            return False
        scopes = _scopes_for(perm)
        if obj is None:
            return self.access.has(*scopes)
        return self.access.allows(*scopes, obj=obj)

    def has_perms(self, perm_list: Iterable[str], obj: object | None = None) -> bool:
        return all(self.has_perm(perm, obj) for perm in perm_list)

    def has_module_perms(self, app_label: str) -> bool:
        """Return whether the user may view some row of a model in this app."""
        return any(
            self.has_perm(f"{app_label}.view_{model._meta.model_name}")
            for model in apps.get_app_config(app_label).get_models()
        )


class SignUp(models.Model):
    """A person who wants an account, under a name that nobody has to be told about.

    Several people may ask for one name, until an operator lets one of them in. The
    digest of the password becomes that of the account, and `totp` its second factor,
    which `accounts.second_factor` encrypts. `is_confirmed` says that a link in a mail
    to the address was followed.
    """

    class State(models.TextChoices):
        PENDING = "pending", "waiting for a decision"
        APPROVED = "approved", "approved"
        REFUSED = "refused", "refused"

    name = models.CharField(max_length=NAME_LENGTH, db_index=True)
    password = models.CharField(max_length=128)
    email = models.EmailField(blank=True)
    totp = models.TextField(blank=True)
    is_confirmed = models.BooleanField(default=False)
    is_imported = models.BooleanField(default=False)
    created = models.DateTimeField(default=timezone.now)
    created_address = models.CharField(max_length=64, blank=True)
    terms_accepted = models.BooleanField(default=False)
    state = models.CharField(max_length=8, choices=State, default=State.PENDING)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=300, blank=True)
    decision_note = models.CharField(max_length=1023, blank=True)

    scope_permissions: ClassVar[dict[str, tuple[str, ...]]] = {
        "view": ("admin:users",),
        "change": ("admin:users",),
    }

    class Meta:
        verbose_name = "sign-up"
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(condition=~Q(name=""), name="sign_up_has_a_name"),
        )
        indexes = (
            models.Index(
                fields=("id",),
                condition=Q(state="pending"),
                name="sign_up_pending",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.pk})"


class UserRole(models.Model):
    """A role of a user."""

    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    role = models.ForeignKey(Role, models.CASCADE, related_name="+")
    # Whether the user has the role by an answer of the authenticator.
    managed_by_auth = models.BooleanField(default=False, db_default=False)

    class Meta:
        db_table = "accounts_user_roles"
        unique_together = (("user", "role"),)

    def __str__(self) -> str:
        return f"{self.user_id}: {self.role_id}"


class AuthState(models.Model):
    """What an authenticator keeps about a user, encrypted as JupyterHub does.

    The value has a table of its own, because it may be long and few requests need it.
    """

    user = models.OneToOneField(
        User, models.CASCADE, primary_key=True, related_name="auth_state"
    )
    encrypted = models.BinaryField()

    def __str__(self) -> str:
        return str(self.user_id)


def _copied(value: Any) -> Any:
    # Values of other fields can't be changed in place.
    return deepcopy(value) if isinstance(value, dict | list) else value


def _scopes_for(perm: str) -> tuple[str, ...]:
    """Return the scopes for a permission such as `accounts.view_user`."""
    app_label, _, codename = perm.partition(".")
    action, _, model_name = codename.partition("_")
    try:
        model = apps.get_model(app_label, model_name)
    except (LookupError, ValueError):
        return ()
    declared: dict[str, tuple[str, ...]] = getattr(model, "scope_permissions", {})
    return declared.get(action, ())
