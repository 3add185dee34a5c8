"""Let the secrets of services' clients be those of their tokens.

A client's lookup key is the public id of the imported token, or of an earlier secret of
it. The process of a service without a token of its own has the latest that was issued
for it. Those of servers are set by a migration of `servers/`, which knows their tokens.
"""

from __future__ import annotations

from django.db import migrations

SET = """
UPDATE oauth_oauthclient SET secret_id = COALESCE(
    (SELECT t.id FROM tokens_apitoken t WHERE t.public_id = oauth_oauthclient.handle),
    (SELECT p.token_id FROM tokens_previoussecret p
        WHERE p.public_id = oauth_oauthclient.handle),
    (SELECT max(t.id) FROM tokens_apitoken t
        WHERE t.service_id = oauth_oauthclient.service_id
        AND t.created_via = 'service' AND t.revoked_at IS NULL))
WHERE secret_id IS NULL AND digest <> '' AND service_id IS NOT NULL
"""


class Migration(migrations.Migration):
    dependencies = (
        ("oauth", "0005_spent_assertions"),
        ("tokens", "0013_rates"),
    )
    operations = (migrations.RunSQL(SET, migrations.RunSQL.noop),)
