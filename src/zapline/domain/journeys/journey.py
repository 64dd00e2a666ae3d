"""Where a message is: the steps that are known of it, in the order of their times, and a verdict. Pure.

All times are UTC seconds, and come from rows; what no row tells is no step.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import zip_longest

from zapline.domain.line.history import LineChange, LineUse
from zapline.domain.messages.delivery_status import REFUSED, DeliveryStatus
from zapline.domain.outbox.work_states import Lane, WorkState

SHORTEST_WAIT = 1.0
"""Seconds of waiting for the line that are worth a step."""
STORED_SLOWLY = 60.0
"""Seconds from webhook to database that are worth a word: the database was away."""
_CAMPAIGNS_ONLY = frozenset({"campaign_pace", "throttled", "refused", "quiet_hours", "warm_up"})
"""What holds campaigns, and never a reply."""


class Verdict(StrEnum):
    """Where a message is, in one word; ``journey_texts`` says it to people."""

    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    UNCONFIRMED = "unconfirmed"
    RESENT = "resent"
    TWICE = "twice"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"
    SEARCHING = "searching"
    """Uncertain too: Evolution's store is still looked into by itself."""
    SENDING = "sending"
    NOT_SENT = "not_sent"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    GIVEN_UP = "given_up"
    PAUSED = "paused"
    WAITING_FOR_LINE = "waiting_for_line"
    WAITING_FOR_PACE = "waiting_for_pace"
    WAITING_FOR_CAMPAIGN = "waiting_for_campaign"
    HELD = "held"
    PLANNED = "planned"
    WAITING_FOR_RETRY = "waiting_for_retry"
    WAITING_FOR_TURN = "waiting_for_turn"
    STORED = "stored"
    STORED_LATE = "stored_late"
    STORED_SLOWLY = "stored_slowly"
    FROM_HISTORY = "from_history"
    SENT_ELSEWHERE = "sent_elsewhere"


class StepKind(StrEnum):
    """What happened. Steps of one moment stand in this order."""

    WRITTEN = "written"
    ACCEPTED = "accepted"
    RECEIVED = "received"
    READ_BACK = "read_back"
    STORED = "stored"
    WAITED_FOR_LINE = "waited_for_line"
    PLANNED = "planned"
    CALLED = "called"
    ANSWER_SENT = "answer_sent"
    ANSWER_NOT_SENT = "answer_not_sent"
    ANSWER_REJECTED = "answer_rejected"
    ANSWER_UNCERTAIN = "answer_uncertain"
    PROVEN_ECHO = "proven_echo"
    PROVEN_STORE = "proven_store"
    PROVEN_STATUS = "proven_status"
    SECOND = "second"
    TOLD_SENT = "told_sent"
    TOLD_DELIVERED = "told_delivered"
    TOLD_READ = "told_read"
    TOLD_PLAYED = "told_played"
    REFUSED = "refused"
    UNCONFIRMED = "unconfirmed"
    GIVEN_UP = "given_up"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    EDITED = "edited"
    DELETED = "deleted"
    HOOK_QUEUED = "hook_queued"
    HOOK_DELIVERED = "hook_delivered"
    HOOK_DEAD = "hook_dead"


_ORDER = {kind: place for place, kind in enumerate(StepKind)}


@dataclass(frozen=True, slots=True)
class Step:
    """One step. ``until``: when it ended, where it lasted. ``number``: of the call.

    ``reason``: the code of a failure, of a line's reason (where it waited), or of what a webhook to the CRM met.
    """

    kind: StepKind
    at: float
    until: float | None = None
    reason: str | None = None
    number: int | None = None
    event: str | None = None
    """Of a webhook to the CRM."""
    tries: int | None = None
    status: int | None = None
    """HTTP status of the CRM's last answer."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call to Evolution. ``alias``: it sent the message a second time."""

    started_at: float
    ended_at: float | None
    outcome: str
    failure: str | None
    matched_by: str | None
    alias: bool


@dataclass(frozen=True, slots=True)
class Told:
    """A webhook to the CRM about the message."""

    event: str
    state: str
    created_at: float
    ended_at: float | None
    tries: int
    status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Work:
    """The work on a message that is sent by Zapline."""

    state: WorkState
    lane: Lane
    due_at: float
    tries: int
    resends: int
    looks: int
    look_at: float | None
    failure: str | None
    settled_at: float | None
    ended_at: float | None
    stalled_at: float | None
    twice: bool
    campaign_state: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """All that rows tell of a message. ``told``: when each delivery status was first reported."""

    from_me: bool
    written_at: float
    received_at: float
    stored_at: float | None
    backfilled: bool
    origin: str
    delivery: str | None
    refusal: str | None
    refused_at: float | None
    edited_at: float | None
    deleted_at: float | None
    told: Mapping[DeliveryStatus, float] = field(default_factory=dict)
    work: Work | None = None
    calls: Sequence[Call] = ()
    hooks: Sequence[Told] = ()
    line: Sequence[LineChange] = ()
    """What the line has shown since the message was accepted, with the last change before; none after its waiting."""


