"""JSON text made by the database.

Long lists are joined from text that the database returns complete. Making Python
objects of the rows first would cost several times the rest of a request, dates most of
all. Each function converts an SQL expression to one that returns JSON; NULL becomes
`null`.

Text may hold characters beyond ASCII; `JSONRenderer` escapes them.
"""

# Statements are made of constants and never contain values.
# ruff: noqa: S608

from __future__ import annotations

from database.statements import vendor_in_use


class Common:
    """The SQL that is the same in all databases."""

    @staticmethod
    def boolean(expression: str) -> str:
        return (
            f"CASE WHEN {expression} THEN 'true' WHEN NOT {expression} THEN 'false' "
            "ELSE 'null' END"
        )


class SQLite(Common):
    """Times are stored as text, booleans as 0 and 1, JSON as text."""

    @staticmethod
    def string(expression: str) -> str:
        return f"json_quote({expression})"

    @staticmethod
    def moment(expression: str) -> str:
        return f"""coalesce('"' || replace({expression}, ' ', 'T') || 'Z"', 'null')"""

    @staticmethod
    def value(expression: str, default: str = "null") -> str:
        return f"coalesce({expression}, '{default}')"

    @staticmethod
    def strings(expression: str, rows: str) -> str:
        """Return a list of one text column of `rows`, a FROM clause with its WHERE."""
        return f"(SELECT json_group_array({expression}) FROM {rows})"

    @classmethod
    def lists(cls, expressions: dict[str, str], rows: str) -> str:
        """Return a list of lists; `expressions` maps each column to its conversion."""
        nested = {
            "string": "{0}",
            "boolean": "json(CASE WHEN {0} THEN 'true' ELSE 'false' END)",
            "moment": "replace({0}, ' ', 'T') || 'Z'",
            "value": "json({0})",
        }
        columns = ", ".join(
            nested[manner].format(name) for name, manner in expressions.items()
        )
        return f"(SELECT json_group_array(json_array({columns})) FROM {rows})"

    @staticmethod
    def elements(alias: str) -> str:
        """Return SQL that reads a parameter's JSON list as rows `alias(key, value)`."""
        return f"json_each(%s) AS {alias}"


class PostgreSQL(Common):
    """All types are the database's own."""

    # The API's times have microseconds only if they are not 0.
    MOMENT = (
        "replace(to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), "
        "'.000000', '') || 'Z'"
    )

    @staticmethod
    def string(expression: str) -> str:
        return f"coalesce(to_json({expression})::text, 'null')"

    @classmethod
    def moment(cls, expression: str) -> str:
        return f"""coalesce('"' || {cls.MOMENT.format(expression)} || '"', 'null')"""

    @staticmethod
    def value(expression: str, default: str = "null") -> str:
        return f"coalesce({expression}::text, '{default}')"

    @staticmethod
    def strings(expression: str, rows: str) -> str:
        return f"(SELECT coalesce(json_agg({expression})::text, '[]') FROM {rows})"

    @classmethod
    def lists(cls, expressions: dict[str, str], rows: str) -> str:
        nested = {
            "string": "{0}",
            "boolean": "{0}",
            "moment": cls.MOMENT,
            "value": "{0}",
        }
        columns = ", ".join(
            nested[manner].format(name) for name, manner in expressions.items()
        )
        return (
            f"(SELECT coalesce(json_agg(json_build_array({columns}))::text, '[]') "
            f"FROM {rows})"
        )

    @staticmethod
    def elements(alias: str) -> str:
        return (
            f"jsonb_array_elements_text(%s::jsonb) WITH ORDINALITY AS {alias}"
            "(value, key)"
        )


def dialect(vendor: str | None = None) -> type[SQLite] | type[PostgreSQL]:
    """Return the functions of a database, by default of the one in use."""
    return PostgreSQL if (vendor or vendor_in_use()) == "postgresql" else SQLite
