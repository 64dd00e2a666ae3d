"""The recorder's statements: merges that agree in any order, parked reports, identities that become one."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.shared_transactions import store_side_by_side

from zapline.domain.contacts.addresses import resolve_address
from zapline.domain.ids import ExternalId, Seq, UnitId
from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.messages.delivery_status import merge_statuses as merge_delivery
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
)
from zapline.sql.inbound import recorder_transaction
from zapline.sql.inbound.contact_identities import RecorderCache
from zapline.sql.inbound.parked_reports import apply_parked_reports, expire_parked_reports
from zapline.sql.inbound.recorder_transaction import record
from zapline.sql.inbound.recorder_types import EntryFacts
from zapline.sql.inbound.unit_batches import UnitBatch, prepare_batch
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.database_errors import StatementFailed, Verdict
from zapline.sql.units.units import insert_unit

JOURNAL = UUID(int=1)
PHONE, NINTH = "5511999990001@s.whatsapp.net", "551199990001@s.whatsapp.net"
OTHER, LID = "5521988887777@s.whatsapp.net", "111222333444555@lid"
NOW = 1_795_364_000.0


async def make_unit(conn: Connection, id: UUID | None = None) -> UnitId:
    unit = UnitId(id or uuid4())
    await insert_unit(
        conn, id=unit, name="u", instance=str(unit), secret_digest=unit.bytes, time_zone="America/Sao_Paulo"
    )
    return unit


def write(unit: UnitId, facts: Iterable[MessageFact], at: float = NOW) -> UnitBatch:
    entries = [EntryFacts(Seq(n + 1), "messages.upsert", at, b"{}", facts=(fact,)) for n, fact in enumerate(facts)]
    return prepare_batch(unit, entries, None, None, JOURNAL)


def message(identity: str, *jids: str, text: str | None = "oi", **more: Any) -> MessageArrived:
    chat = resolve_address(*(jids or (PHONE,)))
    assert chat is not None
    fields: dict[str, Any] = {"kind": MessageKind.TEXT, "from_me": False, "sent_at": NOW}
    return MessageArrived(ExternalId(identity), chat, text=text, **(fields | more))


async def rows(conn: Connection, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await conn.fetch(query)]


def orders(facts: Sequence[MessageFact]) -> list[list[list[MessageFact]]]:
    """Every order of the facts, each in one transaction and in one for each fact."""
    orders_: list[list[list[MessageFact]]] = []
    for order in itertools.permutations(facts):
        orders_ += [[list(order)], [[fact] for fact in order]]
    return orders_


async def rows_after(conn: Connection, batches: list[list[MessageFact]], query: str) -> list[tuple[Any, ...]]:
    """The result of the query for a new unit (``$unit``) after these transactions."""
    ((_, found),) = await after_each(conn, [batches], query)
    return found


async def after_each(
    conn: Connection, orders: list[list[list[MessageFact]]], query: str
) -> list[tuple[list[list[MessageFact]], list[tuple[Any, ...]]]]:
    """Each order of transactions with the result of the query for a unit of its own (``$unit``) after it."""
    units = [(await make_unit(conn), batches) for batches in orders]
    await store_side_by_side(conn, {unit: [write(unit, facts) for facts in batches] for unit, batches in units})
    return [(batches, await rows(conn, query.replace("$unit", f"'{unit}'"))) for unit, batches in units]


async def test_a_cache_that_is_forgotten_while_it_is_filled_does_not_stop_the_recorder(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = recorder_transaction.list_waiting

    async def forgotten_meanwhile(conn: Connection) -> Any:
        waiting = await listed(conn)
        known.forget()  # the process has begun to lead again
        return waiting

    monkeypatch.setattr(recorder_transaction, "list_waiting", forgotten_meanwhile)
    async with await connect(database) as conn:
        unit, known = await make_unit(conn), RecorderCache()
        await record(conn, [write(unit, [message("A")])], known)
        assert await rows(conn, "select external_id from zapline.messages") == [("A",)]


# -- parked reports ------------------------------------------------------------------------------------------

REPORTS: list[MessageFact] = [
    StatusReported(ExternalId("A"), DeliveryStatus.READ),
    MessageEdited(ExternalId("A"), "dois", 1_795_364_451_000),
    MessageDeleted(ExternalId("A")),
]


async def test_reports_in_any_order_around_their_message_end_in_the_same_row(database: str) -> None:
    query = (
        "select m.body, m.edited_body, m.delivery::text, m.deleted_at is not null as gone, "
        "(select count(*) from zapline.parked_reports p where p.unit_id = m.unit_id) as parked "
        "from zapline.messages m where unit_id = $unit"
    )
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders([message("A"), *REPORTS]), query):
            assert found == [("oi", "dois", "read", True, 0)], batches


async def test_a_reaction_before_its_message_waits_by_itself_and_the_latest_counts(database: str) -> None:
    reactions = [ReactionReported(ExternalId("A"), "+55", emoji, at) for emoji, at in (("👍", 1), ("❤", 3), ("", 2))]
    query = "select value, at_ms from zapline.message_reactions where unit_id = $unit"
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders([message("A"), *reactions]), query):
            assert found == [("❤", 3)], batches


async def test_housekeeping_applies_a_report_that_was_parked_beside_its_message(database: str) -> None:
    """Two transactions that did not see each other leave a parked report beside its message."""
    async with await connect(database) as conn:
        unit = await make_unit(conn)
        await record(conn, [write(unit, [message("A", from_me=True)])], RecorderCache())
        for identity in ("A", "B"):
            await conn.execute(
                "insert into zapline.parked_reports (unit_id, provider, external_id, delivery, edited_body, "
                "edited_at_ms, deleted_at) values (%s, 'evolution', %s, 'read', 'dois', 5, now())",
                (unit, identity),
            )
        reached, (changed,) = await apply_parked_reports(conn, 100)
        assert (reached, changed.external_id, changed.delivery, changed.edited, changed.deleted) == (
            1,
            "A",
            "read",
            True,
            True,
        )
        assert await rows(
            conn, "select delivery::text, edited_body, deleted_at is null as kept from zapline.messages"
        ) == [("read", "dois", False)]
        assert await rows(conn, "select external_id from zapline.parked_reports") == [("B",)]
        assert await apply_parked_reports(conn, 100) == (0, [])


async def test_a_new_report_applies_a_parked_one_as_well(database: str) -> None:
    async with await connect(database) as conn:
        unit = await make_unit(conn)
        await record(conn, [write(unit, [message("A")])], RecorderCache())
        await conn.execute(
            "insert into zapline.parked_reports (unit_id, provider, external_id, delivery) "
            "values (%s, 'evolution', 'A', 'read')",
            (unit,),
        )
        await record(conn, [write(unit, [StatusReported(ExternalId("A"), DeliveryStatus.DELIVERED)])], RecorderCache())
        assert await rows(conn, "select delivery::text from zapline.messages") == [("read",)]
        assert await rows(conn, "select external_id from zapline.parked_reports") == []


async def test_reports_whose_message_never_comes_expire(database: str) -> None:
    async with await connect(database) as conn:
        unit = await make_unit(conn)
        await record(
            conn,
            [write(unit, [StatusReported(ExternalId("A"), DeliveryStatus.READ)], NOW - 8 * 86400)],
            RecorderCache(),
        )
        assert await expire_parked_reports(conn, 7.0) == 0, "the clock that dated it may have been wrong"
        await conn.execute("update zapline.parked_reports set parked_at = now() - interval '8 days'")
        await record(conn, [write(unit, [StatusReported(ExternalId("B"), DeliveryStatus.READ)])], RecorderCache())
        assert await expire_parked_reports(conn, 7.0) == 1
        assert await rows(conn, "select external_id from zapline.parked_reports") == [("B",)]


# -- identity ------------------------------------------------------------------------------------------------

PEOPLE = (
    "select c.canonical, c.phone, c.lid, k.canonical as into_contact from zapline.contacts c "
    "join zapline.conversations v on v.contact_id = c.id "
    "left join zapline.conversations r on r.id = v.merged_into left join zapline.contacts k on k.id = r.contact_id "
    "where c.unit_id = $unit order by 1"
)
MERGED = [
    ("+5511999990001", "+5511999990001", "111222333444555", None),
    ("lid:111222333444555", None, "111222333444555", "+5511999990001"),
]


async def test_a_lid_and_a_phone_become_one_conversation_in_any_order(database: str) -> None:
    facts: list[MessageFact] = [message("L", LID), message("B", LID, PHONE), message("P", PHONE)]
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders(facts), PEOPLE):
            assert found == MERGED, batches
        seen = resolve_address(PHONE, LID)
        assert seen is not None
        for batches, found in await after_each(
            conn, orders([message("L", LID), ContactSeen(seen, "Maria"), message("P", PHONE)]), PEOPLE
        ):
            assert found == MERGED, batches


async def test_the_latest_evidence_decides_to_whom_a_lid_belongs_in_any_order(database: str) -> None:
    """Two links to one phone around a link to another must not make the middle one win."""
    facts: list[MessageFact] = [
        message("1", LID, PHONE, sent_at=NOW),
        message("2", LID, PHONE, sent_at=NOW + 10 * 3600),
        message("3", LID, OTHER, sent_at=NOW + 5 * 3600),
    ]
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders(facts), PEOPLE):
            assert [(row[0], row[3]) for row in found] == [
                ("+5511999990001", None),
                ("+5521988887777", None),
                ("lid:111222333444555", "+5511999990001"),
            ], batches


async def test_two_conversations_with_different_phones_are_never_merged(database: str) -> None:
    facts: list[MessageFact] = [
        message("1", PHONE, LID),
        message("2", OTHER, LID),
        message("3", PHONE),
        message("4", OTHER),
    ]
    query = (
        "select count(*) as n from zapline.conversations v join zapline.contacts c on c.id = v.contact_id "
        "where c.phone is not null and v.merged_into is not null and v.unit_id = $unit"
    )
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders(facts), query):
            assert found == [(0,)], batches


async def test_both_spellings_of_a_brazilian_mobile_are_one_contact_with_both_identities(database: str) -> None:
    """Also where the contact exists already and does not change."""
    query = (
        "select c.canonical, i.identity from zapline.contacts c join zapline.contact_identities i "
        "on i.contact_id = c.id where c.unit_id = $unit order by 2"
    )
    async with await connect(database) as conn:
        for batches, found in await after_each(
            conn, orders([message("1", PHONE), message("2", NINTH), message("3", PHONE)]), query
        ):
            assert found == [("+5511999990001", NINTH), ("+5511999990001", PHONE)], batches


async def test_contact_details_of_one_message_are_not_lost_to_another_of_the_same_batch(database: str) -> None:
    facts: list[MessageFact] = [
        message("1", PHONE, LID, sent_at=NOW),
        message("2", PHONE, push_name="Maria", sent_at=NOW + 7200),
        ContactSeen(message("x").chat, "Antiga"),
    ]
    query = "select phone, lid, name from zapline.contacts where canonical like '+%' and unit_id = $unit"
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders(facts), query):
            assert found == [("+5511999990001", "111222333444555", "Maria")], batches


# -- merging -------------------------------------------------------------------------------------------------

texts = st.sampled_from([None, "", "a", "B", "é", "Z", "ab"])
media = st.none() | st.builds(
    MediaInfo,
    mimetype=st.sampled_from(["image/jpeg", "image/png"]),
    size=st.sampled_from([None, 1, 10, 9]),
    url=st.sampled_from([None, "https://a/1", "https://b/2"]),
)
chats = [resolve_address(PHONE), resolve_address(LID, PHONE), resolve_address(NINTH)]
messages = st.builds(
    MessageArrived,
    external_id=st.just(ExternalId("A")),
    # Our own come under a LID that nothing has linked to the phone yet; of others that would prove nothing.
    chat=st.shared(st.booleans(), key="mine").flatmap(
        lambda mine: st.sampled_from([*chats, resolve_address(LID)] if mine else chats)
    ),
    from_me=st.shared(st.booleans(), key="mine"),
    kind=st.sampled_from([MessageKind.UNKNOWN, MessageKind.PLACEHOLDER, MessageKind.TEXT, MessageKind.IMAGE]),
    text=texts,
    media=media,
    detail=st.sampled_from([{}, {"a": 1}, {"a": 2}, {"a": 1, "b": [1]}]),
    sender=st.sampled_from([None, resolve_address(PHONE), resolve_address(OTHER)]),
    push_name=st.sampled_from([None, "Ana", "ana", "Zé"]),
    sent_at=st.sampled_from([NOW, NOW + 1, NOW - 7200.5]),
    delivery=st.none() | st.sampled_from(DeliveryStatus),
    quoted_id=st.sampled_from([None, ExternalId("Q1"), ExternalId("Q2")]),
    quoted=st.sampled_from([None, {"id": "Q1", "text": None}, {"id": "Q1", "text": "a"}, {"id": "Q2", "text": None}]),
    forwarded=st.booleans(),
    view_once=st.booleans(),
    expires_after=st.sampled_from([None, 10, 9]),
    source=st.sampled_from([None, "ios", "web"]),
    origin=st.sampled_from(["live", "sent", "history"]),
    keep_raw=st.booleans(),
)
EVERYTHING = (
    "select to_jsonb(m) - 'seq' - 'changed_seq' - 'received_at' - 'stored_at' - 'unit_id' as row "
    "from zapline.messages m where unit_id = $unit "
    "union all select to_jsonb(c) - 'created_at' - 'unit_id' - 'id' from zapline.contacts c where unit_id = $unit "
    "union all select to_jsonb(v) - 'created_at' - 'unit_id' from zapline.conversations v where unit_id = $unit "
    "union all select to_jsonb(i) - 'created_at' - 'unit_id' from zapline.contact_identities i where unit_id = $unit "
    "order by 1"
)
UNIT = UUID(int=9)


@pytest.mark.heavy
@given(facts=st.lists(messages, min_size=2, max_size=3))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_duplicates_of_a_message_merge_to_the_same_row_in_any_order_and_once(
    database: str, facts: list[MessageFact]
) -> None:
    async def run() -> None:
        async with await connect(database) as conn:
            results: dict[str, list[tuple[Any, ...]]] = {}
            for batches in orders(facts):
                # The same unit for all orders, or derived ids would differ; each order starts without rows.
                await conn.execute(
                    "delete from zapline.messages; delete from zapline.conversations;"
                    "delete from zapline.contact_identities; delete from zapline.contacts"
                )
                if not await rows(conn, f"select from zapline.units where id = '{UNIT}'"):
                    await make_unit(conn, UNIT)
                unit, known = UnitId(UNIT), RecorderCache()
                for batch in batches:
                    await record(conn, [write(unit, batch)], known)
                found = await rows(conn, EVERYTHING.replace("$unit", f"'{UNIT}'"))
                results[repr(batches)] = found
                marks = "select xmin::text from zapline.messages union all select xmin::text from zapline.contacts"
                before = await rows(conn, marks)
                await record(conn, [write(unit, facts)], RecorderCache())
                assert await rows(conn, marks) == before
            first = next(iter(results.values()))
            for batches, found in results.items():
                assert found == first, batches

    trio.run(run)


# -- a photo that comes twice --------------------------------------------------------------------------------

SMALL = message("A", kind=MessageKind.IMAGE, text="legenda", media=MediaInfo("image/jpeg", size=9, width=1280))
BETTER = message(
    "A",
    kind=MessageKind.IMAGE,
    text=None,
    media=MediaInfo("image/jpeg", size=30, width=640, quality=2, copy_id=ExternalId("B")),
)
OF_THE_COPY: list[MessageFact] = [
    StatusReported(ExternalId("B"), DeliveryStatus.READ),
    ReactionReported(ExternalId("B"), "+55", "👍", 7),
]
PHOTO = (
    "select m.external_id, m.body, m.edited_body, m.delivery::text, m.media ->> 'width' as width, "
    "(select string_agg(r.external_id || r.value::text, ',') from zapline.message_reactions r "
    " where r.unit_id = m.unit_id) as reactions, "
    "(select count(*) from zapline.parked_reports p where p.unit_id = m.unit_id), "
    "(select string_agg(a.external_id || a.primary_id, ',') from zapline.message_aliases a"
    " where a.unit_id = m.unit_id) as aliases "
    "from zapline.messages m where unit_id = $unit"
)


async def test_a_better_copy_is_the_same_row_and_what_is_told_of_it_reaches_the_row_in_any_order(database: str) -> None:
    expected = [("A", "legenda", None, "read", "640", 'A"👍"', 0, "BA")]
    async with await connect(database) as conn:
        for batches, found in await after_each(conn, orders([SMALL, BETTER, *OF_THE_COPY]), PHOTO):
            assert found == expected, batches
        assert await rows_after(conn, [*batches, *batches], PHOTO) == expected


async def test_nobody_replaces_the_photo_of_somebody_else(database: str) -> None:
    other = resolve_address(OTHER)
    assert other is not None
    foreign = msgspec.structs.replace(BETTER, chat=other)
    async with await connect(database) as conn:
        found = await rows_after(conn, [[SMALL], [foreign], [*OF_THE_COPY]], PHOTO)
    assert found == [("A", "legenda", None, None, "1280", 'B"👍"', 1, None)]


async def test_the_first_time_of_each_status_is_kept_in_any_order_and_a_repetition_changes_nothing(
    database: str,
) -> None:
    told = [(DeliveryStatus.READ, 7.0), (DeliveryStatus.DELIVERED, 9.0), (DeliveryStatus.DELIVERED, 8.0)]
    facts: list[tuple[float, MessageFact]] = [(0.0, message("A", from_me=True))]
    facts += [(at, StatusReported(ExternalId("A"), status)) for status, at in told]
    query = (
        "select array(select extract(epoch from t - 'epoch')::float8 - {now} from unnest(array[told_sent_at,"
        " told_delivered_at, told_read_at, told_played_at]) with ordinality as x(t, n) order by n) as told, xmin::text"
        " from zapline.messages where unit_id = '{unit}'"
    )
    async with await connect(database) as conn:
        for order in itertools.permutations(facts):
            unit = await make_unit(conn)
            for at, fact in (*order, *order):
                await record(conn, [write(unit, [fact], NOW + at)], RecorderCache())
            asked = query.format(now=NOW, unit=unit)
            ((found, version),) = await rows(conn, asked)
            assert found == [None, 8.0, 7.0, None], order
            await record(conn, [write(unit, [fact], NOW + 60) for _, fact in facts[1:2]], RecorderCache())
            assert await rows(conn, asked) == [(found, version)]


async def test_sql_and_python_agree_on_every_pair_of_delivery_statuses(database: str) -> None:
    every: list[DeliveryStatus | None] = [None, *DeliveryStatus]
    async with await connect(database) as conn:
        for one, other in itertools.product(every, every):
            labels = [None if value is None else value.label for value in (one, other)]
            [(merged,)] = await conn.fetch(
                "select greatest(%s::zapline.delivery, %s::zapline.delivery)::text as merged", tuple(labels)
            )
            expected = merge_delivery(one, other)
            assert merged == (None if expected is None else expected.label)


async def test_a_status_reaches_the_row_only_upward_on_every_pair(database: str) -> None:
    async with await connect(database) as conn:
        unit = await make_unit(conn)
        pairs = {
            ExternalId(f"{one.label}-{other.label}"): (one, other)
            for one, other in itertools.product(DeliveryStatus, DeliveryStatus)
        }
        messages_ = [message(id, delivery=one) for id, (one, _) in pairs.items()]
        await record(conn, [write(unit, messages_)], RecorderCache())
        reports = [StatusReported(id, other) for id, (_, other) in pairs.items()]
        await record(conn, [write(unit, reports)], RecorderCache())
        found = dict(await rows(conn, "select external_id, delivery::text from zapline.messages"))
        assert found == {id: max(pair).label for id, pair in pairs.items()}


async def test_units_share_no_row_even_in_one_transaction(database: str) -> None:
    async with await connect(database) as conn:
        one, other = await make_unit(conn), await make_unit(conn)
        batch = [write(one, [message("A", text="um")]), write(other, [message("A", text="dois"), *REPORTS])]
        outcomes = await record(conn, batch, RecorderCache())
        assert outcomes[one].created.keys() == outcomes[other].created.keys() == {"A"}
        assert await rows(conn, "select unit_id, body, delivery::text from zapline.messages order by body desc") == [
            (one, "um", None),
            (other, "dois", "read"),
        ]


async def test_only_the_second_half_of_a_batch_moves_the_position(database: str) -> None:
    async with await connect(database) as conn:
        unit = await make_unit(conn)
        whole = replace(write(unit, [message(f"{n}") for n in range(4)]), applied_seq=Seq(4))
        first, second = whole.halves()
        assert (first.connection, first.applied_seq) == (None, None)
        await record(conn, [first], RecorderCache())
        assert await rows(conn, "select applied_seq from zapline.unit_whatsapp_connections") == [(0,)]
        await record(conn, [second], RecorderCache())
        assert await rows(conn, "select applied_seq from zapline.unit_whatsapp_connections") == [(4,)]


async def test_a_value_that_json_or_a_column_cannot_hold_is_poison(database: str) -> None:
    async with await connect(database) as conn:
        unit = await make_unit(conn)
        for fact in (message("A", text="\ud800"), ReactionReported(ExternalId("A"), "+55", "x", 2**70)):
            with pytest.raises(StatementFailed) as caught:
                await record(conn, [write(unit, [fact])], RecorderCache())
            assert caught.value.verdict is Verdict.POISON
        await record(conn, [write(unit, [message("B")])], RecorderCache())
