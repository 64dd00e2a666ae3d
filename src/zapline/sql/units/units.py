"""Reads and writes units and their lines."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from zapline.domain.errors import LocalError
from zapline.domain.ids import PROVIDER, Seq, UnitId
from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state import StoredLineState
from zapline.domain.line.webhook_registration import WebhookRegistrationMode
from zapline.domain.text import Sentence
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.nodes import UNCHECKED, Ownership
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries, from_row
from zapline.sql.postgres.row_level_security import admin_scope
from zapline.sql.units.evolution_servers import lock_server

_SQL = Queries(__name__)
_NOT_APPLIED = Seq(0)


class InstanceTaken(LocalError):
    """Another unit has this instance."""


@dataclass(frozen=True, slots=True)
class UnitRecord:
    """A unit as stored. Digests are SHA-256 of the webhook secrets; times are UTC seconds."""

    id: UnitId
    name: str
    instance: str
    secret_generation: int
    secret_digest: bytes
    previous_digest: bytes | None = None
    previous_until: float | None = None
    earlier_digests: tuple[bytes, ...] = ()
    """Of replaced secrets that Evolution may still use: it has not confirmed a newer address."""
    archived_at: float | None = None
    time_zone: str = "America/Sao_Paulo"
    created_at: float | None = None
    paused_at: float | None = None
    """Since when a person has paused sending."""
    campaigns_held_at: float | None = None
    """Since when campaigns wait for a person, because WhatsApp refused too much or confirmed nothing."""
    campaigns_held_reason: str | None = None
    """Its failure code."""
    retention_days: int | None = None
    webhook_registration: WebhookRegistrationMode = WebhookRegistrationMode.ENFORCE
    evolution_server: str | None = None
    """The Evolution server on which it lives; None: the one that the environment names."""
    evolution_server_since: float | None = None
    """Since when, where it was moved there."""
    has_line_settings: bool = False
    """Whether the unit says how its line behaves, or which proxy it has; Evolution's are left alone else."""
    marks_read_on_reply: bool = False
    own_names: tuple[str, ...] = ()
    """How the line's own people are called in their messages, as far as it was known at the start."""
    stored: StoredLineState | None = None
    """None where only the journal's snapshot is known: the unit then only writes to the journal."""
    changes_stored: int = 0
    """The number of the latest change of its line that is stored, and what it says."""
    recorded: tuple[Phase, Reason] | None = None
    journal_id: UUID | None = None
    applied_seq: Seq = _NOT_APPLIED
    owner: UUID | None = None
    """The node that it belongs to; None: nobody."""
    epoch: int = 0
    """Since which it does."""


async def load_units(conn: Connection) -> list[UnitRecord]:
    """All units that may still get webhooks, oldest first."""
    return [
        from_row(
            UnitRecord,
            row,
            webhook_registration=WebhookRegistrationMode(row.webhook_registration),
            own_names=tuple(row.own_names),
            earlier_digests=tuple(bytes(digest) for digest in row.earlier_digests),
            stored=from_row(StoredLineState, row, phase=Phase(row.phase), reason=Reason(row.reason)),
            recorded=(Phase(row.last_phase), Reason(row.last_reason)) if row.last_phase is not None else None,
        )
        for row in await _SQL.rows(conn, "load_units")
    ]


async def load_lines(conn: Connection, units: Collection[UnitId]) -> dict[UnitId, StoredLineState]:
    """How the lines of these units stand, as whoever owns them has stored it last; without codes and names."""
    return {
        UnitId(row.unit_id): StoredLineState(
            Phase(row.phase),
            Reason(row.reason),
            row.wanted,
            connected_at=row.connected_at,
            disconnected_at=row.disconnected_at,
            updated_at=row.updated_at,
        )
        for row in await _SQL.rows(conn, "load_lines", units=list(units))
    }


async def end_earlier_secrets(conn: Connection, unit: UnitId, generation: int) -> None:
    """Forget the secrets before this generation, unless there is a newer one by now."""
    await _SQL.execute(conn, "end_earlier_secrets", id=unit, generation=generation)


