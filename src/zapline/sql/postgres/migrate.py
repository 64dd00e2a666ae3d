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
from zapline.sql.postgres.later_indexes import left_out

_LOCK = 0x7A61706D696772
"""Key of the migrations' lock. Not the daemon's lock: it may run meanwhile, since migrations are additive."""
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
    """The database's migrations are not those of this program; the message says what to do."""


class SchemaState(Enum):
    """Whether this program can write to the schema."""

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
    listed = []
    for file in resources.files("zapline.sql").joinpath("migrations").iterdir():
        matched = _FILE.fullmatch(file.name)
        if matched:
            listed.append(Migration(int(matched[1]), matched[2], file.read_text("utf-8")))
    return tuple(sorted(listed, key=lambda migration: migration.number))


def migration_text(number: int) -> str:
    """The text of one of them. Raises StopIteration where there is none."""
    return next(migration.sql for migration in migrations() if migration.number == number)


async def applied_checksums(conn: Connection) -> dict[int, str]:
    """Checksums of the applied migrations by number."""
    row = await conn.fetch_one("select to_regclass('zapline.schema_migrations') is not null as exists")
    if row is None or not row.exists:
        return {}
    rows = await conn.fetch("select number, checksum from zapline.schema_migrations")
    return {row.number: row.checksum for row in rows}


async def schema_state(conn: Connection) -> SchemaState:
    """Whether the database has the schema that this program needs."""
    known = await applied_checksums(conn)
    if not known:
        return SchemaState.MISSING
    return SchemaState.FITS if all(needed.number in known for needed in migrations()) else SchemaState.OLD


async def migrate(conn: Connection, report: Callable[[str], None]) -> int:
    """Apply the missing migrations and return how many. ``conn`` belongs to the owner of the schema.

    Each migration is one transaction. What would hold up for long whoever stores something is left out: see
    ``later_indexes``. Raises MigrationRefused where an applied migration has another text here, or another process is
    migrating.
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
            await conn.execute(await left_out(conn, migration.number, migration.sql))
            await conn.execute(
                "insert into zapline.schema_migrations (number, name, checksum) values (%s, %s, %s)",
                (migration.number, migration.name, migration.checksum),
            )
        report(f"applied {migration.number:04} {migration.name}")
        done += 1
    return done
