"""Converts facts about messages into rows for the recorder's statements."""

from base64 import b64encode
from dataclasses import dataclass, field
from functools import lru_cache
from uuid import UUID

import msgspec

from zapline.domain.contacts.addresses import Address, AddressKind
from zapline.domain.ids import PROVIDER, ExternalId, UnitId, contact_id, conversation_id, message_id
from zapline.domain.messages.authority import Change, Claim
from zapline.domain.messages.delivery_status import REFUSED, DeliveryStatus
from zapline.domain.messages.facts import (
    CallStarted,
    ContactSeen,
    MediaInfo,
    MessageArrived,
    MessageDeleted,
    MessageEdited,
    MessageFact,
    MessageKind,
    OptedOut,
    ReactionReported,
    SendAnswered,
    StatusReported,
    VoteReported,
)
from zapline.domain.messages.message_secrets import EncryptedReport, SecretSeen
from zapline.domain.outbox.content_fingerprint import fingerprint_message
from zapline.sql.inbound.authorship import Source, dead_letter_row, encode_claim, without_secrets
from zapline.sql.inbound.contact_names import NAMELESS, ContactName
from zapline.sql.inbound.recorder_types import EntryFacts, MessageKey, ReportKey, Row
from zapline.sql.inbound.status_merge import TOLD, MessageReport

_TIME_STEP = 3600.0
"""Seconds to which times of links are rounded down, so that repeated ones are stored once an hour."""

_HISTORY = frozenset({"messages.set", "messaging-history.set"})
"""Events that tell what was long ago."""
_COPY = ("unit_id", "provider", "from_me", "sender", "conversation_id")
_LID = "lid:"
_UNREAD = {"encrypted": True}
"""The value of a vote that nobody could read."""
_ANSWER = SendAnswered.__struct_fields__
_RANK = {MessageKind.UNKNOWN: 0, MessageKind.PLACEHOLDER: 1}


