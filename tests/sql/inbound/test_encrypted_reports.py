"""Encrypted edits, votes and event answers through the recorder: in any order, and again, with the same end."""

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.encrypted_messages import (
    NONCE,
    SECRET,
    buffer,
    caption_content,
    edit_of,
    encrypt,
    field,
    indices,
    text_content,
    vote_for,
)
from support.shared_transactions import store_side_by_side

import zapline.sandbox
from zapline.domain.ids import Seq, UnitId
from zapline.domain.messages.facts import MessageFact
from zapline.domain.messages.message_secrets import SecretSealer
from zapline.evolution.webhooks.event_parser import parse_webhook
from zapline.sql.inbound.contact_identities import RecorderCache
from zapline.sql.inbound.encrypted.encrypted_reports import expire_encrypted_reports, prune_secrets
from zapline.sql.inbound.recorder_transaction import open_waiting_reports, record
from zapline.sql.inbound.recorder_types import EntryFacts
from zapline.sql.inbound.unit_batches import UnitBatch, prepare_batch
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.units.units import insert_unit

RECORDINGS = Path(zapline.sandbox.__file__).parent / "recordings" / "encrypted"
PHONE, LID = "5511999990001@s.whatsapp.net", "111222333444555@lid"
OTHER = "5521988887777@s.whatsapp.net"
OURS, OUR_LID = "5511999990000@s.whatsapp.net", "999888777666555@lid"
GROUP = "120363000000000001@g.us"
SEALER = SecretSealer(bytes(32))
NOW = 1_795_364_600.0
ORIGINAL, EDIT, POLL, EVENT = "3A0000000000000000A1", "3A0000000000000000A2", "3EB0000000000000B1", "3EB0000000000000E1"
SENT = 1_795_364_451
OPTIONS = ["Sim", "Não", "Talvez"]
Body = dict[str, Any]


def upsert(key: Mapping[str, Any], message: Mapping[str, Any], at: int = SENT, event: str = "messages.upsert") -> Body:
    """A webhook; the key holds what differs from a contact's own chat."""
    whole = {"remoteJid": PHONE, "fromMe": False} | key
    return {
        "event": event,
        "instance": "a",
        "sender": OURS,
        "data": {"key": whole, "message": message, "messageTimestamp": at},
    }


def secret(value: Any = None) -> dict[str, Any]:
    return {"messageContextInfo": {"messageSecret": indices(SECRET) if value is None else value}}


def original(**key: Any) -> Body:
    return upsert({"id": ORIGINAL} | key, {"conversation": "dois", **secret()})


def edit(payload: bytes, at: int = SENT + 60, use: int | str = 2, id: str = EDIT, **key: Any) -> Body:
    body = {
        "targetMessageKey": {"remoteJid": OURS, "fromMe": True, "id": ORIGINAL},
        "encPayload": indices(payload),
        "encIv": indices(NONCE),
        "secretEncType": use,
    }
    return upsert({"id": id} | key, {"secretEncryptedMessage": body}, at)


def new_text(text: str, author: str = PHONE, editor: str = PHONE, at_ms: int | None = None, **more: Any) -> bytes:
    return encrypt(
        edit_of(text_content(text), at_ms or (SENT + 60) * 1000 + 123, ORIGINAL), ORIGINAL, author, editor, **more
    )


async def make_unit(conn: Connection) -> UnitId:
    unit = UnitId(uuid4())
    await insert_unit(
        conn, id=unit, name="u", instance=str(unit), secret_digest=unit.bytes, time_zone="America/Sao_Paulo"
    )
    await conn.execute("update zapline.unit_whatsapp_connections set owner_jid = %s where unit_id = %s", (OURS, unit))
    return unit


async def play(
    conn: Connection, unit: UnitId, bodies: Sequence[Body], known: RecorderCache, received_at: float = NOW
) -> dict[str, int]:
    """Store these webhooks in one transaction; returns what became of encrypted reports."""
    return dict((await record(conn, [batch_of(unit, bodies, received_at)], known, sealer=SEALER))[unit].encrypted)


