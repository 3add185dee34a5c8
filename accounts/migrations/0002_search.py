"""Find names by any part of them without reading them all.

SQLite keeps the three-letter parts of names in a full-text table that triggers
follow up. It drops a table's triggers when a later migration rebuilds that table:
such a migration ends with the operation of this one.

PostgreSQL has an index for it in an extension that the owner of the database may
create. Where that fails, names are searched one by one.
"""

from __future__ import annotations

from django.db import DatabaseError, migrations, transaction

SQLITE = (
    """
    CREATE VIRTUAL TABLE accounts_user_parts USING fts5(
        name, content='accounts_user', content_rowid='id', tokenize='trigram'
    )
    """,
    """
    CREATE TRIGGER accounts_user_parts_insert AFTER INSERT ON accounts_user BEGIN
        INSERT INTO accounts_user_parts(rowid, name) VALUES (NEW.id, NEW.name);
    END
    """,
    """
    CREATE TRIGGER accounts_user_parts_delete AFTER DELETE ON accounts_user BEGIN
        INSERT INTO accounts_user_parts(accounts_user_parts, rowid, name)
        VALUES ('delete', OLD.id, OLD.name);
    END
    """,
    """
    CREATE TRIGGER accounts_user_parts_rename AFTER UPDATE OF name ON accounts_user
    BEGIN
        INSERT INTO accounts_user_parts(accounts_user_parts, rowid, name)
        VALUES ('delete', OLD.id, OLD.name);
        INSERT INTO accounts_user_parts(rowid, name) VALUES (NEW.id, NEW.name);
    END
    """,
    "INSERT INTO accounts_user_parts(accounts_user_parts) VALUES ('rebuild')",
)

SQLITE_BACK = (
    "DROP TRIGGER IF EXISTS accounts_user_parts_insert",
    "DROP TRIGGER IF EXISTS accounts_user_parts_delete",
    "DROP TRIGGER IF EXISTS accounts_user_parts_rename",
    "DROP TABLE accounts_user_parts",
)

EXTENSION = "CREATE EXTENSION IF NOT EXISTS pg_trgm"
TRIGRAMS = (
    "CREATE INDEX accounts_user_parts ON accounts_user "
    "USING gin (upper(name) gin_trgm_ops)"
)

# On the wire whoever was never seen comes first; PostgreSQL's own order puts them last.
SEEN = "CREATE INDEX accounts_user_seen ON accounts_user (last_activity NULLS FIRST, id)"


def build(apps, schema_editor):
    """Create what names are searched by."""
    if schema_editor.connection.vendor == "sqlite":
        for statement in SQLITE:
            schema_editor.execute(statement, params=None)
        return
    schema_editor.execute(SEEN, params=None)
    try:
        with transaction.atomic(using=schema_editor.connection.alias):
            schema_editor.execute(EXTENSION, params=None)
            schema_editor.execute(TRIGRAMS, params=None)
    except DatabaseError:
        pass


def drop(apps, schema_editor):
    """Remove it again; the extension may serve others and stays."""
    if schema_editor.connection.vendor == "sqlite":
        for statement in SQLITE_BACK:
            schema_editor.execute(statement, params=None)
        return
    schema_editor.execute("DROP INDEX IF EXISTS accounts_user_parts", params=None)
    schema_editor.execute("DROP INDEX accounts_user_seen", params=None)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [
        migrations.RunPython(build, drop),
        # The members of a group are read from this index alone; Django's own, which
        # has no user in it, leads to each row of the table.
        migrations.RunSQL(
            "CREATE INDEX accounts_user_groups_members "
            "ON accounts_user_groups (group_id, user_id)",
            "DROP INDEX accounts_user_groups_members",
        ),
    ]
