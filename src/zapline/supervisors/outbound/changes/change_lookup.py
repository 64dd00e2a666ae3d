"""Finds out what became of edits and deletions without an answer: from their messages, or from Evolution's store."""

from collections.abc import Sequence

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.domain.line.reasons import Phase
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.journal.journal import Journal
from zapline.sql.outbound import message_changes
from zapline.sql.outbound.message_changes import DueChange
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.leadership import Leadership
from zapline.supervisors.reconciliation.store_reader import StoreReader
from zapline.supervisors.units.roster import Roster

FIRST_LOOK = 8.0
"""Seconds after a call without an answer: its echo has come by then, if there is one."""
_DELAYS = (30.0, 120.0)
"""Seconds between a look and the next; after the last one nobody can tell."""
_LATER = 30.0
"""Seconds until the next look where the line is not open or Evolution does not answer; such a look does not count."""
_POLL_EVERY = 1.0
_AT_ONCE = 50
_LOOK_SECONDS = 30.0
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

    async def run(self) -> None:
        """Look for what is due until cancelled; the database may be away."""
        while True:
            await self._leadership.may_write()
            try:
                await self.look()
            except RemoteError as away:
                _LOG.debug("Changes of messages must wait for the database", error=str(away))
            await trio.sleep(_POLL_EVERY)

    async def look(self) -> None:
        """Look once for all that is due. Raises RemoteError where the database is away."""
        async with self._pool.connection() as conn:
            due = await message_changes.list_due(conn, self._now(), _AT_ONCE)
            settled = await message_changes.settle_shown(conn, [each.id for each in due], self._now()) if due else set()
        left = [each for each in due if each.id not in settled]
        asked = [each for each in left if await self._read(each)]
        if due:
            await self._settle(due, left, asked, len(settled))

    async def _settle(
        self, due: Sequence[DueChange], left: Sequence[DueChange], asked: Sequence[DueChange], known: int
    ) -> None:
        now = self._now()
        async with self._pool.connection() as conn:
            found = await message_changes.settle_shown(conn, [each.id for each in asked], now) if asked else set()
            rest = [
                (each.id, each.looks + 1, self._next(each.looks, now))
                if each in asked
                else (each.id, each.looks, now + _LATER)
                for each in left
                if each.id not in found
            ]
            unknown = await message_changes.look_later(conn, rest, now)
        settled = known + len(found)
        for label, count in (("settled", settled), ("waits", unknown), ("later", len(due) - settled - unknown)):
            if count:
                self._counters.add("looks", label, count)
        if unknown:
            _LOG.warning("Nobody can tell what became of edits or deletions: only the phone shows it", count=unknown)

    async def _read(self, change: DueChange) -> bool:
        """Store what Evolution's store says of the message; False where it could not be asked."""
        unit = self._roster.get(change.unit)
        if unit is None or unit.state is None or unit.state.stored.phase is not Phase.OPEN:
            return False
        try:
            with trio.fail_after(_LOOK_SECONDS):
                await self._reader.read_message(unit, change.external_id)
        except (RemoteError, trio.TooSlowError) as failure:
            _LOG.info("Evolution's store could not be read for a change", error=str(failure), unit=str(change.unit))
            return False
        return True

    def _next(self, looks: int, now: float) -> float | None:
        return now + _DELAYS[looks] if looks < len(_DELAYS) else None