@dataclass(frozen=True, slots=True)
class LineNow:
    """How the unit's line and sender are now. ``reason``: of the line; ``pace``: what the sender waits for."""

    open: bool
    reason: str
    paused: bool = False
    held: str | None = None
    """Why its campaigns are held, as a failure's code."""
    waits: bool = False
    """The sender waits for ``pace``, until ``pace_until`` where that is known."""
    pace: str | None = None
    pace_until: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict. ``reason``: a code of ``failure_texts`` or of the line's reasons; ``until``: when it goes on."""

    verdict: Verdict
    reason: str | None = None
    until: float | None = None


# -- the verdict -------------------------------------------------------------------------------------------


def judge(trace: Trace, line: LineNow, now: float) -> Finding:
    """Where the message is at ``now``."""
    if trace.work is None:
        return Finding(_arrival(trace))
    work = trace.work
    match work.state:
        case WorkState.SETTLED:
            return _settled(trace, work)
        case WorkState.UNCERTAIN:
            verdict = Verdict.SEARCHING if work.look_at is not None else Verdict.UNCERTAIN
            return Finding(verdict, work.failure, work.look_at)
        case WorkState.LEASED:
            return Finding(Verdict.SENDING)
        case WorkState.DEAD:
            return Finding(Verdict.NOT_SENT, work.failure)
        case WorkState.EXPIRED:
            return Finding(Verdict.EXPIRED)
        case WorkState.CANCELLED:
            given_up = work.failure == "given_up"
            return Finding(Verdict.GIVEN_UP if given_up else Verdict.CANCELLED, work.failure)
        case WorkState.QUEUED:
            return _waiting(work, line, now)


def _arrival(trace: Trace) -> Verdict:
    if trace.origin == "history":
        return Verdict.FROM_HISTORY
    if trace.backfilled:
        return Verdict.STORED_LATE
    if trace.from_me:
        return Verdict.SENT_ELSEWHERE
    if trace.stored_at is not None and trace.stored_at - trace.received_at > STORED_SLOWLY:
        return Verdict.STORED_SLOWLY
    return Verdict.STORED


def _settled(trace: Trace, work: Work) -> Finding:
    if work.twice:
        return Finding(Verdict.TWICE)
    if trace.delivery == DeliveryStatus.FAILED.label:
        return Finding(Verdict.REFUSED, trace.refusal or REFUSED)
    if work.resends:
        return Finding(Verdict.RESENT)
    if trace.delivery in (DeliveryStatus.READ.label, DeliveryStatus.PLAYED.label):
        return Finding(Verdict.READ)
    if trace.delivery == DeliveryStatus.DELIVERED.label:
        return Finding(Verdict.DELIVERED)
    return Finding(Verdict.UNCONFIRMED if work.stalled_at is not None else Verdict.SENT)


def _waiting(work: Work, line: LineNow, now: float) -> Finding:
    if line.paused:
        return Finding(Verdict.PAUSED)
    if not line.open:
        return Finding(Verdict.WAITING_FOR_LINE, line.reason)
    if work.campaign_state is not None and work.campaign_state != "running":
        return Finding(Verdict.WAITING_FOR_CAMPAIGN)
    campaign = work.lane is Lane.CAMPAIGN
    if campaign and line.held is not None:
        return Finding(Verdict.HELD, line.held)
    if work.due_at > now:
        tried = work.tries > 0 or work.failure is not None
        return Finding(Verdict.WAITING_FOR_RETRY if tried else Verdict.PLANNED, work.failure, work.due_at)
    if line.waits and (campaign or line.pace not in _CAMPAIGNS_ONLY):
        return Finding(Verdict.WAITING_FOR_PACE, line.pace, line.pace_until)
    return Finding(Verdict.WAITING_FOR_TURN)


# -- the steps ---------------------------------------------------------------------------------------------


def steps_of(trace: Trace, now: float) -> list[Step]:
    """Every step that is known, in order; ``now`` ends what still lasts."""
    found = [*_arrival_steps(trace), *_work_steps(trace, now), *_told_steps(trace), *map(_hook_step, trace.hooks)]
    return sorted(found, key=lambda step: (step.at, _ORDER[step.kind]))


