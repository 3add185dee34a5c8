"""Let the secrets of servers' OAuth clients be those of the servers' tokens."""

from __future__ import annotations

from django.db import migrations

SET = """
UPDATE oauth_oauthclient SET secret_id = known.token_id
FROM (
    SELECT u.name || '/' || s.name AS server, s.token_id
    FROM servers_server s JOIN accounts_user u ON u.id = s.user_id
    WHERE s.token_id IS NOT NULL
) AS known
WHERE known.server = oauth_oauthclient.server
AND oauth_oauthclient.secret_id IS NULL AND oauth_oauthclient.digest <> ''
"""


class Migration(migrations.Migration):
    dependencies = (
        ("servers", "0005_purpose_of_tokens"),
        ("oauth", "0006_secrets_are_tokens"),
    )
    run_before = (("oauth", "0007_one_digest"),)
    operations = (migrations.RunSQL(SET, migrations.RunSQL.noop),)
