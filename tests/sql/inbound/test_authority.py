"""A stranger who reuses, forges or edits the ids of others changes no row; whoever may change one, does."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.shared_transactions import store_side_by_side

from zapline.domain.contacts.addresses import Address, AddressKind, resolve_address
from zapline.domain.ids import ExternalId, Seq, UnitId
from zapline.domain.messages.authority import Change, Claim, Fit, may_change
from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.messages.facts import (
    ContactSeen,
    MediaInfo,
    MessageArrived,
    MessageDeleted,
    MessageEdited,
    MessageFact,
    MessageKind,
    ReactionReported,
    StatusReported,
    VoteReported,
)
from zapline.evolution.webhooks.event_parser import parse_webhook
from zapline.sql.inbound.authorship import Stranger
from zapline.sql.inbound.contact_identities import RecorderCache, store_contacts
from zapline.sql.inbound.parked_reports import apply_parked_reports, expire_parked_reports
from zapline.sql.inbound.recorder_transaction import apply_waiting_facts, record
from zapline.sql.inbound.recorder_types import EntryFacts, UnitOutcome
from zapline.sql.inbound.unit_batches import UnitBatch, prepare_batch
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.units.units import insert_unit

JOURNAL, NOW = UUID(int=1), 1_795_364_000.0


def address(*jids: str) -> Address:
    found = resolve_address(*jids)
    assert found is not None
    return found


OWN = "5511999990000@s.whatsapp.net"
MARIA, JOAO = address("5511999990001@s.whatsapp.net"), address("5521988887777@s.whatsapp.net")
HIDDEN = address("111222333444555@lid")
LINKED = address("5511999990001@s.whatsapp.net", "999888777666555@lid")
GROUP, OTHER_GROUP = address("120363025246125486@g.us"), address("120363025246125487@g.us")


@dataclass(frozen=True)
class Party:
    """Somebody in a chat."""

    chat: Address
    from_me: bool
    author: Address | None = None

    @property
    def claim(self) -> Claim:
        return Claim(self.chat, self.from_me, self.author)


PARTIES = [
    Party(MARIA, from_me=True),
    Party(MARIA, from_me=False),
    Party(JOAO, from_me=True),
    Party(JOAO, from_me=False),
    Party(HIDDEN, from_me=False),
    Party(GROUP, from_me=True),
    Party(GROUP, from_me=False, author=MARIA),
    Party(GROUP, from_me=False, author=JOAO),
    Party(GROUP, from_me=False, author=HIDDEN),
    Party(OTHER_GROUP, from_me=False, author=MARIA),
]
AGAIN = ("message", "copy", "file", "backfill")
KINDS = (*AGAIN, "edit", "delete", "status", "refusal", "reaction", "vote")
"""Every merge that changes a message by what somebody says; what is encrypted has tests of its own."""


def arrived(id: ExternalId, party: Party, text: str = "oi", **more: Any) -> MessageArrived:
    fields: dict[str, Any] = {"kind": MessageKind.TEXT, "sent_at": NOW} | more
    return MessageArrived(id, party.chat, party.from_me, text=text, sender=party.author, **fields)


def attempt(kind: str, id: ExternalId, party: Party) -> MessageFact:
    """What this party says about the message with this id."""
    actor = "me" if party.from_me else (party.author or party.chat).canonical
    match kind:
        case "message":
            return arrived(id, party, "zzz forged", sent_at=NOW - 9999, delivery=DeliveryStatus.PLAYED)
        case "copy":
            media = MediaInfo("image/png", quality=2, copy_id=ExternalId(f"{id}-copy"))
            return arrived(id, party, "zzz", kind=MessageKind.IMAGE, media=media)
        case "file":
            return arrived(
                id, party, "zzz", kind=MessageKind.VIDEO, media=MediaInfo("video/mp4", url="https://x.example")
            )
        case "backfill":
            return arrived(id, party, "zzz forged", origin="backfill", delivery=DeliveryStatus.READ, source="web")
        case "refusal":
            return StatusReported(id, DeliveryStatus.FAILED, "recipient_refused", by=party.claim)
        case "edit":
            return MessageEdited(id, "zzz forged", 2_000_000_000_000, party.claim)
        case "delete":
            return MessageDeleted(id, party.claim)
        case "status":
            return StatusReported(id, DeliveryStatus.PLAYED, by=party.claim)
        case "reaction":
            return ReactionReported(id, actor, "👎", 5, party.claim)
    return VoteReported(id, actor, ("a",), 5, party.claim)


def is_allowed(kind: str, owner: Party, party: Party) -> bool:
    """Written out once more, without the table: the test must not agree with a mistake in it."""
    if party.chat != owner.chat:
        return False
    if kind in ("reaction", "vote") or (kind == "delete" and owner.chat.kind is AddressKind.GROUP):
        return True
    if party.from_me != owner.from_me:
        return False
    return owner.from_me or owner.author == party.author or kind in ("status", "refusal")


async def new_unit(conn: Connection) -> UnitId:
    unit = UnitId(uuid4())
    await insert_unit(conn, id=unit, name="u", instance=str(unit), secret_digest=unit.bytes, time_zone="UTC")
    return unit


async def store(
    conn: Connection, unit: UnitId, facts: Sequence[MessageFact], known: RecorderCache, first: int = 1
) -> UnitOutcome:
    """Store one fact an entry, all in one transaction."""
    return (await record(conn, [batch_of(unit, facts, first)], known))[unit]


def batch_of(unit: UnitId, facts: Sequence[MessageFact], first: int) -> UnitBatch:
    """One fact an entry, numbered from ``first``."""
    entries = [EntryFacts(Seq(first + n), "x", NOW, b"{}", facts=(fact,)) for n, fact in enumerate(facts)]
    return prepare_batch(unit, entries, None, None, JOURNAL)


async def link_unseen(conn: Connection, unit: UnitId) -> None:
    """Link Maria's LID to her phone without the recorder's transaction: only the janitor finds what that decides."""
    entry = EntryFacts(Seq(5), "x", NOW, b"{}", facts=(ContactSeen(LINKED),))
    rows = prepare_batch(unit, [entry], None, None, JOURNAL).rows
    await store_contacts(conn, rows.contacts, rows.identities, rows)


ROWS = """select m.external_id, jsonb_build_object('row', to_jsonb(m) - array['seq', 'changed_seq', 'stored_at',
                 'unit_id', 'id', 'conversation_id'], 'chat', k.canonical,
                 'reactions', (select jsonb_agg(jsonb_build_array(x.kind, x.actor, x.value) order by x.kind, x.actor)
                                 from zapline.message_reactions x
                                where x.unit_id = m.unit_id and x.external_id = m.external_id)) as row
            from zapline.messages m join zapline.conversations v on v.id = m.conversation_id
            join zapline.contacts k on k.id = v.contact_id where m.unit_id = %s"""


async def stored(conn: Connection, unit: UnitId) -> dict[str, Any]:
    return {row.external_id: row.row for row in await conn.fetch(ROWS, (unit,))}


@pytest.mark.heavy
@pytest.mark.parametrize("first", ["original", "report"])
async def test_every_party_changes_what_it_may_of_every_message_and_nothing_else(database: str, first: str) -> None:
    """Over all pairs of owners and parties and all kinds of reports, before and after the message itself."""
    cases = [
        (ExternalId(f"{number}"), owner, party, kind)
        for number, (owner, party, kind) in enumerate(itertools.product(PARTIES, PARTIES, KINDS))
        # Of two that claim an id, whoever comes first has it: nobody knows an id before its message.
        if first == "original" or kind not in AGAIN
    ]
    originals: list[MessageFact] = [arrived(id, owner) for id, owner, _, _ in cases]
    reports = [attempt(kind, id, party) for id, _, party, kind in cases]
    async with await connect(database, role="zapline_engine") as conn:
        untouched, unit = await new_unit(conn), await new_unit(conn)
        await store(conn, untouched, originals, RecorderCache())
        before = await stored(conn, untouched)
        phases = [originals, reports] if first == "original" else [reports, originals]
        known = RecorderCache()
        for number, phase in enumerate(phases):
            await store(conn, unit, phase, known, first=10_000 * number)
        after = await stored(conn, unit)
        for id, owner, party, kind in cases:
            same = after[id] == before[id]
            if kind in AGAIN and owner == party:
                assert not same
            assert same is not is_allowed(kind, owner, party), (kind, owner, party)
        # Again, in reverse, nothing moves.
        await store(conn, unit, reports[::-1], RecorderCache(), first=50_000)
        assert await stored(conn, unit) == after


async def test_what_does_not_fit_is_a_dead_letter_and_counted_by_what_it_tried(database: str) -> None:
    id = ExternalId("A")
    async with await connect(database, role="zapline_engine") as conn:
        for seq, kind in enumerate(KINDS, 9):
            unit, known = await new_unit(conn), RecorderCache()
            await store(conn, unit, [arrived(id, PARTIES[0])], known)
            outcome = await store(conn, unit, [attempt(kind, id, PARTIES[3])], known, first=seq)
            assert list(outcome.strangers.values()) == [1]
            assert all(proven for _, proven in outcome.strangers)
            letters = await conn.fetch(
                "select reason, journal_seq from zapline.dead_letters where unit_id = %s", (unit,)
            )
            assert [tuple(letter) for letter in letters] == [("foreign_author", seq)]


@pytest.mark.parametrize("kind", ["reaction", "vote"])
async def test_who_reacts_to_a_better_copy_is_compared_and_told_in_whatever_order(database: str, kind: str) -> None:
    id, owner = ExternalId("A"), PARTIES[1]
    better = MediaInfo("image/jpeg", quality=2, copy_id=ExternalId("B"))
    photo = [arrived(id, owner, kind=MessageKind.IMAGE), arrived(id, owner, kind=MessageKind.IMAGE, media=better)]
    async with await connect(database, role="zapline_engine") as conn:
        for party, allowed in ((PARTIES[1], True), (PARTIES[3], False)):
            for order in itertools.permutations([*photo, attempt(kind, ExternalId("B"), party)]):
                unit, known = await new_unit(conn), RecorderCache()
                told, letters = 0, 0
                for seq, fact in enumerate(order, 1):
                    outcome = await store(conn, unit, [fact], known, first=seq)
                    told += len(outcome.reacted)
                    letters += sum(outcome.strangers.values())
                found = (await stored(conn, unit))[id]["reactions"]
                assert (found is not None, told, letters) == (allowed, allowed, not allowed), order
                left = "select from zapline.message_reactions where unit_id = %s"
                assert len(await conn.fetch(left, (unit,))) == allowed


async def test_a_report_under_a_lid_waits_until_the_lid_is_known_to_be_the_authors(database: str) -> None:
    id, by_lid = ExternalId("A"), Claim(address("999888777666555@lid"), from_me=False)
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await new_unit(conn), RecorderCache()
        facts = [arrived(id, PARTIES[1]), MessageEdited(id, "novo", 5, by_lid), MessageDeleted(id, by_lid)]
        await store(conn, unit, facts, known)
        row = (await stored(conn, unit))[id]["row"]
        assert (row["edited_body"], row["deleted_at"]) == (None, None)
        link = prepare_batch(
            unit, [EntryFacts(Seq(5), "x", NOW, b"{}", facts=(ContactSeen(LINKED),))], None, None, JOURNAL
        )
        await store_contacts(conn, link.rows.contacts, link.rows.identities, link.rows)
        await conn.execute("update zapline.parked_reports set tried_at = now() - interval '1 year'")
        assert (await apply_parked_reports(conn, 10))[0] == 1
        row = (await stored(conn, unit))[id]["row"]
        assert (row["edited_body"], row["deleted_at"] is None) == ("novo", False)
        assert await conn.fetch("select from zapline.dead_letters where unit_id = %s", (unit,)) == []


# -- what waits until it is known whose it is ---------------------------------------------------------------------

BY_PHONE, BY_LID = Party(MARIA, from_me=False), Party(address("999888777666555@lid"), from_me=False)
LINKS = {
    "author": ContactSeen(LINKED),
    "stranger": ContactSeen(address("5521988887777@s.whatsapp.net", "999888777666555@lid")),
}
PLACES = {
    "chat": (BY_PHONE, BY_LID),
    "group": (Party(GROUP, from_me=False, author=MARIA), Party(GROUP, from_me=False, author=BY_LID.chat)),
}
LEFT = """select (select count(*) from zapline.waiting_facts w where w.unit_id = u.id) as waiting,
                 (select count(*) from zapline.parked_reports w where w.unit_id = u.id) as parked,
                 (select jsonb_agg(jsonb_build_array(d.reason, d.journal_seq) order by d.journal_seq)
                    from zapline.dead_letters d where d.unit_id = u.id) as letters
            from zapline.units u where u.id = %s"""


async def whole(conn: Connection, unit: UnitId) -> list[Any]:
    """What is stored, under the chats' phones, and what is left over."""
    shown = ROWS.replace("k.canonical,", "(select p.canonical from zapline.conversations o join zapline.contacts p "
                         "on p.id = o.contact_id where o.id = coalesce(v.merged_into, v.id)),")  # fmt: skip
    rows = [row.row for row in await conn.fetch(shown, (unit,))]
    for row in rows:
        row["row"].pop("received_at"), row["row"]["deleted_at"] and row["row"].update(deleted_at=True)
    return [rows, *(tuple(row) for row in await conn.fetch(LEFT, (unit,)))]