def _arrival_steps(trace: Trace) -> Iterator[Step]:
    if trace.work is not None:
        yield Step(StepKind.ACCEPTED, trace.received_at)
        return
    yield Step(StepKind.WRITTEN, trace.written_at)
    yield Step(StepKind.READ_BACK if trace.backfilled else StepKind.RECEIVED, trace.received_at)
    if trace.stored_at is not None:
        # The server's clock and this machine's may differ by a little.
        yield Step(StepKind.STORED, max(trace.stored_at, trace.received_at))


_ANSWERS = {
    "sent": StepKind.ANSWER_SENT,
    "not_sent": StepKind.ANSWER_NOT_SENT,
    "rejected": StepKind.ANSWER_REJECTED,
    "uncertain": StepKind.ANSWER_UNCERTAIN,
}
_PROOFS = {"echo": StepKind.PROVEN_ECHO, "store": StepKind.PROVEN_STORE, "status": StepKind.PROVEN_STATUS}


def _work_steps(trace: Trace, now: float) -> Iterator[Step]:
    work = trace.work
    if work is None:
        return
    untouched = not trace.calls and work.tries == 0 and work.state is WorkState.QUEUED
    if untouched and work.due_at > trace.received_at + SHORTEST_WAIT:
        yield Step(StepKind.PLANNED, work.due_at)
    yield from _line_waits(trace, work, now)
    for number, call in enumerate(trace.calls, 1):
        yield from _call_steps(call, number, work)
    if work.stalled_at is not None:
        yield Step(StepKind.UNCONFIRMED, work.stalled_at)
    ends = {WorkState.DEAD: StepKind.GIVEN_UP, WorkState.EXPIRED: StepKind.EXPIRED}
    ends[WorkState.CANCELLED] = StepKind.CANCELLED
    if work.state in ends and work.ended_at is not None:
        yield Step(ends[work.state], work.ended_at, reason=work.failure)


def _call_steps(call: Call, number: int, work: Work) -> Iterator[Step]:
    yield Step(StepKind.CALLED, call.started_at, number=number)
    proof = _PROOFS.get(call.matched_by or "")
    if proof is None:
        if call.ended_at is not None and call.outcome in _ANSWERS:
            yield Step(_ANSWERS[call.outcome], call.ended_at, reason=call.failure, number=number)
    else:
        if call.failure is not None and call.ended_at is not None:
            yield Step(StepKind.ANSWER_UNCERTAIN, call.ended_at, reason=call.failure, number=number)
        proven_at = call.ended_at if call.failure is None or call.alias else work.settled_at
        if proven_at is not None:
            yield Step(proof, max(proven_at, call.started_at), number=number)
    if call.alias and call.ended_at is not None:
        yield Step(StepKind.SECOND, call.ended_at, number=number)


def end_of_waiting(work: Work, calls: Sequence[Call]) -> float | None:
    """Since when it does not wait for its line any more: its first call, or its end (UTC seconds). None: it does."""
    begun = [call.started_at for call in calls]
    over = [work.ended_at] if work.state is not WorkState.QUEUED and work.ended_at is not None else []
    return min(begun + over, default=None)


def _line_waits(trace: Trace, work: Work, now: float) -> Iterator[Step]:
    """Where the message was to be sent and the line was not open, before its first call."""
    over = end_of_waiting(work, trace.calls)
    end = min(over, now) if over is not None else now
    start = trace.received_at if trace.calls else max(trace.received_at, min(work.due_at, end))
    for change, after in zip_longest(trace.line, trace.line[1:]):
        since, until = max(change.at, start), min(after.at if after is not None else end, end)
        if change.use is not LineUse.CONNECTED and until - since >= SHORTEST_WAIT:
            lasts = after is None and end == now
            yield Step(StepKind.WAITED_FOR_LINE, since, None if lasts else until, change.reason.value)


_REPORTS = (
    (DeliveryStatus.SENT, StepKind.TOLD_SENT),
    (DeliveryStatus.DELIVERED, StepKind.TOLD_DELIVERED),
    (DeliveryStatus.READ, StepKind.TOLD_READ),
    (DeliveryStatus.PLAYED, StepKind.TOLD_PLAYED),
)


def _told_steps(trace: Trace) -> Iterator[Step]:
    if trace.from_me:  # of what others write we are told nothing but our own reading
        for status, kind in _REPORTS:
            if status in trace.told:
                yield Step(kind, trace.told[status])
        if trace.refused_at is not None:
            yield Step(StepKind.REFUSED, trace.refused_at, reason=trace.refusal or REFUSED)
    if trace.edited_at is not None:
        yield Step(StepKind.EDITED, trace.edited_at)
    if trace.deleted_at is not None:
        yield Step(StepKind.DELETED, trace.deleted_at)


def _hook_step(told: Told) -> Step:
    kind = StepKind(f"hook_{told.state}")
    return Step(kind, told.created_at, told.ended_at, told.error, None, told.event, told.tries, told.status)
