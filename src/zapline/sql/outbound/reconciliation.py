"""Reads and stores how far each line has been compared with Evolution's store."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from zapline.domain.ids import PROVIDER, Seq, UnitId
from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.nodes import UNCHECKED, Ownership
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class ReconciledLine:
    """How far a line has been compared with Evolution's store. Times in UTC seconds.

    ``last_seq``: the last sequence number of the unit; set by ``load_line`` only.
    """

    unit_id: UnitId
    reconciled_until: float | None
    reconciled_at: float | None
    gap_since: float | None
    store_kept: bool | None
    first_connected: float | None
    last_seq: int = 0


@dataclass(frozen=True, slots=True)
class BackfilledMessage:
    """A message known from Evolution's store alone. ``sent_at`` by Evolution's clock, ``received_at`` by ours."""

    id: UUID
    seq: Seq
    sent_at: float
    received_at: float


@dataclass(frozen=True, slots=True)
class KnownMessage:
    """What the database knows of a message. ``edited_text`` None: of no edit."""

    delivery: DeliveryStatus | None = None
    edited_text: str | None = None
    deleted: bool = False


async def load_lines(conn: Connection) -> list[ReconciledLine]:
    """The reconciliation state of all active lines."""
    return [ReconciledLine(*row) for row in await _SQL.rows(conn, "load_lines")]


async def load_line(conn: Connection, unit: UnitId) -> ReconciledLine | None:
    """The state of one line; None where it is not active."""
    row = await _SQL.one(conn, "load_line", unit_id=unit)
    return ReconciledLine(*row) if row is not None else None


async def advance_watermark(
    conn: Connection, unit: UnitId, begins: float, until: float, held: Ownership = UNCHECKED
) -> bool:
    """The window [begins, until] was read to its last page; returns whether the watermark moved."""
    window = {"begins": begins, "until": until}
    return bool(await _SQL.rows(conn, "advance_watermark", unit_id=unit, **window, **held.arguments))


async def store_gap(conn: Connection, unit: UnitId, gap: float | None, held: Ownership = UNCHECKED) -> bool:
    """Store since when webhooks may be missing; None: no known gap. False where the unit is another node's."""
    return bool(await _SQL.rows(conn, "store_gap", unit_id=unit, gap=gap, **held.arguments))


async def store_run_end(conn: Connection, unit: UnitId, at: float, held: Ownership = UNCHECKED) -> None:
    await _SQL.execute(conn, "store_run_end", unit_id=unit, at=at, **held.arguments)


async def store_history_kept(conn: Connection, unit: UnitId, kept: bool, held: Ownership = UNCHECKED) -> bool:
    """Store whether Evolution keeps messages; returns whether this has changed."""
    return bool(await _SQL.rows(conn, "store_history_kept", unit_id=unit, kept=kept, **held.arguments))


async def received_webhooks_between(conn: Connection, unit: UnitId, since: float, until: float) -> bool:
    """Whether the last messages include some of this time that came by webhook."""
    row = await _SQL.one(conn, "received_webhooks_between", unit_id=unit, since=since, until=until)
    return row is not None and bool(row.received)


async def find_known_messages(conn: Connection, unit: UnitId, ids: Collection[str]) -> dict[str, KnownMessage]:
    """Which of these messages are stored with their content or as deleted, and what is known of them."""
    rows = await _SQL.rows(conn, "find_known_messages", unit_id=unit, provider=PROVIDER, ids=list(ids))
    return {
        row.external_id: KnownMessage(
            DeliveryStatus[row.delivery.upper()] if row.delivery else None, row.edited_text, row.deleted
        )
        for row in rows
    }


async def list_backfilled_after(conn: Connection, unit: UnitId, after: int) -> list[BackfilledMessage]:
    """Messages from Evolution's store after a sequence number."""
    return [
        BackfilledMessage(*row) for row in await _SQL.rows(conn, "list_backfilled_after", unit_id=unit, after=after)
    ]


async def find_still_backfilled(conn: Connection, ids: Collection[UUID]) -> set[UUID]:
    """Which of these messages no webhook has delivered since."""
    return {row.id for row in await _SQL.rows(conn, "find_still_backfilled", ids=list(ids))}
