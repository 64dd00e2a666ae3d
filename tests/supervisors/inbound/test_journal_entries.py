"""Edits that tell no time of their own: they are ordered by when Evolution sent them, however often they come."""

import json
from uuid import UUID

from zapline.domain.campaigns.opt_out_words import OptOutWords
from zapline.domain.ids import Seq, UnitId
from zapline.domain.messages.facts import MessageEdited
from zapline.sql.journal.schema import Entry
from zapline.supervisors.inbound.journal_entries import parse_entry

SENT = 1_795_972_901.069
"""2026-11-29T17:21:41.069Z"""


def edit(text: str, at: str, received_at: float) -> MessageEdited:
    data = {
        "keyId": "3EB0ED2BD83617D6E3FAC0",
        "remoteJid": "5511911110001@s.whatsapp.net",
        "fromMe": False,
        "status": "SERVER_ACK",
        "message": {"editedMessage": {"message": {"conversation": text}}},
    }
    body = json.dumps({"event": "messages.update", "instance": "alpha", "data": data, "date_time": at}).encode()
    [fact] = parse_entry(Entry(Seq(1), UnitId(UUID(int=1)), "messages.update", received_at, body), OptOutWords())
    assert isinstance(fact, MessageEdited)
    return fact


def test_a_repeated_first_edit_stays_before_the_second() -> None:
    first = edit("um", "2026-11-29T14:21:41.069Z", SENT + 0.2)
    second = edit("dois", "2026-11-29T14:21:51.069Z", SENT + 10.2)
    repeated = edit("um", "2026-11-29T14:21:41.069Z", SENT + 35)
    assert first == repeated
    assert first.edited_at_ms < second.edited_at_ms
    assert first.edited_at_ms == round(SENT * 1000)