async def insert_unit(
    conn: Connection,
    *,
    id: UnitId,
    name: str,
    instance: str,
    secret_digest: bytes,
    time_zone: str,
    evolution_server: str | None = None,
    held: Ownership = UNCHECKED,
) -> None:
    """Store a new unit and its line, on this Evolution server; ``held``: whose it is.

    Raises InstanceTaken, UnknownServer.
    """
    try:
        async with conn.transaction():
            await lock_server(conn, evolution_server)
            await _SQL.execute(conn, "insert_unit", id=id, name=name, time_zone=time_zone)
            line = {"unit_id": id, "provider": PROVIDER, "instance_id": instance, "secret_digest": secret_digest}
            line |= {"owner": held.node, "epoch": held.epoch}
            await _SQL.execute(conn, "insert_connection", **line, evolution_server=evolution_server)
    except StatementFailed as failure:
        if failure.constraint == "idx_unit_whatsapp_instance_lookup":
            raise InstanceTaken(Sentence("instance {name} belongs to another unit", name=instance)) from failure
        raise


async def archive_unit(conn: Connection, unit: UnitId) -> bool:
    """Archive a unit; False where there is no such active unit."""
    return bool(await _SQL.rows(conn, "archive_unit", id=unit))


async def rotate_secret(conn: Connection, unit: UnitId, generation: int, digest: bytes, grace: float) -> float | None:
    """Store the digest of ``generation``. Returns until when the old secret is valid (UTC seconds).

    None: there is no such active unit, or another rotation came first. ``grace`` is in minutes.
    """
    row = await _SQL.one(conn, "rotate_secret", id=unit, generation=generation, digest=digest, grace=grace)
    return row.valid_until if row is not None else None


def only_active(records: Sequence[UnitRecord]) -> list[UnitRecord]:
    """The records that are not archived."""
    return [record for record in records if record.archived_at is None]


async def change_unit(
    conn: Connection,
    unit: UnitId,
    name: str | None,
    time_zone: str | None,
    retention_days: int | None,
    keep: bool,
    webhook_registration: WebhookRegistrationMode | None = None,
) -> bool:
    """Change what is not None, and the retention unless ``keep``; False where there is no such active unit."""
    changes = {"name": name, "time_zone": time_zone, "retention_days": retention_days, "with_retention": not keep}
    changes["webhook_registration"] = webhook_registration.value if webhook_registration is not None else None
    return bool(await _SQL.rows(conn, "change_unit", id=unit, **changes))


async def pause_unit(conn: Connection, unit: UnitId, paused: bool) -> bool:
    """Pause or resume a unit's sending; False where there is no such active unit."""
    return bool(await _SQL.rows(conn, "pause_unit" if paused else "resume_unit", id=unit))


async def find_archive_time(conn: Connection, unit: UnitId) -> float | None:
    """When a unit was archived; None where it is active or does not exist."""
    row = await _SQL.one(conn, "find_archive_time", id=unit)
    return row.archived_at if row is not None else None


@dataclass(frozen=True, slots=True)
class ArchivedUnit:
    """An archived unit. Times are UTC seconds."""

    id: UnitId
    name: str
    instance: str
    time_zone: str
    created_at: float
    archived_at: float
    retention_days: int | None
    webhook_registration: WebhookRegistrationMode


async def list_archived_units(pool: Pool, after: tuple[float, UUID] | None, limit: int) -> list[ArchivedUnit]:
    """A page of the archived units, oldest first, after (``created_at``, id). For administrators."""
    at, id = after or (None, None)
    async with admin_scope(pool) as conn:
        rows = await _SQL.rows(conn, "list_archived_units", after_at=at, after_id=id, limit=limit)
    return [
        from_row(ArchivedUnit, row, webhook_registration=WebhookRegistrationMode(row.webhook_registration))
        for row in rows
    ]
