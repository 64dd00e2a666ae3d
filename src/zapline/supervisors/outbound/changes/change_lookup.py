"""Finds out what became of edits and deletions without an answer: from their messages, or from Evolution's store."""

from collections.abc import Sequence
from uuid import UUID

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.line.reasons import Phase
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.journal.journal import Journal
from zapline.sql.outbound import message_changes
from zapline.sql.outbound.message_changes import DueChange
from zapline.sql.postgres.nodes import UNCHECKED
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.server_standing import PerServer
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import Leadership
from zapline.supervisors.reconciliation.store_reader import StoreReader
from zapline.supervisors.units.roster import Roster

FIRST_LOOK = 8.0
"""Seconds after a call without an answer: its echo has come by then, if there is one."""
_DELAYS = (30.0, 120.0)
"""Seconds between a look and the next; after the last one nobody can tell."""
_LATER = 30.0
"""Seconds until the next look where the line is not open or Evolution does not answer; such a look does not count."""
_LONGEST = 86_400.0
"""Seconds after a call for which it is looked for, whatever keeps the looks from counting; then nobody can tell."""
_POLL_EVERY = 1.0
_UNITS_AT_ONCE = 8
"""Of one server."""
_UNITS_IN_ALL = 50
_AT_ONCE = 20
"""Changes of one unit in a round."""
_LOOK_SECONDS = 60.0
"""For all of these."""
_LOG = structlog.get_logger(scope="Changes")


class ChangeLookup:
    """One for the process."""

    def __init__(
        self,
        pool: Pool,
        client: EvolutionClient,
        intake: Intake,
        journal: Journal,
        roster: Roster,
        leadership: Leadership,
        counters: Counters,
    ) -> None:
        self._pool = pool
        self._roster = roster
        self._leadership = leadership
        self._now = leadership.clock.now
        self._counters = counters
        self._reader = StoreReader(pool, client, intake, journal)
        self._in_progress: set[UnitId] = set()
        self._turns = PerServer(_UNITS_AT_ONCE)

    async def run(self) -> None:
        """Look for what is due until cancelled; the database may be away."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._leadership.may_write()
                for id, due in (await self._list_due()).items():
                    self._in_progress.add(id)
                    nursery.start_soon(self._look_of, id, due)
                await trio.sleep(_POLL_EVERY)

    async def _list_due(self) -> dict[UnitId, list[DueChange]]:
        free = _UNITS_IN_ALL - len(self._in_progress)
        if free <= 0:
            return {}
        try:
            async with self._pool.connection() as conn:
                busy = self._in_progress | self._roster.elsewhere()
                return await message_changes.list_due(conn, self._now(), busy, free, _AT_ONCE)
        except RemoteError as away:
            _LOG.debug("Changes of messages must wait for the database", error=str(away))
            return {}

    async def _look_of(self, id: UnitId, due: Sequence[DueChange]) -> None:
        try:
            async with self._turns.of(self._roster.server_of(id)):
                await self.look(id, due)
        except RemoteError as away:
            _LOG.debug("Changes of messages must wait for the database", error=str(away))
        finally:
            self._in_progress.discard(id)

    async def look(self, id: UnitId, due: Sequence[DueChange]) -> None:
        """Look once for these changes of a unit. Raises RemoteError where the database is away."""
        unit, ids = self._roster.get(id), {each.id for each in due}
        held = unit.held if unit is not None else UNCHECKED
        async with self._pool.connection() as conn:
            settled = await message_changes.settle_shown(conn, ids, self._now(), held)
            ended = await message_changes.end_archived(conn, ids - settled, self._now(), held)
        left = [each for each in due if each.id not in settled | ended]
        since, until = unit.record.evolution_server_since if unit is not None else None, self._now() - _LONGEST
        # The store of the server to which a unit was moved since proves nothing.
        lost = [each for each in left if each.asked_at < until or (since is not None and each.asked_at < since)]
        asked = await self._read(unit, [each for each in left if each not in lost])
        unknown, found = 0, set[UUID]()
        if left:
            now = self._now()
            async with self._pool.connection() as conn:
                if asked:
                    found = await message_changes.settle_shown(conn, {each.id for each in asked}, now, held)
                rest = [(each, *self._next(each, asked, lost, now)) for each in left if each.id not in found]
                unknown = await message_changes.look_later(conn, rest, now, held)
        self._report(id, len(due), len(settled) + len(found), len(ended) + unknown)

    async def _read(self, unit: Unit | None, changes: Sequence[DueChange]) -> list[DueChange]:
        """Store what Evolution's store says of these messages; returns those that could be asked for."""
        asked = list[DueChange]()
        if not changes or unit is None or unit.shown is None or unit.shown.phase is not Phase.OPEN:
            return asked
        try:
            with trio.fail_after(_LOOK_SECONDS):
                for change in changes:
                    await self._reader.read_message(unit, change.external_id)
                    asked.append(change)
        except (RemoteError, trio.TooSlowError) as failure:
            _LOG.info("Evolution's store could not be read for a change", error=str(failure), unit=str(unit.id))
        return asked

    def _next(
        self, change: DueChange, asked: Sequence[DueChange], lost: Sequence[DueChange], now: float
    ) -> tuple[int, float | None]:
        """How often it was looked for, and when it is next; None: nobody can tell."""
        if change in lost:
            return change.looks, None
        if change not in asked:
            return change.looks, now + _LATER
        return change.looks + 1, now + _DELAYS[change.looks] if change.looks < len(_DELAYS) else None

    def _report(self, id: UnitId, looked: int, settled: int, unknown: int) -> None:
        for label, count in (("settled", settled), ("waits", unknown), ("later", looked - settled - unknown)):
            if count:
                self._counters.add("looks", label, count)
        if unknown:
            told = "Nobody can tell what became of edits or deletions: only the phone shows it"
            _LOG.warning(told, count=unknown, unit=str(id))
