"""Makes the answer of a call to Evolution durable, and waits until the unit's actor has stored it."""

import msgspec
import structlog
import trio

from zapline.domain.messages.facts import SendAnswered
from zapline.domain.retry_policy import Backoff
from zapline.sql.journal.schema import SEND_ANSWER
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.sender_state import SenderContext, SenderState

_JOURNAL_TIMEOUT = 10.0
"""Seconds for which even a cancellation waits until an answer is on disk."""
_STORE_TIMEOUT = 90.0
"""Seconds after which an answer that is not stored is looked for in the database."""
_CHECK_EVERY = 5.0
"""Seconds between checks that the unit, for whose actor the sender waits, still exists."""
_RETRY = Backoff(base=0.5, factor=2.0, cap=10.0, jitter=0.3)
"""After neither disk nor database took an answer."""
_LOG = structlog.get_logger(scope="Sender")


async def store_answer(unit: Unit, state: SenderState, context: SenderContext, answer: SendAnswered) -> bool:
    """Make the answer durable, wait for the database, and return whether it is stored."""
    stored = await make_durable(unit, state, context, answer)
    return await wait_until_stored(unit, state, context, answer, stored)


async def make_durable(unit: Unit, state: SenderState, context: SenderContext, answer: SendAnswered) -> trio.Event:
    """Write the answer to the journal; the event is set once it is in the database too.

    No answer is dropped: a refused write is repeated until it succeeds, shielded from cancellation for 10 seconds.
    """
    stored = trio.Event()
    state.pending_answers[answer.attempt] = stored
    body = msgspec.json.encode(answer)
    durable, tries = False, 0
    with trio.move_on_after(_JOURNAL_TIMEOUT, shield=True):
        durable = await context.intake.accept_internal(unit, SEND_ANSWER, body)
    while not durable:
        tries += 1
        context.counters.add("answers_refused")
        _LOG.error("How a call ended could not be written down; it is tried again", unit=str(unit.id))
        await trio.sleep(_RETRY.delay(tries, context.draw_spread()))
        durable = await context.intake.accept_internal(unit, SEND_ANSWER, body)
    state.undurable.discard(answer.attempt)
    return stored


async def wait_until_stored(
    unit: Unit, state: SenderState, context: SenderContext, answer: SendAnswered, stored: trio.Event
) -> bool:
    """Wait until a durable answer is in the database; False where it is not within 90 seconds."""
    give_up_at = trio.current_time() + _STORE_TIMEOUT
    while not stored.is_set() and context.serves(unit):
        with trio.move_on_after(_CHECK_EVERY):
            await stored.wait()
        if trio.current_time() > give_up_at and not stored.is_set():
            break  # The entry may be a dead letter: lease recovery ends what is still open, behind it.
    state.pending_answers.pop(answer.attempt, None)
    return stored.is_set()