def batch_of(unit: UnitId, bodies: Sequence[Body], received_at: float = NOW) -> UnitBatch:
    entries = []
    for number, body in enumerate(bodies):
        facts = parse_webhook(json.dumps(body).encode())
        assert all(isinstance(fact, MessageFact) for fact in facts), facts
        entries.append(EntryFacts(Seq(number + 1), body["event"], received_at, json.dumps(body).encode(), facts=facts))  # type: ignore[arg-type]
    return prepare_batch(unit, entries, None, None, UUID(int=1))


STATE = """
select m.external_id as id, coalesce(m.edited_body, m.body) as text, m.media is not null as file,
       zapline.edit_is_unread(m.edit_unread_ms, m.edit_read_ms, m.edited_at_ms) as unread,
       (select jsonb_object_agg(x.actor, x.value) from zapline.message_reactions x
         where x.unit_id = m.unit_id and x.external_id = m.external_id) as told
  from zapline.messages m where m.unit_id = %s order by 1
"""


async def state(conn: Connection, unit: UnitId) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await conn.fetch(STATE, (unit,))]


async def after(conn: Connection, batches: Sequence[Sequence[Body]]) -> list[tuple[Any, ...]]:
    ((_, found),) = await after_each(conn, [batches])
    return found


async def after_each(
    conn: Connection, orders: Sequence[Sequence[Sequence[Body]]], query: str = STATE
) -> list[tuple[Sequence[Sequence[Body]], list[tuple[Any, ...]]]]:
    """Each order of transactions with what is stored after it in a unit of its own."""
    units = [(await make_unit(conn), batches) for batches in orders]
    whole = {unit: [batch_of(unit, bodies) for bodies in batches] for unit, batches in units}
    await store_side_by_side(conn, whole, SEALER)
    return [(batches, [tuple(row) for row in await conn.fetch(query, (unit,))]) for unit, batches in units]


def orders(bodies: Sequence[Body], limit: int = 24) -> list[list[list[Body]]]:
    """Orders of the bodies, in one transaction and in one for each, some of them twice."""
    permutations = list(itertools.permutations(bodies))
    chosen = permutations if len(permutations) <= limit else Random(7).sample(permutations, limit)
    found: list[list[list[Body]]] = []
    for order in chosen:
        found += [[list(order)], [[body] for body in order], [[body] for body in (*order, *order)]]
    return found


def recorded(name: str) -> Any:
    return json.loads((RECORDINGS / f"{name}.json").read_text())


async def test_the_recorded_pair_yields_the_new_text_in_any_order(database: str) -> None:
    pair = [recorded("30a-original-with-secret"), recorded("30b-encrypted-edit")]
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders(pair)):
            assert found == [("3A0000001F2E3D6A0030", "Quero 3 caixas, não 2", False, False, None)], batches
        assert await conn.fetch("select from zapline.encrypted_reports") == []


async def test_an_edit_that_is_the_message_once_more_leaves_the_original_in_any_order(database: str) -> None:
    later = [upsert({"id": ORIGINAL}, {"editedMessage": {"message": {"conversation": text}}}, SENT + at)
             for text, at in (("zero", 30), ("três", 60))]  # fmt: skip
    kept = "select body, edited_body from zapline.messages where unit_id = %s"
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders([original(), *later]), kept):
            assert found == [("dois", "três")], batches


async def test_the_public_case_marks_what_it_cannot_read(database: str) -> None:
    steps = [step["webhook"] for step in recorded("01-encrypted-edit")["steps"] if "webhook" in step]
    bodies = [{"instance": "a", "sender": OURS} | step for step in steps]
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders(bodies)):
            assert [(id[-1], text, unread) for id, text, _, unread, _ in found] == [
                ("1", "Quero 2 caixas", True),
                ("3", "Pedido anotado", True),
            ], batches


