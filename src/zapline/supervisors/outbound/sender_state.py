"""Holds what the process remembers of a unit's sending between two runs of its sender, and what all senders share."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID, uuid4

import trio

from zapline.domain.line.reasons import Phase
from zapline.domain.outbox.pacing import Pacer
from zapline.domain.outbox.send_outcomes import THROTTLED
from zapline.domain.timestamps import NEVER, Moment
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.call_announcements import CallAnnouncements
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import WriterStanding
from zapline.supervisors.outbound.batches.shared_claims import SharedClaims
from zapline.supervisors.units.message_id_support import MessageIdSupport
from zapline.supervisors.units.roster import Roster


class SenderActivity(StrEnum):
    """What a unit's sender does at the moment."""

    IDLE = "idle"
    PACING = "pacing"
    """A message waits for the pace."""
    CALLING = "calling"
    PAUSED = "paused"
    """After failures that are the line's fault."""


@dataclass(frozen=True, slots=True)
class SenderStatus:
    """What a unit's sender does, as the API shows it. Times in UTC seconds.

    ``reason``: the failure for which sending pauses, or what limits the pace (``pacing.PaceHold``).
    ``throttled_until``: no campaign message is sent before, because WhatsApp or Evolution asked for it.
    """

    state: SenderActivity = SenderActivity.IDLE
    paused_until: float | None = None
    reason: str | None = None
    throttled_until: float | None = None


@dataclass(slots=True)
class SenderContext:
    """What all senders share. ``process`` identifies this process in leases; ``clock`` returns UTC seconds."""

    pool: Pool
    claims: SharedClaims
    intake: Intake
    roster: Roster
    may_write: Callable[[], Awaitable[None]]
    client: EvolutionClient
    """Of the server that the environment names."""
    counters: Counters
    load_upload: Callable[[UUID], Awaitable[bytes | None]]
    """Reads the bytes of an uploaded file; None if they are gone. Raises DatabaseUnavailable."""
    process: UUID
    clock: Callable[[], float]
    support: MessageIdSupport
    """What that server does with the ids that are chosen for messages."""
    announcements: CallAnnouncements
    """Without which no call is made."""
    standing: WriterStanding = field(default_factory=WriterStanding)
    patience: float = 5.0
    """Seconds without an answer after which other chats go on, if the line is open."""
    clocks_agree: Callable[[], bool] = lambda: True
    """Whether this machine's clock and the database's agree; else what is scheduled waits, and nothing expires."""
    bring_back: Callable[[Unit, UUID], Awaitable[None]] | None = None
    """Has the database told again what the journal knows of the calls of a message."""
    stopping: bool = False
    """No further claim is made."""
    draw_spread: Callable[[], float] = random.random
    """From 0 to 1, for the jitter of delays."""
    new_id: Callable[[], UUID] = uuid4
    """For a call that is to be made."""

    def moment(self) -> Moment:
        return Moment(self.clock(), trio.current_time())

    def client_of(self, unit: Unit) -> EvolutionClient:
        """The client of the server on which the unit lives."""
        return unit.evolution(self.client)

    def support_of(self, unit: Unit) -> MessageIdSupport:
        """What that server does with chosen ids."""
        return self.support.of(unit.server)

    def serves(self, unit: Unit) -> bool:
        """Whether the unit is still active, and this very object."""
        return self.roster.get(unit.id) is unit and unit.record.archived_at is None


