"""Pauses a unit's sending after failures that are the line's fault, and probes the line after unanswered calls."""

import structlog
import trio

from zapline.domain.line.events import CallFailed
from zapline.domain.outbox.send_outcomes import THROTTLED, SendFailure, campaign_pause, line_pause
from zapline.domain.outbox.work_states import Lane
from zapline.evolution.client.failures import EvolutionFailure
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.sender_state import SenderContext, SenderState

_LOG = structlog.get_logger(scope="Sender")


class LinePauses:
    """Applies the outcome of each call to the line of one unit."""

    def __init__(self, unit: Unit, state: SenderState, context: SenderContext) -> None:
        self._unit = unit
        self._state = state
        self._context = context

    def duration_after(self, failed: SendFailure) -> float:
        """Seconds to pause after a failure that is the line's fault."""
        return line_pause(failed, self._state.line_failures + 1, self._context.draw_spread())

    def note_success(self, lane: Lane) -> None:
        self._end_pause()
        if lane is Lane.CAMPAIGN:
            self._state.throttle_count = 0

    def note_failure(self, failed: SendFailure, seconds: float) -> None:
        """Pause for ``seconds`` if the line is at fault; require a probe if Evolution did not answer."""
        if failed.line_at_fault:
            self._begin_pause(failed, seconds)
        elif failed.no_response:
            self._state.probe_needed = True
            self._request_observation(failed.code)
        else:
            self._end_pause()

    async def probe(self) -> bool:
        """Whether Evolution answers again and the line is open. Reading its state is harmless, a message is not."""
        try:
            reported = await self._context.client_of(self._unit).connection_state(self._unit.record.instance)
        except EvolutionFailure as failure:
            failed: SendFailure | None = as_failed(failure)
        else:
            failed = None if reported == "open" else SendFailure("not_connected", "line")
        if failed is not None:
            self._begin_pause(failed, self.duration_after(failed))
            return False
        self._state.probe_needed = False
        self._end_pause()
        return True

    def _begin_pause(self, failed: SendFailure, seconds: float) -> None:
        """The first message after the pause is the line's probe, and costs no try either."""
        state, now = self._state, trio.current_time()
        state.line_failures += 1
        state.paused_until, state.pause_reason = now + seconds, failed.code
        self._context.counters.add("line_pauses", failed.code)
        if failed.code == THROTTLED:
            state.throttle_count += 1
            until = now + campaign_pause(failed, state.throttle_count, self._context.draw_spread())
            state.throttled_until = max(state.throttled_until, until)
            if state.pacer is not None:
                state.pacer.throttled_until = state.throttled_until
        else:
            self._request_observation(failed.code)
        if state.line_failures == 1:
            rounded, unit = round(seconds, 1), str(self._unit.id)
            _LOG.warning("A line cannot send; it rests", unit=unit, failure=failed.code, seconds=rounded)

    def _end_pause(self) -> None:
        if self._state.mark_line_working():
            _LOG.info("A line sends again", unit=str(self._unit.id))

    def _request_observation(self, code: str) -> None:
        """Have the unit's actor observe its line. A full mailbox drops the event: then it observes already."""
        self._context.roster.send_event(self._unit, CallFailed("send", code))


def as_failed(failure: EvolutionFailure) -> SendFailure:
    return SendFailure(failure.code, failure.verdict.value, failure.detail, failure.retry_after)
