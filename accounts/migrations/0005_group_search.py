"""Find groups by any part of their names."""

from __future__ import annotations

from django.db import migrations

from database.indexes import trigrams


class Migration(migrations.Migration):
    dependencies = (("accounts", "0004_user_admin"),)
    operations = (trigrams("accounts_group", "name"),)
