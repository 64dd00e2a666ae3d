"""Looks uncertain sends up in Evolution's store: those in it are settled, others sent again or left to a person."""

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.line.reasons import Phase
from zapline.domain.outbox.echo_matching import ACTS_WITHIN, CLOCK_SKEW
from zapline.domain.reconciliation_windows import WINDOW_SPAN, split_into_windows
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.evolution.client.send_requests import stored_send_route
from zapline.sql.journal.journal import Journal
from zapline.sql.outbound import reconciliation, uncertain_sends
from zapline.sql.outbound.uncertain_sends import UncertainSend
from zapline.sql.postgres.nodes import UNCHECKED
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.server_standing import PerServer
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import Leadership
from zapline.supervisors.reconciliation.store_reader import ReadCounts, StoreReader
from zapline.supervisors.units.message_id_support import MessageIdSupport
from zapline.supervisors.units.roster import Roster

_BEFORE = 2 * CLOCK_SKEW
"""Seconds before a call's start that are read too: Evolution's clock may be behind ours."""
_DATED_AHEAD = 7200.0
"""Seconds back in which a call is looked for whose time was told by a clock that was ahead."""
_LOG = structlog.get_logger(scope="Uncertain")


@dataclass(frozen=True, slots=True)
class LookupPolicy:
    """Times in seconds."""

    delays: tuple[float, ...] = (8.0, 30.0, 120.0)
    """Before each lookup: the first after the call (set by the sender), the others after the lookup before. After the
    last one a person decides."""
    retry_delay: float = 30.0
    """Until the next lookup if the line is not open or Evolution does not answer."""
    min_age: float = 30.0
    """Since the end of a call, before its absence from the store proves that it was not sent."""
    poll_every: float = 1.0
    """Between two queries for due lookups."""
    units_at_once: int = 8
    units_per_round: int = 50
    messages_per_round: int = 1000
    max_pages: int = 60
    """Of one unit's lookup; if it needs more, no absence is proved."""
    ids_per_lookup: int = 50
    """Messages of one unit that are asked for by their ids; the others wait for the next lookup."""
    timeout: float = 60.0
    """Of one unit's lookup."""


