"""Reads the log of events: what has happened to units that a hook or an organization is told of."""

from dataclasses import dataclass
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.sql.notifications.crm_webhooks import DueDelivery
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class LogPosition:
    """``last``: the place that was given last, perhaps not committed yet; events up to ``pruned_through`` are gone."""

    last: int
    pruned_through: int


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Whose events are read, and which: None: all kinds, or all units that the reader may see."""

    organization: UUID
    kinds: tuple[str, ...] | None = None
    units: tuple[UnitId, ...] | None = None


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event with its place in the log."""

    seq: int
    told: DueDelivery


async def load_position(conn: Connection) -> LogPosition:
    """Where the log is; over a connection of the engine's role."""
    return LogPosition(*await _SQL.one(conn, "load_position"))


async def load_pruned_through(conn: Connection) -> int:
    """Up to which place events were deleted for their age."""
    return int((await _SQL.one(conn, "load_pruned_through")).pruned_through)


async def list_latest(conn: Connection, after: int, until: int) -> dict[UUID, int]:
    """The last place behind ``after`` up to ``until`` of each unit, and of each organization, by their ids."""
    return {row.id: row.seq for row in await _SQL.rows(conn, "list_latest", after=after, until=until)}


async def list_writers(conn: Connection) -> frozenset[str]:
    """Transactions that are writing events now, by their names."""
    return frozenset(row.writer for row in await _SQL.rows(conn, "list_writers"))


async def list_events(conn: Connection, wanted: EventFilter, after: int, until: int, limit: int) -> list[LoggedEvent]:
    """Events behind the place ``after`` up to ``until``, in their order, as far as the connection's scope goes."""
    rows = await _SQL.rows(
        conn,
        "list_events",
        organization_id=wanted.organization,
        events=list(wanted.kinds) if wanted.kinds is not None else None,
        units=list(wanted.units) if wanted.units is not None else None,
        after=after,
        until=until,
        limit=limit,
    )
    return [
        LoggedEvent(
            row.seq,
            DueDelivery(row.id, UnitId(row.unit_id), row.event, row.subject, row.facts, 0, row.created_at),
        )
        for row in rows
    ]


async def prune_events(conn: Connection, days: float, limit: int) -> int:
    """Delete at most ``limit`` events that are older; returns how many."""
    row = await _SQL.one(conn, "prune_events", days=days, limit=limit)
    return int(row.events)