@pytest.mark.heavy
@pytest.mark.parametrize("place", PLACES)
async def test_message_repetition_and_link_end_the_same_in_whatever_order(database: str, place: str) -> None:
    id, (by_phone, by_lid) = ExternalId("A"), PLACES[place]
    facts: list[MessageFact] = [
        arrived(id, by_phone),
        arrived(id, by_lid, sent_at=NOW - 1, push_name="Maria", detail={"a": 1}),
        ReactionReported(id, "lid:999888777666555", "👍", 5, by_lid.claim),
        MessageEdited(id, "novo", 5, by_lid.claim),
        LINKS["author"],
    ]

    def steps(unit: UnitId, order: Sequence[int]) -> list[UnitBatch]:
        together = sum(order[:2]) % 4 == 0
        numbers = [order] if together else [(number,) for number in order]
        return [batch_of(unit, [facts[n] for n in number], number[0] * 100 + 1) for number in numbers]

    async with await connect(database, role="zapline_engine") as conn:
        units = {await new_unit(conn): order for order in itertools.permutations(range(len(facts)))}
        await store_side_by_side(conn, {unit: steps(unit, order) for unit, order in units.items()})
        ends = {unit: await whole(conn, unit) for unit in units}
        expected = next(iter(ends.values()))
        for unit, order in units.items():
            assert ends[unit] == expected, order
        again = {
            unit: [batch_of(unit, [facts[n]], n * 100 + 1) for n in reversed(order)]
            for unit, order in units.items()
            if order[0] == 1
        }
        await store_side_by_side(conn, again)
        for unit in again:
            assert await whole(conn, unit) == expected, units[unit]
    rows, left = expected
    assert left == (0, 0, None)
    assert (rows[0]["row"]["edited_body"], rows[0]["row"]["detail"], len(rows[0]["reactions"])) == ("novo", {"a": 1}, 1)


