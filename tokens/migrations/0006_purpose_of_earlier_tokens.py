"""Set what earlier tokens are for, and how they came to be.

So far only their notes and columns hint at that. Tokens of servers that run are set by
the migration of `servers/`, which knows them. Rows are changed in batches, without a
transaction for all, so that other programs may write in between.
"""

from __future__ import annotations

from django.db import migrations

ROWS = 2_000

# A server's token ends with the server and is to be purged at once; nothing else is.
SET = """
UPDATE tokens_apitoken SET
    purpose = CASE
        WHEN client_id <> '' THEN 'client'
        WHEN service_id IS NOT NULL THEN 'service'
        WHEN note LIKE 'Server at /%%' AND revoked_at >= expires_at THEN 'server'
        WHEN origin = 'brought' THEN 'import'
        WHEN note LIKE 'Requested via api%%' THEN 'program'
        ELSE 'person' END,
    created_via = CASE
        WHEN client_id <> '' THEN 'oauth'
        WHEN note LIKE 'Server at /%%' AND revoked_at >= expires_at THEN 'server'
        WHEN origin = 'brought' AND note = 'from config' THEN 'config'
        WHEN service_id IS NOT NULL AND note = 'made for the process of this service'
            THEN 'service'
        WHEN note LIKE 'Requested via api%%' THEN 'api'
        WHEN note = 'Requested via token page' THEN 'page'
        ELSE '' END
WHERE purpose = '' AND id BETWEEN %s AND %s
"""


def fill(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT min(id), max(id) FROM tokens_apitoken")
        first, last = cursor.fetchone()
        if first is None:
            return
        for start in range(first, last + 1, ROWS):
            cursor.execute(SET, [start, start + ROWS - 1])


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("tokens", "0005_purpose"),)
    operations = (migrations.RunPython(fill, migrations.RunPython.noop),)
