"""Parses journal entries: Evolution's webhooks, and internal entries (``!answer``, ``!backfill``, ``!too_large``)."""

from dataclasses import replace

import msgspec

from zapline.domain.campaigns.opt_out_words import OptOutWords, match_opt_out
from zapline.domain.contacts.addresses import AddressKind, resolve_address
from zapline.domain.inbound_events import Ignored, InboundEvent, Unusable
from zapline.domain.messages.facts import (
    CallStarted,
    ContactSeen,
    MessageArrived,
    MessageEdited,
    OptedOut,
    SendAnswered,
)
from zapline.evolution.client.stored_messages import parse_stored_messages
from zapline.evolution.webhooks.envelope import emission_ms
from zapline.evolution.webhooks.event_parser import parse_webhook
from zapline.sql.inbound.recorder_types import EntryFacts
from zapline.sql.journal.schema import CALL_STARTED, SEND_ANSWER, Entry
from zapline.supervisors.inbound.unit_state import Unit

BACKFILL = "!backfill"
"""Event of an entry with messages read back from Evolution's store."""
TOO_LARGE = "!too_large"
"""Event of an entry whose body was over the limit; its body is the size in digits."""

_CALL_DECODER = msgspec.json.Decoder(CallStarted)
_ANSWER_DECODER = msgspec.json.Decoder(SendAnswered)


def parse_entry(entry: Entry, opt_out_words: OptOutWords) -> list[InboundEvent]:
    """The events and facts of an entry, with opt-outs. Never raises."""
    if entry.event == SEND_ANSWER:
        return _parse_answer(entry.body)
    if entry.event == CALL_STARTED:
        return _parse_call(entry.body)
    backfill = entry.event == BACKFILL
    parsed = parse_stored_messages(entry.body) if backfill else _date_reports(entry)
    if not opt_out_words.words:
        return parsed
    stops = [stop for item in parsed if (stop := _opt_out(item, opt_out_words)) is not None]
    return [*parsed, *stops] if stops else parsed


_MAX_OWN_NAMES = 16


def drop_own_names(parsed: list[InboundEvent], unit: Unit) -> list[InboundEvent]:
    """Take the names of the line's own people from contacts: older servers report them for whoever was written to.

    Remembers the names that the unit's own messages tell.
    """
    for item in parsed:
        if isinstance(item, MessageArrived) and item.own_name is not None and len(unit.own_names) < _MAX_OWN_NAMES:
            unit.own_names.add(item.own_name)
    stored = unit.state.stored if unit.state is not None else None
    own = {*unit.own_names, *unit.record.own_names} | (
        {stored.profile_name} if stored is not None and stored.profile_name else set()
    )
    if not own or not any(isinstance(item, ContactSeen) and item.name in own for item in parsed):
        return parsed
    return [_nameless(item) if isinstance(item, ContactSeen) and item.name in own else item for item in parsed]


def _nameless(seen: ContactSeen) -> InboundEvent:
    if seen.address.kind is not AddressKind.PERSON:
        return seen
    paired = seen.address.phone is not None and seen.address.lid is not None
    return replace(seen, name=None) if paired or seen.username is not None else Ignored("own_name")


def _date_reports(entry: Entry) -> list[InboundEvent]:
    """The events of a webhook; an edit or name that tells no time of its own is of when Evolution sent the webhook."""
    parsed = parse_webhook(entry.body, event_hint=entry.event)
    if not any(map(_is_undated, parsed)):
        return parsed
    sent_at = emission_ms(entry.body, entry.received_at)
    return [_dated(item, sent_at) if _is_undated(item) else item for item in parsed]


def _is_undated(item: InboundEvent) -> bool:
    if isinstance(item, ContactSeen):
        return item.at is None
    return isinstance(item, MessageEdited) and not item.edited_at_ms


def _dated(item: InboundEvent, sent_at_ms: int) -> InboundEvent:
    if isinstance(item, MessageEdited):
        return replace(item, edited_at_ms=sent_at_ms)
    return replace(item, at=sent_at_ms / 1000) if isinstance(item, ContactSeen) else item


def _parse_answer(body: bytes) -> list[InboundEvent]:
    try:
        answered = _ANSWER_DECODER.decode(body)
    except msgspec.MsgspecError:
        return [Unusable("bad_answer")]
    # If Evolution answers with the chat's LID, LID and the requested number belong to one person.
    identity = resolve_address(*answered.remote_jid.split(" ", 1)) if answered.remote_jid else None
    if identity is None or identity.lid is None or identity.phone is None:
        return [answered]
    return [ContactSeen(identity), answered]


def _parse_call(body: bytes) -> list[InboundEvent]:
    try:
        return [decode_call(body)]
    except msgspec.MsgspecError:
        return [Unusable("bad_answer")]


def decode_call(body: bytes) -> CallStarted:
    """The call that an entry tells of. Raises msgspec.MsgspecError."""
    return _CALL_DECODER.decode(body)


def _opt_out(parsed: InboundEvent, opt_out_words: OptOutWords) -> OptedOut | None:
    if not isinstance(parsed, MessageArrived) or parsed.from_me or parsed.chat.kind is not AddressKind.PERSON:
        return None
    word = match_opt_out(parsed.text, opt_out_words.words) if parsed.origin != "history" else None
    if word is None:
        return None
    confirmation = opt_out_words.confirmation if parsed.origin == "live" else None
    return OptedOut(parsed.chat, word, parsed.external_id, confirmation)


def dead_letter(entry: Entry, reason: str, now: float) -> EntryFacts:
    """An entry that becomes a dead letter without being parsed; ``now`` (UTC seconds): its own time may be damaged."""
    received_at = entry.received_at if not entry.damaged else now
    return EntryFacts(entry.seq or None, entry.event, received_at, entry.body, dead_reason=reason)