@pytest.mark.parametrize("place", PLACES)
async def test_what_waits_and_turns_out_to_be_a_strangers_is_one_dead_letter_an_entry(
    database: str, place: str
) -> None:
    id, (by_phone, by_lid) = ExternalId("A"), PLACES[place]
    facts: list[MessageFact] = [
        arrived(id, by_phone),
        MessageEdited(id, "novo", 5, by_lid.claim),
        ReactionReported(id, "lid:999888777666555", "👍", 5, by_lid.claim),
        arrived(id, by_lid, "outro"),
        LINKS["stranger"],
    ]
    foreign = [1, 2, 3] if place == "chat" else [1, 3]  # anybody in a group reacts
    async with await connect(database, role="zapline_engine") as conn:
        orders = [
            (10 * number, order)
            for number, order in enumerate(itertools.permutations(range(len(facts))))
            if order.index(0) < order.index(3)  # whoever comes first has the id
        ]
        units = {await new_unit(conn): placed for placed in orders}
        await store_side_by_side(
            conn,
            {unit: [batch_of(unit, [facts[n]], first + n) for n in order] for unit, (first, order) in units.items()},
        )
        ends = {unit: await whole(conn, unit) for unit in units}
        for unit, (first, order) in units.items():
            left = ends[unit][1]
            assert left == (0, 0, [["foreign_author", first + n] for n in foreign]), (order, left)
        # The journal is played again.
        for numbers in ([[n] for n in range(len(facts))], [range(len(facts))]):
            replayed = {
                unit: [batch_of(unit, [facts[n] for n in some], first + some[0]) for some in numbers]
                for unit, (first, _) in units.items()
            }
            await store_side_by_side(conn, replayed)
        for unit, (_, order) in units.items():
            assert await whole(conn, unit) == ends[unit], order