@pytest.mark.parametrize(("author", "editor"), list(itertools.product([PHONE, LID], repeat=2)))
@pytest.mark.parametrize("where", ["original", "edit", "elsewhere", "target"])
async def test_a_lid_or_a_phone_in_any_place_opens_the_edit(
    database: str, author: str, editor: str, where: str
) -> None:
    alias = {"remoteJidAlt": LID}
    bodies = [
        original(**(alias if where == "original" else {})),
        edit(new_text("três", author, editor), **(alias if where == "edit" else {})),
    ]
    if where == "target":
        bodies[1]["data"]["message"]["secretEncryptedMessage"]["targetMessageKey"]["remoteJid"] = LID
    if where == "elsewhere":
        bodies.append({"event": "contacts.update", "instance": "a", "data": [{"remoteJid": PHONE, "lid": LID}]})
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders(bodies)):
            assert found == [(ORIGINAL, "três", False, False, None)], batches


async def test_a_chat_that_is_named_by_lid_in_one_body_and_by_phone_in_the_other_is_one(database: str) -> None:
    link = {"event": "contacts.update", "instance": "a", "data": [{"remoteJid": PHONE, "lid": LID}]}
    bodies = [original(remoteJid=LID), edit(new_text("três", LID, LID)), link]
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders(bodies)):
            assert found == [(ORIGINAL, "três", False, False, None)], batches


@pytest.mark.parametrize("spelling", [indices, buffer, lambda raw: __import__("base64").b64encode(raw).decode(), list])
@pytest.mark.parametrize("use", [2, "MESSAGE_EDIT"])
async def test_bytes_in_every_spelling_are_read(database: str, spelling: Any, use: int | str) -> None:
    first = upsert({"id": ORIGINAL}, {"conversation": "dois", **secret(spelling(SECRET))})
    second = edit(b"", use=use)
    content = second["data"]["message"]["secretEncryptedMessage"]
    content |= {"encPayload": spelling(new_text("três")), "encIv": spelling(NONCE)}
    async with await connect(database) as conn:
        assert await after(conn, [[first], [second]]) == [(ORIGINAL, "três", False, False, None)]


@pytest.mark.parametrize("event", ["messages.upsert", "send.message", "messages.set"])
async def test_our_own_messages_are_edited_by_us(database: str, event: str) -> None:
    key = {"fromMe": True}
    bodies = [original(**key) | {"event": event}, edit(new_text("três", OUR_LID, OURS), **key)]
    # Our LID stands in no body of this chat; a group's members told it.
    member = {"jid": OURS, "phoneNumber": OURS, "lid": OUR_LID}
    bodies.append({"event": "group-participants.update", "instance": "a", "data": {"participantsData": [member]}})
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders(bodies)):
            assert found == [(ORIGINAL, "três", False, False, None)], batches


async def test_our_lid_is_learnt_from_our_own_message_to_a_group(database: str) -> None:
    key = {"fromMe": True, "remoteJid": GROUP, "participant": OUR_LID}
    bodies = [
        upsert({"id": "3EB0G"} | key, {"conversation": "bom dia"}),
        original(fromMe=True),
        edit(new_text("três", OUR_LID, OUR_LID), fromMe=True),
    ]
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders(bodies)):
            assert found[0] == (ORIGINAL, "três", False, False, None), batches


async def test_a_member_of_a_group_edits_his_own_message_and_nobody_else_does(database: str) -> None:
    first = original(remoteJid=GROUP, participant=PHONE)
    his = edit(new_text("três", LID, PHONE), remoteJid=GROUP, participant=PHONE, participantAlt=LID)
    theirs = edit(new_text("cem", LID, OTHER), SENT + 90, id="3A03", remoteJid=GROUP, participant=OTHER)
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders([first, his, theirs])):
            assert found == [(ORIGINAL, "três", False, False, None)], batches
        unit = await make_unit(conn)
        assert await play(conn, unit, [first, theirs], RecorderCache()) == {"foreign_edit": 1}
        assert await state(conn, unit) == [(ORIGINAL, "dois", False, False, None)]


