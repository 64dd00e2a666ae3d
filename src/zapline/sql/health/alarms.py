"""Stores to whom alarms go, which incidents there were, and what was said of each to whom."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from zapline.domain.alarms.destinations import DestinationKind
from zapline.domain.alarms.incidents import Incident, Member, NoticeKind, Saying
from zapline.domain.ids import UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries, as_json, from_row

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class Destination:
    """To whom alarms go. ``sealed`` is the address; ``shown`` what people see of it; times in UTC seconds."""

    id: UUID
    kind: DestinationKind
    sealed: bytes
    shown: str
    units: tuple[UnitId, ...]
    language: str
    generation: int
    created_at: float
    tried_at: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """What is said to one destination. Its id is the same at every try; ``created_at`` in UTC seconds."""

    id: UUID
    destination_id: UUID
    kind: NoticeKind
    incident: Incident
    created_at: float
    attempts: int = 0
    delivered: bool = False
    """It was told while the database was away."""


@dataclass(frozen=True, slots=True)
class DeliveryTotals:
    """Notices that were tried in vain and wait (``oldest``: UTC seconds), and those given up within a day."""

    failing: int = 0
    oldest: float | None = None
    given_up: int = 0


@dataclass(frozen=True, slots=True)
class PastIncident:
    """An incident as it is listed; ``number`` is its position."""

    number: int
    incident: Incident
    failed: int
    """Notices of it that were given up."""


async def load_destinations(conn: Connection) -> list[Destination]:
    """All of them, the oldest first."""
    return [_destination(row) for row in await _SQL.rows(conn, "load_destinations")]


async def insert_destination(conn: Connection, new: Destination, most: int) -> bool:
    """Store a destination; False where there are ``most`` already. The caller's transaction serializes."""
    await _SQL.rows(conn, "serialize_destinations")
    values = {
        "id": new.id,
        "kind": new.kind.value,
        "sealed": new.sealed,
        "shown": new.shown,
        "units": list(new.units),
        "language": new.language,
    }
    return await _SQL.one(conn, "insert_destination", **values, most=most) is not None


async def delete_destination(conn: Connection, id: UUID) -> bool:
    """Delete a destination with what waits for it; False where there is none."""
    return await _SQL.one(conn, "delete_destination", id=id) is not None


async def note_try(conn: Connection, id: UUID, now: float, error: str | None) -> None:
    """Note how the last try to reach a destination ended."""
    await _SQL.execute(conn, "note_try", id=id, now=now, error=error)


async def store_saying(conn: Connection, saying: Saying, notices: Sequence[Notice]) -> bool:
    """Store an incident as it is now and what is said of it; what waits of it for the same destination is replaced.

    Stored again it changes nothing. False where the incident is stored as of later. In the caller's transaction.
    """
    incident = saying.incident
    stored = await _SQL.one(
        conn,
        "store_incident",
        id=incident.id,
        opened_at=incident.opened_at,
        joined_at=incident.joined_at,
        said=incident.said,
        said_at=incident.said_at,
        closed_at=incident.closed_at,
        members=as_json(incident.members),
    )
    if stored is None:
        return False
    await _SQL.execute(conn, "replace_notices", incident=incident.id, number=incident.said, now=incident.said_at)
    rows = [
        {
            "id": str(notice.id),
            "destination": str(notice.destination_id),
            "state": "delivered" if notice.delivered else "waiting",
            "created_at": notice.created_at,
        }
        for notice in notices
    ]
    await _SQL.execute(
        conn,
        "insert_notices",
        incident=incident.id,
        number=incident.said,
        kind=saying.kind.value,
        told=as_json(incident),
        rows=as_json(rows),
    )
    return True


async def load_incidents(conn: Connection, closed_since: float) -> list[Incident]:
    """Incidents that are open, or were closed since a time (UTC seconds)."""
    return [_incident(row) for row in await _SQL.rows(conn, "load_incidents", closed_since=closed_since)]


async def list_incidents(conn: Connection, before: int | None, limit: int) -> list[PastIncident]:
    """A page of incidents, the latest first, below the number ``before``."""
    rows = await _SQL.rows(conn, "list_incidents", before=before, limit=limit)
    return [PastIncident(row.number, _incident(row), row.failed) for row in rows]


async def list_due(conn: Connection, now: float, busy: Collection[UUID], limit: int) -> list[Notice]:
    """Notices that are to be delivered by ``now``, the longest due first; none to the destinations in ``busy``."""
    return [
        Notice(
            row.id,
            row.destination_id,
            NoticeKind(row.kind),
            msgspec.convert(row.told, Incident),
            row.created_at,
            row.attempts,
        )
        for row in await _SQL.rows(conn, "list_due", now=now, busy=list(busy), limit=limit)
    ]


async def find_next_due(conn: Connection, busy: Collection[UUID]) -> float | None:
    """When the next notice is due to a destination that is not in ``busy``, in UTC seconds; None: none waits."""
    due: float | None = (await _SQL.one(conn, "find_next_due", busy=list(busy))).next_due
    return due


async def end_notice(conn: Connection, id: UUID, state: str, now: float, error: str | None = None) -> None:
    """Note that a notice is ``delivered`` or ``given_up``; also one that was replaced meanwhile."""
    await _SQL.execute(conn, "end_notice", id=id, state=state, now=now, error=error)


async def retry_notice(conn: Connection, id: UUID, due_at: float, error: str) -> None:
    """Try a notice again at a time, unless it was replaced meanwhile."""
    await _SQL.execute(conn, "retry_notice", id=id, due_at=due_at, error=error)


async def count_deliveries(conn: Connection, now: float) -> DeliveryTotals:
    """How the deliveries stand."""
    row = await _SQL.one(conn, "count_deliveries", now=now)
    return from_row(DeliveryTotals, row)


async def prune_incidents(conn: Connection, before: float, limit: int) -> int:
    """Delete incidents that were closed before a time, with their notices; returns how many."""
    return await _SQL.execute(conn, "prune_incidents", before=before, limit=limit)


def _destination(row: Any) -> Destination:
    values = {"kind": DestinationKind(row.kind), "sealed": bytes(row.sealed), "units": tuple(map(UnitId, row.units))}
    return from_row(Destination, row, **values)


def _incident(row: Any) -> Incident:
    return from_row(Incident, row, members=msgspec.convert(row.members, tuple[Member, ...]))
