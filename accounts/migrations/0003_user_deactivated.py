"""Find the users who are kept out without reading all."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("accounts", "0002_search"),)

    operations = (
        migrations.AddIndex(
            model_name="user",
            index=models.Index(
                condition=models.Q(("is_active", False)),
                fields=["name"],
                name="user_deactivated",
            ),
        ),
    )
