"""Looks in Evolution's store for messages of which nobody knows whether they were sent, and says who decides next."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.line.reasons import Phase
from zapline.domain.outbox.echo_matching import ACTS_WITHIN, SKEW
from zapline.domain.reconciliation_windows import SPAN, windows
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.journal.journal import Journal
from zapline.sql.outbound import reconciliation
from zapline.sql.outbound.reconciliation import DueLook
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import Leadership
from zapline.supervisors.reconciliation.store_reader import StoreReader, Tally
from zapline.supervisors.units.roster import Roster

_BEFORE = 2 * SKEW
"""Seconds before a call's start that are read too: Evolution's clock may be a little behind ours."""
_LOG = structlog.get_logger(scope="Uncertain")


@dataclass(frozen=True, slots=True)
class LookPolicy:
    """Seconds, except where it says otherwise."""

    looks: tuple[float, ...] = (8.0, 30.0, 120.0)
    """Delays of the looks: the first after the call (the sender sets it), each other after the one before. Where
    none is left, a person decides."""
    later: float = 30.0
    """Until the next look, where the line is not open or Evolution does not answer."""
    quiet: float = 30.0
    """Since the end of a call, before its absence from the store proves anything."""
    every: float = 1.0
    """Between looks at what is due."""
    units_at_once: int = 8
    units_a_round: int = 50
    messages_a_round: int = 1000
    most_pages: int = 60
    """Of one unit's look; what needs more is not proved to be absent."""
    within: float = 60.0
    """For one unit's look."""


class Uncertain:
    """One for the process. ``wake`` is told of a unit whose message is to be sent once more.

    What is found is settled by the recorder, as everything that is read back goes its way; here only those move
    that were not found, each move guarded by state and fence.
    """

    def __init__(
        self,
        pool: Pool,
        client: EvolutionClient,
        intake: Intake,
        journal: Journal,
        roster: Roster,
        leadership: Leadership,
        counters: Counters,
        wake: Callable[[UnitId], None],
        policy: LookPolicy | None = None,
    ) -> None:
        self._pool = pool
        self._roster = roster
        self._leadership = leadership
        self._counters = counters
        self._wake = wake
        self._policy = policy or LookPolicy()
        self._reader = StoreReader(pool, client, intake, journal)
        self._busy: set[UnitId] = set()
        self._limiter = trio.CapacityLimiter(self._policy.units_at_once)

    async def run(self) -> None:
        """Look until cancelled. A database that is away is asked again."""
        policy = self._policy
        async with trio.open_nursery() as nursery:
            while True:
                await self._leadership.may_write()
                room = policy.units_a_round - len(self._busy)
                try:
                    due = await self._due(room) if room > 0 else {}
                except RemoteError as away:
                    _LOG.debug("Uncertain messages must wait for the database", error=str(away))
                    due = {}
                for unit, looks in due.items():
                    self._busy.add(unit)
                    nursery.start_soon(self._serve, unit, looks)
                await trio.sleep(policy.every)

    async def _due(self, units: int) -> dict[UnitId, list[DueLook]]:
        async with self._pool.connection() as conn:
            found = await reconciliation.due_looks(conn, time.time(), self._busy, units, self._policy.messages_a_round)
        by_unit: defaultdict[UnitId, list[DueLook]] = defaultdict(list)
        for look in found:
            by_unit[look.unit].append(look)
        return by_unit

    async def _serve(self, id: UnitId, looks: Sequence[DueLook]) -> None:
        try:
            async with self._limiter:
                await self._look(id, looks)
        except RemoteError as away:
            _LOG.debug("Uncertain messages must wait for the database", error=str(away))
        finally:
            self._busy.discard(id)

    async def _look(self, id: UnitId, looks: Sequence[DueLook]) -> None:
        """Read the time in which these may have been sent, and move on those that are not there."""
        unit = self._roster.get(id)
        began, whole = time.time(), None
        if unit is not None and unit.state is not None and unit.state.stored.phase is Phase.OPEN:
            try:
                with trio.fail_after(self._policy.within):
                    whole = await self._read(unit, looks)
            except (RemoteError, trio.TooSlowError) as failure:
                _LOG.info(
                    "Evolution's store could not be read for uncertain messages", error=str(failure), unit=str(id)
                )
        async with self._pool.connection() as conn:
            if whole is None:
                await reconciliation.look_later(conn, looks, time.time() + self._policy.later)
                self._counters.add("looks", "later", len(looks))
                return
            again = await reconciliation.resend(conn, looks, began, self._policy.quiet) if whole else set()
            now = time.time()
            left = [look for look in looks if look.message not in again]
            later, waiting = await reconciliation.end_looks(conn, [(look, self._next(look, now)) for look in left])
        self._tell(id, len(looks), len(again), later, waiting)
        if again:
            self._wake(id)

    async def _read(self, unit: Unit, looks: Sequence[DueLook]) -> bool:
        """Have everything from Evolution's store stored that may be one of these; whether all of it was read.

        What only the journal has of the unit is stored too when this returns: an echo may be among it.
        """
        starts = [look.started_at for look in looks if look.started_at is not None]
        if not starts:
            return False
        now = time.time()
        latest = max(look.ended_at or now for look in looks)
        # Nothing that such a call has sent is later; Evolution's clock may be before ours.
        todo = deque(windows(min(starts) - _BEFORE, min(now, latest + ACTS_WITHIN) + SKEW, SPAN))
        since, until, tally = todo[0].since, todo[-1].until, Tally()
        while todo and tally.pages < self._policy.most_pages:
            await self._reader.step(unit, todo, tally)
        await self._reader.applied(unit)
        if todo:
            return False
        return tally.records > 0 or not await self._store_is_off(unit.id, since, until)

    async def _store_is_off(self, unit: UnitId, since: float, until: float) -> bool:
        """Whether the store was empty where webhooks told of messages: then its silence says nothing."""
        async with self._pool.connection() as conn:
            return await reconciliation.heard_live(conn, unit, since, until)

    def _next(self, look: DueLook, now: float) -> float | None:
        """When a message is looked for again after this look; None: never, a person decides."""
        delays = self._policy.looks
        return now + delays[look.looks + 1] if look.looks + 1 < len(delays) else None

    def _tell(self, id: UnitId, looked: int, again: int, later: int, waiting: int) -> None:
        moved = {"resent": again, "again": later, "waits": waiting, "settled": looked - again - later - waiting}
        for label, count in moved.items():
            if count:
                self._counters.add("looks", label, count)
        if again:
            _LOG.warning("Messages that Evolution's store does not hold are sent once more", unit=str(id), count=again)
        if waiting:
            _LOG.warning("Messages are uncertain; a person decides what becomes of them", unit=str(id), count=waiting)
