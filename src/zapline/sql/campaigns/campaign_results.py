"""Reads what has become of the recipients of campaigns: counts over time, and each of them in turn."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import trio

from zapline.domain.campaigns.results import FOLLOWED, CampaignResults, Outcome, OutcomeCount, Steps, summarize
from zapline.domain.ids import UnitId
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import unit_scope

_SQL = Queries(__name__)
_FRESH, _SHARE = 5.0, 10.0
"""Seconds for which results are shown again; or so many times as long as it took to count them, if that is more."""
_BATCH = 20_000
"""Recipients that one statement counts: a second or less, where the machine is idle."""
_MOST_KEPT = 64


@dataclass(frozen=True, slots=True)
class RecipientOutcome:
    """What has become of a recipient. ``reason`` as a code; ``detail``: the same in words, where somebody told it."""

    number: int
    recipient: str
    values: dict[str, str]
    state: str
    reason: str | None
    detail: str | None
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    replied_at: datetime | None
    opted_out_at: datetime | None


@dataclass(slots=True)
class ResultReader:
    """Counts results, one campaign at a time, because a large one takes some seconds; and keeps them for a while."""

    _kept: dict[UUID, tuple[float, CampaignResults]] = field(default_factory=dict)
    """With the time until which they are shown."""
    _lock: trio.Lock = field(default_factory=trio.Lock)

    async def read(self, pool: Pool, unit: UnitId, id: UUID) -> CampaignResults | None:
        """The results of a campaign; None where the unit has none of this id. Raises DatabaseUnavailable."""
        async with unit_scope(pool, unit) as conn:
            row = await _SQL.one(conn, "find_span", unit_id=unit, id=id)
        if row is None:
            return None
        async with self._lock:
            until, found = self._kept.get(id, (float("-inf"), None))
            if found is not None and until > trio.current_time():
                return found
            end = row.now if row.ended_at is None else min(row.now, row.ended_at + FOLLOWED)
            steps = Steps.between(row.start, end)
            texts = tuple(row.wordings or ())
            place = {"unit_id": unit, "id": id, "wordings": max(1, len(texts))}
            place |= {"start": steps.start, "width": steps.width}
            began, counts = trio.current_time(), list[OutcomeCount]()
            for after in range(0, row.last, _BATCH):
                async with unit_scope(pool, unit) as conn:
                    rows = await _SQL.rows(conn, "count_outcomes", **place, after=after, until=after + _BATCH)
                counts += (OutcomeCount(one.wording, Outcome(one.outcome), one.step, one.recipients) for one in rows)
            results = summarize(counts, steps, texts, row.now)
            self._kept.pop(id, None)
            took = trio.current_time() - began
            self._kept[id] = (began + max(_FRESH, _SHARE * took), results)
            while len(self._kept) > _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            return results


_READER = ResultReader()


async def read_results(pool: Pool, unit: UnitId, id: UUID) -> CampaignResults | None:
    """The results of a campaign, some seconds old; None where the unit has none of this id.

    Raises DatabaseUnavailable.
    """
    return await _READER.read(pool, unit, id)


async def list_outcomes(pool: Pool, unit: UnitId, campaign: UUID, after: int, limit: int) -> list[RecipientOutcome]:
    """A page in the order of the list, after the number ``after``. Raises DatabaseUnavailable."""
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(conn, "list_outcomes", unit_id=unit, campaign=campaign, after=after, limit=limit)
    return [RecipientOutcome(*row) for row in rows]
