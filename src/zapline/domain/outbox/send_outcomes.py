"""Decides what follows a call that was to send a message: where the message goes, and how long its line rests.

The words of failures are those of ``zapline.evolution.client.failures``; a verdict is given as its value.
"""

from dataclasses import dataclass
from uuid import UUID

from zapline.domain.ids import ExternalId
from zapline.domain.messages.facts import SendAnswered
from zapline.domain.outbox.contents import Content, Reaction
from zapline.domain.outbox.work_states import MAX_TRIES, WorkState
from zapline.domain.retry_policy import Backoff, DeadLetter, RetryPolicy
from zapline.domain.text import clean_text

LEASE_SECONDS = 180.0
"""Seconds a claim is meant for: longer than any call. Nobody takes it away before the process has ended."""
FIRST_STORE_LOOKUP = 8.0
"""Seconds until Evolution's store is asked about an uncertain message: an echo comes sooner, if it comes."""
NOT_ON_WHATSAPP = "number_not_on_whatsapp"
NUMBER_RECHECK_DELAY = 20.0
"""Seconds after which a number that is said not to exist is tried once more (contract, section 3, point 5)."""
THROTTLED = "throttled"
CRASHED = "crashed"
"""Code of our own: the process ended while it was calling."""
UPLOAD_MISSING = "upload_missing"
"""Code of our own: the uploaded file is gone."""
UNREADABLE = "unreadable"
"""Code of our own: what is stored of the message cannot be read."""
_SILENT = frozenset({"no_answer", "gateway_failed", "bad_answer"})
"""Nothing of Evolution was heard in these: the next message would perhaps end the same way."""
_PERHAPS_ITS_OWN = frozenset({THROTTLED, "unauthorized", "instance_unknown", "route_unknown", "operation_failed"})
"""Faults of the line that WhatsApp, or a filter in between, may find with one chat or one text alone."""
_ANOTHER_FIRST = 1.5
_LONGEST_WISH = 3600.0
"""Seconds: a Retry-After beyond an hour is more likely a mistake than a wish."""

RETRIES = RetryPolicy(Backoff(base=2.0, factor=4.0, cap=120.0, jitter=0.3), MAX_TRIES)
"""Of one message, for failures that are its own fault."""
LINE_PAUSE = Backoff(base=1.0, factor=2.0, cap=60.0, jitter=0.3)
"""Of a line that cannot send: a restart of Evolution costs seconds, an hour without it sixty calls."""
CAMPAIGN_PAUSE = Backoff(base=30.0, factor=2.0, cap=900.0, jitter=0.3)
"""Of a unit's campaigns after WhatsApp or Evolution asked to slow down."""


@dataclass(frozen=True, slots=True)
class SendCall:
    """A call that was made for a message. ``tries``: its failures before, as far as they were its own fault."""

    attempt: UUID
    message: UUID
    fence: int
    tries: int
    address: str
    content: Content | None = None


@dataclass(frozen=True, slots=True)
class SendFailure:
    """How it failed. ``verdict``: line, retry, rejected or uncertain. ``retry_after`` in seconds."""

    code: str
    verdict: str
    detail: str = ""
    retry_after: float | None = None

    @property
    def line_at_fault(self) -> bool:
        return self.verdict == "line"

    @property
    def silent(self) -> bool:
        """Whether Evolution was heard at all; if not, it is asked for a sign of life before the next message."""
        return self.verdict == "uncertain" and self.code in _SILENT


def after_success(call: SendCall, external_id: ExternalId, remote_jid: str | None, now: float) -> SendAnswered:
    """Evolution took the message under this id. ``remote_jid``: the chat as it calls it. ``now`` in UTC."""
    return SendAnswered(
        attempt=call.attempt,
        message=call.message,
        fence=call.fence,
        outcome="sent",
        move=WorkState.SETTLED.value,
        ended_at=now,
        external_id=external_id,
        remote_jid=_learnt(remote_jid, call.address),
    )


