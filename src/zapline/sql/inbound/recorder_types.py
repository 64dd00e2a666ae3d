"""What a unit's actor hands to the recorder, and what it gets back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from zapline.domain.ids import ExternalId, Seq, UnitId
from zapline.domain.messages.events import Fact


class EntryWrite(msgspec.Struct, frozen=True):
    """What one journal entry says: its facts, or the reason for which it is a dead letter.

    ``seq`` is None for an entry that the journal refused. ``body`` is the raw body as received.
    """

    seq: Seq | None
    event: str
    received_at: float
    body: bytes
    facts: Sequence[Fact] = ()
    dead_reason: str | None = None
    dead_detail: str | None = None
    backfilled: bool = False
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """A message of ours was found to be with Evolution. ``by``: ``reply``, ``echo`` or ``store``."""

    unit_id: UnitId
    message: UUID
    external_id: ExternalId
    by: str
    was: str
    """Its work state before."""
    twice: bool
    """It had been delivered before."""
    client_message_id: str
    conversation_id: UUID
    delivery: str


@dataclass(frozen=True, slots=True)
class Created:
    """A message that is new. ``conversation_id`` is that under which it is shown; ``row`` is what was stored."""

    id: UUID
    seq: int
    conversation_id: UUID
    row: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Reported:
    """A message of which something has become known. ``delivery``: None where it is what it was."""

    unit_id: UnitId
    message: UUID
    external_id: ExternalId
    client_message_id: str | None
    conversation_id: UUID
    delivery: str | None
    edited: bool
    deleted: bool


@dataclass(slots=True)
class Outcome:
    """What became of a unit's share once it was committed."""

    created: dict[ExternalId, Created] = field(default_factory=dict)
    """Messages that are new, by external id."""
    reported: list[Reported] = field(default_factory=list)
    buried: list[tuple[Seq | None, str]] = field(default_factory=list)
    """Entries that became dead letters, with the reason."""
    settled: list[Settled] = field(default_factory=list)
    opted_out: int = 0
    """Contacts that want no campaigns from now on."""
    queued: bool = False
    """Something lies ready for the unit's sender that was not there, or came behind others."""

    def add(self, other: "Outcome") -> None:
        """What became of another part of the same share."""
        self.created |= other.created
        self.reported += other.reported
        self.buried += other.buried
        self.settled += other.settled
        self.opted_out += other.opted_out
        self.queued |= other.queued
