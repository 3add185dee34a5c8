"""Find OAuth clients by any part of their id or of the server they stand for."""

from __future__ import annotations

from django.db import migrations

from database.indexes import trigrams


class Migration(migrations.Migration):
    dependencies = (("oauth", "0001_initial"),)
    operations = (trigrams("oauth_oauthclient", "identifier", "server"),)