@pytest.mark.parametrize("key", [{"remoteJid": OTHER}, {"fromMe": True}, {"remoteJid": GROUP, "participant": PHONE}])
async def test_an_edit_from_another_chat_or_by_another_author_does_nothing(database: str, key: dict[str, Any]) -> None:
    async with await connect(database) as conn:
        unit, known = await make_unit(conn), RecorderCache()
        told = await play(conn, unit, [original(), edit(new_text("três"), **key)], known)
        assert told == {"foreign_edit": 1}
        assert await state(conn, unit) == [(ORIGINAL, "dois", False, False, None)]


async def test_a_caption_is_edited_and_its_file_stays(database: str) -> None:
    picture = {"imageMessage": {"caption": "antes", "mimetype": "image/jpeg"}, **secret()}
    payload = encrypt(edit_of(caption_content("depois"), None, ORIGINAL), ORIGINAL, PHONE, PHONE)
    bodies = [upsert({"id": ORIGINAL}, picture), edit(payload)]
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders(bodies)):
            assert found == [(ORIGINAL, "depois", True, False, None)], batches


async def test_of_several_edits_the_latest_by_its_own_time_counts(database: str) -> None:
    at = (SENT + 60) * 1000
    first = edit(new_text("quatro", at_ms=at + 900), id="3A02")
    second = edit(new_text("três", at_ms=at + 100), id="3A03")
    plain = {"event": "messages.edited", "instance": "a", "data": {
        "key": {"remoteJid": PHONE, "fromMe": False, "id": ORIGINAL}, "type": 14,
        "editedMessage": {"conversation": "zero"}, "timestampMs": str(at - 5000)}}  # fmt: skip
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders([original(), first, second, plain])):
            assert found == [(ORIGINAL, "quatro", False, False, None)], batches


@pytest.mark.parametrize(("later", "unread"), [(30, False), (-30, True)])
async def test_a_readable_edit_clears_the_mark_if_it_is_the_later_one(database: str, later: int, unread: bool) -> None:
    wrong = edit(new_text("três", secret=bytes(32)))
    at = (SENT + 60 + later) * 1000
    readable = edit(new_text("cinco", at_ms=at), SENT + 60 + later, id="3A03")
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders([original(), wrong, readable])):
            assert found == [(ORIGINAL, "cinco", False, unread, None)], batches


@pytest.mark.parametrize(("use", "name"), [(1, "event_edit"), ("POLL_EDIT", "poll_edit"), (5, "poll_add_option")])
async def test_changes_of_other_kinds_mark_their_original(database: str, use: int | str, name: str) -> None:
    async with await connect(database) as conn:
        unit, known = await make_unit(conn), RecorderCache()
        assert await play(conn, unit, [edit(bytes(40), use=use)], known) == {}
        assert await play(conn, unit, [original()], known) == {f"{name}_unread": 1}
        assert await state(conn, unit) == [(ORIGINAL, "dois", False, True, None)]
        assert await conn.fetch("select from zapline.encrypted_reports") == []


# -- polls and events ----------------------------------------------------------------------------------------


def poll(version: str = "V3", event: str = "send.message") -> Body:
    content = {"name": "Vem?", "options": [{"optionName": name} for name in OPTIONS], "selectableOptionsCount": 0}
    return upsert(
        {"id": POLL, "fromMe": True}, {f"pollCreationMessage{version}": content, **secret(buffer(SECRET))}, event=event
    )


