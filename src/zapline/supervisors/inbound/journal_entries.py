"""Reads journal entries: webhooks of Evolution, and what Zapline itself puts there to go the same way."""

import msgspec

from zapline.domain.campaigns.opt_out_words import OptOuts, asks_to_stop
from zapline.domain.contacts.phone_numbers import AddressKind, resolve
from zapline.domain.messages.events import ContactSeen, MessageArrived, OptedOut, Parsed, SendAnswered, Unusable
from zapline.evolution.client.stored_messages import parse_stored
from zapline.evolution.webhooks.event_parser import parse
from zapline.sql.journal.schema import Entry

ANSWER = "!answer"
"""Event of an entry that says how a call to send a message ended. No webhook's event can have such a name."""
BACKFILL = "!backfill"
"""Event of an entry with messages read back from Evolution's store."""
TOO_LARGE = "!too_large"
"""Event of an entry whose body was over the limit; its body is the size in digits."""

_ANSWER = msgspec.json.Decoder(SendAnswered)


def read_entry(entry: Entry, opt_outs: OptOuts) -> list[Parsed]:
    """What an entry says. Never raises."""
    if entry.event == ANSWER:
        return _answer(entry.body)
    parsed = parse_stored(entry.body) if entry.event == BACKFILL else parse(entry.body, event_hint=entry.event)
    if not opt_outs.words:
        return parsed
    stops = [stop for each in parsed if (stop := _opt_out(each, opt_outs)) is not None]
    return [*parsed, *stops] if stops else parsed


def _answer(body: bytes) -> list[Parsed]:
    try:
        answered = _ANSWER.decode(body)
    except msgspec.MsgspecError:
        return [Unusable("bad_answer")]
    # Evolution names the chat by its LID where it knows one: with the number that was asked for, both are known.
    learnt = resolve(*answered.remote_jid.split(" ", 1)) if answered.remote_jid else None
    if learnt is None or learnt.lid is None or learnt.phone is None:
        return [answered]
    return [ContactSeen(learnt), answered]


def _opt_out(parsed: Parsed, opt_outs: OptOuts) -> OptedOut | None:
    if not isinstance(parsed, MessageArrived) or parsed.from_me or parsed.chat.kind is not AddressKind.PERSON:
        return None
    word = asks_to_stop(parsed.text, opt_outs.words) if parsed.origin != "history" else None
    if word is None:
        return None
    confirmation = opt_outs.confirmation if parsed.origin == "live" else None
    return OptedOut(parsed.chat, word, parsed.external_id, confirmation)
