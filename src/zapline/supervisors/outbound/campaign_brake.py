"""Holds a unit's campaigns after WhatsApp has refused too much or confirmed nothing; slows them down before that."""

from math import inf

import structlog

from zapline.domain.outbox.failure_texts import failure_text
from zapline.domain.outbox.pacing import Pacer
from zapline.domain.outbox.refusal_brake import BrakeDecision, RecentSend, decide
from zapline.domain.timestamps import NEVER, Moment
from zapline.sql.outbound import campaign_brake
from zapline.sql.postgres.connection import Connection
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.sender_state import SenderContext, SenderState

_POLL = 0.5
"""Seconds after which campaigns that wait for news of earlier messages look again."""
_LOG = structlog.get_logger(scope="Campaigns")


class CampaignBrake:
    """The brake of one unit. What it decides follows from the rows, so it survives every crash."""

    def __init__(self, unit: Unit, state: SenderState, context: SenderContext) -> None:
        self._unit = unit
        self._state = state
        self._context = context

    async def apply(self, pacer: Pacer, at: Moment) -> bool:
        """Set the pacer's hold to what the last messages say, if there may be news. Raises DatabaseUnavailable.

        Returns whether campaigns wait for now, also where the hold ends before anybody looks at it.
        """
        state = self._state
        if not state.brake_unsure or pacer.refusals_hold_until == inf:
            return pacer.refusals_hold_until == inf
        state.brake_unsure = False
        async with self._context.pool.connection() as conn:
            decision = await self._decide(conn, at)
            if decision.held is not None:
                pacer.refusals_hold_until = inf
                held_at = await campaign_brake.hold_campaigns(conn, self._unit.id, decision.held)
                if held_at is not None:
                    self._tell(decision.held, held_at)
                return True
        if decision.wait_until is None:
            pacer.refusals_hold_until = NEVER
            return False
        state.brake_unsure = True
        pacer.refusals_hold_until = at.mono + min(_POLL, max(0.0, decision.wait_until - at.wall))
        return True

    async def _decide(self, conn: Connection, at: Moment) -> BrakeDecision:
        if self._state.listening_since == NEVER:
            self._state.listening_since = at.mono
        heard_since = at.wall - (at.mono - self._state.listening_since)
        sends: list[RecentSend] = await campaign_brake.list_recent_sends(conn, self._unit.id, at.wall)
        decision, without_silence = decide(sends, at.wall, heard_since), decide(sends, at.wall)
        if decision != without_silence and not await campaign_brake.tells_statuses(conn, self._unit.id):
            return without_silence
        return decision

    def _tell(self, reason: str, held_at: float) -> None:
        self._context.counters.add("campaign_holds", reason)
        text = "The campaigns of a unit are held until a person releases them: {why}"
        _LOG.error(text, why=failure_text(reason), unit=str(self._unit.id), failure=reason)
        self._context.roster.campaigns_held(self._unit, held_at, reason)