def vote(
    *options: str,
    creator: str = OURS,
    voter: str = PHONE,
    at: int = SENT + 60,
    secret_value: bytes = SECRET,
    **key: Any,
) -> Body:
    payload = encrypt(vote_for(*options), POLL, creator, voter, "Poll Vote", secret_value)
    content = {
        "pollCreationMessageKey": {"remoteJid": PHONE, "fromMe": True, "id": POLL},
        "vote": {"selectedOptions": [], "encPayload": indices(payload), "encIv": indices(NONCE)},
        "senderTimestampMs": {"low": at * 1000 & 0xFFFFFFFF, "high": at * 1000 >> 32, "unsigned": True},
    }
    return upsert({"id": f"3AV{at}"} | key, {"pollUpdateMessage": content}, at)


@pytest.mark.parametrize(("creator", "voter"), list(itertools.product([OURS, OUR_LID], [PHONE, LID])))
async def test_a_vote_is_opened_by_the_secret_of_its_poll(database: str, creator: str, voter: str) -> None:
    mine = {"jid": OURS, "phoneNumber": OURS, "lid": OUR_LID}
    bodies = [
        poll(),
        vote("Sim", "Talvez", creator=creator, voter=voter, remoteJidAlt=LID),
        {"event": "group-participants.update", "instance": "a", "data": {"participantsData": [mine]}},
    ]
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders(bodies)):
            assert found == [(POLL, "Vem?", False, False, {"+5511999990001": ["Sim", "Talvez"]})], batches


@pytest.mark.parametrize("version", ["", "V2", "V3", "V5"])
@pytest.mark.parametrize("event", ["send.message", "messages.upsert"])
async def test_the_poll_may_be_of_any_version(database: str, version: str, event: str) -> None:
    async with await connect(database) as conn:
        told = await after(conn, [[vote("Não")], [poll(version, event)]])
        assert told == [(POLL, "Vem?", False, False, {"+5511999990001": ["Não"]})]


async def test_a_vote_taken_back_is_told_from_one_that_nobody_could_read(database: str) -> None:
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders([poll(), vote("Sim"), vote(at=SENT + 90)])):
            assert found == [(POLL, "Vem?", False, False, {"+5511999990001": []})], batches
        foreign = vote("Sim", creator="551144443333@s.whatsapp.net", at=SENT + 90)
        for batches, found in await after_each(conn, orders([poll(), vote("Sim"), foreign])):
            assert found[0][4] == {"+5511999990001": {"encrypted": True}}, batches
        unit, known = await make_unit(conn), RecorderCache()
        assert await play(conn, unit, [poll(), foreign], known) == {"poll_vote_unread": 1}
        assert await play(conn, unit, [foreign], known) == {}


async def test_a_stranger_with_a_secret_of_his_own_votes_in_no_poll_of_another_chat(database: str) -> None:
    """Whoever sends a message chooses its id, and brings a secret: what it opens proves nothing."""
    own = bytes(range(1, 33))
    claims_it = upsert({"id": POLL, "remoteJid": OTHER}, {"conversation": "oi", **secret(buffer(own))})
    forged = vote("Sim", voter=OTHER, secret_value=own, remoteJid=OTHER)
    async with await connect(database) as conn:
        for batches in orders([poll(), claims_it, forged]):
            if [claims_it] in batches and batches.index([claims_it]) < batches.index([poll()]):
                continue  # whoever comes first has the id
            if len(batches) == 1 and batches[0].index(claims_it) < batches[0].index(poll()):
                continue
            assert await after(conn, batches) == [(POLL, "Vem?", False, False, None)], batches


def event_message() -> Body:
    content = {"name": "Reunião", "startTime": "1795400000"}
    return upsert({"id": EVENT, "fromMe": True}, {"eventMessage": content, **secret()})


@pytest.mark.parametrize(("number", "name"), [(1, "going"), (2, "not_going"), (3, "maybe")])
async def test_an_answer_to_an_event_is_opened_likewise(database: str, number: int, name: str) -> None:
    payload = encrypt(field(1, number) + field(2, SENT * 1000), EVENT, OURS, LID, "Event Response")
    content = {
        "eventCreationMessageKey": {"remoteJid": PHONE, "fromMe": True, "id": EVENT},
        "encPayload": indices(payload),
        "encIv": indices(NONCE),
    }
    answer = upsert({"id": "3AR", "remoteJidAlt": LID}, {"encEventResponseMessage": content}, SENT + 60)
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders([event_message(), answer])):
            assert found == [(EVENT, "Reunião", False, False, {"+5511999990001": [name]})], batches


