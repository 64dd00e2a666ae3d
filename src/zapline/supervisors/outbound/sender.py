"""Drains one unit's outbox, one call at a time: pace, claim, call, hand the answer to the unit's lane."""

import random
from uuid import uuid4
from zoneinfo import ZoneInfo

import msgspec
import structlog
import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.domain.line.reasons import Phase
from zapline.domain.line.state import Moment
from zapline.domain.messages.events import CallFailed, SendAnswered
from zapline.domain.outbox.pacing import Pacer, UnitPace
from zapline.domain.outbox.rate_limits import day_began
from zapline.domain.outbox.send_outcomes import (
    LEASE,
    NO_BYTES,
    THROTTLED,
    UNREADABLE,
    Call,
    Failed,
    after_crash,
    after_failure,
    after_success,
    campaign_rest,
    line_rest,
)
from zapline.domain.outbox.work_states import File, Lane
from zapline.domain.retry_policy import Backoff
from zapline.evolution.client.failures import EvolutionFailure
from zapline.sql.outbound import claims
from zapline.sql.outbound.claims import Claimed, LeftLease
from zapline.sql.postgres.error_classes import StatementFailed
from zapline.supervisors.inbound.journal_entries import ANSWER
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.sender_state import Busy, Desk, Means

STAY = 10.0
"""Seconds a sender waits in place; for a longer time it ends, and the due-query starts it again."""
KEEP_WITHIN = 10.0
"""Seconds for which even a cancellation waits until an answer is on disk."""
_PATIENCE = 90.0
"""Seconds after which an answer that is not stored is looked for in the database."""
_LOOK_AGAIN = 5.0
"""Seconds between looks whether the unit, on whose actor the sender waits, is still there."""
_CLAIM_AGAIN = Backoff(base=0.2, factor=2.0, cap=10.0, jitter=0.3)
"""After the database did not serve a claim: a failover takes seconds, a wrong schema takes a person."""
_KEEP_AGAIN = Backoff(base=0.5, factor=2.0, cap=10.0, jitter=0.3)
"""After neither disk nor database took an answer."""
_LOG = structlog.get_logger(scope="Sender")


