from django.db import migrations

from database.indexes import trigrams


class Migration(migrations.Migration):
    dependencies = (("oauth", "0006_secrets_are_tokens"),)
    operations = (
        migrations.RemoveConstraint("oauthclient", "client_is_kept_as_argon2id"),
        migrations.RemoveField("oauthclient", "handle"),
        migrations.RemoveField("oauthclient", "digest"),
        trigrams("oauth_oauthclient", "identifier", "server"),
    )
