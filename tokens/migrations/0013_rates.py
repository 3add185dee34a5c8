"""The requests of tokens with a rate limit."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("tokens", "0012_notices"),)
    operations = (
        migrations.CreateModel(
            name="TokenRate",
            fields=[
                (
                    "token",
                    models.OneToOneField(
                        "tokens.apitoken",
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="rate",
                        serialize=False,
                    ),
                ),
                ("minute", models.BigIntegerField()),
                ("count", models.PositiveBigIntegerField(default=0)),
            ],
            options={"verbose_name": "count of requests"},
        ),
    )
