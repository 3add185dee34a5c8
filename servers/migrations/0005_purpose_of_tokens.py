"""Set the purpose of the tokens of servers that run."""

from __future__ import annotations

from django.db import migrations

SET = """
UPDATE tokens_apitoken SET purpose = 'server', created_via = 'server'
WHERE id IN (SELECT token_id FROM servers_server WHERE token_id IS NOT NULL)
"""


class Migration(migrations.Migration):
    dependencies = (
        ("servers", "0004_search"),
        ("tokens", "0006_purpose_of_earlier_tokens"),
    )
    operations = (migrations.RunSQL(SET, migrations.RunSQL.noop),)
