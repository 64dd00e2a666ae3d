"""How contacts are called: the newest name wins, whatever the order of the reports."""

import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from support.shared_transactions import store_side_by_side

from zapline.domain.contacts.addresses import Address, resolve_address
from zapline.domain.ids import ExternalId, Seq, UnitId
from zapline.domain.messages.facts import ContactSeen, MessageArrived, MessageFact, MessageKind
from zapline.sql.inbound.recorder_types import EntryFacts
from zapline.sql.inbound.unit_batches import UnitBatch, prepare_batch
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.units.units import insert_unit, load_units

NOW = 1_795_364_000.0


def address(*jids: str) -> Address:
    found = resolve_address(*jids)
    assert found is not None
    return found


MARIA, GROUP = address("5511999990001@s.whatsapp.net"), address("120363000000000001@g.us")


def message(identity: str, chat: Address = MARIA, **more: Any) -> MessageArrived:
    fields: dict[str, Any] = {"kind": MessageKind.TEXT, "from_me": False, "sent_at": NOW}
    return MessageArrived(ExternalId(identity), chat, text="oi", **(fields | more))


async def new_unit(conn: Connection) -> UnitId:
    unit = UnitId(uuid4())
    await insert_unit(conn, id=unit, name="u", instance=str(unit), secret_digest=unit.bytes, time_zone="UTC")
    return unit


def batch_of(unit: UnitId, facts: Sequence[MessageFact], at: float) -> UnitBatch:
    entries = [
        EntryFacts(Seq(number + 1), "messages.upsert", at, b"{}", facts=(fact,)) for number, fact in enumerate(facts)
    ]
    return prepare_batch(unit, entries, None, None, UUID(int=1))


async def names_after(
    conn: Connection, orders: Sequence[Sequence[Sequence[MessageFact]]], columns: str
) -> list[list[tuple[Any, ...]]]:
    """For each order these columns of a new unit's contacts after it, each batch a second later than that before."""
    units = {await new_unit(conn): batches for batches in orders}
    await store_side_by_side(
        conn,
        {
            unit: [batch_of(unit, facts, NOW + second) for second, facts in enumerate(batches)]
            for unit, batches in units.items()
        },
    )
    query = f"select {columns} from zapline.contacts where unit_id = %s order by canonical"
    return [[tuple(row) for row in await conn.fetch(query, (unit,))] for unit in units]


REPORTS: list[MessageFact] = [
    message("A", push_name="Zoé", sent_at=NOW - 30),
    message("B", push_name="Ana", sent_at=NOW - 10),
    message("C", push_name="Zoé", sent_at=NOW - 20),
    message("D", from_me=True, sent_at=NOW - 1),
    ContactSeen(MARIA, "Bia", at=NOW - 15),
    ContactSeen(MARIA, "Zora", username="zora", at=NOW - 40),
    ContactSeen(MARIA, username="ana", at=NOW - 35),
]


async def test_the_newest_name_and_username_win_in_any_order(database: str) -> None:
    orders = []
    for seed in range(30):
        order = random.Random(seed).sample(REPORTS * 2, len(REPORTS) * 2)
        orders.append([order[: seed % 14], order[seed % 14 :], *([fact] for fact in order)])
    async with await connect(database, role="zapline_engine") as conn:
        ends = await names_after(conn, orders, "name, extract(epoch from name_at)::float8, username")
    for order, found in zip(orders, ends, strict=True):
        assert found == [("Ana", NOW - 10, "ana")], order


async def test_of_two_names_of_one_time_that_counts_which_was_reported_last(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        for first, second in (("Zélia", "Ana"), ("Ana", "Zélia")):
            batches = [[ContactSeen(MARIA, first, at=NOW - 5)], [ContactSeen(MARIA, second, at=NOW - 5)]]
            assert await names_after(conn, [batches], "name") == [[(second,)]]


def entry(name: str, at: float, reported_at: float) -> EntryFacts:
    fact = ContactSeen(MARIA, name, username=name.lower(), at=at)
    return EntryFacts(Seq(1), "contacts.update", reported_at, b"{}", facts=(fact,))


async def test_names_of_one_time_merge_alike_in_any_order_and_any_batches(database: str) -> None:
    choice = random.Random(7)
    query = """select extract(epoch from name_at)::float8, name, username, name_reports
                 from zapline.contacts where unit_id = %s"""
    async with await connect(database, role="zapline_engine") as conn:
        expected: dict[UnitId, tuple[object, ...]] = {}
        orders: dict[UnitId, list[UnitBatch]] = {}
        for _ in range(25):
            told = [
                entry(choice.choice(("Ana", "Bia", "Zoé")), NOW - choice.randint(0, 1), NOW + choice.randint(0, 2))
                for _ in range(6)
            ]
            facts = [(fact, one.received_at) for one in told for fact in one.facts if isinstance(fact, ContactSeen)]
            last = max(fact.at or 0.0 for fact, _ in facts)
            first = {
                name: min(at for fact, at in facts if (fact.name, fact.at) == (name, last))
                for name in {str(fact.name) for fact, _ in facts if fact.at == last}
            }
            for cut in (1, 3, 6):
                order, unit = choice.sample(told * 2, 12), await new_unit(conn)
                expected[unit] = (last, max((at, name) for name, at in first.items())[1], max(first).lower(), first)
                parts = [order[start : start + cut] for start in range(0, 12, cut)]
                orders[unit] = [prepare_batch(unit, part, None, None, UUID(int=1)) for part in parts]
        await store_side_by_side(conn, orders)
        for unit, batches in orders.items():
            found = [tuple(row) for row in await conn.fetch(query, (unit,))]
            assert found == [expected[unit]], batches


async def test_the_name_of_the_lines_own_people_is_taken_from_whoever_has_never_written(database: str) -> None:
    anna = address("5511999990002@s.whatsapp.net")
    reports = [
        ContactSeen(MARIA, "Loja", at=NOW - 9),
        message("A", anna, push_name="Loja"),
        message("B", from_me=True, own_name="Loja"),
    ]
    async with await connect(database, role="zapline_engine") as conn:
        for cut in (1, 3):
            batches = [reports[start : start + cut] for start in range(0, 3, cut)]
            (found,) = await names_after(conn, [[*batches, *batches]], "name, unit_id")
            assert [name for name, _ in found] == [None, "Loja"]
            (unit,) = (unit for unit in await load_units(conn) if unit.id == found[0][1])
            assert unit.own_names == ("Loja",)


async def test_no_name_is_of_the_future_and_no_group_is_called_after_who_wrote(database: str) -> None:
    reports = [message("A", push_name="Zoé", sent_at=NOW + 1e6), message("B", GROUP, push_name="Zoé")]
    async with await connect(database, role="zapline_engine") as conn:
        (found,) = await names_after(conn, [[reports]], "kind, name, extract(epoch from name_at)::float8")
        assert sorted(found) == [("group", None, None), ("person", "Zoé", NOW)]
