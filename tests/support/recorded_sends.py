"""Sends as the recorder meets them: a queued text, its call, its answer, its echo, and what became of them."""

from collections.abc import Sequence
from uuid import UUID, uuid4

import msgspec

from zapline.domain.contacts.addresses import resolve_address
from zapline.domain.ids import PROVIDER, ExternalId, Seq, UnitId, contact_id, conversation_id
from zapline.domain.messages.facts import MessageArrived, MessageFact, MessageKind, SendAnswered
from zapline.domain.outbox.content_fingerprint import fingerprint_content
from zapline.domain.outbox.contents import OutgoingMessage, Text
from zapline.domain.outbox.work_states import Lane
from zapline.sql.inbound.contact_identities import RecorderCache
from zapline.sql.inbound.recorder_transaction import record
from zapline.sql.inbound.recorder_types import EntryFacts
from zapline.sql.inbound.unit_batches import UnitBatch, prepare_batch
from zapline.sql.outbound.send_claims import ClaimedSend, claim
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.psycopg_on_trio import Json
from zapline.sql.units.units import insert_unit

JID, LID = "5511999990001@s.whatsapp.net", "111222333444555@lid"
PHONE = "+5511999990001"
NOW = 1_795_364_000.0
JOURNAL = UUID(int=1)


async def make_unit(conn: Connection) -> UnitId:
    unit = UnitId(uuid4())
    await insert_unit(conn, id=unit, name="u", instance=str(unit), secret_digest=unit.bytes, time_zone="UTC")
    return unit


async def queue(conn: Connection, unit: UnitId, words: str = "oi") -> UUID:
    """A text to one contact, queued."""
    message = uuid4()
    contact, conversation = contact_id(unit, PHONE), conversation_id(unit, PHONE)
    outgoing = OutgoingMessage(Text(words))
    await conn.execute(
        "insert into zapline.contacts (id, unit_id, kind, canonical, phone) values (%s, %s, 'person', %s, %s)"
        " on conflict do nothing",
        (contact, unit, PHONE, PHONE),
    )
    await conn.execute(
        "insert into zapline.conversations (id, unit_id, contact_id) values (%s, %s, %s) on conflict do nothing",
        (conversation, unit, contact),
    )
    await conn.execute(
        "insert into zapline.messages (id, unit_id, conversation_id, provider, client_message_id, from_me, kind,"
        " kind_rank, body, origin, delivery, sent_at, received_at) values (%s, %s, %s, %s, %s, true, 'text', 2, %s,"
        " 'sent', 'queued', to_timestamp(%s), to_timestamp(%s))",
        (message, unit, conversation, PROVIDER, str(message), words, NOW, NOW),
    )
    await conn.execute(
        "insert into zapline.outbox (message_id, unit_id, conversation_id, lane, recipient, address, fingerprint,"
        " content, request_digest, due_at) values (%s, %s, %s, 'reply', %s, %s, %s, %s, '', to_timestamp(%s))",
        (
            message,
            unit,
            conversation,
            PHONE,
            PHONE[1:],
            fingerprint_content(outgoing.content),
            Json(msgspec.json.encode(outgoing)),
            NOW - 10,
        ),
    )
    return message


async def call(conn: Connection, unit: UnitId, at: float = NOW) -> ClaimedSend:
    claimed = await claim(conn, unit, process=uuid4(), attempt=uuid4(), now=at, lease=60, lanes=list(Lane), blocked=[])
    assert claimed is not None
    return claimed


def accepted(claimed: ClaimedSend, external: str, at: float = NOW + 1, remote: str | None = None) -> SendAnswered:
    return SendAnswered(
        claimed.attempt, claimed.message, claimed.fence, "sent", "settled", at, ExternalId(external), remote
    )


def timed_out(claimed: ClaimedSend, at: float = NOW + 1, failure: str = "no_answer") -> SendAnswered:
    return SendAnswered(
        claimed.attempt, claimed.message, claimed.fence, "uncertain", "uncertain", at, failure=failure, look_at=at + 8
    )


def echo(external: str, words: str = "oi", at: float = NOW, *jids: str, origin: str = "sent") -> MessageArrived:
    chat = resolve_address(*(jids or (JID,)))
    assert chat is not None
    return MessageArrived(
        ExternalId(external), chat, True, MessageKind.TEXT, words, sent_at=float(int(at)), origin=origin
    )


async def store(
    conn: Connection,
    unit: UnitId,
    facts: Sequence[MessageFact],
    known: RecorderCache,
    at: float = NOW + 1,
    backfilled: bool = False,
) -> None:
    """One transaction of the recorder."""
    await record(conn, [batch_of(unit, facts, at, backfilled)], known)


def batch_of(unit: UnitId, facts: Sequence[MessageFact], at: float = NOW + 1, backfilled: bool = False) -> UnitBatch:
    """All facts in one entry."""
    entries = [EntryFacts(Seq(1), "x", at, b"{}", facts=facts, backfilled=backfilled)]
    return prepare_batch(unit, entries, None, None, JOURNAL)


STATE = """
select m.external_id, m.delivery::text, o.state, a.matched_by, a.outcome, a.external_id as owned, o.twice
  from zapline.messages m
  left join zapline.outbox o on o.message_id = m.id
  left join zapline.attempts a on a.message_id = m.id
 where m.unit_id = %s order by m.seq, a.started_at
"""


async def state(conn: Connection, unit: UnitId) -> list[tuple[object, ...]]:
    left = await conn.fetch("select external_id from zapline.sightings where unit_id = %s", (unit,))
    assert left == [], "an echo is still undecided"
    return [tuple(row) for row in await conn.fetch(STATE, (unit,))]
