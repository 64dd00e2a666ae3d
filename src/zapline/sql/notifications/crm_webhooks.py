"""Reads and writes hooks and what is to be delivered to them; the triggers of the schema fill the latter."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import unit_scope

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook as it is shown. ``previous_until``: until when the key before signs too."""

    id: UUID
    unit_id: UUID
    url: str
    events: Sequence[str]
    key_generation: int
    previous_until: datetime | None
    created_at: datetime
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    waiting: int
    oldest: datetime | None
    dead: int

    @property
    def origin(self) -> str:
        """The URL without its path."""
        return "/".join(self.url.split("/")[:3])


@dataclass(frozen=True, slots=True)
class HookDelivery:
    """A delivery as it is shown; ``seq`` is its place in the order in which things happened."""

    id: UUID
    seq: int
    event: str
    subject: UUID | None
    state: str
    tries: int
    due_at: datetime
    last_status: int | None
    last_error: str | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class ActiveHook:
    """A hook that is delivered to. ``previous_until`` in UTC seconds.

    ``wait``: seconds until something is due; None: nothing waits.
    """

    id: UUID
    unit: UnitId
    url: str
    key_generation: int
    previous_until: float | None
    wait: float | None

    @property
    def host(self) -> str:
        """With its port, as a request names it."""
        return self.url.split("/")[2]


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A delivery that is to be made now."""

    id: UUID
    unit: UnitId
    event: str
    subject: UUID | None
    facts: dict[str, Any]
    tries: int
    created_at: float


@dataclass(frozen=True, slots=True)
class HookTotals:
    """``oldest``: when the first of those that wait happened. ``dead``: of a day. ``disabled``: because they failed."""

    waiting: int = 0
    oldest: float | None = None
    dead: int = 0
    active: int = 0
    disabled: int = 0


# -- asked for by people ---------------------------------------------------------------------------------------


async def insert_hook(conn: Connection, unit: UnitId, id: UUID, url: str, events: Sequence[str], most: int) -> bool:
    """Make a hook; False where the unit has ``most`` already."""
    asked = {"id": id, "unit_id": unit, "url": url, "events": list(events), "most": most}
    return await _SQL.one(conn, "insert_hook", **asked) is not None


async def find_hook(conn: Connection, unit: UnitId, id: UUID) -> Hook | None:
    """One hook of the unit, over any connection that may see it."""
    found = await _SQL.one(conn, "list_hooks", unit_id=unit, id=id)
    return Hook(*found) if found is not None else None


async def list_hooks(pool: Pool, unit: UnitId) -> list[Hook]:
    """All hooks of the unit, the first made first."""
    async with unit_scope(pool, unit) as conn:
        return [Hook(*row) for row in await _SQL.rows(conn, "list_hooks", unit_id=unit, id=None)]


async def load_hook(pool: Pool, unit: UnitId, id: UUID) -> Hook | None:
    """One hook of the unit."""
    async with unit_scope(pool, unit) as conn:
        return await find_hook(conn, unit, id)


async def list_deliveries(
    pool: Pool, unit: UnitId, hook: UUID, state: str | None, before: int | None, limit: int
) -> list[HookDelivery]:
    """A page, latest first, below the place ``before``; in one state, or in all."""
    asked = {"unit_id": unit, "hook": hook, "state": state, "before": before, "limit": limit}
    async with unit_scope(pool, unit) as conn:
        return [HookDelivery(*row) for row in await _SQL.rows(conn, "list_deliveries", **asked)]


async def delete_hook(conn: Connection, unit: UnitId, id: UUID) -> bool:
    return await _SQL.one(conn, "delete_hook", unit_id=unit, id=id) is not None


async def rotate_key(conn: Connection, unit: UnitId, id: UUID, until: float) -> int | None:
    """The number of the new key; None where there is no such hook."""
    row = await _SQL.one(conn, "rotate_key", unit_id=unit, id=id, until=until)
    return row.key_generation if row is not None else None


async def enable_hook(conn: Connection, unit: UnitId, id: UUID) -> bool:
    return await _SQL.one(conn, "enable", unit_id=unit, id=id) is not None


async def insert_test_delivery(conn: Connection, unit: UnitId, id: UUID) -> UUID | None:
    """The id of the delivery; None where there is no such hook, or it is disabled."""
    row = await _SQL.one(conn, "insert_test", unit_id=unit, id=id)
    return row.id if row is not None else None


async def replay_delivery(conn: Connection, unit: UnitId, hook: UUID, id: UUID) -> bool:
    """Make it once more; False where it has not ended, or is none."""
    return await _SQL.one(conn, "replay_one", unit_id=unit, hook=hook, id=id) is not None


async def has_delivery(conn: Connection, unit: UnitId, hook: UUID, id: UUID) -> bool:
    return await _SQL.one(conn, "has_delivery", unit_id=unit, hook=hook, id=id) is not None


async def replay_dead(conn: Connection, unit: UnitId, hook: UUID, since: float, limit: int) -> int:
    """Make the dead ones since a time (UTC seconds) once more; how many, at most ``limit``."""
    return await _SQL.execute(conn, "replay_dead", unit_id=unit, hook=hook, since=since, limit=limit)


# -- delivering ------------------------------------------------------------------------------------------------


async def list_active_hooks(conn: Connection, now: float) -> list[ActiveHook]:
    """Every hook that is delivered to."""
    return [
        ActiveHook(
            row.id,
            UnitId(row.unit_id),
            row.url,
            row.key_generation,
            row.previous_until,
            row.wait,
        )
        for row in await _SQL.rows(conn, "due_hooks", now=now)
    ]


async def list_due_deliveries(conn: Connection, hook: UUID, now: float, limit: int) -> list[DueDelivery]:
    """What is due for a hook, in the order in which it happened."""
    rows = await _SQL.rows(conn, "next_deliveries", hook=hook, now=now, limit=limit)
    return [
        DueDelivery(row.id, UnitId(row.unit_id), row.event, row.subject, row.facts, row.tries, row.created_at)
        for row in rows
    ]


async def load_messages(conn: Connection, unit: UnitId, ids: Sequence[UUID]) -> dict[UUID, Any]:
    """Rows of messages as they are told, by id; those that are gone are left out."""
    return {row.id: row for row in await _SQL.rows(conn, "load_messages", unit_id=unit, ids=list(ids))}


async def store_success(conn: Connection, hook: UUID, id: UUID, status: int) -> None:
    await _SQL.execute(conn, "delivered", hook=hook, id=id, status=status)


async def store_failure(
    conn: Connection, hook: UUID, id: UUID, *, status: int | None, error: str, wait: float | None, now: float
) -> float | None:
    """It is tried again after ``wait``, or never more (None). Since when the hook has failed; None: it is gone."""
    said = {"status": status, "error": error, "wait": wait, "now": now}
    row = await _SQL.one(conn, "not_delivered", hook=hook, id=id, **said)
    return row.failing_since if row is not None else None


async def bury_delivery(conn: Connection, hook: UUID, id: UUID, error: str) -> None:
    await _SQL.execute(conn, "drop_delivery", hook=hook, id=id, error=error)


async def make_waiting_due(conn: Connection, hook: UUID, now: float) -> int:
    """What waits is due now; how many."""
    return await _SQL.execute(conn, "hurry", hook=hook, now=now)


async def disable_hook(conn: Connection, hook: UUID, reason: str) -> None:
    """Deliver to it no more; ``bury_waiting`` ends what waits for it."""
    await _SQL.execute(conn, "disable", hook=hook, reason=reason)


async def bury_waiting(conn: Connection, limit: int) -> int:
    """Bury what waits for hooks that are served no more; how many, at most ``limit``."""
    return await _SQL.execute(conn, "end_waiting", limit=limit)


async def prune_deliveries(conn: Connection, delivered_days: float, dead_days: float, limit: int) -> int:
    """Delete what ended so long ago, and what is left of deleted hooks; how many, of each at most ``limit``."""
    left = await _SQL.execute(conn, "prune_deleted", limit=limit)
    if not left:
        await _SQL.execute(conn, "forget_deleted")
    days = {"delivered_days": delivered_days, "dead_days": dead_days}
    return left + await _SQL.execute(conn, "prune", **days, limit=limit)


async def count_deliveries(conn: Connection) -> HookTotals:
    row = await _SQL.one(conn, "totals")
    return HookTotals(*row)
