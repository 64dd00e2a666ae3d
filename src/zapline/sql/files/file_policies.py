"""Reads and writes which files of messages a unit keeps, and how much it keeps."""

from collections.abc import Sequence
from dataclasses import dataclass

from zapline.domain.ids import UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class FilePolicy:
    """Which files a unit keeps. ``kinds``: of messages; none: nothing further is kept."""

    kinds: Sequence[str]
    max_bytes: int
    """Of one file; larger ones are left out."""
    quota_bytes: int
    """Of all together; what goes beyond it waits until there is room."""
    days: int | None
    """For how long they are kept; None: as long as their messages."""


@dataclass(frozen=True, slots=True)
class FileUsage:
    """How many files a unit keeps, and what else became of those that it wanted."""

    files: int
    bytes: int
    waiting: int
    without_room: int
    """Of those that wait, those that go beyond the quota."""
    gone: int
    left_out: int


async def load_policy(conn: Connection, unit: UnitId) -> FilePolicy | None:
    """The unit's policy; None: it keeps no files."""
    row = await _SQL.one(conn, "load_policy", unit_id=unit)
    return FilePolicy(tuple(row.kinds), row.max_bytes, row.quota_bytes, row.days) if row is not None else None


async def store_policy(conn: Connection, unit: UnitId, policy: FilePolicy) -> None:
    """Replace the policy. What waits and is not wanted any more is given up; what is kept stays until its time."""
    kinds = list(policy.kinds)
    limits = {"max_bytes": policy.max_bytes, "quota_bytes": policy.quota_bytes, "days": policy.days}
    async with conn.transaction():
        await _SQL.execute(conn, "store_policy", unit_id=unit, kinds=kinds, **limits)
        await _SQL.execute(conn, "give_up_unwanted", unit_id=unit, kinds=kinds)
        await _SQL.execute(conn, "want_again", unit_id=unit)


async def load_usage(conn: Connection, unit: UnitId) -> FileUsage:
    """What the unit keeps."""
    return FileUsage(*await _SQL.one(conn, "load_usage", unit_id=unit))