class UncertainSendLookup:
    """One for the process. ``wake`` is called with a unit whose message is to be sent once more. ``support``: whether
    the server honours chosen ids; None: it is not known to.

    Messages that are found go through the recorder, which settles them. Only the others are moved here, each move
    guarded by state and fence.
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
        policy: LookupPolicy | None = None,
        support: MessageIdSupport | None = None,
    ) -> None:
        self._support = support
        self._pool = pool
        self._roster = roster
        self._leadership = leadership
        self._now = leadership.clock.now
        self._counters = counters
        self._wake = wake
        self._policy = policy or LookupPolicy()
        self._reader = StoreReader(pool, client, intake, journal)
        self._in_progress: set[UnitId] = set()
        self._turns = PerServer(self._policy.units_at_once)

    async def run(self) -> None:
        """Look up due messages until cancelled; retry while the database is away."""
        policy = self._policy
        async with trio.open_nursery() as nursery:
            while True:
                await self._leadership.may_write()
                free = policy.units_per_round - len(self._in_progress)
                try:
                    due = await self._list_due(free) if free > 0 else {}
                except RemoteError as away:
                    _LOG.debug("Uncertain messages must wait for the database", error=str(away))
                    due = {}
                for unit, sends in due.items():
                    self._in_progress.add(unit)
                    nursery.start_soon(self._look_up_unit, unit, sends)
                await trio.sleep(policy.poll_every)

    async def _list_due(self, units: int) -> dict[UnitId, list[UncertainSend]]:
        async with self._pool.connection() as conn:
            due = await uncertain_sends.list_due_uncertain(
                conn, self._now(), self._in_progress | self._roster.elsewhere(), units, self._policy.messages_per_round
            )
        by_unit: defaultdict[UnitId, list[UncertainSend]] = defaultdict(list)
        for send in due:
            by_unit[send.unit].append(send)
        return by_unit

    async def _look_up_unit(self, id: UnitId, sends: Sequence[UncertainSend]) -> None:
        try:
            async with self._turns.of(self._roster.server_of(id)):
                if readable := await self._leave_unreadable(id, sends):
                    await self._look_up(id, readable)
        except RemoteError as away:
            _LOG.debug("Uncertain messages must wait for the database", error=str(away))
        finally:
            self._in_progress.discard(id)

    async def _leave_unreadable(self, id: UnitId, sends: Sequence[UncertainSend]) -> list[UncertainSend]:
        """Leave to a person what was called before the unit was moved, or its server's address changed.

        The store that is there now proves nothing of that. Returns the others.
        """
        unit = self._roster.get(id)
        since = unit.record.evolution_server_since if unit is not None else None
        if unit is None or since is None:
            return list(sends)
        before = [send for send in sends if send.started_at is None or send.started_at < since]
        if before:
            async with self._pool.connection() as conn:
                forgone = [(send, None) for send in before]
                later, waiting = await uncertain_sends.schedule_next_lookup(conn, forgone, unit.held)
            self._report(id, len(before), 0, later, waiting)
        return [send for send in sends if send not in before]

    async def _look_up(self, id: UnitId, sends: Sequence[UncertainSend]) -> None:
        """Read the store for the time in which these may have been sent, and move on those that are not in it."""
        unit = self._roster.get(id)
        held = unit.held if unit is not None else UNCHECKED
        began, complete, unsent = self._now(), None, list[UncertainSend]()
        if unit is not None and unit.shown is not None and unit.shown.phase is Phase.OPEN:
            try:
                with trio.fail_after(self._policy.timeout):
                    complete = await self._read_store(unit, sends)
                    unsent = await self._find_unsent(unit, sends, began)
            except (RemoteError, trio.TooSlowError) as failure:
                _LOG.info(
                    "Evolution's store could not be read for uncertain messages", error=str(failure), unit=str(id)
                )
        async with self._pool.connection() as conn:
            if complete is None:
                await uncertain_sends.postpone_lookup(conn, sends, self._now() + self._policy.retry_delay, held)
                self._counters.add("looks", "later", len(sends))
                return
            not_sent = await uncertain_sends.requeue_unsent(conn, unsent, began, held)
            again = (
                await uncertain_sends.requeue_missing(conn, sends, began, self._policy.min_age, held)
                if complete
                else set()
            )
            now = self._now()
            again |= not_sent
            left = [send for send in sends if send.message not in again]
            later, waiting = await uncertain_sends.schedule_next_lookup(
                conn, [(send, self._next_lookup(send, now)) for send in left], held
            )
        self._report(id, len(sends), len(again), later, waiting)
        if again:
            self._wake(id)

    async def _read_store(self, unit: Unit, sends: Sequence[UncertainSend]) -> bool:
        """Store every message of Evolution's store that may be one of these; return whether all of them were read.

        The unit's entries in the journal are stored too when this returns, because an echo may be among them.
        """
        starts = [send.started_at for send in sends if send.started_at is not None]
        if not starts:
            return False
        now = self._now()
        latest = max(send.ended_at or now for send in sends)
        # A call that is yet to come was dated by a clock that was ahead: it was made before now.
        earliest = min(starts) if min(starts) <= now else now - _DATED_AHEAD
        # A call sends nothing later than this; one that ended before it began was dated by a clock that was behind.
        last = min(now, latest + ACTS_WITHIN) if latest + ACTS_WITHIN >= earliest else now
        # Evolution's clock may be ahead of ours.
        todo = deque(split_into_windows(earliest - _BEFORE, last + CLOCK_SKEW, WINDOW_SPAN))
        since, until, tally = todo[0].since, todo[-1].until, ReadCounts()
        while todo and tally.pages < self._policy.max_pages:
            await self._reader.read_window(unit, todo, tally)
        await self._reader.wait_applied(unit)
        if todo:
            return False
        return tally.records > 0 or not await self._store_misses_webhooks(unit.id, since, until)

    async def _find_unsent(self, unit: Unit, sends: Sequence[UncertainSend], began: float) -> list[UncertainSend]:
        """Those that certainly were not sent: a server that honours chosen ids does not hold theirs.

        What is found under its id is stored instead.
        """
        if self._support is None:
            return []
        support = self._support.of(unit.server)
        async with self._pool.connection() as conn:
            provable = await uncertain_sends.list_provable(
                conn, sends, began, self._policy.min_age, self._policy.ids_per_lookup
            )
        honoured: dict[str, bool] = {}
        absent: set[UUID] = set()
        for send in provable:
            route = stored_send_route(send.type, send.kind)
            if route not in honoured:
                honoured[route] = await support.is_honoured(route)
            if honoured[route] and not await self._reader.read_message(unit, send.chosen_id):
                absent.add(send.message)
        return [send for send in sends if send.message in absent]

    async def _store_misses_webhooks(self, unit: UnitId, since: float, until: float) -> bool:
        """Whether webhooks reported messages for a time in which the store is empty: then it proves nothing."""
        async with self._pool.connection() as conn:
            return await reconciliation.received_webhooks_between(conn, unit, since, until)

    def _next_lookup(self, send: UncertainSend, now: float) -> float | None:
        """When the next lookup after this one is due; None: a person decides."""
        delays = self._policy.delays
        return now + delays[send.lookups + 1] if send.lookups + 1 < len(delays) else None

    def _report(self, id: UnitId, looked: int, again: int, later: int, waiting: int) -> None:
        moved = {"resent": again, "again": later, "waits": waiting, "settled": looked - again - later - waiting}
        for label, count in moved.items():
            if count:
                self._counters.add("looks", label, count)
        if again:
            _LOG.warning("Messages that Evolution's store does not hold are sent once more", unit=str(id), count=again)
        if waiting:
            _LOG.warning("Messages are uncertain; a person decides what becomes of them", unit=str(id), count=waiting)
