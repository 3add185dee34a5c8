"""Mark what authenticators manage, and keep their encrypted state of users."""

from __future__ import annotations

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("accounts", "0006_sign_ups"),)

    operations = (
        migrations.CreateModel(
            name="AuthState",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="auth_state",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("encrypted", models.BinaryField()),
            ],
        ),
        migrations.AddField(
            model_name="role",
            name="is_declared",
            field=models.BooleanField(db_default=True, default=True),
        ),
        migrations.AddField(
            model_name="role",
            name="managed_by_auth",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="user",
            name="auth_refreshed_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        # The table exists; Django made it for the field `roles`.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="UserRole",
                    fields=[
                        (
                            "id",
                            models.BigAutoField(
                                auto_created=True,
                                primary_key=True,
                                serialize=False,
                                verbose_name="ID",
                            ),
                        ),
                        (
                            "role",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="+",
                                to="accounts.role",
                            ),
                        ),
                        (
                            "user",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="+",
                                to=settings.AUTH_USER_MODEL,
                            ),
                        ),
                    ],
                    options={
                        "db_table": "accounts_user_roles",
                        "unique_together": {("user", "role")},
                    },
                ),
                migrations.AlterField(
                    model_name="user",
                    name="roles",
                    field=models.ManyToManyField(
                        blank=True,
                        related_name="users",
                        through="accounts.UserRole",
                        to="accounts.role",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="userrole",
            name="managed_by_auth",
            field=models.BooleanField(db_default=False, default=False),
        ),
    )
