"""Holds what the process remembers of a unit's sending between two lives of its sender, and what senders share."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

import trio

from zapline.domain.line.state import NEVER, Moment
from zapline.domain.outbox.pacing import Pacer
from zapline.domain.outbox.send_outcomes import THROTTLED, Failed
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.units.roster import Roster


class Busy(StrEnum):
    """What a unit's sender does."""

    IDLE = "idle"
    PACING = "pacing"
    """Something waits, and the pace holds it."""
    CALLING = "calling"
    PAUSED = "paused"
    """The line is at fault and rests."""


@dataclass(frozen=True, slots=True)
class SenderStatus:
    """How a unit's sending stands, for people. Times in UTC seconds.

    ``reason``: the failure for which the line rests, or what holds the pace (``zapline.domain.outbox.pacing.Hold``).
    ``throttled_until``: until then no campaign message leaves, because WhatsApp or Evolution asked for it.
    """

    state: Busy = Busy.IDLE
    paused_until: float | None = None
    reason: str | None = None
    throttled_until: float | None = None


@dataclass(slots=True)
class Means:
    """What all senders share. ``process`` names this process in leases; ``clock`` gives UTC seconds."""

    pool: Pool
    intake: Intake
    roster: Roster
    may_write: Callable[[], Awaitable[None]]
    client: EvolutionClient
    counters: Counters
    load_upload: Callable[[UUID], Awaitable[bytes | None]]
    """The bytes of an uploaded file; None where they are gone. Raises DatabaseUnavailable."""
    process: UUID
    clock: Callable[[], float]
    stopping: bool = False
    """No claim is made any more."""

    def moment(self) -> Moment:
        return Moment(self.clock(), trio.current_time())


@dataclass(slots=True)
class Desk:
    """One unit's. Times are monotonic."""

    running: bool = False
    """A sender is at work on it."""
    bell: trio.Event = field(default_factory=trio.Event)
    """Rung when there is something new; replaced by the sender before it looks."""
    pacer: Pacer | None = None
    """None: to be rebuilt from what the database knows."""
    pace_version: int = 0
    """Grows whenever the pacer is out of date."""
    resolved: bool = False
    """Whether it is certain that no lease is left but the one of the call under way."""
    claiming: UUID | None = None
    """The attempt that was to be claimed and has certainly not been called: such a claim may be given back."""
    calling: UUID | None = None
    """The attempt whose call was begun, until what became of it is stored."""
    unreadable: UUID | None = None
    """The attempt whose message cannot be read."""
    stored: tuple[UUID, trio.Event] | None = None
    """The attempt whose answer is on its way to the database, and what is set when it has arrived."""
    in_hand: bool = False
    """From before a claim until the answer of its call is durable: a stop waits for that."""
    silent: bool = False
    """Evolution left a call without an answer: it must show that it is there before the next one."""
    failures: int = 0
    """Of the line, in a row."""
    throttles: int = 0
    """In a row, without a campaign message in between that was taken."""
    paused_until: float = NEVER
    paused_for: str | None = None
    throttled_until: float = NEVER
    claims_failed: int = 0
    """Times in a row that the database did not serve the sender."""
    down_until: float = NEVER
    """The sender crashed too often and stays down."""
    resume_at: float | None = None
    """When the sender that has just ended wants to go on; None: when something new comes."""
    shown: Busy = Busy.IDLE
    shown_until: float | None = None
    shown_for: str | None = None

    def show(self, state: Busy, until: float | None = None, reason: str | None = None) -> None:
        self.shown, self.shown_until, self.shown_for = state, until, reason

    def status(self, at: Moment) -> SenderStatus:
        def wall(mono: float | None) -> float | None:
            return at.wall + (mono - at.mono) if mono is not None and mono > at.mono else None

        throttled = wall(self.throttled_until)
        if self.shown is not Busy.CALLING and self.paused_until > at.mono:
            return SenderStatus(Busy.PAUSED, wall(self.paused_until), self.paused_for, throttled)
        if self.shown is Busy.PACING and wall(self.shown_until) is not None:
            return SenderStatus(Busy.PACING, wall(self.shown_until), self.shown_for, throttled)
        state = Busy.CALLING if self.shown is Busy.CALLING else Busy.IDLE
        return SenderStatus(state, throttled_until=throttled)

    def free_at(self, at: Moment) -> float:
        """The earliest time at which a sender can do anything here."""
        return max(at.mono, self.paused_until, self.down_until)

    def line_opened(self) -> None:
        """The line has become open: what kept it from sending is over, unless we were asked to slow down."""
        if self.paused_for != THROTTLED:
            self.paused_until, self.paused_for = NEVER, None

    def pause(self, failed: Failed, until: float) -> None:
        self.paused_until, self.paused_for = until, failed.code

    def line_works(self) -> bool:
        """The line has answered as it should; whether it had not before."""
        mended = self.failures > 0
        self.failures, self.paused_until, self.paused_for = 0, NEVER, None
        return mended

    def forget_pace(self) -> None:
        """Read limits and past calls anew, before the next call."""
        self.pacer = None
        self.pace_version += 1
