"""Has events of a time delivered to a hook once more."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.sql.notifications.crm_webhooks import HookOwner, units_seen
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class EventRange:
    """Events that are to be delivered once more: of a time (UTC seconds), of these kinds and units (None: all).

    ``after``: the place in the log behind which they are looked for.
    """

    since: float
    until: float
    kinds: Sequence[str] | None = None
    units: Sequence[UnitId] | None = None
    after: int = 0


@dataclass(frozen=True, slots=True)
class ReplayedEvents:
    """``found`` events, of which ``replayed`` were not waiting already; ``last``: the place of the last in the log."""

    found: int
    replayed: int
    last: int | None


async def replay_events(
    conn: Connection, owner: HookOwner, hook: UUID, wanted: EventRange, *, pause: float, limit: int
) -> ReplayedEvents:
    """Queue at most ``limit`` events of a range, the first at once, each ``pause`` seconds after the one before."""
    seen, asked = units_seen(owner), list(wanted.units) if wanted.units is not None else None
    if seen is not None:
        asked = [unit for unit in seen if asked is None or unit in asked]
    row = await _SQL.one(
        conn,
        "replay_events",
        hook=hook,
        since=wanted.since,
        until=wanted.until,
        events=list(wanted.kinds) if wanted.kinds is not None else None,
        units=asked,
        after=wanted.after,
        pause=pause,
        limit=limit,
    )
    return ReplayedEvents(*row)
