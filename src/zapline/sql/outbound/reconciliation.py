"""Performs what reconciliation and the search for uncertain messages do in the database."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from zapline.domain.ids import PROVIDER, Seq, UnitId
from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.psycopg_on_trio import Json
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class LineRow:
    """How far a line was compared with Evolution's store. Times in UTC seconds.

    ``last_seq``: the last place in the unit's order of arrival; only where one line was asked for.
    """

    unit_id: UnitId
    reconciled_until: float | None
    reconciled_at: float | None
    gap_since: float | None
    store_kept: bool | None
    first_connected: float | None
    last_seq: int = 0


@dataclass(frozen=True, slots=True)
class StoredAnew:
    """A message that is known from Evolution's store alone. ``sent_at`` by its clock, ``received_at`` by ours."""

    id: UUID
    seq: Seq
    sent_at: float
    received_at: float


@dataclass(frozen=True, slots=True)
class DueLook:
    """An uncertain message to be looked for; its open calls began at ``started_at`` and ended by ``ended_at``."""

    message: UUID
    unit: UnitId
    fence: int
    looks: int
    started_at: float | None
    ended_at: float | None


async def load_lines(conn: Connection) -> list[LineRow]:
    """Where all lines in use stand."""
    return [LineRow(*row) for row in await _SQL.rows(conn, "load_lines")]


async def load_line(conn: Connection, unit: UnitId) -> LineRow | None:
    """Where one line stands; None where it is not in use."""
    row = await _SQL.one(conn, "load_line", unit_id=unit)
    return LineRow(*row) if row is not None else None


async def advance(conn: Connection, unit: UnitId, since: float, until: float) -> bool:
    """The window [since, until] was read to its last page; whether the watermark moved."""
    return bool(await _SQL.rows(conn, "advance", unit_id=unit, since=since, until=until))


async def note_gap(conn: Connection, unit: UnitId, since: float | None) -> None:
    """Remember from when on webhooks may be missing; None: no known gap."""
    await _SQL.execute(conn, "note_gap", unit_id=unit, since=since)


async def finish_run(conn: Connection, unit: UnitId, at: float) -> None:
    await _SQL.execute(conn, "finish_run", unit_id=unit, at=at)


async def note_store(conn: Connection, unit: UnitId, kept: bool) -> bool:
    """Remember whether Evolution keeps messages; whether that is news."""
    return bool(await _SQL.rows(conn, "note_store", unit_id=unit, kept=kept))


async def heard_live(conn: Connection, unit: UnitId, since: float, until: float) -> bool:
    """Whether webhooks told of messages of this time, among the last that came."""
    row = await _SQL.one(conn, "heard_live", unit_id=unit, since=since, until=until)
    return row is not None and bool(row.heard)


async def known_messages(conn: Connection, unit: UnitId, ids: Collection[str]) -> dict[str, DeliveryStatus | None]:
    """Which of these messages are here with their content, and their delivery."""
    rows = await _SQL.rows(conn, "known_messages", unit_id=unit, provider=PROVIDER, ids=list(ids))
    return {row.external_id: DeliveryStatus[row.delivery.upper()] if row.delivery else None for row in rows}


async def stored_anew(conn: Connection, unit: UnitId, after: int) -> list[StoredAnew]:
    """What came from Evolution's store after a place in the unit's order of arrival."""
    return [StoredAnew(*row) for row in await _SQL.rows(conn, "stored_anew", unit_id=unit, after=after)]


async def still_untold(conn: Connection, ids: Collection[UUID]) -> set[UUID]:
    """Which of these messages no webhook has told of since."""
    return {row.id for row in await _SQL.rows(conn, "still_untold", ids=list(ids))}


async def due_looks(conn: Connection, now: float, busy: Collection[UnitId], units: int, messages: int) -> list[DueLook]:
    """Uncertain messages that are to be looked for; at most so many, of at most so many units that are not busy."""
    return [
        DueLook(*row)
        for row in await _SQL.rows(conn, "due_looks", now=now, busy=list(busy), units=units, messages=messages)
    ]


async def look_later(conn: Connection, looks: Sequence[DueLook], at: float) -> None:
    """Nothing could be seen: look again at ``at``, and do not count this."""
    await _SQL.execute(conn, "look_later", rows=_rows(looks), at=at)


async def end_looks(conn: Connection, looks: Sequence[tuple[DueLook, float | None]]) -> tuple[int, int]:
    """They were not found: each is looked for again at its time. How many are, and how many wait for a person."""
    rows = [{**_row(look), "look_at": at} for look, at in looks]
    found = await _SQL.rows(conn, "end_looks", rows=Json(msgspec.json.encode(rows)))
    waiting = sum(1 for row in found if row.waits)
    return len(found) - waiting, waiting


async def resend(conn: Connection, looks: Sequence[DueLook], now: float, quiet: float) -> set[UUID]:
    """Queue those again that the unit's policy allows; which they are.

    Only for messages that Evolution's store was proved not to hold. ``quiet``: seconds since their last call ended.
    """
    found = await _SQL.rows(conn, "resend", rows=_rows(looks), now=now, quiet=quiet)
    return {row.message_id for row in found}


def _row(look: DueLook) -> dict[str, object]:
    return {"message_id": look.message, "fence": look.fence, "looks": look.looks}


def _rows(looks: Sequence[DueLook]) -> Json:
    return Json(msgspec.json.encode([_row(look) for look in looks]))
