"""Applies the numbered migrations in order, each once, with checksums, under an advisory lock."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import resources

from zapline.domain.errors import LocalError
from zapline.sql.postgres.connection import Connection

_LOCK = 0x7A61706D696772
"""Key of the migrations' own lock: not the daemon's, which may run meanwhile (migrations are additive)."""
_FILE = re.compile(r"(\d{4})_(\w+)\.sql")
_TABLE = """
create schema if not exists zapline;
create table if not exists zapline.schema_migrations (
    number     integer primary key,
    name       text not null,
    checksum   text not null,
    applied_at timestamptz not null default now()
)"""


class MigrationRefused(LocalError):
    """The database's migrations are not those of this program; the text says what to do."""


class SchemaState(Enum):
    """Whether the schema is one that this program can write to."""

    FITS = "fits"
    """As expected, or newer: migrations are additive."""
    OLD = "old"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def migrations() -> tuple[Migration, ...]:
    """The program's migrations in order."""
    found = []
    for file in resources.files("zapline.sql").joinpath("migrations").iterdir():
        named = _FILE.fullmatch(file.name)
        if named:
            found.append(Migration(int(named[1]), named[2], file.read_text("utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.number))


async def applied_checksums(conn: Connection) -> dict[int, str]:
    """Checksums of the applied migrations by number; empty where there are none."""
    row = await conn.fetch_one("select to_regclass('zapline.schema_migrations') is not null as there")
    if row is None or not row.there:
        return {}
    rows = await conn.fetch("select number, checksum from zapline.schema_migrations")
    return {found.number: found.checksum for found in rows}


async def schema_state(conn: Connection) -> SchemaState:
    """Whether this program may write to the database as it is."""
    known = await applied_checksums(conn)
    if not known:
        return SchemaState.MISSING
    return SchemaState.FITS if max(known) >= migrations()[-1].number else SchemaState.OLD


async def migrate(conn: Connection, tell: Callable[[str], None]) -> int:
    """Apply what is missing; returns how many. ``conn`` belongs to the owner of the schema.

    Each migration is one transaction. Raises MigrationRefused where an applied migration reads differently
    here, or another process migrates at this moment.
    """
    if not await conn.try_advisory_lock(_LOCK):
        raise MigrationRefused("another process migrates this database just now; try again in a moment")
    await conn.execute(_TABLE)
    known = await applied_checksums(conn)
    done = 0
    for migration in migrations():
        if migration.number in known:
            if known[migration.number] != migration.checksum:
                raise MigrationRefused(
                    f"migration {migration.number:04} was applied with another text; "
                    "this database belongs to another build of Zapline"
                )
            continue
        async with conn.transaction():
            await conn.execute(migration.sql)
            await conn.execute(
                "insert into zapline.schema_migrations (number, name, checksum) values (%s, %s, %s)",
                (migration.number, migration.name, migration.checksum),
            )
        tell(f"applied {migration.number:04} {migration.name}")
        done += 1
    return done