async def test_what_is_never_proven_expires_as_dead_letters_and_a_repetition_in_silence(database: str) -> None:
    id = ExternalId("A")
    facts: list[MessageFact] = [
        arrived(id, BY_PHONE),
        arrived(id, BY_LID),  # nothing new
        arrived(id, BY_LID, push_name="Maria"),
        arrived(id, BY_LID, "outro"),
        ReactionReported(id, "lid:999888777666555", "👍", 5, BY_LID.claim),
        MessageEdited(id, "novo", 5, BY_LID.claim),
        MessageEdited(ExternalId("NEVER"), "novo", 5, BY_LID.claim),
    ]
    async with await connect(database, role="zapline_engine") as conn:
        unit = await new_unit(conn)
        for _ in range(2):
            outcome = await store(conn, unit, facts, RecorderCache())
            assert (dict(outcome.waiting), dict(outcome.strangers)) == ({"kept": 3}, {})
        assert (await whole(conn, unit))[1] == (3, 2, None)
        await conn.execute("update zapline.waiting_facts set tried_at = now() - interval '1 year'")
        assert (await apply_waiting_facts(conn, 10, 10_000)) == ({}, [], 0)
        for _ in range(2):
            _, buried, expired = await apply_waiting_facts(conn, 10, 0)
            assert (expired, sorted(one.change for one in buried)) == (3, ["message", "react"])
            reports: list[Stranger] = []
            assert await expire_parked_reports(conn, 0, reports) == 2
            assert [one.change for one in reports] == ["edit"]
            assert (await whole(conn, unit))[1] == (0, 0, [["unproven_author", seq] for seq in (4, 5, 6)])
            await store(conn, unit, facts, RecorderCache())


