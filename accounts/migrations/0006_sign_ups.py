"""Store who wants an account, and waits for an operator."""

from __future__ import annotations

from django.db import migrations, models
from django.utils import timezone


class Migration(migrations.Migration):
    dependencies = (("accounts", "0005_group_search"),)

    operations = (
        migrations.CreateModel(
            name="SignUp",
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
                ("name", models.CharField(db_index=True, max_length=255)),
                ("password", models.CharField(max_length=128)),
                ("email", models.EmailField(blank=True, max_length=254)),
                ("totp", models.TextField(blank=True)),
                ("is_confirmed", models.BooleanField(default=False)),
                ("is_imported", models.BooleanField(default=False)),
                ("created", models.DateTimeField(default=timezone.now)),
                ("created_address", models.CharField(blank=True, max_length=64)),
                ("terms_accepted", models.BooleanField(default=False)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "waiting for a decision"),
                            ("approved", "approved"),
                            ("refused", "refused"),
                        ],
                        default="pending",
                        max_length=8,
                    ),
                ),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(blank=True, max_length=300)),
                ("decision_note", models.CharField(blank=True, max_length=1023)),
            ],
            options={
                "verbose_name": "sign-up",
                "ordering": ("id",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "pending")),
                        fields=["id"],
                        name="sign_up_pending",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("name", ""), _negated=True),
                        name="sign_up_has_a_name",
                    )
                ],
            },
        ),
    )
