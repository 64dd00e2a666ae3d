"""Planted bugs on the way from the journal into the database."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import trio

from zapline.domain.ids import ExternalId, UnitId
from zapline.sql.inbound import message_deduplication, recorder_transaction
from zapline.sql.inbound.message_deduplication import with_primary_id
from zapline.sql.inbound.recorder_types import MessageKey, Row
from zapline.sql.inbound.unit_batches import UnitBatch
from zapline.sql.outbound import send_claims
from zapline.sql.postgres import database_errors
from zapline.sql.postgres.database_errors import Verdict
from zapline.supervisors.inbound import recorder
from zapline.supervisors.inbound.dispatcher import Dispatcher
from zapline.supervisors.inbound.pending_writes import PendingWrite, Stopped, TooLong
from zapline.supervisors.units.database_comparison import DatabaseComparison

from .statements import without


def lost_wake_up(patch: pytest.MonkeyPatch) -> None:
    """Nobody reads what a stopped daemon has left in the journal until the next webhook of the unit."""
    patch.setattr(Dispatcher, "refill", lambda self, unit: None)


def set_back_unnoticed(patch: pytest.MonkeyPatch) -> None:
    """Nobody compares a database, while the daemon lives, with what was stored in it before (0.3)."""

    async def nothing_to_bring_back(*arguments: Any) -> bool:
        return False

    patch.setattr(DatabaseComparison, "_bring_back", nothing_to_bring_back)
    for name in ("advance_positions", "write_connections", "hold_units"):
        without(patch, recorder_transaction, name, "r.expected = 0", "true")
        without(patch, recorder_transaction, name, "o.message_id = r.last_message", "false")
    held, unheld = "a.journal_id, a.stored, a.last_message, a.last_fence", "a.journal_id, 0, null, null"
    without(patch, send_claims, "claim", held, unheld)


def _whole_batches(patch: pytest.MonkeyPatch, *failures: type[Exception]) -> None:
    """After one of these failures a lane tries the same batch again, whole."""
    persist = recorder._Lane._persist

    async def stubborn(self: Any, writes: list[UnitBatch], lock_timeout_ms: int | None = None) -> Any:
        while True:
            try:
                return await persist(self, writes, lock_timeout_ms)
            except failures:
                await trio.sleep(1.0)

    patch.setattr(recorder._Lane, "_persist", stubborn)


def lane_stops_at_an_alias(patch: pytest.MonkeyPatch) -> None:
    """Two ids of one message in one batch are one row named twice, which stops the lane for ever (0.3)."""
    verdict_of = database_errors.verdict_of

    def verdict(sqlstate: str) -> Verdict:
        return Verdict.STOP if sqlstate == "21000" else verdict_of(sqlstate)

    def rounds(given: Iterable[Sequence[Row]], aliases: Mapping[MessageKey, ExternalId]) -> Iterator[list[Row]]:
        for one in given:
            yield [with_primary_id(row, aliases) | {"ord": number} for number, row in enumerate(one)]

    patch.setattr(database_errors, "verdict_of", verdict)
    patch.setattr(message_deduplication, "_rounds", rounds)
    _whole_batches(patch, Stopped)


def too_long_is_put_back_whole(patch: pytest.MonkeyPatch) -> None:
    """A write that takes longer than a statement may is tried again as it is (0.3)."""
    _whole_batches(patch, TooLong)


def unfair_lane(patch: pytest.MonkeyPatch) -> None:
    """A lane serves the unit that it served last as long as that one has something, and nobody else meanwhile."""
    fair = recorder._Lane._next_batch
    served: dict[int, UnitId] = {}

    def sticky(self: Any) -> list[PendingWrite]:
        waiting = [pending.write.unit_id for pending in self._pending]
        if served.get(id(self)) not in waiting:
            served[id(self)] = min(waiting)
        mine = [pending for pending in self._pending if pending.write.unit_id == served[id(self)]]
        others = [pending for pending in self._pending if pending not in mine]
        self._pending = deque(mine)
        try:
            return fair(self)
        finally:
            self._pending.extend(others)

    patch.setattr(recorder._Lane, "_next_batch", sticky)