# -- how long secrets live -----------------------------------------------------------------------------------

SECRETS = "select external_id as id, lasting from zapline.message_secrets order by 1"


async def test_after_a_day_only_polls_and_events_keep_their_secret(database: str) -> None:
    async with await connect(database) as conn:
        unit, known = await make_unit(conn), RecorderCache()
        lost = upsert({"id": "3A0LOST"}, {"pollCreationMessage": {"name": "?", "options": []}, **secret()})
        await play(conn, unit, [original(), poll(), event_message(), lost], known)
        await conn.execute("delete from zapline.messages where external_id = '3A0LOST'")
        assert await prune_secrets(conn, NOW - 86_400) == 0
        assert await prune_secrets(conn, time.time() + 60) == 2
        assert [tuple(row) for row in await conn.fetch(SECRETS)] == [(POLL, True), (EVENT, True)]
        deletion = {
            "event": "messages.delete",
            "instance": "a",
            "data": {"id": POLL, "remoteJid": PHONE, "fromMe": True},
        }
        await play(conn, unit, [deletion], known)
        assert [tuple(row) for row in await conn.fetch(SECRETS)] == [(EVENT, True)]


async def test_an_edit_that_comes_after_its_secret_is_gone_marks_and_one_read_before_stays_read(
    database: str,
) -> None:
    async with await connect(database) as conn:
        unit, known = await make_unit(conn), RecorderCache()
        await play(conn, unit, [original(), edit(new_text("três"))], known)
        await prune_secrets(conn, time.time() + 60)
        await play(conn, unit, [edit(new_text("três"))], known)
        assert await state(conn, unit) == [(ORIGINAL, "três", False, False, None)]
        await play(conn, unit, [edit(new_text("quatro"), SENT + 120, id="3A03")], known)
        assert await state(conn, unit) == [(ORIGINAL, "três", False, True, None)]
        assert await expire_encrypted_reports(conn, NOW - 1) == 0
        assert await expire_encrypted_reports(conn, time.time() + 60) == 2


async def test_no_secret_stands_in_the_database_in_clear(database: str) -> None:
    async with await connect(database) as conn:
        unit = await make_unit(conn)
        unknown = upsert({"id": "3A0UNKNOWN"}, {"messageOfNextYear": {"a": 1}, **secret(buffer(SECRET))})
        await play(conn, unit, [original(), poll(), unknown], RecorderCache())
        tables = await conn.fetch("select tablename as name from pg_tables where schemaname = 'zapline'")
        rows = [
            row.row
            for table in tables
            for row in await conn.fetch(f"select t::text as row from zapline.{table.name} t")
        ]
        spelled = (SECRET.hex(), b'"data": [0, 1, 2'.hex(), b'"data":[0,1,2'.hex(), b'"31": 31'.hex(), '"31": 31')
        assert not [row for row in rows for form in spelled if form in row]
        (stored,) = await conn.fetch("select raw from zapline.messages where external_id = '3A0UNKNOWN'")
        assert b'"messageSecret": null' in bytes(stored.raw)