def after_failure(call: SendCall, failed: SendFailure, now: float, spread: float, rest: float = 0.0) -> SendAnswered:
    """What a failure means for its message. ``spread`` in 0..1 is drawn by the caller; ``now`` in UTC.

    ``rest``: seconds for which the line rests, where it is at fault. Where it may be this one message or chat after
    all, another message is the next probe.

    What may have been delivered is never sent again from here. A reaction is: the later replaces the earlier.
    """
    verdict = failed.verdict
    if verdict == "line":
        due_at = now + _ANOTHER_FIRST * rest if failed.code in _PERHAPS_ITS_OWN else None
        return _answer(call, failed, now, "not_sent", WorkState.QUEUED, due_at=due_at)
    if verdict == "retry":
        return _again(call, failed, now, spread, "not_sent")
    if verdict == "rejected":
        if failed.code == NOT_ON_WHATSAPP and call.tries == 0:
            return _answer(call, failed, now, "rejected", WorkState.QUEUED, tries=1, due_at=now + NUMBER_RECHECK_DELAY)
        return _answer(call, failed, now, "rejected", WorkState.DEAD)
    if isinstance(call.content, Reaction):
        return _again(call, failed, now, spread, "uncertain")
    return _answer(call, failed, now, "uncertain", WorkState.UNCERTAIN, look_at=now + FIRST_STORE_LOOKUP)


def after_crash(call: SendCall, now: float, *, repeatable: bool = False) -> SendAnswered:
    """The process ended during the call, or nobody knows whether it was made: it may have been delivered.

    ``repeatable``: to send it once more does no harm.
    """
    if repeatable:
        return _answer(call, SendFailure(CRASHED, "uncertain"), now, "uncertain", WorkState.QUEUED)
    return _answer(
        call, SendFailure(CRASHED, "uncertain"), now, "uncertain", WorkState.UNCERTAIN, look_at=now + FIRST_STORE_LOOKUP
    )


def line_pause(failed: SendFailure, failures: int, spread: float) -> float:
    """Seconds for which the whole line rests after its ``failures``-th failure in a row (from 1)."""
    return max(LINE_PAUSE.delay(failures, spread), _wish(failed))


def campaign_pause(failed: SendFailure, throttles: int, spread: float) -> float:
    """Seconds for which campaigns rest after the ``throttles``-th time in a row (from 1)."""
    return max(CAMPAIGN_PAUSE.delay(throttles, spread), _wish(failed))


def _again(call: SendCall, failed: SendFailure, now: float, spread: float, outcome: str) -> SendAnswered:
    decided = RETRIES.decide(call.tries + 1, now, spread)
    if isinstance(decided, DeadLetter):
        return _answer(call, failed, now, outcome, WorkState.DEAD, tries=1)
    return _answer(call, failed, now, outcome, WorkState.QUEUED, tries=1, due_at=max(decided.at, now + _wish(failed)))


def _wish(failed: SendFailure) -> float:
    return min(failed.retry_after or 0.0, _LONGEST_WISH)


def _answer(
    call: SendCall,
    failed: SendFailure,
    now: float,
    outcome: str,
    move: WorkState,
    *,
    tries: int = 0,
    due_at: float | None = None,
    look_at: float | None = None,
) -> SendAnswered:
    return SendAnswered(
        attempt=call.attempt,
        message=call.message,
        fence=call.fence,
        outcome=outcome,
        move=move.value,
        ended_at=now,
        failure=failed.code,
        detail=clean_text(failed.detail) or None,
        tries=tries,
        due_at=due_at,
        look_at=look_at,
    )


def _learnt(remote_jid: str | None, address: str) -> str | None:
    """``<LID> <JID asked for>`` where Evolution answered with a LID to a number: whose LID it is, is known then."""
    digits = address.removeprefix("+")
    if remote_jid is None or not remote_jid.endswith("@lid") or not (digits.isascii() and digits.isdigit()):
        return None
    return clean_text(f"{remote_jid} {digits}@s.whatsapp.net")
