"""Find acts by any part of the names of who acted and what it was done to."""

from __future__ import annotations

from django.db import migrations

from database.indexes import trigrams


class Migration(migrations.Migration):
    dependencies = (("audit", "0002_append_only"),)
    operations = (trigrams("audit_event", "actor_name", "target_name"),)
