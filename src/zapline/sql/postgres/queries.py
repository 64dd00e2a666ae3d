"""Runs the named statements of one module: by name, with named arguments, over somebody's connection."""

from typing import Any

import msgspec

from zapline.sql.postgres.connection import Connection, Row
from zapline.sql.postgres.psycopg_trio import Json
from zapline.sql.postgres.statements import load


class Topic:
    """The statements of the ``.sql`` file beside a module. Raises what the connection raises, and TypeError for
    arguments that are not a statement's.
    """

    def __init__(self, module: str) -> None:
        self._statements = load(module)

    async def rows(self, conn: Connection, name: str, /, **arguments: object) -> list[Row]:
        statement = self._statements[name]
        return await conn.fetch(statement.sql, statement.bind(**arguments))

    async def one(self, conn: Connection, name: str, /, **arguments: object) -> Any:
        """The first row, or None."""
        statement = self._statements[name]
        return await conn.fetch_one(statement.sql, statement.bind(**arguments))

    async def execute(self, conn: Connection, name: str, /, **arguments: object) -> int:
        """How many rows it touched."""
        statement = self._statements[name]
        return await conn.execute(statement.sql, statement.bind(**arguments))


def as_json(value: object) -> Json:
    """A value as one jsonb parameter."""
    return Json(msgspec.json.encode(value))
