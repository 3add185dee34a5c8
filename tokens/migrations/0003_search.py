"""Find tokens by any part of their note or public id, and sort them by their times."""

from __future__ import annotations

from django.db import migrations, models

from database.indexes import times, trigrams


class Migration(migrations.Migration):
    dependencies = (("tokens", "0002_who_ended"),)
    operations = (
        trigrams("tokens_apitoken", "note", "public_id"),
        times("tokens_apitoken", "last_activity", "token_last_used"),
        migrations.AddIndex(
            "apitoken", models.Index(fields=("expires_at", "id"), name="token_expires")
        ),
        migrations.AddIndex(
            "apitoken", models.Index(fields=("created", "id"), name="token_created")
        ),
        # The state of a token is read from this index alone.
        migrations.AddIndex(
            "apitoken",
            models.Index(
                fields=("revoked_at", "disabled_at", "expires_at"), name="token_state"
            ),
        ),
    )
