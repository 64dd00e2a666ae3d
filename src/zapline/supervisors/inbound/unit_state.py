"""A unit as it lives in this process, and what one turn of its actor came to before it is stored."""

from dataclasses import dataclass, field
from enum import StrEnum

import trio

from zapline.domain.ids import Seq, UnitId
from zapline.domain.line.state import Connection
from zapline.domain.line.transitions import Action
from zapline.domain.privacy.erasure import Erased
from zapline.sql.inbound.batches import EntryWrite
from zapline.sql.journal.schema import Entry
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.inbound.mailbox import Direct, Mailbox

_NOTHING = Seq(0)


class Doing(StrEnum):
    """Where an actor is, for the watchdog: waiting and recording are progress, stepping must end soon."""

    WAITING = "waiting"
    STEPPING = "stepping"
    RECORDING = "recording"


@dataclass(slots=True)
class Unit:
    """A unit as it lives in this process."""

    record: UnitRecord
    mailbox: Mailbox = field(default_factory=Mailbox)
    state: Connection | None = None
    """None until it has been read from the database: the unit then only journals."""
    applied_seq: Seq = _NOTHING
    fed: Seq = _NOTHING
    """The last journal entry put into the mailbox in this life of the actor."""
    quarantined_at: float | None = None
    """Monotonic time since which its actor is stopped."""
    doing: Doing = Doing.WAITING
    since: float = 0.0
    last_message_at: float | None = None
    gap_since: float | None = None
    """Time of the first webhook that was lost: from there Evolution must be asked again."""
    unsettled: "Run | None" = None
    """Given to the recorder by a life that ended before the answer: the next one gives it again, first."""
    erased: Erased | None = None
    """Whose messages from before are not taken in; None: nobody was erased."""
    changed: trio.Event = field(default_factory=trio.Event)
    """Set, and replaced, whenever the connection's stored state has changed."""

    @property
    def id(self) -> UnitId:
        return self.record.id


class Run:
    """What one turn came to, before it is stored."""

    __slots__ = ("calls", "direct", "entries", "facts", "state", "stored_before", "writes")

    def __init__(self, state: Connection) -> None:
        self.state = state
        self.stored_before = state.stored
        self.calls: list[Action] = []
        self.entries: list[Entry] = []
        self.direct: list[Direct] = []
        self.writes: list[EntryWrite] = []

    @property
    def worth_storing(self) -> bool:
        return self.state.stored != self.stored_before or any(w.facts or w.dead_reason for w in self.writes)


def fresh(record: UnitRecord) -> Unit:
    """A unit as read from the database, or known from the snapshot only."""
    state = Connection(stored=record.stored) if record.stored is not None else None
    return Unit(record, state=state, applied_seq=record.applied_seq)
