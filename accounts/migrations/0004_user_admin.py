"""Count users in an index that fits into memory."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("accounts", "0003_user_deactivated"),)

    operations = (
        migrations.AddIndex(
            model_name="user",
            index=models.Index(fields=["admin"], name="user_admin"),
        ),
    )
