"""Columns that a migration adds while programs of the older version still run.

Such a column is null or has a default in the database, because older programs insert
rows without it.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


class AddColumn(migrations.AddField):
    """Adds a column without copying the table.

    Django copies a table of SQLite for a column that is not null, with all rows, and
    loses the triggers and the indexes that migrations made by SQL. SQLite itself can
    add such a column if the database has a default for it.
    """

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        if not self.allow_migrate_model(
            schema_editor.connection.alias,
            to_state.apps.get_model(app_label, self.model_name),
        ):
            return
        model = from_state.apps.get_model(app_label, self.model_name)
        field = to_state.apps.get_model(app_label, self.model_name)._meta.get_field(
            self.name
        )
        BaseDatabaseSchemaEditor.add_field(schema_editor, model, field)