async def test_the_janitor_takes_up_what_waits_and_tells_of_it(database: str) -> None:
    id = ExternalId("A")
    facts = [arrived(id, BY_PHONE), ReactionReported(id, "lid:999888777666555", "👍", 5, BY_LID.claim)]
    async with await connect(database, role="zapline_engine") as conn:
        unit = await new_unit(conn)
        await store(conn, unit, facts, RecorderCache())
        await link_unseen(conn, unit)
        assert (await apply_waiting_facts(conn, 10, 10_000))[0] == {}  # not yet
        await conn.execute("update zapline.waiting_facts set tried_at = now() - interval '1 year'")
        outcomes, buried, expired = await apply_waiting_facts(conn, 10, 10_000)
        assert (len(outcomes[unit].reacted), dict(outcomes[unit].waiting)) == (1, {"taken_up": 1})
        assert (buried, expired, (await whole(conn, unit))[1]) == ([], 0, (0, 0, None))


async def test_only_so_much_waits_about_a_message_and_the_rest_is_dead_letters(database: str) -> None:
    id = ExternalId("A")
    many = [ReactionReported(id, "lid:999888777666555", str(n), n, BY_LID.claim) for n in range(1, 41)]
    async with await connect(database, role="zapline_engine") as conn:
        unit = await new_unit(conn)
        await store(conn, unit, [arrived(id, BY_PHONE)], RecorderCache(), first=100)
        outcome = await store(conn, unit, many, RecorderCache())
        assert dict(outcome.strangers) == {("react", False): 8}
        waiting, _, letters = (await whole(conn, unit))[1]
        assert (waiting, len(letters)) == (32, 8)


