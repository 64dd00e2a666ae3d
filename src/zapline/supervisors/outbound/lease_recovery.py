"""Ends the leases that a crash or an earlier process left behind: given back if never called, else uncertain."""

from zapline.domain.messages.facts import SendAnswered
from zapline.domain.outbox.send_outcomes import UNREADABLE, SendCall, SendFailure, after_crash, after_failure
from zapline.sql.outbound import send_claims
from zapline.sql.outbound.send_claims import UnendedCall
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.send_answers import store_answer
from zapline.supervisors.outbound.sender_state import SenderContext, SenderState


async def recover_leases(unit: Unit, state: SenderState, context: SenderContext) -> None:
    """End every lease of the unit; ``state.leases_resolved`` says whether none is left. Raises DatabaseUnavailable."""
    if unit.quarantined_at is not None:
        return
    state.nothing_else = False
    left: list[UnendedCall] = []
    async with context.pool.connection() as conn:
        for lease in await send_claims.list_unended_calls(conn, unit.id):
            if lease.attempt in state.calls:
                continue  # it is under way
            uncalled = lease.attempt == state.claiming and lease.attempt != state.unreadable
            if not (uncalled and lease.leased_by == context.process):
                left.append(lease)
            elif await send_claims.undo_claim(conn, lease):
                context.counters.add("claims_given_back")
    ended = True
    for lease in left:
        ended = await store_answer(unit, state, context, _answer_for(lease, state, context)) and ended
    state.claiming = state.unreadable = None
    state.leases_resolved = ended and context.serves(unit)


def _answer_for(lease: UnendedCall, state: SenderState, context: SenderContext) -> SendAnswered:
    call = SendCall(lease.attempt, lease.message, lease.fence, 0, "")
    now = context.clock()
    if lease.attempt == state.unreadable:
        return after_failure(call, SendFailure(UNREADABLE, "rejected", "the stored message cannot be read"), now, 0.0)
    context.counters.add("leases_rescued")
    return after_crash(call, now, repeatable=lease.repeatable)