@dataclass(slots=True)
class SenderState:
    """The state of one unit's sender. Times are monotonic."""

    running: bool = False
    """A sender of this unit runs."""
    wake_event: trio.Event = field(default_factory=trio.Event)
    """Set when there is something new; replaced by the sender before it looks."""
    pacer: Pacer | None = None
    """None: to be loaded from the database."""
    pace_version: int = 0
    """Grows whenever the pacer becomes out of date."""
    leases_resolved: bool = False
    """Whether no lease can exist but the one of the call under way."""
    claiming: UUID | None = None
    """The attempt that was being claimed and was certainly not called: its lease may be given back."""
    calls: dict[UUID, str] = field(default_factory=dict)
    """The attempts whose calls were started, with their recipients, until their answers are stored."""
    nothing_else: bool = False
    """Nothing but the messages whose calls are under way is queued, as far as anybody has told."""
    unreadable: UUID | None = None
    """The attempt whose message cannot be decoded."""
    pending_answers: dict[UUID, trio.Event] = field(default_factory=dict)
    """Attempts whose answers are on their way to the database; each event is set once its answer is stored."""
    claim_in_progress: bool = False
    """From before a claim until its call is started."""
    undurable: set[UUID] = field(default_factory=set)
    """The attempts whose answers are not durable yet."""
    brake_unsure: bool = True
    """Whether there may be news of what WhatsApp refused."""
    listening_since: float = NEVER
    """When the line was opened last: what it tells of messages is heard from then on. NEVER: not noted yet."""
    probe_needed: bool = False
    """Evolution did not answer a call: it must answer a harmless one before the next message."""
    line_failures: int = 0
    """In a row."""
    throttle_count: int = 0
    """In a row, without a campaign message accepted in between."""
    paused_until: float = NEVER
    pause_reason: str | None = None
    throttled_until: float = NEVER
    failed_claims: int = 0
    """In a row, because of the database."""
    down_until: float = NEVER
    """The sender crashed too often and is not started before."""
    resume_at: float | None = None
    """When the sender that has just ended is to be started again; None: when woken."""
    activity: SenderActivity = SenderActivity.IDLE
    activity_until: float | None = None
    activity_reason: str | None = None

    @property
    def send_in_progress(self) -> bool:
        """From before a claim until the answer of its call is durable: ``drain`` waits for that."""
        return self.claim_in_progress or bool(self.undurable)

    def wake(self) -> None:
        """Have the sender look for messages: there may be new ones."""
        self.nothing_else = False
        self.wake_event.set()

    def forget_calls(self) -> None:
        """The sender has ended: nothing is under way any more."""
        self.calls.clear()
        self.undurable.clear()
        self.claim_in_progress = self.nothing_else = False

    def set_activity(self, activity: SenderActivity, until: float | None = None, reason: str | None = None) -> None:
        self.activity, self.activity_until, self.activity_reason = activity, until, reason

    def status(self, at: Moment) -> SenderStatus:
        def wall(mono: float | None) -> float | None:
            return at.wall + (mono - at.mono) if mono is not None and mono > at.mono else None

        throttled = wall(self.throttled_until)
        if self.activity is not SenderActivity.CALLING and self.paused_until > at.mono:
            return SenderStatus(SenderActivity.PAUSED, wall(self.paused_until), self.pause_reason, throttled)
        if self.activity is SenderActivity.PACING and wall(self.activity_until) is not None:
            return SenderStatus(SenderActivity.PACING, wall(self.activity_until), self.activity_reason, throttled)
        calling = self.activity is SenderActivity.CALLING or bool(self.calls)
        state = SenderActivity.CALLING if calling else SenderActivity.IDLE
        return SenderStatus(state, throttled_until=throttled)

    def line_opened(self) -> None:
        """End the line's pause, unless we were asked to slow down."""
        self.listening_since = trio.current_time()
        if self.pause_reason != THROTTLED:
            self.paused_until, self.pause_reason = NEVER, None

    def mark_line_working(self) -> bool:
        """End the line's pause; return whether it had failed before."""
        had_failed = self.line_failures > 0
        self.line_failures, self.paused_until, self.pause_reason = 0, NEVER, None
        return had_failed

    def invalidate_pace(self) -> None:
        """Load limits and past calls again before the next call."""
        self.pacer = None
        self.pace_version += 1


def can_send(unit: Unit) -> bool:
    """Whether the unit's line is open, its server answers, and nobody has paused, archived or quarantined it.

    Nor is anything sent while a database that was set back learns again what was sent already.
    """
    if unit.state is None or unit.quarantined_at is not None or unit.record.paused_at is not None:
        return False
    if unit.catching_up is not None:
        return False
    open_now = unit.state.stored.phase is Phase.OPEN and unit.server.away_since is None
    return unit.record.archived_at is None and open_now
