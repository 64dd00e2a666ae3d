"""Asks Evolution for what was missed: at the start, after every gap, on a slow timer, and when a person asks."""

import time

import structlog
import trio

from zapline.domain.errors import LocalError, RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.line.reasons import Phase
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.journal.journal import Journal
from zapline.sql.outbound import reconciliation
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import Leadership
from zapline.supervisors.reconciliation.line_state import ALWAYS, ComparedLine, ReconcilePolicy, ReconcileStatus
from zapline.supervisors.reconciliation.repairs import Repairs
from zapline.supervisors.reconciliation.run import Progress, Run, added_up
from zapline.supervisors.reconciliation.run_steps import Turns
from zapline.supervisors.reconciliation.store_reader import StoreReader
from zapline.supervisors.units.roster import Roster

__all__ = ["AlreadyReconciling", "Progress", "ReconcilePolicy", "ReconcileStatus", "Reconciler", "Run"]

_LOG = structlog.get_logger(scope="Reconciler")


class AlreadyReconciling(LocalError):
    """A run asked for by hand is under way for this unit."""


class Reconciler:
    """One for the process. ``run`` works; the other methods are quick and come from the same thread."""

    def __init__(
        self,
        pool: Pool,
        client: EvolutionClient,
        intake: Intake,
        journal: Journal,
        roster: Roster,
        leadership: Leadership,
        counters: Counters,
        policy: ReconcilePolicy | None = None,
    ) -> None:
        self._pool = pool
        self._roster = roster
        self._leadership = leadership
        self._counters = counters
        self._policy = policy or ReconcilePolicy()
        reader = StoreReader(pool, client, intake, journal, self._policy.page_size, self._policy.most_pages)
        self._turns = Turns(pool, reader, counters, self._policy)
        self._lines: dict[UnitId, ComparedLine] = {}  # bounded by the number of units
        self._batch: list[Run] = []
        """The runs of the last request for all units."""
        self._loaded = False
        self._busy = 0
        self._rung = trio.Event()

    # -- asking ----------------------------------------------------------------------------------------------

    def want(self, unit: UnitId, reason: str) -> None:
        """Compare this line soon; once it is open, if it is not."""
        line = self._line(unit)
        if line is not None:
            _LOG.debug("A line is to be compared with Evolution's store: {reason}", reason=reason, unit=str(unit))
            line.due = min(line.due, trio.current_time())
            self._rung.set()

    def opened(self, unit: Unit) -> None:
        """The line has become open: what was sent to it meanwhile comes in now, by its old time."""
        line = self._line(unit.id)
        if line is None:
            return
        if line.disconnected is not None or line.seen_open:
            line.note_gap(line.disconnected or time.time() - self._policy.look_every)
        line.disconnected, line.seen_open = None, True
        line.due = self._policy.after_gap(line)

    def note_gap(self, unit: UnitId, since: float) -> None:
        """Webhooks of this line may be missing from a time on (UTC seconds) until now; it is compared soon."""
        line = self._line(unit)
        if line is not None:
            line.note_gap(since)
            if not line.failures:  # else its next try has its time
                line.due = min(line.due, self._policy.after_gap(line))

    def begin(self, unit: UnitId, since: float) -> Run:
        """Have a person's run over [since, now] made. Raises AlreadyReconciling, and LocalError: no such unit."""
        line = self._line(unit)
        if line is None:
            raise LocalError("there is no such unit")
        if line.asked is not None and not line.asked.ended.is_set():
            raise AlreadyReconciling("this unit is being reconciled already; look at how far it has come")
        now = time.time()
        line.asked = run = Run(unit, max(since, 0.0), now, now - self._policy.settles, by_hand=True, gap_since=ALWAYS)
        line.asked_at = trio.current_time()
        self._rung.set()
        return run

    def begin_all(self, since: float) -> int:
        """The same for every unit, except those that are at it; how many."""
        self._batch = []
        for unit in self._roster.units():
            line = self._lines.get(unit.id)
            if line is None or line.asked is None or line.asked.ended.is_set():
                self._batch.append(self.begin(unit.id, since))
        return len(self._batch)

    async def reconcile(self, unit: UnitId, since: float) -> Progress:
        """A person's run from its beginning to its end. Cancelled, it goes on without the caller."""
        run = self.begin(unit, since)
        await run.ended.wait()
        return added_up([run])

    # -- telling ---------------------------------------------------------------------------------------------

    def progress(self, unit: UnitId | None = None) -> Progress:
        """Of the last run asked for by hand for a unit; None: for all. ``units`` is 0 where there was none."""
        if unit is None:
            return added_up(self._batch)
        line = self._lines.get(unit)
        return added_up([line.asked] if line is not None and line.asked is not None else [])

    def status(self, unit: UnitId) -> ReconcileStatus | None:
        """None where the unit is not known."""
        line = self._lines.get(unit)
        return line.status() if line is not None else None

    def units_without_store(self) -> list[UnitId]:
        """Units whose messages Evolution does not keep: what their webhooks miss is lost."""
        return [id for id, line in self._lines.items() if line.row is not None and line.row.store_kept is False]

    # -- working ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Compare lines until cancelled. What fails is tried again later; the watermark stays where it was."""
        look_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            while True:
                await self._leadership.may_write()
                if trio.current_time() >= look_at:
                    look_at = trio.current_time() + self._policy.look_every
                    self._watch()
                    await self._load()
                    await self._write_gaps()
                if self._loaded:
                    self._start_due(nursery)
                with trio.move_on_at(look_at):
                    await self._rung.wait()
                self._rung = trio.Event()

    def _line(self, id: UnitId) -> ComparedLine | None:
        unit = self._roster.get(id)
        if unit is None or unit.record.archived_at is not None:
            return None
        line = self._lines.get(id)
        if line is None:
            line = self._lines[id] = ComparedLine(unit, Repairs(id, self._counters))
        return line

    def _watch(self) -> None:
        """See which lines there are, which are open, and what happened to them."""
        units = self._roster.units()
        for gone in self._lines.keys() - {unit.id for unit in units}:
            asked = self._lines.pop(gone).asked
            if asked is not None:
                asked.end("the unit was closed")
        for unit in units:
            line = self._line(unit.id)
            if line is None:
                continue
            line.unit = unit
            if unit.gap_since is not None:
                self.note_gap(unit.id, unit.gap_since)
                unit.gap_since = None
            if unit.quarantined_at is not None:
                line.quarantined = line.quarantined or time.time() - (trio.current_time() - unit.quarantined_at)
            elif line.quarantined is not None:
                self.note_gap(unit.id, line.quarantined)
                line.quarantined = None
            if unit.state is None:
                continue
            if unit.state.stored.phase is not Phase.OPEN:
                line.disconnected = unit.state.stored.disconnected_at
            elif not line.seen_open:
                line.seen_open = True
                self.want(unit.id, "start")
            elif line.disconnected is not None:
                self.opened(unit)

    async def _load(self) -> None:
        """Learn once how far an earlier process came."""
        if self._loaded:
            return
        try:
            async with self._pool.connection() as conn:
                rows = await reconciliation.load_lines(conn)
        except RemoteError as away:
            _LOG.debug("The lines must wait for the database", error=str(away))
            return
        for row in rows:
            line = self._line(row.unit_id)
            if line is not None:
                line.row = line.row or row
                if row.gap_since is not None:
                    line.note_gap(row.gap_since)
        self._loaded = True

    def _start_due(self, nursery: trio.Nursery) -> None:
        now = trio.current_time()
        waiting = sorted((line for line in self._lines.values() if line.next_at() <= now), key=ComparedLine.next_at)
        for line in waiting[: max(0, self._policy.at_once - self._busy)]:
            line.busy = True
            self._busy += 1
            nursery.start_soon(self._serve, line)

    async def _serve(self, line: ComparedLine) -> None:
        """One turn of a line: a run begins, goes on, or comes to its end."""
        try:
            await self._turns.take(line)
        finally:
            line.busy = False
            self._busy -= 1
            self._rung.set()

    async def _write_gaps(self) -> None:
        for line in [line for line in self._lines.values() if line.gap_unwritten]:
            line.gap_unwritten = False
            try:
                async with self._pool.connection() as conn:
                    await reconciliation.note_gap(conn, line.unit.id, line.gap)
            except RemoteError as away:
                line.gap_unwritten = True
                _LOG.debug("A gap could not be stored yet", error=str(away), unit=str(line.unit.id))
                return
