"""The input and output of each method of each address.

`HubSchema` adds what follows from the view: the scopes and the refusals. A test
compares this table with the existing addresses.
"""

from __future__ import annotations

from django.conf import settings

from api.openapi.types import Operation, Schema, listed, paged, query, ref, table
from api.users import STATES

TEXT: Schema = {"type": "string"}
NAMES: Schema = {"type": "array", "items": TEXT}
JSON_OBJECT: Schema = {"type": "object", "additionalProperties": True}
INFO: Schema = {
    "type": "object",
    "required": ["version", "python", "sys_executable", "spawner", "authenticator"],
    "properties": {
        "version": TEXT,
        "python": TEXT,
        "sys_executable": TEXT,
        "spawner": ref("Component"),
        "authenticator": ref("Component"),
    },
}

PAGE = (
    query("offset", "Skip so many.", type="integer", default=0),
    query(
        "limit",
        f"Take so many, at most {settings.HUB.api_page_max_limit}.",
        type="integer",
    ),
)
STOPPED = query(
    "include_stopped_servers",
    "Tell of stopped servers, too; any value but 0 and false says so.",
)


def bare_or_paged(items: Schema) -> Schema:
    """Return the schema of a list, bare or in the pagination envelope."""
    return {"oneOf": [items, paged(items)]}


USER_LIST = bare_or_paged(listed("User"))
GROUP_LIST = bare_or_paged(listed("Group"))
ROUTES = {"type": "object", "additionalProperties": ref("Route")}

table.operations.update(
    {
        # The hub
        "GET /": Operation(
            "The version",
            {200: {"type": "object", "properties": {"version": TEXT}}},
        ),
        "GET /info": Operation("What the hub runs on", {200: INFO}),
        "GET /health": Operation(
            "Whether the hub answers", {200: None}, media_type="text/html"
        ),
        "GET /user": Operation("Who the caller is", {200: ref("Caller")}),
        "GET /proxy": Operation(
            "The routes of the proxy",
            {200: bare_or_paged(ROUTES)},
            query=PAGE,
            refusals=(503,),
        ),
        "POST /proxy": Operation(
            "Check the routes of the proxy", {200: None}, refusals=(503,)
        ),
        "PATCH /proxy": Operation(
            "Use another proxy",
            {200: None},
            refusals=(503,),
        ),
        "POST /shutdown": Operation(
            "End the hub",
            {202: {"type": "object", "properties": {"message": TEXT}}},
            refusals=(503,),
        ),
        "GET /openapi.json": Operation("This description", {200: JSON_OBJECT}),
        "GET /openapi.yaml": Operation(
            "This description, as YAML",
            {200: TEXT},
            media_type="application/yaml",
        ),
        # Users
        "GET /users": Operation(
            "List users",
            {200: USER_LIST},
            query=(
                query("state", "By what their servers do.", enum=["", *STATES]),
                query("name_filter", "Whose name contains this, in any letter case."),
                query(
                    "sort",
                    "The order; a minus reverses it.",
                    enum=[
                        sign + key
                        for key in ("id", "name", "last_activity")
                        for sign in ("", "-")
                    ],
                ),
                STOPPED,
                *PAGE,
            ),
        ),
        "POST /users": Operation(
            "Create users; those who exist are skipped",
            {201: listed("User")},
            refusals=(409,),
        ),
        "GET /users/{name}": Operation(
            "One user", {200: ref("User")}, query=(STOPPED,)
        ),
        "POST /users/{name}": Operation(
            "Create a user", {201: ref("User")}, refusals=(409,)
        ),
        "PATCH /users/{name}": Operation(
            "Rename a user, or make or unmake an administrator",
            {200: ref("User")},
            refusals=(409,),
        ),
        "DELETE /users/{name}": Operation(
            "Delete a user", {204: None}, refusals=(400,)
        ),
        "POST /users/{name}/activity": Operation(
            "Report when a user and their servers were active",
            {200: None},
        ),
        # Tokens
        "GET /users/{name}/tokens": Operation(
            "List the tokens of a user",
            {200: {"type": "object", "properties": {"api_tokens": listed("Token")}}},
            query=PAGE,
        ),
        "POST /users/{name}/tokens": Operation(
            "Issue a token", {201: ref("IssuedToken")}, refusals=(409,)
        ),
        "GET /users/{name}/tokens/{token_id}": Operation(
            "One token", {200: ref("Token")}
        ),
        "DELETE /users/{name}/tokens/{token_id}": Operation(
            "Revoke a token", {204: None}
        ),
        "POST /tokens/leaked": Operation(
            "Revoke leaked tokens; no token of one's own is needed",
            {202: {"type": "object", "properties": {"message": TEXT}}},
            refusals=(429, 503),
        ),
        "GET /authorizations/token": Operation(
            "Nothing; name the token", {}, refusals=(404,), deprecated=True
        ),
        "POST /authorizations/token": Operation(
            "Nothing; POST to /users/{name}/tokens",
            {},
            refusals=(404,),
            deprecated=True,
        ),
        "GET /authorizations/token/{token}": Operation(
            "Whose token this is",
            {200: {"oneOf": [ref("User"), ref("Service")]}},
            deprecated=True,
        ),
        "GET /authorizations/cookie/{name}": Operation(
            "Whose session this is", {200: ref("User")}, deprecated=True
        ),
        "GET /authorizations/cookie/{name}/{value}": Operation(
            "Whose session this is", {200: ref("User")}, deprecated=True
        ),
        # Groups
        "GET /groups": Operation("List groups", {200: GROUP_LIST}, query=PAGE),
        "POST /groups": Operation(
            "Create groups",
            {201: listed("Group")},
            refusals=(409,),
        ),
        "GET /groups/{name}": Operation("One group", {200: ref("Group")}),
        "POST /groups/{name}": Operation(
            "Create a group", {201: ref("Group")}, refusals=(409,)
        ),
        "DELETE /groups/{name}": Operation("Delete a group", {204: None}),
        "POST /groups/{name}/users": Operation(
            "Add members",
            {200: ref("Group")},
            refusals=(409,),
        ),
        "DELETE /groups/{name}/users": Operation("Remove members", {200: ref("Group")}),
        "PUT /groups/{name}/properties": Operation(
            "Replace the properties",
            {200: ref("Group")},
        ),
        # Services
        "GET /services": Operation(
            "All services by name",
            {200: {"type": "object", "additionalProperties": ref("Service")}},
        ),
        "GET /services/{name}": Operation("One service", {200: ref("Service")}),
        "POST /services/{name}": Operation(
            "Add a service",
            {201: ref("Service")},
            refusals=(409,),
        ),
        "DELETE /services/{name}": Operation(
            "Remove a service", {200: None}, refusals=(405,)
        ),
    }
)

