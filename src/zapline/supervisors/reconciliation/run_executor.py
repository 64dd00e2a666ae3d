"""Performs the turns of a line's reconciliation: a run begins, reads on, and comes to its end or fails."""

import random
import time
from dataclasses import replace

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.domain.privacy.masking import sanitize_error
from zapline.domain.reconciliation_windows import SETTLES, beginning, windows
from zapline.evolution.client.failures import GatewayFailed, NoAnswer, ServerNotReady, Unreachable
from zapline.sql.outbound import reconciliation
from zapline.sql.outbound.reconciliation import LineRow
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.reconciliation.line_state import ALWAYS, NEVER, ComparedLine, ReconcilePolicy
from zapline.supervisors.reconciliation.run import Run
from zapline.supervisors.reconciliation.store_reader import StoreReader

STORE_OFF = (
    "Evolution does not store messages, so nothing that was missed can be fetched: set "
    "DATABASE_SAVE_DATA_NEW_MESSAGE=true and DATABASE_SAVE_MESSAGE_UPDATE=true on the Evolution server"
)
_AWAY = (Unreachable, ServerNotReady, NoAnswer, GatewayFailed)
"""After these Evolution may have been restarted, and with it the webhooks that it was about to repeat are gone."""
_SET_BACK = 1.0
"""Seconds by which a watermark must have gone back to be another one."""
_LOG = structlog.get_logger(scope="Reconciler")


class Turns:
    """One serves all lines; a line has one turn at a time."""

    def __init__(self, pool: Pool, reader: StoreReader, counters: Counters, policy: ReconcilePolicy) -> None:
        self._pool = pool
        self._reader = reader
        self._counters = counters
        self._policy = policy

    async def take(self, line: ComparedLine) -> None:
        """One turn of a line. What fails outside is kept in its state, and tried again later."""
        try:
            run = line.run or self._next_run(line)
            await self._begin(line, run)
            if await self._turn(line, run):
                await self._end(line, run)
        except RemoteError as failure:
            self._fail(line, failure)

    def _next_run(self, line: ComparedLine) -> Run:
        if line.asked is not None and line.asked_at <= line.due_at:
            line.run, line.asked_at = line.asked, NEVER
        else:
            until = time.time() - self._policy.settles
            line.run = Run(line.unit.id, until, until, until)
        return line.run

    async def _begin(self, line: ComparedLine, run: Run) -> None:
        if run.begun:
            return
        async with self._pool.connection() as conn:
            row = await reconciliation.load_line(conn, run.unit)
            if row is None:
                return  # closed a moment ago
            set_back = _set_back(line.row, row)
            if set_back is not None:
                line.note_gap(set_back)
            gaps = [gap for gap in (line.gap, row.gap_since) if gap is not None]
            # While an earlier process was gone, nobody listened.
            absent = [] if line.compared else [row.reconciled_at or ALWAYS]
            known = min([*gaps, *absent], default=None)
            line.row = row
            line.repairs.begin(row.last_seq)
            await line.repairs.count(conn, known)  # what the search for uncertain messages has found meanwhile
        if not run.by_hand:
            run.gap_since = known
            begins = beginning(row.reconciled_until, row.first_connected, gaps, self._policy.overlap)
            run.since = begins if begins is not None else run.until + 1
        run.begin(windows(run.since, run.until, self._policy.span))

    async def _turn(self, line: ComparedLine, run: Run) -> bool:
        """Read on; False where it is the others' turn."""
        unit, end = line.unit, run.tally.pages + self._policy.pages_a_turn
        while run.todo:
            if run.tally.pages >= end:
                line.turn_at = trio.current_time()
                return False
            window = await self._reader.step(unit, run.todo, run.tally)
            run.took(window)
            if window is None:
                continue
            reached = min(float(window.until), run.settled)
            async with self._pool.connection() as conn:
                run.repaired += await line.repairs.count(conn, run.gap_since)
                moved = reached >= window.since and await reconciliation.advance(conn, unit.id, window.since, reached)
            if moved and line.row is not None:
                line.row = replace(line.row, reconciled_until=reached)
        return True

    async def _end(self, line: ComparedLine, run: Run) -> None:
        now = time.time()
        async with self._pool.connection() as conn:
            if not run.by_hand:
                await reconciliation.finish_run(conn, run.unit, now)
            kept = await self._store_kept(conn, run)
            news = kept is not None and await reconciliation.note_store(conn, run.unit, kept)
        if news and kept is False:
            _LOG.warning(STORE_OFF, unit=str(run.unit))
        if line.row is not None:
            line.row = replace(
                line.row,
                reconciled_at=line.row.reconciled_at if run.by_hand else now,
                store_kept=line.row.store_kept if kept is None else kept,
            )
        if line.gap is not None and line.gap_until <= run.settled and run.since <= max(line.gap, line.first_connected):
            line.gap, line.gap_unwritten = None, True
        self._counters.add("reconciliations", "done")
        line.run, line.error = None, None
        if not run.by_hand:
            line.compared, line.failures = True, 0
            wait = self._policy.every * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
            if line.gap is not None:
                again = self._policy.after_gap(line) - trio.current_time()
                wait = min(wait, max(again, self._policy.look_every))
            line.due = trio.current_time() + wait
        run.end()

    @staticmethod
    async def _store_kept(conn: Connection, run: Run) -> bool | None:
        """Whether Evolution keeps messages; None where this run cannot tell."""
        if run.tally.records:
            return True
        if not run.windows:
            return None
        heard = await reconciliation.heard_live(conn, run.unit, run.since + SETTLES, run.until - SETTLES)
        return False if heard else None

    def _fail(self, line: ComparedLine, failure: RemoteError) -> None:
        why = sanitize_error(str(failure))
        run, line.run = line.run, None
        self._counters.add("reconciliations", "failed")
        if isinstance(failure, _AWAY):
            line.note_gap(time.time())
        if run is not None and run.by_hand:
            run.end(why)
            return
        line.failures += 1
        if line.error is None:
            _LOG.warning("A line could not be compared with Evolution's store", unit=str(line.unit.id), error=why)
        line.error = why
        line.due = trio.current_time() + self._policy.again.delay(line.failures, random.random())  # noqa: S311 - jitter


def _set_back(before: LineRow | None, now: LineRow) -> float | None:
    """From when on a database that was set back knows less than we did: what it has forgotten is a gap."""
    was = before.reconciled_until if before is not None else None
    is_now = now.reconciled_until or now.first_connected or 0.0
    return is_now if was is not None and is_now < was - _SET_BACK else None
