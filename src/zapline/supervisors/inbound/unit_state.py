"""A unit's state in memory, and the result of one turn of its actor before it is stored."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import trio

from zapline.domain.ids import Seq, UnitId
from zapline.domain.line.history import LineChange
from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state import LineState, StoredLineState
from zapline.domain.line.transitions import LineAction
from zapline.domain.privacy.erasure import ErasedPeople
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.inbound.recorder_types import EntryFacts, StoredPosition
from zapline.sql.journal.schema import Entry
from zapline.sql.postgres.nodes import Ownership
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.inbound.mailbox import DirectEntry, Mailbox
from zapline.supervisors.inbound.server_standing import LineSettingsReport, RegistrationReport, ServerStanding

_NOTHING = Seq(0)
DIRECT_KEPT = 3600.0
"""Seconds for which it is remembered that webhooks went past the journal: a failover loses the last moments only."""


UNRECORDED = (Phase.IDLE, Reason.NEVER_CONNECTED)
"""What a line without any recorded change has shown since it was made."""


class ActorActivity(StrEnum):
    """What an actor is doing, for the watchdog: waiting and recording may take long, stepping must end soon."""

    WAITING = "waiting"
    STEPPING = "stepping"
    RECORDING = "recording"


@dataclass(slots=True)
class Unit:
    """A unit's state in memory; changed by its actor, and by the roster and the dispatcher."""

    record: UnitRecord
    mailbox: Mailbox = field(default_factory=Mailbox)
    state: LineState | None = None
    """None until it is read from the database; until then webhooks are only journaled."""
    applied_seq: Seq = _NOTHING
    stored: StoredPosition = field(default_factory=StoredPosition)
    held: Ownership = field(default_factory=Ownership)
    """By what right this process acts for it."""
    connection_unwritten: bool = False
    """The database was set back: it does not hold the connection's row as memory has it."""
    catching_up: Seq | None = None
    """The database was set back: nothing is sent until all entries up to this one are stored again."""
    last_fed_seq: Seq = _NOTHING
    """The last journal entry put into the mailbox since the actor started."""
    quarantined_at: float | None = None
    """Monotonic time at which its actor was stopped."""
    activity: ActorActivity = ActorActivity.WAITING
    activity_since: float = 0.0
    """Monotonic time."""
    last_message_at: float | None = None
    changes_stored: int = 0
    """The number of the latest change of its line that the database holds."""
    recorded: tuple[Phase, Reason] = UNRECORDED
    """What that change says; what is shown later and differs is the next one."""
    gap_since: float | None = None
    """UTC seconds of the first webhook that was lost: messages since then must be read back from Evolution."""
    direct_since: float | None = None
    """UTC seconds of the first of the latest webhooks that only the database holds, since the journal refused them."""
    direct_until: float = 0.0
    uncommitted: "TurnResult | None" = None
    """Given to the recorder by an actor that ended before the answer; the next one stores it first."""
    registration: RegistrationReport | None = None
    """None: the webhook was not checked since the start."""
    line_settings: LineSettingsReport | None = None
    """None: the line's settings were not checked since the start."""
    server: ServerStanding = field(default_factory=ServerStanding)
    own_names: set[str] = field(default_factory=set)
    """How the line's own people were called in their messages, beside the profile's name."""
    erased: ErasedPeople | None = None
    """People whose earlier messages are not stored; None: nobody was erased."""
    state_changed: trio.Event = field(default_factory=trio.Event)
    """Set and replaced whenever the stored state of the connection changes."""

    @property
    def id(self) -> UnitId:
        return self.record.id

    def note_direct(self, received_at: float) -> None:
        """Note that a webhook was stored past the journal: a database that is set back loses it."""
        if self.direct_since is None or received_at > self.direct_until + DIRECT_KEPT:
            self.direct_since = received_at
        self.direct_since = min(self.direct_since, received_at)
        self.direct_until = max(self.direct_until, received_at)

    @property
    def shown(self) -> StoredLineState | None:
        """The line as it is shown; None: not read yet."""
        return self.server.shown(self.state.stored) if self.state is not None else None

    def evolution(self, environment: EvolutionClient) -> EvolutionClient:
        """The client of the server on which it lives; ``environment`` is that of the server without a name."""
        return self.server.client or environment

    @property
    def shows_news(self) -> bool:
        """Whether the line shows what its history does not hold yet."""
        if self.state is None or self.server.leaves_open(self.state.stored):
            return False
        return _shows(self.server.shown(self.state.stored)) != self.recorded

    def note_recorded(self, changes: Sequence[LineChange]) -> None:
        """Note that the database holds these changes of the line."""
        if changes:
            self.changes_stored, self.recorded = changes[-1].number, _shows(changes[-1])

    @property
    def can_act(self) -> bool:
        """Whether its actor runs: its state is read, and it is not quarantined."""
        return self.state is not None and self.quarantined_at is None


class TurnResult:
    """The new state, entries, writes and calls of one turn, before they are stored."""

    __slots__ = (
        "calls",
        "changes",
        "direct",
        "entries",
        "facts",
        "opened",
        "rewrite",
        "state",
        "stored_before",
        "writes",
    )

    def __init__(self, state: LineState, rewrite: bool = False) -> None:
        self.state = state
        self.rewrite = rewrite
        """The connection is stored even if it has not changed."""
        self.stored_before = state.stored
        self.calls: list[LineAction] = []
        self.entries: list[Entry] = []
        self.direct: list[DirectEntry] = []
        self.writes: list[EntryFacts] = []
        self.changes: list[LineChange] = []
        """What the line has begun to show, one after the other."""
        self.opened = False
        """As of ``state_machine.Step``, for any event of the turn."""

    def note_shown(self, unit: Unit, wall: float, *, again: bool = False) -> None:
        """Note what the line shows since ``wall`` (UTC seconds), if it is news; ``again``: also if it is none.

        Not before it is known whether the server is there.
        """
        if unit.server.leaves_open(self.state.stored) and not again:
            return
        shown, last = unit.server.shown(self.state.stored), self.changes[-1] if self.changes else None
        if again or _shows(shown) != (_shows(last) if last is not None else unit.recorded):
            number = (last.number if last is not None else unit.changes_stored) + 1
            self.changes.append(LineChange(number, wall, shown.phase, shown.reason))

    @property
    def worth_storing(self) -> bool:
        return (
            self.rewrite
            or bool(self.changes)
            or any(direct.inbox_id is not None for direct in self.direct)
            or self.state.stored != self.stored_before
            or any(w.facts or w.dead_reason for w in self.writes)
        )


def _shows(of: LineChange | StoredLineState) -> tuple[Phase, Reason]:
    return of.phase, of.reason


def unit_from_record(record: UnitRecord) -> Unit:
    """A unit from its database row, or from the snapshot (without state)."""
    state = LineState(stored=record.stored) if record.stored is not None else None
    history = (record.changes_stored, record.recorded or UNRECORDED)
    return Unit(record, state=state, applied_seq=record.applied_seq, changes_stored=history[0], recorded=history[1])