table.operations["POST /batchspawner"] = Operation(
    "Tell at which port the server of a batch job listens",
    {201: {"type": "object", "properties": {"message": TEXT}}},
)
table.operations["POST /users/{name}/admin-access"] = Operation(
    "What once let administrators into servers; always refused", {}, deprecated=True
)

for server in ("server", "servers/", "servers/{server_name}"):
    table.operations |= {
        f"GET /users/{{name}}/{server}": Operation("One server", {200: ref("Server")}),
        f"PUT /users/{{name}}/{server}": Operation(
            "Create a server without starting it",
            {201: ref("Server")},
            refusals=(409,),
        ),
        f"POST /users/{{name}}/{server}": Operation(
            "Start a server, and create it if need be",
            {201: None, 202: None},
            refusals=(409, 429, 500),
        ),
        f"GET /users/{{name}}/{server}/progress": Operation(
            "How the start of a server comes along, as server-sent events",
            {200: TEXT},
            media_type="text/event-stream",
            refusals=(400,),
        ),
        f"PATCH /users/{{name}}/{server}": Operation(
            "Rename or edit a stopped server",
            {200: ref("Server")},
            refusals=(409,),
        ),
        f"DELETE /users/{{name}}/{server}": Operation(
            "Stop a server, and remove it on request",
            {202: None, 204: None},
        ),
    }

table.operations |= {
    "GET /shares/{owner}": Operation(
        "Shares of all servers of a user", {200: paged(listed("Share"))}, query=PAGE
    ),
    "GET /share-codes/{owner}": Operation(
        "Share codes of all servers of a user",
        {200: paged(listed("ShareCode"))},
        query=PAGE,
    ),
}
CODE_CHOICE = (
    query("id", "The code with this id."),
    query("code", "This code."),
)
for server in ("", "{server_name}"):
    table.operations |= {
        f"GET /shares/{{owner}}/{server}": Operation(
            "Shares of a server", {200: paged(listed("Share"))}, query=PAGE
        ),
        f"POST /shares/{{owner}}/{server}": Operation(
            "Share a server with a user or a group",
            {200: ref("Share")},
        ),
        f"PATCH /shares/{{owner}}/{server}": Operation(
            "Take scopes back from a share",
            {200: {"oneOf": [ref("Share"), {"type": "object", "maxProperties": 0}]}},
        ),
        f"DELETE /shares/{{owner}}/{server}": Operation(
            "End all shares of a server", {204: None}
        ),
        f"GET /share-codes/{{owner}}/{server}": Operation(
            "Share codes of a server", {200: paged(listed("ShareCode"))}, query=PAGE
        ),
        f"POST /share-codes/{{owner}}/{server}": Operation(
            "Issue a share code", {200: ref("IssuedShareCode")}
        ),
        f"DELETE /share-codes/{{owner}}/{server}": Operation(
            "Revoke one share code, or all of them", {204: None}, query=CODE_CHOICE
        ),
    }
for whom in ("users", "groups"):
    table.operations[f"GET /{whom}/{{name}}/shared"] = Operation(
        f"What is shared with one of the {whom}",
        {200: paged(listed("Share"))},
        query=PAGE,
    )
    for server in ("", "{server_name}"):
        address = f"/{whom}/{{name}}/shared/{{owner}}/{server}"
        table.operations |= {
            f"GET {address}": Operation("One share", {200: ref("Share")}),
            f"DELETE {address}": Operation("Leave a share", {204: None}),
        }
