"""Stores files that are uploaded to be sent."""

from dataclasses import dataclass
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class UploadInfo:
    """The description of an uploaded file, without its bytes."""

    mimetype: str
    file_name: str | None
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class UploadQuota:
    """What is kept of one unit's uploads at most."""

    size: int = 2 * 1024**3
    """Bytes."""
    files: int = 10_000


async def insert_upload(
    conn: Connection, unit: UnitId, id: UUID, upload: UploadInfo, data: bytes, quota: UploadQuota
) -> bool:
    """Store a file; False if the unit's quota has no room for it. Several at once may go beyond it by their size."""
    row = await _SQL.one(
        conn,
        "insert_upload",
        id=id,
        unit_id=unit,
        mimetype=upload.mimetype,
        file_name=upload.file_name,
        size=upload.size,
        sha256=upload.sha256,
        bytes=data,
        quota=quota.size,
        most_files=quota.files,
    )
    return row is not None and bool(row.kept)


async def free_unneeded(conn: Connection, unit: UnitId) -> int:
    """Delete a unit's files older than a day that nothing needs any more; returns how many."""
    return await _SQL.execute(conn, "free_unneeded", unit_id=unit)


async def find_upload(conn: Connection, unit: UnitId, id: UUID) -> UploadInfo | None:
    """A file of the unit."""
    row = await _SQL.one(conn, "find_upload", unit_id=unit, id=id)
    return UploadInfo(row.mimetype, row.file_name, row.size, bytes(row.sha256)) if row is not None else None


async def load_upload_bytes(pool: Pool, id: UUID) -> bytes | None:
    """The bytes of a file; None where it has been deleted. Raises DatabaseUnavailable."""
    async with pool.connection() as conn:
        row = await _SQL.one(conn, "load_upload_bytes", id=id)
    return bytes(row.bytes) if row is not None else None


async def prune_uploads(conn: Connection) -> int:
    """Delete files older than 30 days that no open message or campaign will send; returns how many."""
    return await _SQL.execute(conn, "prune_uploads")
