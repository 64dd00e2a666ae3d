"""What a unit's actor uses of the rest of the process: journal, recorder, Evolution, and callbacks."""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from zapline.domain.campaigns.opt_out_words import OptOutWords
from zapline.domain.messages.facts import SendAnswered
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import Entry
from zapline.supervisors.alarm_clock import AlarmClock
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.recorder import Recorder
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.notifications.live_feed import LiveFeed
from zapline.supervisors.units.line_calls import LineCalls


@dataclass(frozen=True, slots=True)
class ActorContext:
    """Dependencies of all actors; one instance per process."""

    journal: Journal
    recorder: Recorder
    calls: LineCalls
    counters: Counters
    refill: Callable[[Unit], None]
    """Called when the mailbox has room again."""
    rewind: Callable[[Unit], None]
    """Called to have the unit's unfinished entries read again from the journal."""
    suspect_lock: trio.Lock = field(default_factory=trio.Lock)
    """Held while a suspect entry is processed: of two at a time, nobody could tell which one killed the process."""
    alarms: AlarmClock = field(default_factory=AlarmClock)
    """Wakes actors at their states' times; the roster runs it."""
    opt_out_words: OptOutWords = field(default_factory=OptOutWords)
    on_send_answered: Callable[[Unit, SendAnswered], None] = lambda unit, answer: None
    """Called once the outcome of a send call is stored."""
    check_line_settings: Callable[[Unit, bool], Awaitable[None]] | None = None
    """Has Evolution keep a line's settings as its unit wants them; True: the line was just registered."""
    on_damaged_entry: Callable[[Entry], None] = lambda entry: None
    """Called for an entry that is not what was written."""
    on_line_opened: Callable[[Unit], None] = lambda unit: None
    """Called once it is stored that the line is open, or is again after an absence that nobody told of."""
    on_message_refused: Callable[[Unit], None] = lambda unit: None
    """Called once it is stored that WhatsApp has refused a message."""
    feed: LiveFeed = field(default_factory=LiveFeed)
    """Live event feed."""
    clock: Callable[[], float] = time.time
    """UTC seconds."""
    draw_spread: Callable[[], float] = random.random
    """From 0 to 1, for the jitter of delays."""
    on_queued: Callable[[Unit], None] = lambda unit: None
    """Called once a message is stored that the unit's sender is to send."""
