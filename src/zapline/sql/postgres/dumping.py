"""What ``zapline backup`` and ``restore`` ask of PostgreSQL itself: a moment to dump, counts, roles, an empty place."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from psycopg import ProgrammingError, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from zapline.domain.errors import ConfigurationError, LocalError
from zapline.sql.postgres.connection import Connection

SCHEMA = "zapline"
_TABLES = (
    "select c.relname as name, c.relforcerowsecurity as forced from pg_class c join pg_namespace n on n.oid = "
    "c.relnamespace where n.nspname = 'zapline' and c.relkind in ('r', 'p') order by 1"
)
_ROLES = """
do $$
begin
    if not exists (select from pg_roles where rolname = 'zapline_engine') then
        create role zapline_engine nologin;
    end if;
    if not exists (select from pg_roles where rolname = 'zapline_api') then
        create role zapline_api nologin;
    end if;
    execute format('grant zapline_engine, zapline_api to %I', current_user);
end
$$
"""
"""As the first migration makes them: roles belong to the server, so that no dump of a database holds them."""


class Moment(NamedTuple):
    """One moment of the database, which ``pg_dump --snapshot`` can share while the transaction lasts."""

    snapshot: str
    server: str
    """Version of the server, as 16.4."""
    rows: Mapping[str, int]
    """How many rows each table has."""


def program_connection(url: str) -> tuple[str, dict[str, str]]:
    """How pg_dump and pg_restore reach the database: an argument without any secret, and variables with them.

    Raises ConfigurationError for a URL that cannot be read, or has a secret that no variable takes.
    """
    try:
        parameters: dict[str, Any] = dict(conninfo_to_dict(url))
    except ProgrammingError as error:
        raise ConfigurationError("DATABASE_URL cannot be read as a connection URL") from error
    if "sslpassword" in parameters:
        raise ConfigurationError("DATABASE_URL holds sslpassword: use a key file without a password for backups")
    password = parameters.pop("password", None)
    return make_conninfo(**parameters), {"PGPASSWORD": str(password)} if password else {}


@asynccontextmanager
async def frozen_moment(conn: Connection) -> AsyncIterator[Moment]:
    """Hold one moment for as long as the block lasts. ``conn`` belongs to the owner of the schema.

    Raises LocalError where there is nothing to dump, or row-level security hides rows from the owner.
    """
    async with conn.transaction():
        await conn.execute("set transaction isolation level repeatable read, read only")
        await conn.execute("set local idle_in_transaction_session_timeout = 0")
        tables = await conn.fetch(_TABLES)
        if not tables:
            raise LocalError("this database has no schema zapline: DATABASE_URL names another one")
        rows = {table.name: await _count(conn, table.name) for table in tables}
        await conn.execute("set local role zapline_engine")
        for table in tables:
            if table.forced and await _count(conn, table.name) != rows[table.name]:
                raise LocalError(
                    f"the user of DATABASE_URL does not see all rows of zapline.{table.name}: back up as the owner of "
                    "the database, who is a member of zapline_engine (grant zapline_engine to NAME)"
                )
        await conn.execute("reset role")
        row = await conn.fetch_one(
            "select pg_export_snapshot() as snapshot, current_setting('server_version') as version"
        )
        assert row is not None
        yield Moment(row.snapshot, row.version.split()[0], rows)


async def count_rows(conn: Connection) -> dict[str, int]:
    """How many rows each table of ours has."""
    return {table.name: await _count(conn, table.name) for table in await conn.fetch(_TABLES)}


async def require_no_schema(conn: Connection) -> None:
    """Raises LocalError where the database holds a Zapline already: nothing is ever restored over it."""
    row = await conn.fetch_one("select exists (select from pg_namespace where nspname = 'zapline') as there")
    if row is not None and row.there:
        raise LocalError(
            "this database holds a schema zapline already, and nothing is written over it. Make an empty database, or "
            "rename the old schema (alter schema zapline rename to zapline_before)"
        )


async def make_roles(conn: Connection) -> None:
    """Make the roles that the dump's rights name. Raises StatementFailed where the user may not."""
    await conn.execute(_ROLES)


async def _count(conn: Connection, table: str) -> int:
    statement = sql.SQL("select count(*) as rows from {}").format(sql.Identifier(SCHEMA, table))
    row = await conn.fetch_one(statement.as_string())
    return int(row.rows) if row is not None else 0
