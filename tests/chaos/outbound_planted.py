"""Runs the daemon with short waits and with points of death on the way of a message that is sent.

As ``planted.py``, whose orders it obeys; production code holds no hooks.
"""

import os
import sys
from functools import partial
from typing import Any

from planted import ARMED, arm_on_signal, plant_in_recorder

import zapline.domain.outbox.send_outcomes as rules
import zapline.sql.outbound.claims as sending
import zapline.supervisors.inbound.recorder as recorder
import zapline.supervisors.outbound.uncertain_sends as uncertain
from zapline.domain.errors import DatabaseUnavailable
from zapline.domain.retry_policy import Backoff, RetryPolicy
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.journal_entries import ANSWER
from zapline.supervisors.outbound.sender_pool import Senders

LOOKS = (1.0, 1.0, 1.5)
"""Seconds between the looks for an uncertain message; the daemon's own minutes are too long to wait for."""
LOOK_LATER = 1.0


def shorten_waits() -> None:
    """And, where it is asked for, the recorder's wait for company: it costs a lone unit most of its speed."""
    recorder.LINGER = float(os.environ.get("CHAOS_LINGER", recorder.LINGER))
    rules.FIRST_LOOK = LOOKS[0]
    uncertain.LookPolicy = partial(uncertain.LookPolicy, looks=LOOKS, later=LOOK_LATER, every=0.3)  # type: ignore[misc, assignment]
    rules.RETRIES = RetryPolicy(Backoff(base=0.2, factor=2.0, cap=1.0, jitter=0.3), rules.RETRIES.limit)
    rules.LINE_REST = Backoff(base=0.1, factor=2.0, cap=1.0, jitter=0.3)
    rules.CHECK_AGAIN = 0.5


def plant_in_sending() -> None:
    claim, send, keep = sending.claim, EvolutionClient.send, Intake.keep
    answered = Senders.answered

    async def planted_claim(*arguments: Any, **named: Any) -> Any:
        claimed = await claim(*arguments, **named)
        if claimed is not None:
            ARMED.die_at("after-claim")
            if ARMED.reached("claim-answer-lost"):
                raise DatabaseUnavailable("planted: the answer to the claim is lost")
        return claimed

    async def planted_send(self: EvolutionClient, *arguments: Any, **named: Any) -> Any:
        sent = await send(self, *arguments, **named)
        ARMED.die_at("after-201")
        return sent

    async def planted_keep(self: Intake, unit: Any, event: str, body: bytes) -> bool:
        if event == ANSWER and ARMED.reached("answer-refused"):
            return False
        kept = await keep(self, unit, event, body)
        if event == ANSWER:
            ARMED.die_at("after-journaled")
        return kept

    def planted_answered(self: Senders, *arguments: Any) -> None:
        ARMED.die_at("after-stored")
        answered(self, *arguments)

    sending.claim = planted_claim  # type: ignore[assignment]
    EvolutionClient.send = planted_send  # type: ignore[method-assign]
    Intake.keep = planted_keep  # type: ignore[method-assign]
    Senders.answered = planted_answered  # type: ignore[method-assign]


def main() -> None:
    shorten_waits()
    plant_in_sending()
    plant_in_recorder()
    arm_on_signal()
    from zapline.daemon import cli

    sys.argv = ["zapline", "run"]
    cli.main()


if __name__ == "__main__":
    main()
