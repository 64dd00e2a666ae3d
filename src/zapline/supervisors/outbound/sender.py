"""Sends one unit's queued messages, one call at a time: wait for the pace, claim a message, call Evolution."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import inf

import structlog
import trio

from zapline.domain.errors import DatabaseUnavailable, JournalRefused, PositionRefused, TooLateToCall
from zapline.domain.messages.facts import CallStarted, SendAnswered
from zapline.domain.outbox.contents import File
from zapline.domain.outbox.pacing import Pacer
from zapline.domain.outbox.quiet_hours import day_began
from zapline.domain.outbox.send_outcomes import (
    HIDDEN_NUMBER,
    TOO_LATE,
    UPLOAD_MISSING,
    SendCall,
    SendFailure,
    after_failure,
    after_success,
)
from zapline.domain.outbox.work_states import Lane
from zapline.domain.retry_policy import Backoff
from zapline.domain.timestamps import NEVER, Moment
from zapline.evolution.client.failures import EvolutionFailure
from zapline.evolution.client.send_requests import send_route
from zapline.sql.outbound import send_claims, unit_pace
from zapline.sql.outbound.send_claims import ClaimedSend, ClaimGuard, ClaimRequest, ClaimResult, NextDue
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.campaign_brake import CampaignBrake
from zapline.supervisors.outbound.lease_recovery import recover_leases
from zapline.supervisors.outbound.line_pauses import LinePauses, as_failed
from zapline.supervisors.outbound.send_answers import make_durable, wait_until_stored
from zapline.supervisors.outbound.sender_state import SenderActivity, SenderContext, SenderState, can_send

_MAX_WAIT = 10.0
"""Seconds that a sender waits in place; for a longer time it ends, and the sender pool starts it again."""
_MAX_OVERTAKEN = 3
"""Calls of a unit that may hang while others go on; with more the server is to blame, and the unit waits."""
_MAX_UNSTORED = 16
"""Calls of a unit whose answers are not in the database yet; with more the unit waits for it."""
_STATE_TIMEOUT = 5.0
"""Seconds in which Evolution must tell the state of a line on which a call hangs."""
_RETRY_CLAIM = Backoff(base=0.2, factor=2.0, cap=10.0, jitter=0.3)
"""After the database did not serve a claim: a failover takes seconds, a wrong schema takes a person."""
_LOG = structlog.get_logger(scope="Sender")


class Sender:
    """One run of a unit's sender. What its next run needs to know is in ``state``."""

    def __init__(self, unit: Unit, state: SenderState, context: SenderContext) -> None:
        self._unit = unit
        self._state = state
        self._context = context
        self._line_pauses = LinePauses(unit, state, context)
        self._brake = CampaignBrake(unit, state, context)

    async def run(self) -> None:
        """Send until nothing may be sent within 10 seconds; ``state.resume_at`` says when to start again.

        One call at a time; only while one hangs, other chats go on. When it is cancelled during a call, the message
        stays leased and becomes uncertain at the next start; an answer that has arrived is made durable first.
        """
        self._state.forget_calls()
        while True:
            async with trio.open_nursery() as nursery:
                await self._send_all(nursery)
            # While the last call's task was coming to its end, somebody may have woken this sender.
            if not self._state.wake_event.is_set() or self._context.stopping or not self._context.serves(self._unit):
                return

    async def _send_all(self, nursery: trio.Nursery) -> None:
        state = self._state
        state.resume_at = None
        while self._context.serves(self._unit) and not self._context.stopping:
            await self._context.may_write()
            state.wake_event = trio.Event()
            until = await self._send_next_or_pause(nursery)
            if state.wake_event.is_set():
                continue
            if (until is None or until > trio.current_time() + _MAX_WAIT) and not state.calls:
                state.resume_at = until
                return
            with trio.move_on_at(inf if until is None else until):
                await state.wake_event.wait()

    async def after_crash(self) -> None:
        """Make the next run begin with lease recovery."""
        self._state.leases_resolved = False
        self._state.forget_calls()
        self._state.invalidate_pace()
        self._state.set_activity(SenderActivity.IDLE)

    async def _send_next_or_pause(self, nursery: trio.Nursery) -> float | None:
        """Send the next message, or pause if the database is away. When to continue (monotonic), or None."""
        state = self._state
        try:
            until = await self._send_next(nursery)
        except (DatabaseUnavailable, StatementFailed) as away:
            if isinstance(away, PositionRefused):
                self._context.standing.check_again()
            # The claim may have been committed all the same: lease recovery finds out.
            state.leases_resolved = state.claim_in_progress = state.nothing_else = False
            state.invalidate_pace()
            state.failed_claims += 1
            pause = _RETRY_CLAIM.delay(state.failed_claims, self._context.draw_spread())
            if state.failed_claims == 1:
                _LOG.warning("The database does not serve a sender", unit=str(self._unit.id), error=str(away))
            self._context.counters.add("claims_failed")
            return trio.current_time() + pause
        state.failed_claims = 0
        return until

    async def _send_next(self, nursery: trio.Nursery) -> float | None:
        """Send the next message, if one may be sent. When to look again (monotonic); None: when woken."""
        state, context = self._state, self._context
        if not state.leases_resolved:
            await recover_leases(self._unit, state, context)
        at = context.moment()
        state.set_activity(SenderActivity.IDLE)
        if not can_send(self._unit) or state.nothing_else or len(state.calls) >= _MAX_UNSTORED:
            return None
        if state.paused_until > at.mono:
            return state.paused_until
        if (held := await context.announcements.held_until()) is not None:
            return held
        if state.probe_needed and not await self._line_pauses.probe():
            return state.paused_until
        pacer = state.pacer or await self._load_pacer()
        campaigns_wait = await self._brake.apply(pacer, context.moment())
        at = context.moment()
        if state.pacer is not pacer:  # the limits were changed meanwhile
            return at.mono
        lanes = [lane for lane in pacer.allowed_lanes(at) if not (campaigns_wait and lane is Lane.CAMPAIGN)]
        if not lanes:
            return await self._next_due(pacer, at)
        state.claim_in_progress = True
        result = await self._claim(pacer, lanes, at)
        if result is None or result.claimed is None:
            state.claim_in_progress = False
            return self._hold_until(pacer, at, result.dues) if result is not None else at.mono
        state.nothing_else = result.last and not state.wake_event.is_set()
        await self._deliver(nursery, result.claimed, pacer, at)
        return at.mono

    async def _claim(self, pacer: Pacer, lanes: list[Lane], at: Moment) -> ClaimResult | None:
        """Claim the next message; None: look again. Raises DatabaseUnavailable."""
        context, state, attempt = self._context, self._state, self._context.new_id()
        if context.stopping:
            return None
        state.claiming = attempt
        blocked = {*pacer.recipients_within_gap(at), *state.calls.values()}
        request = ClaimRequest(self._unit.id, attempt, at.wall, lanes, blocked, self._guard(), context.clocks_agree())
        result = await context.claims.claim(request)
        if result.refused and self._guard() != request.guard:
            return None  # it has changed meanwhile
        if result.refused:
            raise PositionRefused("the database was set back, or another process leads")
        if result.unreadable:
            # It is claimed, but cannot be decoded: lease recovery buries it, or it would block the queue for ever.
            state.unreadable, state.leases_resolved = attempt, False
            return None
        if result.claimed is not None:
            self._unit.stored.last_claim = (result.claimed.message, result.claimed.fence)
        return result

    def _guard(self) -> ClaimGuard:
        context, unit = self._context, self._unit
        message, fence = unit.stored.last_claim or (None, None)
        known = (context.standing.lead, context.intake.journal_id, unit.stored.seq)
        return ClaimGuard(*known, message, fence, unit.held.node, unit.held.epoch)

    async def _next_due(self, pacer: Pacer, at: Moment) -> float | None:
        """When the pace or its due time lets the next message be sent; None if no message waits for these."""
        async with self._context.pool.connection() as conn:
            dues = await send_claims.find_next_due(conn, self._unit.id, at.wall)
        return self._hold_until(pacer, at, dues)

    def _hold_until(self, pacer: Pacer, at: Moment, dues: Mapping[Lane, NextDue]) -> float | None:
        """The same, from what is queued."""
        times: list[tuple[float, str]] = []
        for lane, due in dues.items():
            hold = pacer.hold_on(lane, at)
            if hold is not None and hold.until == inf:
                continue
            ready = at.mono + (due.due_at - at.wall)
            if hold is not None:
                times.append((ready, "") if ready > hold.until else (hold.until, hold.reason))
                continue
            # A due message that cannot be claimed waits for its recipient's gap, or behind one that is retried later.
            gap = pacer.gap_ends_at(at) if ready <= at.mono else None
            if gap is not None:
                times.append((gap, "gap"))
            if due.later is not None:
                times.append((at.mono + (due.later - at.wall), ""))
        if not times:
            return None
        until, reason = min(times)
        if reason:
            self._state.set_activity(SenderActivity.PACING, until, reason)
        return max(until, at.mono)

    async def _deliver(self, nursery: trio.Nursery, claimed: ClaimedSend, pacer: Pacer, at: Moment) -> None:
        """Call Evolution once; return when the answer is durable, or when other chats may go on before it has come."""
        state, context = self._state, self._context
        pacer.record_start(at, claimed.recipient, claimed.lane, context.draw_spread(), claimed.campaign_seconds)
        content = claimed.outgoing.content
        upload = content.upload if isinstance(content, File) else None
        media = await context.load_upload(upload) if upload is not None else None
        missing = upload is not None and media is None
        if not missing and not await self._may_call(claimed, at):
            return
        state.calls[claimed.attempt] = claimed.recipient
        state.undurable.add(claimed.attempt)
        state.claim_in_progress = False
        if not missing:
            state.claiming = None
            state.set_activity(SenderActivity.CALLING)
            context.counters.add("calls_started", claimed.lane.value)
            state.brake_unsure |= claimed.lane is Lane.CAMPAIGN
        ended, typing = trio.Event(), pacer.pace.typing_seconds(content)
        nursery.start_soon(self._call_and_store, claimed, pacer, at, media, missing, ended)
        while not await self._has_ended(ended, typing):
            if len(state.undurable) <= _MAX_OVERTAKEN and await self._is_line_open():
                context.counters.add("calls_overtaken")
                _LOG.warning("A call hangs; other chats of the line go on", unit=str(self._unit.id))
                return

    async def _may_call(self, claimed: ClaimedSend, at: Moment) -> bool:
        """Have the journal note the call; else undo the claim, or leave it to the call of which the journal knows."""
        context = self._context
        try:
            earlier = await context.announcements.last_call(claimed.message)
            if earlier is not None and await self._is_lost(earlier, claimed):
                await self._hand_over(claimed, earlier)
                return False
            noted = await context.announcements.announce(
                self._unit, CallStarted(claimed.attempt, claimed.message, claimed.fence, at.wall, claimed.chosen_id)
            )
        except JournalRefused:
            noted = False
        if not noted:
            await self._give_back()
        return noted

    async def _is_lost(self, earlier: CallStarted, claimed: ClaimedSend) -> bool:
        """Whether the database, which was set back, does not know of a call that may have been made.

        The fence alone does not say it: claims that were undone have raised it. Raises DatabaseUnavailable.
        """
        if earlier.fence >= claimed.fence or self._context.announcements.was_refused(earlier):
            return earlier.fence >= claimed.fence
        async with self._context.pool.connection() as conn:
            return not await send_claims.is_call_known(conn, self._unit.id, earlier.attempt)

    async def _hand_over(self, claimed: ClaimedSend, earlier: CallStarted) -> None:
        """Put a call that was made before in the place of this claim: the database was set back to before it.

        Raises DatabaseUnavailable.
        """
        state, context = self._state, self._context
        self._unit.stored.last_claim = None  # its fence is the earlier call's from now on
        async with context.pool.connection() as conn:
            await send_claims.hand_over_claim(conn, claimed.attempt, earlier)
        state.claiming, state.claim_in_progress, state.nothing_else = None, False, False
        state.invalidate_pace()
        context.counters.add("calls_known")
        text = "A message was sent before the database was set back; it is not sent again"
        _LOG.critical(text, message=str(claimed.message), unit=str(self._unit.id))
        if context.bring_back is not None:
            await context.bring_back(self._unit, claimed.message)

    async def _give_back(self) -> None:
        """Undo the claim whose call may not be made; the message waits as before. Raises DatabaseUnavailable."""
        self._state.leases_resolved = self._state.nothing_else = False
        self._state.invalidate_pace()
        await recover_leases(self._unit, self._state, self._context)
        self._state.claim_in_progress = False

    async def _has_ended(self, ended: trio.Event, typing: float) -> bool:
        """Wait for the end of a call, but no longer than our patience, and the seconds for which typing is shown."""
        with trio.move_on_after(self._context.patience + typing):
            await ended.wait()
        return ended.is_set()

    async def _is_line_open(self) -> bool:
        """Whether Evolution says at once that the line is open: then a call that hangs is one chat's matter."""
        with trio.move_on_after(_STATE_TIMEOUT):
            try:
                return await self._context.client_of(self._unit).connection_state(self._unit.record.instance) == "open"
            except EvolutionFailure:
                return False
        return False

    async def _call_and_store(
        self, claimed: ClaimedSend, pacer: Pacer, at: Moment, media: bytes | None, missing: bool, ended: trio.Event
    ) -> None:
        """Make the call of a claimed message, unless its file is gone, and store the answer.

        ``ended`` is set once it is stored. Of a reply that Evolution took it is set once that is durable: a kill loses
        nothing from then on, and the lease, which the stored answer ends, keeps the order of each conversation. A
        campaign waits, because its brake reads what is stored.
        """
        state, context = self._state, self._context
        content, support = claimed.outgoing.content, context.support_of(self._unit)
        call = SendCall(claimed.attempt, claimed.message, claimed.fence, claimed.tries, claimed.address, content)
        honoured: bool | None = None
        if missing:
            gone = SendFailure(UPLOAD_MISSING, "rejected", "the uploaded file is gone")
            answer = after_failure(call, gone, context.clock(), 0.0)
        else:
            answer = await self._call(call, claimed, media, at, pacer.pace.typing_seconds(content))
            honoured = answer.external_id == claimed.chosen_id if answer.external_id is not None else None
        sent = answer.outcome not in ("not_sent", "rejected")
        pacer.record_end(context.moment(), claimed.recipient, claimed.lane, sent=sent)
        accepted = answer.outcome == "sent"
        if not accepted:
            state.nothing_else = False  # it may be queued again
        stored = await make_durable(self._unit, state, context, answer)
        if accepted and claimed.lane is Lane.REPLY:
            ended.set()
        if not await wait_until_stored(self._unit, state, context, answer, stored):
            state.leases_resolved = state.nothing_else = False
        del state.calls[claimed.attempt]
        ended.set()
        state.wake_event.set()
        if honoured is not None:
            await support.learn(send_route(content), honoured)

    def _refuse_if_late(self, claimed_at: Moment) -> None:
        if self._unit.held.over:
            raise TooLateToCall
        self._context.standing.refuse_late_call(claimed_at, self._context.moment())

    async def _call(
        self, call: SendCall, claimed: ClaimedSend, media: bytes | None, at: Moment, typing: float
    ) -> SendAnswered:
        context, refuse_if_late = self._context, partial(self._refuse_if_late, at)
        try:
            refuse_if_late()
            sent = await context.client_of(self._unit).send(
                *(self._unit.record.instance, claimed.address, claimed.outgoing, media, claimed.chosen_id),
                begin=refuse_if_late,
                typing=typing,
            )
        except TooLateToCall:
            context.counters.add("calls_too_late")
            return after_failure(call, SendFailure(TOO_LATE, "line", "stood still before it"), context.clock(), 0.0)
        except EvolutionFailure as failure:
            failed = as_failed(failure)
            if failed.code == HIDDEN_NUMBER and (version := await context.support_of(self._unit).version()) is not None:
                failed = replace(failed, detail=f"Evolution {version}")
            pause = self._line_pauses.duration_after(failed) if failed.line_at_fault else 0.0
            answer = after_failure(call, failed, context.clock(), context.draw_spread(), pause)
            self._line_pauses.note_failure(failed, pause)
            return answer
        self._line_pauses.note_success(claimed.lane)
        return after_success(call, sent.external_id, sent.remote_jid, context.clock())

    async def _load_pacer(self) -> Pacer:
        """Build the pacer from the unit's limits and its past calls in the database."""
        state, at, unit = self._state, self._context.moment(), self._unit.id
        version = state.pace_version
        async with self._context.pool.connection() as conn:
            row = await unit_pace.load_pace(conn, unit)
            if row is None:
                raise DatabaseUnavailable("the unit is not in the database")
            pace = row.limits
            calls = await unit_pace.list_recent_calls(conn, unit, at.wall - pace.history_seconds)
            today = await unit_pace.count_calls_since(conn, unit, day_began(at.wall, pace.zone))
        pacer = Pacer.rebuilt(pace, calls, today, at)
        pacer.throttled_until = state.throttled_until
        pacer.refusals_hold_until = inf if row.campaigns_held else NEVER
        if state.pace_version == version:
            state.pacer = pacer
        return pacer
