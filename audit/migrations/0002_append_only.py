"""Let the database itself refuse to change or delete what was recorded.

SQLite drops a table's triggers when a later migration rebuilds that table: such a
migration ends with the operation of this one.
"""

from __future__ import annotations

from django.db import migrations

SQLITE = {
    "audit_event_is_not_changed": """
        CREATE TRIGGER audit_event_is_not_changed BEFORE UPDATE ON audit_event
        BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END
    """,
    "audit_event_is_not_deleted": """
        CREATE TRIGGER audit_event_is_not_deleted BEFORE DELETE ON audit_event
        WHEN NOT EXISTS (SELECT 1 FROM audit_purge WHERE OLD.at < before)
        BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END
    """,
    "audit_purge_is_not_changed": """
        CREATE TRIGGER audit_purge_is_not_changed BEFORE UPDATE ON audit_purge
        BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END
    """,
    "audit_purge_is_not_deleted": """
        CREATE TRIGGER audit_purge_is_not_deleted BEFORE DELETE ON audit_purge
        BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END
    """,
}

POSTGRESQL = """
    CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'audit_event' THEN
            IF EXISTS (SELECT 1 FROM audit_purge WHERE OLD.at < before) THEN
                RETURN OLD;
            END IF;
        END IF;
        RAISE EXCEPTION 'the record is append-only';
    END $$;
    CREATE TRIGGER audit_event_stays BEFORE UPDATE OR DELETE ON audit_event
        FOR EACH ROW EXECUTE FUNCTION audit_refuse();
    CREATE TRIGGER audit_event_is_not_emptied BEFORE TRUNCATE ON audit_event
        FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
    CREATE TRIGGER audit_purge_stays BEFORE UPDATE OR DELETE ON audit_purge
        FOR EACH ROW EXECUTE FUNCTION audit_refuse();
    CREATE TRIGGER audit_purge_is_not_emptied BEFORE TRUNCATE ON audit_purge
        FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
"""

POSTGRESQL_BACK = """
    DROP TRIGGER audit_event_stays ON audit_event;
    DROP TRIGGER audit_event_is_not_emptied ON audit_event;
    DROP TRIGGER audit_purge_stays ON audit_purge;
    DROP TRIGGER audit_purge_is_not_emptied ON audit_purge;
    DROP FUNCTION audit_refuse();
"""


def guard(apps, schema_editor):
    """Set the triggers."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL, params=None)
    else:
        for statement in SQLITE.values():
            schema_editor.execute(statement, params=None)


def unguard(apps, schema_editor):
    """Remove the triggers."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL_BACK, params=None)
    else:
        for name in SQLITE:
            schema_editor.execute(f"DROP TRIGGER {name}", params=None)


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]
    operations = [migrations.RunPython(guard, unguard)]
