"""Decides uncertain sends: when they are looked for in Evolution's store, sent again or given up."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from zapline.domain.ids import ExternalId, UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.nodes import UNCHECKED, Ownership
from zapline.sql.postgres.psycopg_on_trio import Json
from zapline.sql.postgres.queries import Queries, as_json

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class UncertainSend:
    """An uncertain message to look up; its open calls began at ``started_at`` and ended by ``ended_at``."""

    message: UUID
    unit: UnitId
    fence: int
    lookups: int
    started_at: float | None
    ended_at: float | None


async def list_due_uncertain(
    conn: Connection, now: float, busy: Collection[UnitId], units: int, messages: int
) -> list[UncertainSend]:
    """Uncertain messages whose lookup is due: at most ``messages``, of at most ``units`` that are not busy."""
    return [
        UncertainSend(*row)
        for row in await _SQL.rows(conn, "list_due", now=now, busy=list(busy), units=units, messages=messages)
    ]


async def postpone_lookup(
    conn: Connection, sends: Sequence[UncertainSend], at: float, held: Ownership = UNCHECKED
) -> None:
    """The lookup was not possible: repeat it at ``at`` without counting this one."""
    await _SQL.execute(conn, "postpone_lookup", rows=_rows(sends), at=at, **held.arguments)


async def schedule_next_lookup(
    conn: Connection, sends: Sequence[tuple[UncertainSend, float | None]], held: Ownership = UNCHECKED
) -> tuple[int, int]:
    """Store when each message that was not found is looked up next, or None: a person decides.

    Returns how many are looked up again, and how many wait for a person.
    """
    rows = [{**_row(send), "look_at": at} for send, at in sends]
    scheduled = await _SQL.rows(conn, "schedule_next_lookup", rows=as_json(rows), **held.arguments)
    waiting = sum(1 for row in scheduled if row.waits)
    return len(scheduled) - waiting, waiting


MAX_RESENDS = 3
"""How often a message that was not sent is sent again by itself."""
_SILENT_FAILURES = ("no_answer", "gateway_failed", "bad_answer", "crashed")
"""Failures that say nothing of a delivery (``zapline.evolution.client.failures``)."""


@dataclass(frozen=True, slots=True)
class ProvableSend:
    """An uncertain message that was not sent if Evolution's store does not hold its chosen id.

    ``type`` and ``kind`` are those of its content, as stored.
    """

    message: UUID
    chosen_id: ExternalId
    type: str
    kind: str | None


async def list_provable(
    conn: Connection, sends: Sequence[UncertainSend], now: float, quiet: float, limit: int
) -> list[ProvableSend]:
    """At most ``limit`` of these whose absence would be a proof. ``quiet``: seconds since their last call ended."""
    rows = await _SQL.rows(
        conn,
        "list_provable",
        rows=_rows(sends),
        now=now,
        quiet=quiet,
        limit=limit,
        most=MAX_RESENDS,
        failures=list(_SILENT_FAILURES),
    )
    return [ProvableSend(row.message_id, ExternalId(row.chosen_id), row.type, row.kind) for row in rows]


async def requeue_unsent(
    conn: Connection, sends: Sequence[UncertainSend], now: float, held: Ownership = UNCHECKED
) -> set[UUID]:
    """Queue messages again that certainly were not sent; returns their ids."""
    requeued = await _SQL.rows(conn, "requeue_unsent", rows=_rows(sends), now=now, **held.arguments)
    return {row.message_id for row in requeued}


async def requeue_missing(
    conn: Connection, sends: Sequence[UncertainSend], now: float, quiet: float, held: Ownership = UNCHECKED
) -> set[UUID]:
    """Queue messages again where the unit's policy allows it; returns their ids.

    Only for messages that Evolution's store certainly does not hold. ``quiet``: seconds since their last call ended.
    """
    requeued = await _SQL.rows(conn, "requeue_missing", rows=_rows(sends), now=now, quiet=quiet, **held.arguments)
    return {row.message_id for row in requeued}


def _row(send: UncertainSend) -> dict[str, object]:
    return {"message_id": send.message, "fence": send.fence, "looks": send.lookups}


def _rows(sends: Sequence[UncertainSend]) -> Json:
    return as_json([_row(send) for send in sends])


async def requeue_uncertain(conn: Connection, unit: UnitId, message: UUID, now: float, expires_at: float) -> bool:
    """Queue an uncertain message again, to expire not before ``expires_at``; False where it is not uncertain."""
    row = await _SQL.one(conn, "requeue", unit_id=unit, id=message, now=now, expires_at=expires_at)
    return row is not None


async def give_up_uncertain(conn: Connection, unit: UnitId, message: UUID, now: float) -> bool:
    """Give up an uncertain message; False where it is not uncertain."""
    return await _SQL.one(conn, "give_up", unit_id=unit, id=message, now=now) is not None