@dataclass(slots=True)
class BatchRows:
    """The rows of one transaction, from the entries of many units."""

    contacts: list[Row] = field(default_factory=list)
    identities: list[Row] = field(default_factory=list)
    conversations: list[Row] = field(default_factory=list)
    merges: list[Row] = field(default_factory=list)
    messages: list[list[Row]] = field(default_factory=list)
    """Rounds without duplicates, since one statement cannot update a row twice."""
    reports: dict[ReportKey, MessageReport] = field(default_factory=dict)
    reactions: list[Row] = field(default_factory=list)
    copies: list[Row] = field(default_factory=list)
    """Second ids of messages: of better copies of their files."""
    dead_letters: list[Row] = field(default_factory=list)
    answers: list[Row] = field(default_factory=list)
    """Results of send calls in the order in which the calls ended."""
    calls: list[Row] = field(default_factory=list)
    """Send calls that were made, for a database that does not know of them."""
    opt_outs: list[Row] = field(default_factory=list)
    secrets: list[Row] = field(default_factory=list)
    """Secrets of messages, not sealed yet: these rows are never sent as they are."""
    encrypted: list[Row] = field(default_factory=list)
    """Reports encrypted under such secrets."""
    sources: dict[str | Source, tuple[UnitId, EntryFacts]] = field(default_factory=dict)
    """The entries that messages, reports and reactions come from, by their places in the journal; those that have none
    by what they tell of."""
    _journal: str = ""
    _times_seen: dict[MessageKey, int] = field(default_factory=dict)

    def extend(self, other: "BatchRows") -> None:
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
        self.copies += other.copies
        self.dead_letters += other.dead_letters
        self.answers += other.answers
        self.calls += other.calls
        self.opt_outs += other.opt_outs
        self.secrets += other.secrets
        self.encrypted += other.encrypted
        self.sources |= other.sources

    def add(self, unit: UnitId, entry: EntryFacts, journal_id: UUID) -> None:
        """Add the rows of one entry."""
        self._journal = _journal_name(journal_id)
        if entry.dead_reason is not None:
            self.dead_letters.append(dead_letter_row(unit, entry, journal_id))
        for fact in entry.facts:
            self._add_fact(unit, fact, entry)

    def _add_fact(self, unit: UnitId, fact: MessageFact, entry: EntryFacts) -> None:
        match fact:
            case MessageArrived():
                self._add_message(unit, fact, entry)
            case StatusReported(external_id=external_id, delivery=delivery, refusal=refusal, by=by):
                claim = encode_claim(unit, Change.STATUS, by)
                self._add_status(unit, external_id, claim, delivery, refusal, entry)
            case MessageEdited(external_id=external_id, text=text, edited_at_ms=at_ms, by=by):
                report = MessageReport(edit=(at_ms or int(entry.received_at * 1000), text))
                self._add_report(unit, external_id, encode_claim(unit, Change.EDIT, by), report, entry)
            case MessageDeleted(external_id=external_id, by=by):
                report = MessageReport(deleted_at=entry.received_at)
                self._add_report(unit, external_id, encode_claim(unit, Change.DELETE, by), report, entry)
            case ReactionReported(emoji=emoji):
                self._add_reaction(unit, fact, "reaction", emoji, entry)
            case VoteReported(options=options):
                self._add_reaction(unit, fact, "vote", list(options) if options is not None else _UNREAD, entry)
            case ContactSeen(address=address, name=name, username=username, at=at):
                named = ContactName(name, username, entry.received_at if at is None else at, entry.received_at)
                self._add_contact(unit, address, named)
                self._add_link(unit, address, entry.received_at)
            case SendAnswered():
                self.answers.append({"unit_id": unit, **{name: getattr(fact, name) for name in _ANSWER}})
            case CallStarted():
                self.calls.append({"unit_id": unit, **{name: getattr(fact, name) for name in fact.__struct_fields__}})
            case OptedOut():
                self.opt_outs.append(_opt_out(unit, fact, entry))
            case SecretSeen():
                self.secrets.append(_secret(unit, fact, entry))
            case EncryptedReport():
                self.encrypted.append(_encrypted(unit, fact, entry))

    def _add_message(self, unit: UnitId, fact: MessageArrived, entry: EntryFacts) -> None:
        sent_at = fact.sent_at if fact.sent_at is not None else entry.received_at
        chat = fact.chat
        named = ContactName(None if fact.from_me else fact.push_name, None, sent_at, entry.received_at)
        # A message in a group names who wrote it, never the group.
        by_chat = fact.sender is None and chat.kind is not AddressKind.GROUP
        contact = self._add_contact(unit, chat, named if by_chat else NAMELESS)
        if fact.sender is not None:
            self._add_contact(unit, fact.sender, named)
            self._add_link(unit, fact.sender, sent_at)
        conversation = conversation_id(unit, chat.canonical)
        self.conversations.append(
            {
                "id": conversation,
                "unit_id": unit,
                "contact_id": contact,
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
        row = _message(unit, fact, entry, conversation, sent_at)
        rows.append(row)
        if fact.from_me and fact.delivery is DeliveryStatus.FAILED:
            claim = encode_claim(unit, Change.STATUS, Claim(chat, fact.from_me, fact.sender))
            self._add_status(unit, fact.external_id, claim, fact.delivery, None, entry)
        row["entries"] = self._entries(unit, (unit, fact.external_id, conversation), entry)
        if fact.media is not None and fact.media.copy_id is not None:
            row["completes"] = True
            of_message = {name: row[name] for name in _COPY if name in row}
            self.copies.append(of_message | {"external_id": fact.media.copy_id, "primary_id": fact.external_id})

    def _add_contact(self, unit: UnitId, address: Address, named: ContactName) -> str:
        """Returns the contact's id."""
        contact = contact_id(unit, address.canonical)
        self.contacts.append(
            {
                "id": contact,
                "unit_id": unit,
                "kind": address.kind,
                "canonical": address.canonical,
                "phone": address.phone,
                "lid": address.lid,
                **named.columns(),
            }
        )
        own_lid = f"{address.lid}@lid" if address.phone is not None else None
        # The identity of a LID stays with the LID's own contact, whether or not the phone is known.
        self.identities.extend(
            {"unit_id": unit, "identity": jid, "contact_id": contact} for jid in address.jids if jid != own_lid
        )
        return contact

    def link_chats(self, unit: UnitId, one: str, other: str, at: object) -> None:
        """Merge the conversations of two canonical identities, if one is a phone and the other a LID."""
        lid, phone = sorted((one, other), reverse=True)
        if lid.startswith(_LID) and phone.startswith("+") and isinstance(at, int | float):
            digits = lid.removeprefix(_LID)
            self._add_link(unit, Address(AddressKind.PERSON, phone, phone, digits), at)

    def _add_link(self, unit: UnitId, address: Address, at: float) -> None:
        """Merge the conversation of a LID into that of the phone, where the address has both."""
        if address.phone is None or address.lid is None:
            return
        by_lid = f"{_LID}{address.lid}"
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
                **NAMELESS.columns(),
            }
        )
        identity = {"unit_id": unit, "identity": f"{address.lid}@lid", "contact_id": lid_contact}
        self.identities.append(identity)
        self.merges.append(
            {
                "unit_id": unit,
                "id": conversation_id(unit, by_lid),
                "into_id": conversation_id(unit, address.canonical),
                "at": at // _TIME_STEP * _TIME_STEP,
            }
        )

    def _add_status(
        self,
        unit: UnitId,
        external_id: ExternalId,
        claim: str,
        delivery: DeliveryStatus,
        refusal: str | None,
        entry: EntryFacts,
    ) -> None:
        report = MessageReport(delivery=delivery, told={delivery: entry.received_at} if delivery in TOLD else {})
        if delivery is DeliveryStatus.FAILED:
            report.refusal, report.refused_at = refusal or REFUSED, entry.received_at
        self._add_report(unit, external_id, claim, report, entry)

    def _add_report(
        self, unit: UnitId, external_id: ExternalId, claim: str, report: MessageReport, entry: EntryFacts
    ) -> None:
        key = (unit, external_id, claim)
        report.parked_at, report.entries = entry.received_at, frozenset(self._entries(unit, key, entry))
        known = self.reports.get(key)
        if known is None:
            self.reports[key] = report
        else:
            known.merge(report)

    def _entries(self, unit: UnitId, key: Source, entry: EntryFacts) -> list[str]:
        """Names the entry for what may come of it later: a dead letter."""
        if entry.seq is None:
            self.sources.setdefault(key, (unit, entry))
            return []
        name = f"{self._journal}:{entry.seq}"
        self.sources[name] = (unit, entry)
        return [name]

    def _add_reaction(
        self, unit: UnitId, fact: ReactionReported | VoteReported, kind: str, value: object, entry: EntryFacts
    ) -> None:
        claim = encode_claim(unit, Change.REACT, fact.by)
        self.reactions.append(
            {
                "unit_id": unit,
                "provider": PROVIDER,
                "external_id": fact.external_id,
                "kind": kind,
                "actor": fact.actor,
                "value": value,
                # 0: the report has no time (votes counted by Evolution), so its arrival orders it.
                "at_ms": fact.at_ms or int(entry.received_at * 1000),
                "received_at": entry.received_at,
                "live": _is_live(entry),
                "claim": claim,
                "entries": self._entries(unit, (unit, fact.external_id, claim), entry),
            }
        )


