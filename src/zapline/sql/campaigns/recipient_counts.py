"""Counts where the recipients of campaigns stand; those of a large campaign at most once in some seconds.

Small campaigns are counted for every answer. A count of a large one is kept for ``MAX_AGE`` and only while the campaign
is in the state in which it was counted, so that none that is done is shown with recipients who wait.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from uuid import UUID

import trio

from zapline.domain.ids import UnitId
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import unit_scope

MAX_AGE = 5.0
"""Seconds for which the count of a large campaign is shown."""
LARGE = 5000
"""A campaign of more recipients is large."""
MAX_KEPT = 500
"""Campaigns whose counts are kept at most; some kilobytes each."""
_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class RecipientCount:
    """How many recipients stand in a state (as ``zapline.recipient_state`` names it) for the same reason."""

    state: str
    reason: str | None
    recipients: int


@dataclass(frozen=True, slots=True)
class _Kept:
    version: Hashable
    began: float
    counts: tuple[RecipientCount, ...] | None
    """None: what was counted is not right any more."""


class CountKeeper:
    """Counts of large campaigns of one process. ``max_age`` in seconds; more recipients than ``large`` are many."""

    def __init__(self, *, max_age: float = MAX_AGE, large: int = LARGE) -> None:
        self._max_age = max_age
        self._large = large
        self._kept: dict[UUID, _Kept] = {}
        self._lock = trio.Lock()

    async def count(
        self, pool: Pool, unit: UnitId, versions: Mapping[UUID, Hashable], *, fresh: bool = False
    ) -> dict[UUID, tuple[RecipientCount, ...]]:
        """The counts of these campaigns of the unit; ``versions`` say in which state each is.

        ``fresh``: count them now. One task counts large campaigns at a time; the others wait for it without a
        connection. Raises DatabaseUnavailable.
        """
        known = {} if fresh else self._find(versions)
        missing = versions.keys() - known.keys()
        if not missing:
            return known
        async with self._lock if self._any_large(missing) else nullcontext():
            if not fresh:
                known |= self._find({id: versions[id] for id in missing})
            if missing := versions.keys() - known.keys():
                known |= await self._count(pool, unit, {id: versions[id] for id in missing})
        return known

    def forget(self, id: UUID) -> None:
        """Count a campaign anew for the next answer: something has just changed it, as committed."""
        if id in self._kept:
            self._keep(id, _Kept(None, trio.current_time(), None))

    def _find(self, versions: Mapping[UUID, Hashable]) -> dict[UUID, tuple[RecipientCount, ...]]:
        since, found = trio.current_time() - self._max_age, {}
        for id, version in versions.items():
            kept = self._kept.get(id)
            if kept is not None and kept.counts is not None and kept.version == version and kept.began > since:
                found[id] = kept.counts
        return found

    def _any_large(self, ids: Collection[UUID]) -> bool:
        return any(id in self._kept for id in ids)

    async def _count(
        self, pool: Pool, unit: UnitId, versions: Mapping[UUID, Hashable]
    ) -> dict[UUID, tuple[RecipientCount, ...]]:
        began = trio.current_time()
        counted: defaultdict[UUID, list[RecipientCount]] = defaultdict(list)
        async with unit_scope(pool, unit) as conn:
            for row in await _SQL.rows(conn, "count_recipients", unit_id=unit, ids=list(versions)):
                counted[row.campaign_id].append(RecipientCount(row.state, row.reason, row.recipients))
        counts = {id: tuple(counted[id]) for id in versions}
        for id, version in versions.items():
            if sum(each.recipients for each in counts[id]) > self._large:
                self._keep(id, _Kept(version, began, counts[id]))
        return counts

    def _keep(self, id: UUID, kept: _Kept) -> None:
        """Keep what was counted last, where two were counted at once."""
        earlier = self._kept.pop(id, None)
        self._kept[id] = kept if earlier is None or earlier.began <= kept.began else earlier
        while len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]
