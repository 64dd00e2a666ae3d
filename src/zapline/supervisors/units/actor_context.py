"""What a unit's actor needs of the others."""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from zapline.domain.campaigns.opt_out_words import OptOuts
from zapline.domain.messages.events import SendAnswered
from zapline.sql.journal.journal import Journal
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.recorder import Recorder
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.notifications.live_feed import Feed
from zapline.supervisors.units.line_calls import LineCalls


@dataclass(frozen=True, slots=True)
class ActorContext:
    """What an actor needs of the others."""

    journal: Journal
    recorder: Recorder
    calls: LineCalls
    counters: Counters
    refill: Callable[[Unit], None]
    """Tell the dispatcher that there is room in the mailbox again."""
    rewind: Callable[[Unit], None]
    """Tell the dispatcher to read the unit's unfinished entries again."""
    alone: trio.Lock = field(default_factory=trio.Lock)
    """Held while one suspicious entry is in hand: of two in hand at a death nobody could tell which it was."""
    opt_outs: OptOuts = field(default_factory=OptOuts)
    answered: Callable[[Unit, SendAnswered], None] = lambda unit, answer: None
    """Tell the unit's sender that what became of its call is stored."""
    opened: Callable[[Unit], None] = lambda unit: None
    """The line has become open, as stored."""
    feed: Feed = field(default_factory=Feed)
    """Is told what is stored, for those who watch."""
    queued: Callable[[Unit], None] = lambda unit: None
    """Something lies ready for the unit's sender."""