@lru_cache(maxsize=4)
def _journal_name(journal_id: UUID) -> str:
    return str(journal_id)


def _message(unit: UnitId, fact: MessageArrived, entry: EntryFacts, conversation: str, sent_at: float) -> Row:
    row: Row = {
        "id": message_id(unit, fact.external_id),
        "unit_id": unit,
        "conversation_id": conversation,
        "contact": fact.chat.canonical,  # of the conversation, for event payloads
        "provider": PROVIDER,
        "external_id": fact.external_id,
        "from_me": fact.from_me,
        "kind": fact.kind,
        "kind_rank": _RANK.get(fact.kind, 2),
        "body": None if fact.edited else fact.text,  # the edit is a report of its own
        "media": _media_json(fact.media) if fact.media is not None else None,
        "detail": _encoded(fact.detail) if fact.detail else None,
        "raw": b64encode(without_secrets(entry.body)).decode() if fact.keep_raw else None,
        "sender": fact.sender.canonical if fact.sender is not None else None,
        "sender_name": fact.push_name,
        "quoted_id": fact.quoted_id,
        "quoted": _encoded(fact.quoted) if fact.quoted else None,
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
    if fact.edited:
        row["shown_text"] = fact.text
    if fact.from_me:
        row["fingerprint"] = fingerprint_message(fact)
    return row


def _opt_out(unit: UnitId, fact: OptedOut, entry: EntryFacts) -> Row:
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


def _is_live(entry: EntryFacts) -> bool:
    return not entry.backfilled and entry.event not in _HISTORY


def _secret(unit: UnitId, fact: SecretSeen, entry: EntryFacts) -> Row:
    return {
        "unit_id": unit,
        "provider": PROVIDER,
        "external_id": fact.external_id,
        "secret": fact.secret,
        "conversation_id": conversation_id(unit, fact.chat.canonical),
        "lasting": fact.lasting,
        "received_at": entry.received_at,
    }


def _encrypted(unit: UnitId, fact: EncryptedReport, entry: EntryFacts) -> Row:
    return {
        "unit_id": unit,
        "provider": PROVIDER,
        "external_id": fact.external_id,
        "report_id": fact.report_id,
        "use": fact.use,
        "conversation_id": conversation_id(unit, fact.chat.canonical),
        "chat": fact.chat.canonical,
        "actor": fact.actor,
        "jids": [*fact.jids, *fact.chat.jids, *(fact.sender.jids if fact.sender is not None else ())],
        "payload": b64encode(fact.payload).decode(),
        "nonce": b64encode(fact.nonce).decode(),
        "at_ms": fact.at_ms or int(entry.received_at * 1000),
        "received_at": entry.received_at,
        "live": _is_live(entry),
    }


def _encoded(value: object) -> msgspec.Raw:
    """Encode foreign JSON now, so that a failure affects only its own unit's actor."""
    return msgspec.Raw(msgspec.json.encode(value))


def _media_json(media: MediaInfo) -> msgspec.Raw:
    fields = {
        **{name: getattr(media, name) for name in ("mimetype", "size", "seconds", "width", "height", "sha256", "url")},
        "fileName": media.file_name,
        "quality": media.quality or None,
        "copyId": media.copy_id,
    }
    return _encoded({name: value for name, value in fields.items() if value is not None})
