"""Find servers by any part of their names; list those first that run."""

from __future__ import annotations

from django.db import migrations, models

from database.indexes import times, trigrams


class Migration(migrations.Migration):
    dependencies = (("servers", "0003_failure_detail"),)
    operations = (
        trigrams("servers_server", "name", "display_name"),
        times("servers_server", "last_activity", "server_last_activity"),
        times("servers_server", "started", "server_started"),
        migrations.AddIndex(
            "server",
            models.Index(fields=("ready", "pending", "id"), name="server_condition"),
        ),
    )