async def test_a_stranger_who_uses_the_id_of_a_message_takes_no_reaction_from_it(database: str) -> None:
    id = ExternalId("A")
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await new_unit(conn), RecorderCache()
        await store(conn, unit, [arrived(id, BY_PHONE), attempt("reaction", id, BY_PHONE)], known)
        await store(conn, unit, [arrived(id, PARTIES[3], "outro")], known, first=5)
        assert len((await stored(conn, unit))[id]["reactions"]) == 1


async def test_sql_decides_as_the_table_in_the_domain_does(database: str) -> None:
    tri, two = (True, False, None), (True, False)
    cases = list(itertools.product(Change, tri, tri, tri, two, two, two))
    async with await connect(database) as conn:
        rows = await conn.fetch(
            """select zapline.may_change(r ->> 0, (r ->> 1)::bool, (r ->> 2)::bool, (r ->> 3)::bool, (r ->> 4)::bool,
                                         (r ->> 5)::bool, (r ->> 6)::bool) as may
                 from jsonb_array_elements(%s::jsonb) with ordinality as l(r, ord) order by ord""",
            (json.dumps(cases),),
        )
    expected = [may_change(case[0], Fit(*case[1:])) for case in cases]
    assert [row.may for row in rows] == expected


# -- bodies, as Evolution posts them ------------------------------------------------------------------------------

OURS, MARIAS = ExternalId("3EB0OURS"), ExternalId("3AMARIA")
_JOAO = "5521988887777@s.whatsapp.net"


def upsert(id: str, message: Any, jid: str = _JOAO) -> list[Any]:
    data = {"key": {"remoteJid": jid, "fromMe": False, "id": id}, "message": message, "messageTimestamp": int(NOW)}
    return facts_of("messages.upsert", data)


def facts_of(event: str, data: Any) -> list[Any]:
    return list(parse_webhook(json.dumps({"event": event, "instance": "loja", "sender": OWN, "data": data}).encode()))


def protocol(id: str, kind: str, **key: Any) -> dict[str, Any]:
    named = {"key": {"remoteJid": _JOAO, "fromMe": False, "id": id} | key, "type": kind}
    return named | ({"editedMessage": {"conversation": "forged"}} if kind == "MESSAGE_EDIT" else {})


FORGED = (
    [
        upsert(target, message)
        for target in (OURS, MARIAS)
        for message in (
            {"conversation": "forged"},
            {"imageMessage": {"caption": "forged"}},
            {"editedMessage": {"message": {"conversation": "forged"}}},
        )
    ]
    + [
        upsert("3AJOAO", message)
        for target in (OURS, MARIAS)
        for message in (
            {"protocolMessage": protocol(target, "MESSAGE_EDIT", fromMe=True)},
            {"protocolMessage": protocol(target, "REVOKE", remoteJid="5511999990001@s.whatsapp.net")},
            {"reactionMessage": {"key": {"id": target}, "text": "👎"}},
        )
    ]
    + [
        facts_of(event, data)
        for target in (OURS, MARIAS)
        for event, data in (
            ("messages.edited", protocol(target, "MESSAGE_EDIT")),
            ("messages.edited", protocol(target, "REVOKE")),
            ("messages.edited", protocol(target, "MESSAGE_EDIT", fromMe=True)),
            ("messages.delete", {"remoteJid": _JOAO, "fromMe": False, "id": target, "status": "DELETED"}),
            ("messages.update", {"keyId": target, "remoteJid": _JOAO, "fromMe": True, "status": "PLAYED"}),
            (
                "messages.update",
                {
                    "keyId": target,
                    "remoteJid": _JOAO,
                    "fromMe": False,
                    "message": {"editedMessage": {"message": {"conversation": "forged"}}},
                },
            ),
        )
    ]
)


