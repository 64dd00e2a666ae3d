"""Turns facts about messages into rows for the recorder's statements."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from zapline.domain.contacts.phone_numbers import Address
from zapline.domain.ids import PROVIDER, ExternalId, Seq, UnitId, contact_id, conversation_id, message_id
from zapline.domain.line.state import Stored
from zapline.domain.messages.delivery_status import Delivery
from zapline.domain.messages.delivery_status import merge as merge_delivery
from zapline.domain.messages.events import (
    ContactSeen,
    Fact,
    Kind,
    Media,
    MessageArrived,
    MessageDeleted,
    MessageEdited,
    OptedOut,
    ReactionReported,
    SendAnswered,
    StatusReported,
    VoteReported,
)
from zapline.domain.outbox.content_fingerprint import fingerprint_seen
from zapline.domain.text import clean_text
from zapline.sql.inbound.batches import EntryWrite

Row = dict[str, object]
Key = tuple[UnitId, ExternalId]

_GRAIN = 3600.0
"""Seconds to which the time of a name or of a link is cut: what every message repeats is written once an hour."""

_LONGEST_EVENT = 200
_ANSWER = SendAnswered.__struct_fields__
_RANK = {Kind.UNKNOWN: 0, Kind.PLACEHOLDER: 1}


@dataclass(slots=True)
class Report:
    """Status, edit and delete of one message, merged; commutative, as in SQL."""

    delivery: Delivery | None = None
    edit: tuple[int, str] | None = None
    """(``edited_at_ms``, text)"""
    deleted_at: float | None = None
    parked_at: float | None = None

    def merge(self, other: "Report") -> None:
        self.delivery = merge_delivery(self.delivery, other.delivery)
        if other.edit is not None and (self.edit is None or other.edit > self.edit):
            self.edit = other.edit
        self.deleted_at = _earlier(self.deleted_at, other.deleted_at)
        self.parked_at = _earlier(self.parked_at, other.parked_at)

    def row(self, key: Key) -> Row:
        return {
            "unit_id": key[0],
            "provider": PROVIDER,
            "external_id": key[1],
            "delivery": self.delivery.label if self.delivery is not None else None,
            "edited_body": self.edit[1] if self.edit else None,
            "edited_at_ms": self.edit[0] if self.edit else None,
            "deleted_at": self.deleted_at,
            "parked_at": self.parked_at,
        }


def _earlier(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


@dataclass(slots=True)
class Rows:
    """The rows of one transaction, collected from the entries of many units."""

    contacts: list[Row] = field(default_factory=list)
    identities: list[Row] = field(default_factory=list)
    conversations: list[Row] = field(default_factory=list)
    merges: list[Row] = field(default_factory=list)
    messages: list[list[Row]] = field(default_factory=list)
    """Rounds: no round holds the same message twice, since one statement cannot update a row twice."""
    reports: dict[Key, Report] = field(default_factory=dict)
    reactions: list[Row] = field(default_factory=list)
    dead_letters: list[Row] = field(default_factory=list)
    answers: list[Row] = field(default_factory=list)
    """How calls of ours ended, in the order in which they did."""
    opt_outs: list[Row] = field(default_factory=list)
    _times_seen: dict[Key, int] = field(default_factory=dict)

    def extend(self, other: "Rows") -> None:
        """Add the rows of another unit."""
        self.contacts += other.contacts
        self.identities += other.identities
        self.conversations += other.conversations
        self.merges += other.merges
        self.messages.extend([] for _ in range(len(other.messages) - len(self.messages)))
        for mine, theirs in zip(self.messages, other.messages, strict=False):
            mine += theirs
        self.reports |= other.reports
        self.reactions += other.reactions
        self.dead_letters += other.dead_letters
        self.answers += other.answers
        self.opt_outs += other.opt_outs

    def add(self, unit: UnitId, entry: EntryWrite, journal_id: UUID) -> None:
        """Add what one entry says."""
        if entry.dead_reason is not None:
            self.dead_letters.append(_dead_letter(unit, entry, journal_id))
        for fact in entry.facts:
            self._add_fact(unit, fact, entry)

    def _add_fact(self, unit: UnitId, fact: Fact, entry: EntryWrite) -> None:
        match fact:
            case MessageArrived():
                self._add_message(unit, fact, entry)
            case StatusReported(external_id=external_id, delivery=delivery):
                self._report(unit, external_id, Report(delivery=delivery, parked_at=entry.received_at))
            case MessageEdited(external_id=external_id, text=text, edited_at_ms=at_ms):
                edited_at_ms = at_ms or int(entry.received_at * 1000)
                self._report(unit, external_id, Report(edit=(edited_at_ms, text), parked_at=entry.received_at))
            case MessageDeleted(external_id=external_id):
                at = entry.received_at
                self._report(unit, external_id, Report(deleted_at=at, parked_at=at))
            case ReactionReported(external_id=external_id, actor=actor, emoji=emoji, at_ms=at_ms):
                self._react(unit, external_id, "reaction", actor, emoji, at_ms, entry)
            case VoteReported(external_id=external_id, actor=actor, options=options, at_ms=at_ms):
                value = list(options) if options is not None else {"encrypted": True}
                self._react(unit, external_id, "vote", actor, value, at_ms, entry)
            case ContactSeen(address=address, name=name):
                self._add_contact(unit, address, name, None)
                self._add_link(unit, address, entry.received_at)
            case SendAnswered():
                self.answers.append({"unit_id": unit, **{name: getattr(fact, name) for name in _ANSWER}})
            case OptedOut():
                self.opt_outs.append(_opt_out(unit, fact, entry))

    def _add_message(self, unit: UnitId, fact: MessageArrived, entry: EntryWrite) -> None:
        sent_at = fact.sent_at if fact.sent_at is not None else entry.received_at
        chat = fact.chat
        named_by_chat = fact.sender is None and not fact.from_me
        self._add_contact(unit, chat, fact.push_name if named_by_chat else None, sent_at)
        if fact.sender is not None:
            self._add_contact(unit, fact.sender, None if fact.from_me else fact.push_name, sent_at)
            self._add_link(unit, fact.sender, sent_at)
        conversation = conversation_id(unit, chat.canonical)
        self.conversations.append(
            {
                "id": conversation,
                "unit_id": unit,
                "contact_id": contact_id(unit, chat.canonical),
                "at": sent_at,
            }
        )
        self._add_link(unit, chat, sent_at)
        key = (unit, fact.external_id)
        round_number = self._times_seen.get(key, 0)
        self._times_seen[key] = round_number + 1
        if round_number == len(self.messages):
            self.messages.append([])
        rows = self.messages[round_number]
        rows.append(_message(unit, fact, entry, conversation, sent_at))

    def _add_contact(self, unit: UnitId, address: Address, name: str | None, at: float | None) -> None:
        contact = contact_id(unit, address.canonical)
        self.contacts.append(
            {
                "id": contact,
                "unit_id": unit,
                "kind": address.kind,
                "canonical": address.canonical,
                "phone": address.phone,
                "lid": address.lid,
                "name": name or None,
                "name_at": at // _GRAIN * _GRAIN if name and at is not None else None,
            }
        )
        own_lid = f"{address.lid}@lid" if address.phone is not None else None
        # The LID's own spelling stays with the LID's own contact, from before the phone was known or after.
        self.identities.extend(
            {"unit_id": unit, "identity": jid, "contact_id": contact} for jid in address.jids if jid != own_lid
        )

    def _add_link(self, unit: UnitId, address: Address, at: float) -> None:
        """Where both a phone and a LID are named, the LID's conversation leads to the phone's."""
        if address.phone is None or address.lid is None:
            return
        by_lid = f"lid:{address.lid}"
        for canonical in (by_lid, address.canonical):
            row: Row = {"id": conversation_id(unit, canonical), "unit_id": unit, "at": None}
            self.conversations.append(row | {"contact_id": contact_id(unit, canonical)})
        lid_contact = contact_id(unit, by_lid)
        self.contacts.append(
            {
                "id": lid_contact,
                "unit_id": unit,
                "kind": address.kind,
                "canonical": by_lid,
                "phone": None,
                "lid": address.lid,
                "name": None,
                "name_at": None,
            }
        )
        identity = {"unit_id": unit, "identity": f"{address.lid}@lid", "contact_id": lid_contact}
        self.identities.append(identity)
        self.merges.append(
            {
                "id": conversation_id(unit, by_lid),
                "into_id": conversation_id(unit, address.canonical),
                "at": at // _GRAIN * _GRAIN,
            }
        )

    def _report(self, unit: UnitId, external_id: ExternalId, report: Report) -> None:
        known = self.reports.get((unit, external_id))
        if known is None:
            self.reports[unit, external_id] = report
        else:
            known.merge(report)

    def _react(
        self,
        unit: UnitId,
        target: ExternalId,
        kind: str,
        actor: str,
        value: object,
        at_ms: int,
        entry: EntryWrite,
    ) -> None:
        self.reactions.append(
            {
                "unit_id": unit,
                "provider": PROVIDER,
                "external_id": target,
                "kind": kind,
                "actor": actor,
                "value": value,
                # 0: the report tells no time (votes counted by Evolution); then its arrival orders it.
                "at_ms": at_ms or int(entry.received_at * 1000),
                "received_at": entry.received_at,
            }
        )


def _message(unit: UnitId, fact: MessageArrived, entry: EntryWrite, conversation: str, sent_at: float) -> Row:
    row: Row = {
        "id": message_id(unit, fact.external_id),
        "unit_id": unit,
        "conversation_id": conversation,
        "contact": fact.chat.canonical,  # of the conversation, for those who are told
        "provider": PROVIDER,
        "external_id": fact.external_id,
        "from_me": fact.from_me,
        "kind": fact.kind,
        "kind_rank": _RANK.get(fact.kind, 2),
        "body": fact.text,
        "media": _media(fact.media) if fact.media is not None else None,
        "detail": _encoded(fact.detail) if fact.detail else None,
        "raw": b64encode(entry.body).decode() if fact.keep_raw else None,
        "sender": fact.sender.canonical if fact.sender is not None else None,
        "sender_name": fact.push_name,
        "quoted_id": fact.quoted_id,
        "forwarded": fact.forwarded,
        "view_once": fact.view_once,
        "expires_after": fact.expires_after,
        "source": fact.source,
        "origin": fact.origin,
        "backfilled": entry.backfilled,
        "delivery": fact.delivery.label if fact.delivery is not None else None,
        "sent_at": sent_at,
        "received_at": entry.received_at,
    }
    if fact.from_me:
        row["fingerprint"] = fingerprint_seen(fact)
    return row


def _opt_out(unit: UnitId, fact: OptedOut, entry: EntryWrite) -> Row:
    address = fact.address
    return {
        "unit_id": unit,
        "canonical": address.canonical,
        "conversation_id": conversation_id(unit, address.canonical),
        "address": address.phone.removeprefix("+") if address.phone else address.jids[0],
        "word": fact.word,
        "external_id": fact.external_id,
        "confirmation": fact.confirmation,
        "received_at": entry.received_at,
    }


def _encoded(value: object) -> msgspec.Raw:
    """Encode what comes from foreign JSON at once: it must fail, if it does, in its own unit's actor."""
    return msgspec.Raw(msgspec.json.encode(value))


