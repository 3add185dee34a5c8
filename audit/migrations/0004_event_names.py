"""Call the rows of the audit log events."""

from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = (("audit", "0003_search"),)
    operations = (
        migrations.AlterModelOptions(name="event", options={"ordering": ("-id",)}),
    )
