"""Executes reconciliation runs in turns: begins a run, reads windows, moves the watermark, finishes or fails it."""

import random
from collections.abc import Callable
from dataclasses import replace

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.domain.privacy.masking import sanitize_error
from zapline.domain.reconciliation_windows import SETTLE_TIME, reading_start, split_into_windows
from zapline.evolution.client.failures import GatewayFailed, NoAnswer, ServerNotReady, Unreachable
from zapline.sql.outbound import reconciliation
from zapline.sql.outbound.reconciliation import ReconciledLine
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.clock_watch import ClockWatch
from zapline.supervisors.counters import Counters
from zapline.supervisors.reconciliation.line_schedule import ALWAYS, NEVER, LineSchedule, ReconcilePolicy
from zapline.supervisors.reconciliation.run import ReconciliationRun
from zapline.supervisors.reconciliation.store_reader import StoreReader

STORE_OFF = (
    "Evolution does not store messages, so nothing that was missed can be fetched: set "
    "DATABASE_SAVE_DATA_NEW_MESSAGE=true and DATABASE_SAVE_MESSAGE_UPDATE=true on the Evolution server"
)
_SERVER_FAILURES = (Unreachable, ServerNotReady, NoAnswer, GatewayFailed)
"""After these Evolution may have restarted, and lost the webhooks that it was about to retry."""
_RESTORE_TOLERANCE = 1.0
"""Seconds by which the watermark must have gone back to count as restored from a backup."""
_LOG = structlog.get_logger(scope="Reconciler")