def _media(media: Media) -> msgspec.Raw:
    fields = {
        "mimetype": media.mimetype,
        "fileName": media.file_name,
        "size": media.size,
        "seconds": media.seconds,
        "width": media.width,
        "height": media.height,
        "sha256": media.sha256,
        "url": media.url,
    }
    return _encoded({name: value for name, value in fields.items() if value is not None})


def _dead_letter(unit: UnitId, entry: EntryWrite, journal_id: UUID) -> Row:
    # A body over the limit was not kept: what is there is its size in digits.
    kept = entry.dead_reason != "too_large"
    return {
        "unit_id": unit,
        "reason": entry.dead_reason,
        "detail": entry.dead_detail,
        "event": clean_text(entry.event, _LONGEST_EVENT),
        "raw": b64encode(entry.body).decode() if kept else None,
        "size": len(entry.body) if kept else int(entry.body),
        "received_at": entry.received_at,
        "journal_id": journal_id if entry.seq is not None else None,
        "journal_seq": entry.seq,
    }


@dataclass(frozen=True, slots=True)
class UnitWrite:
    """One unit's share of a batch: entries in journal order, then the connection as they left it."""

    unit_id: UnitId
    entries: Sequence[EntryWrite]
    rows: Rows
    connection: Stored | None
    """None where the connection did not change."""
    applied_seq: Seq | None
    journal_id: UUID

    def halves(self) -> tuple["UnitWrite", "UnitWrite"]:
        """Cut between entries; connection and position go with the later half.

        The position must not move before the connection does: a crash between the halves would leave the
        connection events of the first one unstepped. Its facts may be given again.
        """
        middle = len(self.entries) // 2
        first, second = self.entries[:middle], self.entries[middle:]
        return (
            prepare(self.unit_id, first, None, None, self.journal_id),
            prepare(self.unit_id, second, self.connection, self.applied_seq, self.journal_id),
        )


def prepare(
    unit_id: UnitId,
    entries: Iterable[EntryWrite],
    connection: Stored | None,
    applied_seq: Seq | None,
    journal_id: UUID,
) -> UnitWrite:
    """Build the rows of a unit's entries, in its actor's task: a crash here is that unit's own."""
    listed = tuple(entries)
    rows = Rows()
    for entry in listed:
        rows.add(unit_id, entry, journal_id)
    return UnitWrite(unit_id, listed, rows, connection, applied_seq, journal_id)
