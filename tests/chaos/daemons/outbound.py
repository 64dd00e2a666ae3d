"""Runs the daemon with short waits and with fault points on the path of an outgoing message."""

import os
import sys
from functools import partial
from typing import Any

from fault_points import POINTS, add_recorder_points, arm_on_signal, patch

import zapline.domain.outbox.send_outcomes as rules
import zapline.sql.outbound.send_claims as sending
import zapline.supervisors.inbound.recorder as recorder
import zapline.supervisors.outbound.uncertain_send_lookup as uncertain
from zapline.domain.errors import DatabaseUnavailable
from zapline.domain.retry_policy import Backoff, RetryPolicy
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.journal.schema import SEND_ANSWER
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.outbound.sender_pool import SenderPool

LOOKUP_DELAYS = (1.0, 1.0, 1.5)
"""Seconds between the look-ups of an uncertain message; the daemon's own minutes are too long for a run."""
LOOKUP_RETRY_DELAY = 1.0


def shorten_waits() -> None:
    """Shorten the outbound waits, and on request the recorder's batching delay, which slows down a single unit."""
    patch(recorder, LINGER=float(os.environ.get("CHAOS_LINGER", recorder.LINGER)))
    policy = partial(uncertain.LookupPolicy, delays=LOOKUP_DELAYS, retry_delay=LOOKUP_RETRY_DELAY, poll_every=0.3)
    patch(uncertain, LookupPolicy=policy)
    patch(rules, FIRST_STORE_LOOKUP=LOOKUP_DELAYS[0], NUMBER_RECHECK_DELAY=0.5)
    patch(rules, RETRIES=RetryPolicy(Backoff(base=0.2, factor=2.0, cap=1.0, jitter=0.3), rules.RETRIES.limit))
    patch(rules, LINE_PAUSE=Backoff(base=0.1, factor=2.0, cap=1.0, jitter=0.3))


def add_sender_points() -> None:
    claim, send, accept = sending.claim_all, EvolutionClient.send, Intake.accept_internal
    answer_stored = SenderPool.answer_stored

    async def faulty_claim(*arguments: Any, **named: Any) -> Any:
        claimed = await claim(*arguments, **named)
        if any(result.claimed is not None for result in claimed):
            POINTS.die_at("after-claim")
            if POINTS.triggers("claim-answer-lost"):
                raise DatabaseUnavailable("fault point: the response to the claim is lost")
        return claimed

    async def faulty_send(self: EvolutionClient, *arguments: Any, **named: Any) -> Any:
        sent = await send(self, *arguments, **named)
        POINTS.die_at("after-201")
        return sent

    async def faulty_accept(self: Intake, unit: Any, event: str, body: bytes) -> bool:
        if event == SEND_ANSWER and POINTS.triggers("answer-refused"):
            return False
        accepted = await accept(self, unit, event, body)
        if event == SEND_ANSWER:
            POINTS.die_at("after-journaled")
        return accepted

    def faulty_answer_stored(self: SenderPool, *arguments: Any) -> None:
        POINTS.die_at("after-stored")
        answer_stored(self, *arguments)

    patch(sending, claim_all=faulty_claim)
    patch(EvolutionClient, send=faulty_send)
    patch(Intake, accept_internal=faulty_accept)
    patch(SenderPool, answer_stored=faulty_answer_stored)


def main() -> None:
    shorten_waits()
    add_sender_points()
    add_recorder_points()
    arm_on_signal()
    from zapline.daemon import cli

    sys.argv = ["zapline", "run"]
    cli.main()


if __name__ == "__main__":
    main()
