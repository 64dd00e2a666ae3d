"""Schedules reconciliation runs: at the start, after every gap, at regular intervals, and when a person asks."""

from collections import Counter

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
from zapline.supervisors.inbound.server_standing import ServerStanding
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import Leadership
from zapline.supervisors.reconciliation.line_schedule import ALWAYS, LineSchedule, ReconcilePolicy, ReconcileStatus
from zapline.supervisors.reconciliation.repairs import RepairCounter
from zapline.supervisors.reconciliation.run import ReconciliationRun, RunProgress, total_progress
from zapline.supervisors.reconciliation.run_executor import RunExecutor
from zapline.supervisors.reconciliation.store_reader import StoreReader
from zapline.supervisors.units.roster import Roster

_LOG = structlog.get_logger(scope="Reconciler")


class AlreadyReconciling(LocalError):
    """A manual run of this unit is in progress."""


class Reconciler:
    """One instance per process. ``run`` does the work; the other methods do not block."""

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
        self._now = leadership.clock.now
        self._counters = counters
        self._policy = policy or ReconcilePolicy()
        reader = StoreReader(pool, client, intake, journal, self._policy.page_size, self._policy.max_pages)
        self._executor = RunExecutor(pool, reader, counters, self._policy, leadership.clock)
        self._lines: dict[UnitId, LineSchedule] = {}  # bounded by the number of units
        self._last_batch: list[ReconciliationRun] = []
        """The runs of the last manual request for all units."""
        self._rows_loaded = False
        self._busy_lines: Counter[ServerStanding] = (
            Counter()
        )  # of each server: one that hangs holds up no other's lines
        self._wake = trio.Event()

    # -- requests --------------------------------------------------------------------------------------------

    def schedule(self, unit: UnitId, reason: str) -> None:
        """Reconcile a line soon, or as soon as it is open."""
        line = self._line(unit)
        if line is not None:
            _LOG.debug("A line is to be compared with Evolution's store: {reason}", reason=reason, unit=str(unit))
            line.due = min(line.due, trio.current_time())
            self._wake.set()

    def line_opened(self, unit: Unit) -> None:
        """The line has become open: messages sent meanwhile arrive now, with their original times."""
        line = self._line(unit.id)
        if line is None:
            return
        if line.disconnected is not None or line.seen_open:
            line.note_gap(line.disconnected or self._now() - self._policy.check_every)
        line.disconnected, line.seen_open = None, True
        line.due = self._policy.at_once(line)
        self._wake.set()

    def note_gap(self, unit: UnitId, since: float) -> None:
        """Webhooks may be missing from ``since`` (UTC seconds) until now; reconcile the line soon."""
        line = self._line(unit)
        if line is not None:
            line.note_gap(since)
            if not line.failures:  # else its next try keeps its backoff
                line.due = min(line.due, self._policy.after_gap(line))

    def start_run(self, unit: UnitId, since: float) -> ReconciliationRun:
        """Start a manual run over [since, now]. Raises AlreadyReconciling, and LocalError (no such unit)."""
        line = self._line(unit)
        if line is None:
            raise LocalError("there is no such unit")
        if line.manual_run is not None and not line.manual_run.ended.is_set():
            raise AlreadyReconciling("this unit is being reconciled already; look at how far it has come")
        now, since = self._now(), max(since, 0.0)
        run = ReconciliationRun(unit, since, now, now - self._policy.settle_delay, manual=True, gap_since=ALWAYS)
        line.manual_run, line.manual_due = run, trio.current_time()
        self._wake.set()
        return run

    def start_all(self, since: float) -> int:
        """Start a manual run for every unit that has none in progress; return how many."""
        self._last_batch = []
        for unit in self._roster.units():
            line = self._lines.get(unit.id)
            if line is None or line.manual_run is None or line.manual_run.ended.is_set():
                self._last_batch.append(self.start_run(unit.id, since))
        return len(self._last_batch)

    async def reconcile(self, unit: UnitId, since: float) -> RunProgress:
        """Start a manual run and wait for its end. If the caller is cancelled, the run goes on."""
        run = self.start_run(unit, since)
        await run.ended.wait()
        return total_progress([run])

    # -- status ----------------------------------------------------------------------------------------------

    def progress(self, unit: UnitId | None = None) -> RunProgress:
        """Progress of the last manual run of a unit; None: of all units. ``units`` is 0 if there was none."""
        if unit is None:
            return total_progress(self._last_batch)
        line = self._lines.get(unit)
        return total_progress([line.manual_run] if line is not None and line.manual_run is not None else [])

    def status(self, unit: UnitId) -> ReconcileStatus | None:
        """Reconciliation status of a unit; None if it is not known."""
        line = self._lines.get(unit)
        return line.status() if line is not None else None

    def units_without_store(self) -> list[UnitId]:
        """Units whose messages Evolution does not store: a missed webhook is lost for good."""
        return [id for id, line in self._lines.items() if line.row is not None and line.row.store_kept is False]

    # -- scheduling ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Reconcile lines until cancelled. A failed run is tried again later; the watermark does not move."""
        check_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            while True:
                await self._leadership.may_write()
                if trio.current_time() >= check_at:
                    check_at = trio.current_time() + self._policy.check_every
                    self._check_units()
                    await self._load_rows()
                    await self._write_gaps()
                if self._rows_loaded:
                    self._start_due(nursery)
                with trio.move_on_at(check_at):
                    await self._wake.wait()
                self._wake = trio.Event()

    def _line(self, id: UnitId) -> LineSchedule | None:
        unit = self._roster.get(id)
        if unit is None or unit.record.archived_at is not None:
            return None
        line = self._lines.get(id)
        if line is None:
            line = self._lines[id] = LineSchedule(unit, RepairCounter(id, self._counters), self._now)
        return line

    def _check_units(self) -> None:
        """Update the lines from the units: which exist, which are open, which have a gap."""
        units = self._roster.units()
        for removed in self._lines.keys() - {unit.id for unit in units}:
            manual_run = self._lines.pop(removed).manual_run
            if manual_run is not None:
                manual_run.end("the unit was closed")
        for unit in units:
            line = self._line(unit.id)
            if line is None:
                continue
            if line.unit is not unit:  # another process has had it meanwhile
                line.seen_open = False
            line.unit = unit
            if unit.gap_since is not None:
                self.note_gap(unit.id, unit.gap_since)
                unit.gap_since = None
            if unit.quarantined_at is not None:
                line.quarantined = line.quarantined or self._now() - (trio.current_time() - unit.quarantined_at)
            elif line.quarantined is not None:
                self.note_gap(unit.id, line.quarantined)
                line.quarantined = None
            if unit.state is None:
                continue
            if unit.state.stored.phase is not Phase.OPEN:
                line.disconnected = unit.state.stored.disconnected_at
            elif not line.seen_open:
                line.seen_open = True
                # Nobody received webhooks before; not stored, since each start says so anew.
                line.note_gap((line.row.reconciled_at if line.row is not None else None) or self._now(), store=False)
                self.schedule(unit.id, "start")
            elif line.disconnected is not None:
                self.line_opened(unit)

    async def _load_rows(self) -> None:
        """Load the watermarks and gaps of an earlier process, once."""
        if self._rows_loaded:
            return
        try:
            async with self._pool.connection() as conn:
                rows = await reconciliation.load_lines(conn)
        except RemoteError as failure:
            _LOG.debug("The lines must wait for the database", error=str(failure))
            return
        for row in rows:
            line = self._line(row.unit_id)
            if line is not None:
                line.row = line.row or row
                if row.gap_since is not None:
                    line.note_gap(row.gap_since, store=False)
                    line.gap_stored = True
        self._rows_loaded = True

    def _start_due(self, nursery: trio.Nursery) -> None:
        now = trio.current_time()
        waiting = sorted((line for line in self._lines.values() if line.next_at() <= now), key=LineSchedule.next_at)
        for line in waiting:
            server = line.unit.server
            if self._busy_lines[server] < self._policy.max_lines:
                line.busy = True
                self._busy_lines[server] += 1
                nursery.start_soon(self._run_turn, line, server)

    async def _run_turn(self, line: LineSchedule, server: ServerStanding) -> None:
        """Run one turn of a line."""
        try:
            await self._executor.run_turn(line)
        finally:
            line.busy = False
            self._busy_lines[server] -= 1
            self._wake.set()

    async def _write_gaps(self) -> None:
        for line in [line for line in self._lines.values() if line.gap_unwritten]:
            line.gap_unwritten, gap = False, line.gap
            try:
                async with self._pool.connection() as conn:
                    line.gap_unwritten = not await reconciliation.store_gap(conn, line.unit.id, gap, line.unit.held)
                line.gap_stored = gap is not None
            except RemoteError as failure:
                line.gap_unwritten = True
                _LOG.debug("A gap could not be stored yet", error=str(failure), unit=str(line.unit.id))
                return
