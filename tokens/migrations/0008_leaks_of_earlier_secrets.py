"""Several leaks of one token: of its current and of its earlier secrets."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("tokens", "0007_exchanges"),)
    operations = (
        migrations.AddField(
            "leak", "is_earlier", models.BooleanField(db_default=False, default=False)
        ),
        migrations.AddField(
            "leak",
            "public_id",
            models.CharField(blank=True, db_default="", default="", max_length=32),
        ),
        migrations.AlterField(
            "leak",
            "token",
            models.ForeignKey(
                "tokens.apitoken",
                on_delete=django.db.models.deletion.CASCADE,
                related_name="leaks",
            ),
        ),
        migrations.AddConstraint(
            "leak",
            models.UniqueConstraint(
                fields=("token", "public_id"), name="leak_of_a_secret_is_one"
            ),
        ),
    )
