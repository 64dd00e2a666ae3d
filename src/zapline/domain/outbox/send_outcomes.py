"""Decides what follows a send call (success, failure, timeout, crash): the message's next state, the line's pause.

Failure codes and values of verdicts are those of ``zapline.evolution.client.failures``.
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
"""Seconds of a claim: longer than any call. It is not taken away before the process has ended."""
FIRST_STORE_LOOKUP = 8.0
"""Seconds until Evolution's store is read for an uncertain message; an echo arrives sooner, if at all."""
NOT_ON_WHATSAPP = "number_not_on_whatsapp"
HIDDEN_NUMBER = "hidden_number"
NUMBER_RECHECK_DELAY = 20.0
"""Seconds until a number that is reported not to exist is tried again, once (contract, section 3, point 5)."""
THROTTLED = "throttled"
CRASHED = "crashed"
"""Code of our own: the process ended while it was calling."""
UPLOAD_MISSING = "upload_missing"
"""Code of our own: the uploaded file is gone."""
TOO_LATE = "claim_too_old"
"""Code of our own: the process stood still between claim and call; it was not made."""
CALL_WITHIN = 10.0
"""Seconds from the claim to the call: within them no other process leads yet, and nobody has decided anything."""
UNREADABLE = "unreadable"
"""Code of our own: what is stored of the message cannot be read."""
_NO_RESPONSE = frozenset({"no_answer", "gateway_failed", "bad_answer"})
"""Evolution did not respond in these, so the next message might fail in the same way."""
_MAYBE_MESSAGE_FAULT = frozenset({THROTTLED, "unauthorized", "instance_unknown", "route_unknown", "operation_failed"})
"""Failures of the line that may in fact concern one chat or one text alone (WhatsApp, a filter in between)."""
_BEHIND_NEXT_PROBE = 1.5
"""Times the line's pause: another message is tried first."""
_MAX_RETRY_AFTER = 3600.0
"""Seconds: a Retry-After beyond an hour is more likely a mistake than meant."""

RETRIES = RetryPolicy(Backoff(base=2.0, factor=4.0, cap=120.0, jitter=0.3), MAX_TRIES)
"""Retries of one message, for failures that it causes itself."""
LINE_PAUSE = Backoff(base=1.0, factor=2.0, cap=60.0, jitter=0.3)
"""Pauses of a line that cannot send: a restart of Evolution costs seconds, an hour without it sixty calls."""
CAMPAIGN_PAUSE = Backoff(base=30.0, factor=2.0, cap=900.0, jitter=0.3)
"""Pauses of a unit's campaigns after WhatsApp or Evolution asked to slow down."""


@dataclass(frozen=True, slots=True)
class SendCall:
    """A call that was made for a message. ``tries``: its earlier failures that it caused itself."""

    attempt: UUID
    message: UUID
    fence: int
    tries: int
    address: str
    content: Content | None = None


@dataclass(frozen=True, slots=True)
class SendFailure:
    """The failure of a call. ``verdict``: line, retry, rejected or uncertain. ``retry_after`` in seconds."""

    code: str
    verdict: str
    detail: str = ""
    retry_after: float | None = None

    @property
    def line_at_fault(self) -> bool:
        return self.verdict == "line"

    @property
    def no_response(self) -> bool:
        """Whether Evolution did not respond at all; then it is probed before the next message."""
        return self.verdict == "uncertain" and self.code in _NO_RESPONSE


def after_success(call: SendCall, external_id: ExternalId, remote_jid: str | None, now: float) -> SendAnswered:
    """Evolution accepted the message under this id. ``remote_jid``: the chat in its response. ``now`` in UTC."""
    return SendAnswered(
        attempt=call.attempt,
        message=call.message,
        fence=call.fence,
        outcome="sent",
        move=WorkState.SETTLED.value,
        ended_at=now,
        external_id=external_id,
        remote_jid=_learnt_lid(remote_jid, call.address),
    )


def after_failure(call: SendCall, failed: SendFailure, now: float, spread: float, pause: float = 0.0) -> SendAnswered:
    """Decide what a failure means for its message. ``spread`` in 0..1 is drawn by the caller; ``now`` in UTC.

    ``pause``: seconds for which the line pauses, where it is at fault. Where this one message or chat may be the cause,
    another message is tried first. A message that may have been delivered is never sent again from here, except a
    reaction: the later one replaces the earlier.
    """
    verdict = failed.verdict
    if verdict == "line":
        due_at = now + _BEHIND_NEXT_PROBE * pause if failed.code in _MAYBE_MESSAGE_FAULT else None
        return _send_answered(call, failed, now, "not_sent", WorkState.QUEUED, due_at=due_at)
    if verdict == "retry":
        return _retry(call, failed, now, spread, "not_sent")
    if verdict == "rejected":
        if failed.code == NOT_ON_WHATSAPP and call.tries == 0:
            due_at = now + NUMBER_RECHECK_DELAY
            return _send_answered(call, failed, now, "rejected", WorkState.QUEUED, tries=1, due_at=due_at)
        return _send_answered(call, failed, now, "rejected", WorkState.DEAD)
    if isinstance(call.content, Reaction):
        return _retry(call, failed, now, spread, "uncertain")
    return _send_answered(call, failed, now, "uncertain", WorkState.UNCERTAIN, look_at=now + FIRST_STORE_LOOKUP)


def after_crash(call: SendCall, now: float, *, repeatable: bool = False) -> SendAnswered:
    """Decide for a message whose call may have been made before the process ended: it may have been delivered.

    ``repeatable``: sending it again does no harm.
    """
    failed = SendFailure(CRASHED, "uncertain")
    if repeatable:
        return _send_answered(call, failed, now, "uncertain", WorkState.QUEUED)
    return _send_answered(call, failed, now, "uncertain", WorkState.UNCERTAIN, look_at=now + FIRST_STORE_LOOKUP)


def line_pause(failed: SendFailure, failures: int, spread: float) -> float:
    """Seconds for which the line pauses after its ``failures``-th consecutive failure (from 1)."""
    return max(LINE_PAUSE.delay(failures, spread), _retry_after(failed))


def campaign_pause(failed: SendFailure, throttles: int, spread: float) -> float:
    """Seconds for which campaigns pause after the ``throttles``-th consecutive throttling (from 1)."""
    return max(CAMPAIGN_PAUSE.delay(throttles, spread), _retry_after(failed))


def _retry(call: SendCall, failed: SendFailure, now: float, spread: float, outcome: str) -> SendAnswered:
    decided = RETRIES.decide(call.tries + 1, now, spread)
    if isinstance(decided, DeadLetter):
        return _send_answered(call, failed, now, outcome, WorkState.DEAD, tries=1)
    due_at = max(decided.at, now + _retry_after(failed))
    return _send_answered(call, failed, now, outcome, WorkState.QUEUED, tries=1, due_at=due_at)


def _retry_after(failed: SendFailure) -> float:
    return min(failed.retry_after or 0.0, _MAX_RETRY_AFTER)


def _send_answered(
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


def _learnt_lid(remote_jid: str | None, address: str) -> str | None:
    """``<LID> <requested JID>`` where Evolution answered a phone with its LID, so that both are known as one person."""
    digits = address.removeprefix("+")
    if remote_jid is None or not remote_jid.endswith("@lid") or not (digits.isascii() and digits.isdigit()):
        return None
    return clean_text(f"{remote_jid} {digits}@s.whatsapp.net")
