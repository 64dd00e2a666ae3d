"""Indexes that a migration would take too long to build in a large database: built while everything goes on.

A migration that has one leaves it out where its table has many rows; whoever owns the table builds it afterwards,
beside all that is stored. The migration's text stays what it is: both read the statement there.
"""

import re
from dataclasses import dataclass

from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)
AT_ONCE = 5000
"""Rows of a table whose index a migration builds by itself: within half a second."""
_LOCK = 0x7A61706C696478
"""Key of the lock of whoever builds. It is held until his session ends, also where he has died meanwhile."""


@dataclass(frozen=True, slots=True)
class LaterIndex:
    """An index of a table, by their names in the schema, and the number of the migration that has its statement."""

    name: str
    table: str
    migration: int

    def statement(self, migration: str) -> str:
        """Its statement in the text of the migration. Raises ValueError where there is none."""
        found = re.search(rf"^create index {self.name} on zapline\.{self.table} [^;]*;\n", migration, re.MULTILINE)
        if found is None:
            raise ValueError(f"the migration has no statement for {self.name}")
        return found[0]


MESSAGES_BY_WORDS = LaterIndex("messages_by_words", "messages", 30)
LATER = (MESSAGES_BY_WORDS,)


async def left_out(conn: Connection, number: int, migration: str) -> str:
    """The text of a migration without the indexes that would take long to build here."""
    for index in LATER:
        if index.migration == number:
            row = await _SQL.one(conn, f"has_many_{index.table}", rows=AT_ONCE)
            if row is not None and row.large:
                migration = migration.replace(index.statement(migration), "")
    return migration


async def list_missing(conn: Connection) -> list[LaterIndex]:
    """Those that are not there, or that nobody has built to the end. Raises DatabaseUnavailable."""
    names = {row.name for row in await _SQL.rows(conn, "list_missing", names=[index.name for index in LATER])}
    return [index for index in LATER if index.name in names]


async def open_owner(url: str) -> Connection:
    """A session of the login of ``url``, not through a pooler, which builds as long as it takes."""
    return await connect(url, application_name="zapline-indexes", statement_timeout_ms=0, lock_timeout_ms=0)


async def build(conn: Connection, index: LaterIndex, migration: str) -> bool:
    """Build an index beside all that is stored; False: somebody else builds.

    ``conn``: of ``open_owner``, closed afterwards. ``migration``: the text that has the statement. Raises
    StatementFailed (42501: not the owner), DatabaseUnavailable. If cancelled, the server may go on.
    """
    if not await conn.try_advisory_lock(_LOCK):
        return False
    if index in await list_missing(conn):
        await conn.execute(f"drop index concurrently if exists zapline.{index.name}")
        await conn.execute(index.statement(migration).replace("create index", "create index concurrently", 1))
    return True