async def test_a_name_that_becomes_known_elsewhere_opens_what_waits(database: str) -> None:
    async with await connect(database) as conn:
        unit = await make_unit(conn)
        await play(conn, unit, [original(), edit(new_text("três", LID, LID))], RecorderCache())
        assert (await state(conn, unit))[0][3] is True
        link = {"event": "contacts.update", "instance": "a", "data": [{"remoteJid": PHONE, "lid": LID}]}
        # A lane that has not heard of the report.
        await play(conn, unit, [link], _deaf())
        assert await open_waiting_reports(conn, 10, SEALER) == {}, "it was tried a moment ago"
        await conn.execute("update zapline.encrypted_reports set tried_at = now() - interval '8 days'")
        await conn.execute("update zapline.encrypted_reports set received_at = now()")
        told = (await open_waiting_reports(conn, 10, SEALER))[unit]
        assert [(one.external_id, one.edited, one.edit_text_unknown) for one in told.changed] == [
            (ORIGINAL, True, False)
        ]
        assert told.encrypted == {"message_edit_opened": 1}
        assert await state(conn, unit) == [(ORIGINAL, "três", False, False, None)]
        assert await open_waiting_reports(conn, 10, SEALER) == {}


def _deaf() -> RecorderCache:
    known = RecorderCache()
    known.aliases, known.waiting = {}, set()
    return known


# -- what nobody can open ------------------------------------------------------------------------------------

KEPT = """
select actor, external_id as id, report_id as report
  from zapline.encrypted_reports where unit_id = %s order by 1, 2, 3
"""


def unreadable(number: int, target: str = ORIGINAL, **key: Any) -> Body:
    """An edit, each later than the one before."""
    body = edit(new_text("x", secret=bytes(32)), SENT + number, id=f"3A0X{number:05d}", **key)
    body["data"]["message"]["secretEncryptedMessage"]["targetMessageKey"]["id"] = target
    return body


async def test_of_what_nobody_can_open_one_persons_latest_wait_and_keep_nobody_waiting(database: str) -> None:
    of_one_message = [unreadable(number) for number in range(30)]
    of_unknown = [unreadable(100 + number, f"3A0UNKNOWN{number:03d}") for number in range(70)]
    somebody_else = unreadable(7, "3A0OTHERS", remoteJid=OTHER)
    kept, rng = [], Random(3)
    async with await connect(database) as conn:
        for _ in range(3):
            unit, known = await make_unit(conn), RecorderCache()
            await play(conn, unit, [original(), somebody_else], known)
            flood = [*of_one_message, *of_unknown]
            rng.shuffle(flood)
            told = [await play(conn, unit, flood[start : start + 25], known) for start in range(0, len(flood), 25)]
            assert sum(outcomes.get("surplus", 0) for outcomes in told) == len(flood) - 64
            kept.append([tuple(row) for row in await conn.fetch(KEPT, (unit,))])
            assert {key for key in known.waiting or () if key[0] == unit} == {(unit, id) for _, id, _ in kept[-1]}
            await play(conn, unit, [edit(new_text("três"), SENT + 300)], known)
            assert await state(conn, unit) == [(ORIGINAL, "três", False, False, None)]
    assert kept[0] == kept[1] == kept[2], "whatever the order"
    assert len(kept[0]) == 65
    only = [unreadable(number) for number in range(30)]
    async with await connect(database) as conn:
        unit = await make_unit(conn)
        await play(conn, unit, [original(), *only], RecorderCache())
        assert [row.report for row in await conn.fetch(KEPT, (unit,))] == [
            f"3A0X{number:05d}" for number in range(26, 30)
        ]


async def test_an_edit_whose_author_is_not_known_for_certain_is_counted_once_and_keeps_no_other_waiting(
    database: str,
) -> None:
    async with await connect(database) as conn:
        unit, known = await make_unit(conn), RecorderCache()
        by_phone = upsert({"id": "3A0P", "remoteJid": OTHER}, {"conversation": "oi", **secret()})
        assert await play(conn, unit, [by_phone, unreadable(1, "3A0P", remoteJid=LID)], known) == {"unproven_edit": 1}
        assert await open_waiting_reports(conn, 10, SEALER) == {}, "it was tried a moment ago"
        await conn.execute("update zapline.encrypted_reports set tried_at = now() - interval '8 days'")
        assert (await open_waiting_reports(conn, 10, SEALER))[unit].encrypted == {}
