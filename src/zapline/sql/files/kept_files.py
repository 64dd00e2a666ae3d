"""Keeps account of files of messages: which are wanted, kept, gone, left out, and which are to be removed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from zapline.domain.ids import ExternalId, UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries, from_row
from zapline.sql.postgres.row_level_security import unit_scope

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A file that is to be fetched. ``asked_at`` in UTC seconds; ``wait``: seconds until it is due."""

    message_id: UUID
    unit: UnitId
    name: UUID
    tries: int
    denials: int
    external_id: ExternalId
    copy_id: ExternalId | None
    """WhatsApp's id of the better copy."""
    announced: int | None
    """Its size as the message says."""
    max_bytes: int
    quota_bytes: int
    asked_at: float
    wait: float


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """What was read of a file that is on disk now. ``size`` in bytes."""

    size: int
    sha256: bytes
    mimetype: str | None
    file_name: str | None


@dataclass(frozen=True, slots=True)
class KeptFile:
    """The file of a message; what it is like is known once it is kept."""

    unit: UnitId
    name: UUID
    state: str
    size: int
    sha256: bytes
    mimetype: str | None
    file_name: str | None


@dataclass(frozen=True, slots=True)
class Removal:
    """A file that nothing refers to any more."""

    name: UUID
    unit: UnitId


@dataclass(frozen=True, slots=True)
class FileTotals:
    """The files of all units. ``oldest`` and ``oldest_removal`` in UTC seconds, None without any."""

    waiting: int = 0
    oldest: float | None = None
    full: tuple[UnitId, ...] = ()
    """Units without room for what they want to keep, at most twenty."""
    removals: int = 0
    oldest_removal: float | None = None
    any: bool = False
    """Whether a unit has a policy."""


async def list_due(conn: Connection, now: float) -> list[WantedFile]:
    """The next file of each unit that wants one, due or not."""
    return [from_row(WantedFile, row, unit=UnitId(row.unit_id)) for row in await _SQL.rows(conn, "list_due", now=now)]


async def list_wanting_units(conn: Connection) -> frozenset[UnitId]:
    """The units that keep files."""
    return frozenset(UnitId(row.unit_id) for row in await _SQL.rows(conn, "list_wanting_units"))


async def count_kept_bytes(conn: Connection, unit: UnitId, besides: UUID) -> int:
    """Bytes of the files that the unit keeps, without that of the message ``besides``."""
    return int((await _SQL.one(conn, "count_kept_bytes", unit_id=unit, besides=besides)).bytes)


async def note_kept(conn: Connection, wanted: WantedFile, file: FetchedFile, at: float) -> bool:
    """The file is on disk; False where it is not wanted any more, or goes beyond the quota."""
    known = {"size": file.size, "sha256": file.sha256, "mimetype": file.mimetype, "file_name": file.file_name}
    return bool(await _SQL.execute(conn, "note_kept", message_id=wanted.message_id, name=wanted.name, at=at, **known))


async def is_kept(conn: Connection, wanted: WantedFile) -> bool:
    """Whether the file is kept under this very name: somebody has noted it before."""
    return await _SQL.one(conn, "find_kept", message_id=wanted.message_id, name=wanted.name) is not None


async def note_failed(
    conn: Connection, wanted: WantedFile, reason: str, due_at: float, tried: bool, denied: bool
) -> None:
    """It is looked for again at ``due_at``. ``denied``: it was said that the file is nowhere."""
    counted = {"reason": reason, "due_at": due_at, "tried": int(tried), "denied": int(denied)}
    await _SQL.execute(conn, "note_failed", message_id=wanted.message_id, name=wanted.name, **counted)


async def note_end(conn: Connection, wanted: WantedFile, state: Literal["gone", "left_out"], reason: str) -> None:
    """It will not be kept; a copy that was kept before it stays."""
    await _SQL.execute(conn, "note_end", message_id=wanted.message_id, name=wanted.name, state=state, reason=reason)


async def find_file(pool: Pool, unit: UnitId, message: UUID) -> KeptFile | None:
    """The file of a message that is kept; None where there is none."""
    async with unit_scope(pool, unit) as conn:
        row = await _SQL.one(conn, "find_file", unit_id=unit, message_id=message)
    if row is None or row.state != "kept":
        return None
    return from_row(KeptFile, row, unit=UnitId(row.unit_id), sha256=bytes(row.sha256))


async def expire(conn: Connection, now: float, limit: int) -> int:
    """Give up some files that are older than their unit wants; returns how many. They go by their removals."""
    return await _SQL.execute(conn, "expire", now=now, limit=limit)


async def list_removals(conn: Connection, limit: int) -> list[Removal]:
    """What is to be removed."""
    rows = await _SQL.rows(conn, "list_removals", limit=limit)
    return [from_row(Removal, row, unit=UnitId(row.unit_id)) for row in rows]


async def delete_removals(conn: Connection, names: Collection[UUID]) -> None:
    """These files are gone."""
    await _SQL.execute(conn, "delete_removals", names=list(names))


async def find_unknown(conn: Connection, unit: UnitId, names: Sequence[UUID]) -> set[UUID]:
    """Of these names of files, those that the database knows nothing of; none where there is no such unit."""
    if await _SQL.one(conn, "has_unit", unit_id=unit) is None:
        return set()
    known = {row.name for row in await _SQL.rows(conn, "list_known", unit_id=unit, names=list(names))}
    return set(names) - known


async def count_all(conn: Connection) -> FileTotals:
    """The totals of all units."""
    row = await _SQL.one(conn, "count_all")
    return from_row(FileTotals, row, full=tuple(UnitId(unit) for unit in row.full))