async def test_no_webhook_about_a_stranger_changes_our_message_or_marias(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await new_unit(conn), RecorderCache()
        await store(conn, unit, [arrived(OURS, PARTIES[0], "oferta"), arrived(MARIAS, PARTIES[1], "quero")], known)
        before = await stored(conn, unit)
        for number, facts in enumerate(FORGED):
            await store(conn, unit, facts, known, first=100 * number + 10)
            after = await stored(conn, unit)
            assert {id: after[id] for id in before} == before, facts


async def test_a_forged_key_inside_an_edit_of_our_own_chat_proves_nothing(database: str) -> None:
    """Maria writes the key herself: as if it were our phone that edits."""
    jid = "5511999990001@s.whatsapp.net"
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await new_unit(conn), RecorderCache()
        await store(conn, unit, [arrived(OURS, PARTIES[0], "oferta")], known)
        for number, key in enumerate(({"fromMe": True}, {"fromMe": False}, {"fromMe": True, "remoteJid": OWN}, {})):
            forged = protocol(OURS, "MESSAGE_EDIT", **({"remoteJid": jid} | key))
            await store(conn, unit, facts_of("messages.edited", forged), known, first=10 * number + 2)
            carried = upsert("3AMARIA2", {"protocolMessage": forged}, jid)
            await store(conn, unit, carried, known, first=10 * number + 3)
        assert (await stored(conn, unit))[OURS]["row"]["edited_body"] is None


async def test_our_phone_edits_and_deletes_our_own_and_a_contact_his_own(database: str) -> None:
    jid = "5511999990001@s.whatsapp.net"
    edited = {"editedMessage": {"message": {"conversation": "novo"}}}
    for mine, id in ((True, OURS), (False, MARIAS)):
        key = {"remoteJid": jid, "fromMe": mine, "id": id}
        party = Party(MARIA, from_me=mine)
        inner = {"key": key | {"remoteJid": jid if mine else OWN, "fromMe": True}, "type": "MESSAGE_EDIT"}
        told: list[list[Any]] = [
            facts_of("messages.update", {"keyId": id, **key, "status": "SERVER_ACK", "message": edited}),
            facts_of(
                "messages.upsert",
                {
                    "key": key | {"id": "P"},
                    "message": {
                        "protocolMessage": {
                            **inner,
                            **edited["editedMessage"],
                            "editedMessage": edited["editedMessage"]["message"],
                        }
                    },
                },
            ),
        ]
        if mine:
            told.append(facts_of("send.message.update", inner | {"editedMessage": {"conversation": "novo"}}))
        else:
            told.append(facts_of("messages.edited", inner | {"editedMessage": {"conversation": "novo"}}))
        async with await connect(database, role="zapline_engine") as conn:
            for facts in told:
                unit, known = await new_unit(conn), RecorderCache()
                await store(conn, unit, [arrived(id, party)], known)
                await store(conn, unit, facts, known, first=5)
                assert (await stored(conn, unit))[id]["row"]["edited_body"] == "novo", facts
                await store(conn, unit, facts_of("messages.delete", key | {"status": "DELETED"}), known, first=7)
                assert (await stored(conn, unit))[id]["row"]["deleted_at"] is not None
                assert await conn.fetch("select from zapline.dead_letters where unit_id = %s", (unit,)) == []
