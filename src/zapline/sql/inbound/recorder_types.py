"""The types that actors hand to the recorder, and that it returns after the commit."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from zapline.domain.ids import ExternalId, Seq, UnitId
from zapline.domain.messages.facts import MessageFact

Row = dict[str, object]
MessageKey = tuple[UnitId, ExternalId]
ReportKey = tuple[UnitId, ExternalId, str]
"""A message, and the claim of whoever reports something about it; empty: our own side."""


def message_key(row: Row) -> MessageKey:
    return row["unit_id"], row["external_id"]  # type: ignore[return-value]


@dataclass(slots=True)
class StoredPosition:
    """What the database is known to hold of a unit; shared by the unit and its batches.

    The database refuses a batch when it holds less: then it was set back.
    """

    seq: int = 0
    """Up to which entry of the journal its entries are stored; 0: not known."""
    last_claim: tuple[UUID, int] | None = None
    """The last message that this process has claimed, and its fence, until journal and database are compared."""


class EntryFacts(msgspec.Struct, frozen=True):
    """The facts of one journal entry, or the reason why it is a dead letter.

    ``seq`` is None for an entry that the journal refused. ``body`` is the raw body as received.
    """

    seq: Seq | None
    event: str
    received_at: float
    body: bytes
    facts: Sequence[MessageFact] = ()
    dead_reason: str | None = None
    dead_detail: str | None = None
    backfilled: bool = False
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class SettledSend:
    """A send that Evolution has accepted. ``by`` names the evidence: ``reply``, ``echo`` or ``store``."""

    unit_id: UnitId
    message: UUID
    external_id: ExternalId
    by: str
    was: str
    """The work state before."""
    twice: bool
    """The message had already been delivered."""
    client_message_id: str
    conversation_id: UUID
    delivery: str


@dataclass(frozen=True, slots=True)
class CreatedMessage:
    """A new message. ``conversation_id`` is the root conversation; ``row`` is what was stored."""

    id: UUID
    seq: int
    conversation_id: UUID
    row: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ChangedMessage:
    """A message that a report has changed. ``delivery``: None where the status is unchanged."""

    unit_id: UnitId
    message: UUID
    external_id: ExternalId
    client_message_id: str | None
    conversation_id: UUID
    delivery: str | None
    edited: bool
    deleted: bool
    refusal: str | None = None
    """Why WhatsApp refused it, where that is the change."""
    edit_text_unknown: bool = False
    """Its latest edit could not be read."""


@dataclass(frozen=True, slots=True)
class ReactedMessage:
    """A message with a new reaction or vote of one person. ``value``: an emoji, options, or an object: encrypted."""

    unit_id: UnitId
    message: UUID
    external_id: ExternalId
    client_message_id: str | None
    conversation_id: UUID
    kind: str
    """``reaction`` or ``vote``."""
    actor: str
    value: object
    at_ms: int


@dataclass(frozen=True, slots=True)
class ReplacedMessage:
    """A message that was stored from an echo, and has turned out to be the one of a call of ours."""

    unit_id: UnitId
    message: UUID
    external_id: ExternalId
    conversation_id: UUID
    by: UUID


@dataclass(slots=True)
class UnitOutcome:
    """What a commit has changed for one unit."""

    created: dict[ExternalId, CreatedMessage] = field(default_factory=dict)
    """New messages by external id."""
    changed: list[ChangedMessage] = field(default_factory=list)
    reacted: list[ReactedMessage] = field(default_factory=list)
    buried: list[tuple[Seq | None, str]] = field(default_factory=list)
    """Entries that became dead letters, with the reason."""
    settled: list[SettledSend] = field(default_factory=list)
    replaced: list[ReplacedMessage] = field(default_factory=list)
    opted_out: int = 0
    """Contacts that opted out of campaigns."""
    encrypted: Counter[str] = field(default_factory=Counter)
    """What became of encrypted reports."""
    strangers: Counter[tuple[str, bool]] = field(default_factory=Counter)
    """What strangers said about messages of others, by change and whether it is certain."""
    waiting: Counter[str] = field(default_factory=Counter)
    """Messages and reactions that wait until it is known whose they are: ``kept``, and ``taken_up``."""
    queued: bool = False
    """Messages were queued or moved forward for the unit's sender."""

    def add(self, other: "UnitOutcome") -> None:
        """Add the outcome of another part of the same unit's batch."""
        self.created |= other.created
        self.changed += other.changed
        self.reacted += other.reacted
        self.buried += other.buried
        self.settled += other.settled
        self.replaced += other.replaced
        self.opted_out += other.opted_out
        self.encrypted += other.encrypted
        self.strangers += other.strangers
        self.waiting += other.waiting
        self.queued |= other.queued