class RunExecutor:
    """One instance serves all lines; a line has one turn at a time."""

    def __init__(
        self,
        pool: Pool,
        reader: StoreReader,
        counters: Counters,
        policy: ReconcilePolicy,
        clock: ClockWatch,
        draw_spread: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._reader = reader
        self._counters = counters
        self._policy = policy
        self._clock = clock
        self._draw_spread = draw_spread

    async def run_turn(self, line: LineSchedule) -> None:
        """Run one turn of a line. Its state records remote failures, which are tried again later."""
        try:
            run = line.run or self._next_run(line)
            await self._begin_run(line, run)
            if await self._read_windows(line, run):
                await self._finish_run(line, run)
        except RemoteError as failure:
            self._fail_run(line, failure)

    def _next_run(self, line: LineSchedule) -> ReconciliationRun:
        if line.manual_run is not None and line.manual_due <= line.due_at:
            line.run, line.manual_due = line.manual_run, NEVER
        else:
            now = self._clock.now()
            settled = now - self._policy.settle_delay
            # What is missing in a gap is not waited for, though the watermark must not pass what may still be stored.
            until = now if line.gap is not None else settled
            line.run = ReconciliationRun(line.unit.id, until, until, settled)
        return line.run

    async def _begin_run(self, line: LineSchedule, run: ReconciliationRun) -> None:
        if run.begun:
            return
        async with self._pool.connection() as conn:
            row = await reconciliation.load_line(conn, run.unit)
            if row is None:
                return  # archived a moment ago
            restored_to = _restored_to(line.row, row)
            if restored_to is not None:
                line.note_gap(restored_to)
            gaps = [gap for gap in (line.gap, row.gap_since) if gap is not None]
            # Nobody received webhooks while no process ran.
            downtime = [] if line.has_run else [row.reconciled_at or ALWAYS]
            gap_since = min([*gaps, *downtime], default=None)
            line.row = row
            line.repairs.begin(row.last_seq)
            await line.repairs.count(
                conn, gap_since, self._clock.now()
            )  # messages that the search for uncertain sends has found
        if not run.manual:
            run.gap_since = gap_since
            since = reading_start(
                row.reconciled_until, row.first_connected, gaps, self._clock.now(), self._policy.overlap
            )
            run.since = since if since is not None else run.until + 1
        run.begin(split_into_windows(run.since, run.until, self._policy.window_span))

    async def _read_windows(self, line: LineSchedule, run: ReconciliationRun) -> bool:
        """Read windows; False if the turn is over before the run."""
        unit, end = line.unit, run.counts.pages + self._policy.pages_per_turn
        while run.windows_left:
            if run.counts.pages >= end:
                line.resume_at = trio.current_time()
                return False
            window = await self._reader.read_window(unit, run.windows_left, run.counts)
            run.window_done(window)
            if window is None:
                continue
            reached = min(float(window.until), run.settled, self._clock.now())
            async with self._pool.connection() as conn:
                run.repaired += await line.repairs.count(conn, run.gap_since, self._clock.now())
                # By a wrong clock it could stay in the future, and hide what is missed until then.
                may_move = self._clock.agrees() and reached >= window.since
                moved = may_move and await reconciliation.advance_watermark(
                    conn, unit.id, window.since, reached, unit.held
                )
            if moved and line.row is not None:
                line.row = replace(line.row, reconciled_until=reached)
        return True

    async def _finish_run(self, line: LineSchedule, run: ReconciliationRun) -> None:
        now = self._clock.now()
        async with self._pool.connection() as conn:
            if not run.manual:
                await reconciliation.store_run_end(conn, run.unit, now, line.unit.held)
            kept = await self._store_kept(conn, run, line.unit.record.evolution_server_since or 0.0)
            changed = kept is not None and await reconciliation.store_history_kept(conn, run.unit, kept, line.unit.held)
        if changed and kept is False:
            _LOG.warning(STORE_OFF, unit=str(run.unit))
        if line.row is not None:
            line.row = replace(
                line.row,
                reconciled_at=line.row.reconciled_at if run.manual else now,
                store_kept=line.row.store_kept if kept is None else kept,
            )
        if line.gap is not None and line.gap_until <= run.settled and run.since <= max(line.gap, line.first_connected):
            line.close_gap()
        self._counters.add("reconciliations", "done")
        line.run, line.error = None, None
        if not run.manual:
            line.has_run, line.failures, line.ended_at = True, 0, trio.current_time()
            wait = self._policy.interval * (0.9 + 0.2 * self._draw_spread())
            if line.gap is not None:
                again = min(self._policy.after_gap(line) - trio.current_time(), self._policy.follow_up)
                wait = min(wait, max(again, self._policy.check_every))
            line.due = trio.current_time() + wait
        run.end()

    @staticmethod
    async def _store_kept(conn: Connection, run: ReconciliationRun, lives_since: float) -> bool | None:
        """Whether Evolution stores messages; None if this run cannot tell.

        ``lives_since``: the unit was moved then; of what was before, its server knows nothing.
        """
        if run.counts.records:
            return True
        if not run.window_count:
            return None
        received = await reconciliation.received_webhooks_between(
            conn, run.unit, max(run.since, lives_since) + SETTLE_TIME, run.until - SETTLE_TIME
        )
        return False if received else None

    def _fail_run(self, line: LineSchedule, failure: RemoteError) -> None:
        error = sanitize_error(str(failure))
        run, line.run = line.run, None
        self._counters.add("reconciliations", "failed")
        if isinstance(failure, _SERVER_FAILURES):
            line.note_gap(self._clock.now())
        if run is not None and run.manual:
            run.end(error)
            return
        line.failures += 1
        if line.error is None:
            _LOG.warning("A line could not be compared with Evolution's store", unit=str(line.unit.id), error=error)
        line.error = error
        line.due = trio.current_time() + self._policy.backoff.delay(line.failures, self._draw_spread())


def _restored_to(before: ReconciledLine | None, now: ReconciledLine) -> float | None:
    """The watermark to which the database was restored, if it was: what it lost since is a gap."""
    was = before.reconciled_until if before is not None else None
    is_now = now.reconciled_until or now.first_connected or 0.0
    return is_now if was is not None and is_now < was - _RESTORE_TOLERANCE else None