class Sender:
    """One life. What the next one needs to know stays at the unit's desk."""

    def __init__(self, unit: Unit, desk: Desk, means: Means) -> None:
        self._unit = unit
        self._desk = desk
        self._means = means

    async def run(self) -> None:
        """Send until nothing is left that may leave soon; ``desk.resume_at`` says when to go on.

        Cancelled during a call, the message stays leased and becomes uncertain at the next start; an answer that
        has come is made durable first.
        """
        desk = self._desk
        desk.resume_at = None
        while self._there() and not self._means.stopping:
            await self._means.may_write()
            desk.bell = trio.Event()
            until = await self._next_turn()
            if desk.bell.is_set():
                continue
            if until is None or until > trio.current_time() + STAY:
                desk.resume_at = until
                return
            with trio.move_on_at(until):
                await desk.bell.wait()

    async def after_crash(self) -> None:
        """The next life finds out first what this one has left."""
        self._desk.resolved = self._desk.in_hand = False
        self._desk.forget_pace()
        self._desk.show(Busy.IDLE)

    def _there(self) -> bool:
        unit = self._unit
        return self._means.roster.get(unit.id) is unit and unit.record.archived_at is None

    def _open(self) -> bool:
        unit = self._unit
        if unit.state is None or unit.quarantined_at is not None or unit.record.paused_at is not None:
            return False
        return unit.state.stored.phase is Phase.OPEN

    # -- one turn ----------------------------------------------------------------------------------------------

    async def _next_turn(self) -> float | None:
        """A turn, or a pause where the database does not serve it."""
        desk = self._desk
        try:
            until = await self._turn()
        except (DatabaseUnavailable, StatementFailed) as away:
            # A claim may have been made all the same: the next turn finds out.
            desk.resolved = desk.in_hand = False
            desk.forget_pace()
            desk.claims_failed += 1
            pause = _CLAIM_AGAIN.delay(desk.claims_failed, _chance())
            if desk.claims_failed == 1:
                _LOG.warning("The database does not serve a sender", unit=str(self._unit.id), error=str(away))
            self._means.counters.add("claims_failed")
            return trio.current_time() + pause
        desk.claims_failed = 0
        return until

    async def _turn(self) -> float | None:
        """Send the next message, if one may leave. When to look again (monotonic); None: when something new comes."""
        desk, means = self._desk, self._means
        if not desk.resolved:
            await self._resolve()
        at = means.moment()
        desk.show(Busy.IDLE)
        if not self._open():
            return None
        if desk.paused_until > at.mono:
            return desk.paused_until
        if desk.silent and not await self._shows_life():
            return desk.paused_until
        pacer = desk.pacer or await self._rebuild()
        at = means.moment()
        lanes = pacer.may(at)
        if not lanes:
            return await self._idle(pacer, at)
        desk.in_hand = True
        claimed = await self._claim(pacer, lanes, at)
        if claimed is None:
            desk.in_hand = False
            return await self._idle(pacer, at) if desk.resolved else at.mono
        await self._deliver(claimed, pacer, at)
        return at.mono

    async def _claim(self, pacer: Pacer, lanes: list[Lane], at: Moment) -> Claimed | None:
        attempt, means = uuid4(), self._means
        if means.stopping:
            return None
        self._desk.claiming = attempt
        try:
            async with means.pool.connection() as conn:
                return await claims.claim(
                    conn,
                    self._unit.id,
                    process=means.process,
                    attempt=attempt,
                    now=at.wall,
                    lease=LEASE,
                    lanes=lanes,
                    blocked=pacer.blocked(at),
                )
        except msgspec.ValidationError:
            # It is claimed, and nobody can read it: it must not stand before all others for ever.
            self._desk.unreadable, self._desk.resolved = attempt, False
            return None

    async def _idle(self, pacer: Pacer, at: Moment) -> float | None:
        """When the pace, or time, lets the next message leave; None where nothing waits for them."""
        async with self._means.pool.connection() as conn:
            dues = await claims.next_due(conn, self._unit.id, at.wall)
        times: list[tuple[float, str]] = []
        for lane, due in dues.items():
            hold = pacer.hold(lane, at)
            ready = at.mono + (due.due_at - at.wall)
            if hold is not None:
                times.append((ready, "") if ready > hold.until else (hold.until, hold.reason))
                continue
            # What is due and cannot be claimed stands behind the gap, or behind one that is tried again later.
            gap = pacer.gap_over(at) if ready <= at.mono else None
            if gap is not None:
                times.append((gap, "gap"))
            if due.later is not None:
                times.append((at.mono + (due.later - at.wall), ""))
        if not times:
            return None
        until, reason = min(times)
        if reason:
            self._desk.show(Busy.PACING, until, reason)
        return max(until, at.mono)

    # -- one message -------------------------------------------------------------------------------------------

    async def _deliver(self, claimed: Claimed, pacer: Pacer, at: Moment) -> None:
        """Call Evolution once, and return when what became of it is stored."""
        desk, means = self._desk, self._means
        pacer.took(at, claimed.recipient, claimed.lane, _chance(), claimed.campaign_seconds)
        content = claimed.outgoing.content
        call = Call(claimed.attempt, claimed.message, claimed.fence, claimed.tries, claimed.address, content)
        upload = content.upload if isinstance(content, File) else None
        media = await means.load_upload(upload) if upload is not None else None
        if upload is not None and media is None:
            gone = Failed(NO_BYTES, "rejected", "the uploaded file is gone")
            answer = after_failure(call, gone, means.clock(), 0.0)
        else:
            desk.claiming, desk.calling = None, claimed.attempt
            desk.show(Busy.CALLING)
            means.counters.add("calls_started", claimed.lane.value)
            answer = await self._call(call, claimed, media)
        sent = answer.outcome not in ("not_sent", "rejected")
        pacer.ended(means.moment(), claimed.recipient, claimed.lane, sent=sent)
        desk.resolved = await self._hand_in(answer)
        desk.calling = None

    async def _call(self, call: Call, claimed: Claimed, media: bytes | None) -> SendAnswered:
        means = self._means
        try:
            sent = await means.client.send(self._unit.record.instance, claimed.address, claimed.outgoing, media)
        except EvolutionFailure as failure:
            failed = _failed(failure)
            rest = line_rest(failed, self._desk.failures + 1, _chance()) if failed.line_at_fault else 0.0
            answer = after_failure(call, failed, means.clock(), _chance(), rest)
            self._learn(failed, claimed.lane, rest)
            return answer
        self._learn(None, claimed.lane)
        return after_success(call, sent.external_id, sent.remote_jid, means.clock())

    async def _hand_in(self, answer: SendAnswered) -> bool:
        """Make an answer durable, then wait until it is stored, and say whether it is; none is ever thrown away."""
        desk, unit = self._desk, self._unit
        stored = trio.Event()
        desk.stored = (answer.attempt, stored)
        body = msgspec.json.encode(answer)
        kept, tries = False, 0
        with trio.move_on_after(KEEP_WITHIN, shield=True):
            kept = await self._means.intake.keep(unit, ANSWER, body)
        while not kept:
            tries += 1
            self._means.counters.add("answers_refused")
            _LOG.error("How a call ended could not be written down; it is tried again", unit=str(unit.id))
            await trio.sleep(_KEEP_AGAIN.delay(tries, _chance()))
            kept = await self._means.intake.keep(unit, ANSWER, body)
        desk.in_hand = False
        patience = trio.current_time() + _PATIENCE
        while not stored.is_set() and self._there():
            with trio.move_on_after(_LOOK_AGAIN):
                await stored.wait()
            if trio.current_time() > patience and not stored.is_set():
                # Perhaps the entry was buried: what is still open then is ended once more, behind it.
                break
        desk.stored = None
        return stored.is_set()

    # -- what a failure says of the line -------------------------------------------------------------------------

    def _learn(self, failed: Failed | None, lane: Lane, rest: float = 0.0) -> None:
        desk = self._desk
        if failed is not None and failed.line_at_fault:
            self._pause(failed, rest)
        elif failed is not None and failed.silent:
            desk.silent = True
            self._doubt(failed.code)
        else:
            self._line_works()
            if failed is None and lane is Lane.CAMPAIGN:
                desk.throttles = 0

    def _pause(self, failed: Failed, rest: float) -> None:
        """Let the line rest; the message after that is its one probe, and costs no try either."""
        desk, means, now = self._desk, self._means, trio.current_time()
        desk.failures += 1
        desk.pause(failed, now + rest)
        means.counters.add("line_pauses", failed.code)
        if failed.code == THROTTLED:
            desk.throttles += 1
            until = now + campaign_rest(failed, desk.throttles, _chance())
            desk.throttled_until = max(desk.throttled_until, until)
            if desk.pacer is not None:
                desk.pacer.throttled_until = desk.throttled_until
        else:
            self._doubt(failed.code)
        if desk.failures == 1:
            seconds = round(desk.paused_until - now, 1)
            _LOG.warning("A line cannot send; it rests", unit=str(self._unit.id), failure=failed.code, seconds=seconds)

    def _line_works(self) -> None:
        if self._desk.line_works():
            _LOG.info("A line sends again", unit=str(self._unit.id))

    def _doubt(self, code: str) -> None:
        """Have the unit's actor look at its line; a full mailbox means that it looks already."""
        self._means.roster.ask(self._unit, CallFailed("send", code))

    async def _shows_life(self) -> bool:
        """Ask Evolution, which left a call unanswered, for the line's state: harmless, where a message is not."""
        try:
            state = await self._means.client.connection_state(self._unit.record.instance)
        except EvolutionFailure as failure:
            failed: Failed | None = _failed(failure)
        else:
            failed = None if state == "open" else Failed("not_connected", "line")
        if failed is not None:
            self._pause(failed, line_rest(failed, self._desk.failures + 1, _chance()))
            return False
        self._desk.silent = False
        self._line_works()
        return True

    # -- before the first claim ------------------------------------------------------------------------------------

    async def _resolve(self) -> None:
        """End what was begun and not ended, by an earlier process or an earlier life."""
        desk, means = self._desk, self._means
        if self._unit.quarantined_at is not None:
            return
        left: list[LeftLease] = []
        async with means.pool.connection() as conn:
            for lease in await claims.left_leases(conn, self._unit.id):
                uncalled = lease.attempt == desk.claiming and lease.attempt != desk.unreadable
                if not (uncalled and lease.leased_by == means.process):
                    left.append(lease)
                elif await claims.give_back(conn, lease):
                    means.counters.add("claims_given_back")
        ended = True
        for lease in left:
            ended = await self._hand_in(self._end_of(lease)) and ended
        desk.claiming = desk.calling = desk.unreadable = None
        desk.resolved = ended and self._there()

    def _end_of(self, lease: LeftLease) -> SendAnswered:
        call = Call(lease.attempt, lease.message, lease.fence, 0, "")
        now = self._means.clock()
        if lease.attempt == self._desk.unreadable:
            return after_failure(call, Failed(UNREADABLE, "rejected", "the stored message cannot be read"), now, 0.0)
        self._means.counters.add("leases_rescued")
        return after_crash(call, now, repeatable=lease.repeatable)

    async def _rebuild(self) -> Pacer:
        """The pace, from the unit's limits and from what the database knows of its calls."""
        desk, at, unit = self._desk, self._means.moment(), self._unit.id
        version = desk.pace_version
        async with self._means.pool.connection() as conn:
            row = await claims.load_pace(conn, unit)
            if row is None:
                raise DatabaseUnavailable("the unit is not in the database")
            zone = ZoneInfo(row.time_zone)
            pace = UnitPace.given(
                zone,
                per_minute=row.per_minute,
                burst=row.burst,
                gap=row.gap_seconds,
                daily_cap=row.daily_cap,
                warm_up_first=row.warm_up_first,
                quiet_from=row.quiet_from,
                quiet_until=row.quiet_until,
                campaign_seconds=row.campaign_seconds,
                line_since=row.line_since,
                resend_lanes=row.resend_lanes,
            )
            calls = await claims.recent_calls(conn, unit, at.wall - pace.memory)
            today = await claims.calls_today(conn, unit, day_began(at.wall, zone))
        pacer = Pacer.rebuilt(pace, calls, today, at)
        pacer.throttled_until = desk.throttled_until
        if desk.pace_version == version:
            desk.pacer = pacer
        return pacer


def _chance() -> float:
    return random.random()  # noqa: S311 - jitter


def _failed(failure: EvolutionFailure) -> Failed:
    return Failed(failure.code, failure.verdict.value, failure.detail, failure.retry_after)
