"""Nodes that share the units: each unit has one owner, epochs only rise, and a dead node's webhooks are suspect."""

from uuid import UUID

import pytest
from support.cluster_rows import arrival, join, make_unit, owners

from zapline.domain.errors import PositionRefused
from zapline.sql.cluster import inbox, membership
from zapline.sql.inbound.contact_identities import RecorderCache
from zapline.sql.inbound.recorder_transaction import record
from zapline.sql.inbound.recorder_types import EntryFacts
from zapline.sql.inbound.unit_batches import prepare_batch
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.nodes import Ownership, no_right
from zapline.supervisors.leadership import ADVISORY_LOCK_KEY, WriterStanding

NOW = 1_795_364_000.0


async def die(conn: Connection, node: UUID) -> None:
    await conn.execute("update zapline.nodes set expires_at = now() - interval '1 s' where id = %(id)s", {"id": node})


async def test_nodes_take_their_shares_bury_the_dead_and_hand_over(database: str) -> None:
    async with await connect(database) as conn:
        units = [await make_unit(conn) for _ in range(5)]
        first, second = await join(conn, "one"), await join(conn, "two")
        seen = await membership.survey(conn, second)
        assert (seen.living, seen.eldest, seen.total, seen.free, seen.share) == (2, False, 5, 5, 3)
        assert (await membership.survey(conn, first)).eldest

        some = await membership.claim_units(conn, first, 3, 0)
        rest = await membership.claim_units(conn, second, 3, 0)
        assert sorted([*some, *rest]) == sorted(units)
        assert await membership.claim_units(conn, second, 3, 0) == []
        before = await owners(conn)
        assert len({epoch for _, epoch in before.values()}) == 2

        # Directed: at no time is it nobody's, and what its owner had in hand is taken anew.
        await inbox.put(conn, [arrival(some[0], 1)])
        (taken,) = await inbox.take(conn, first, [], 10, 10)
        assert await membership.find_takers(conn, first, 3) == [(second, 1)]
        assert await membership.hand_over(conn, first, second, [some[0], rest[0]], 0) == [some[0]]
        moved = await owners(conn)
        assert moved[some[0]][0] == second
        assert moved[some[0]][1] > max(epoch for _, epoch in before.values())
        (again,) = await inbox.take(conn, second, [], 10, 10)
        assert (again.id, again.deaths) == (taken.id, 0)

        await die(conn, second)
        assert await membership.hand_over(conn, first, second, some, 0) == []  # not to one that may be dead
        assert await membership.claim_units(conn, second, 3, 0) == []
        (dead,) = await membership.find_dead(conn, first)
        assert (dead.id, dead.name) == (second, "two")
        _, freed = await membership.bury(conn, dead)
        assert freed == 3
        assert await membership.bury(conn, dead) == (0, 0)
        assert len(await membership.claim_units(conn, first, 9, 0)) == 3
        after = await owners(conn)
        assert {owner for owner, _ in after.values()} == {first}
        assert all(epoch >= moved[unit][1] for unit, (_, epoch) in after.items())
        (suspect,) = await inbox.take(conn, first, [], 10, 10)
        assert (suspect.id, suspect.deaths) == (taken.id, 1)

        await membership.begin_leaving(conn, first)
        assert (await membership.survey(conn, first)).living == 0


async def test_a_process_that_is_alone_and_those_that_share_exclude_each_other(database: str) -> None:
    async with await connect(database) as one, await connect(database) as two, await connect(database) as alone:
        assert await one.try_advisory_lock(ADVISORY_LOCK_KEY, shared=True)
        assert await two.try_advisory_lock(ADVISORY_LOCK_KEY, shared=True)
        assert not await alone.try_advisory_lock(ADVISORY_LOCK_KEY)
        unit = await make_unit(one)
        shares = WriterStanding(shares=True)
        await shares.take(one)
        assert shares.node is not None
        assert (shares.lead, await owners(one)) == (None, {unit: (None, 0)})
        await membership.claim_units(one, shares.node, 1, 0)
        (_, claimed) = (await owners(one))[unit]
        # Whoever is alone afterwards takes all, under an epoch above all of theirs.
        single = WriterStanding()
        await single.take(alone)
        assert (await owners(one))[unit] == (single.node, single.epoch)
        assert single.epoch is not None
        assert single.epoch > claimed
        assert single.lead == single.epoch


async def test_the_inbox_holds_each_webhook_once_until_its_owner_stores_it(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, other = await make_unit(conn), await make_unit(conn)
        node = await join(conn, "one")
        await membership.claim_units(conn, node, 2, 0)
        given = [arrival(unit, 1), arrival(unit, 2), arrival(other, 3)]
        assert await inbox.put(conn, given) == {node}
        assert await inbox.put(conn, [*given, given[0]], replayed=[0]) == {node}
        assert await inbox.has_waiting(conn, unit, NOW * 2)
        (others,) = await inbox.take(conn, node, [unit], 10, 10)
        assert others.entry.body == b"3"
        (first,) = await inbox.take(conn, node, [], 10, 1)  # some of each unit
        (second,) = await inbox.take(conn, node, [], 10, 1)
        assert [first.entry.body, second.entry.body, first.entry.received_at] == [b"1", b"2", given[0].received_at]
        assert await inbox.take(conn, node, [], 10, 10) == []
        # What a statement took whose answer was lost is not in hand.
        assert await inbox.give_back(conn, node, [others.id, first.id]) == 1
        assert [each.id for each in await inbox.take(conn, node, [], 10, 10)] == [second.id]
        assert await inbox.give_back(conn, node, []) == 3
        await conn.execute(
            "update zapline.unit_whatsapp_connections set archived_at = now() where unit_id = %(id)s", {"id": unit}
        )
        assert [each.id for each in await inbox.take(conn, node, [], 10, 10)] == [others.id]
        await conn.execute("update zapline.unit_whatsapp_connections set archived_at = null")
        assert len(await inbox.take(conn, node, [], 1, 10)) == 1
        assert len(await inbox.take(conn, node, [], 9, 10)) == 1

        entry = EntryFacts(None, "messages.upsert", NOW, b"1", dead_reason="of_a_test")
        epoch = (await owners(conn))[unit][1]
        for held in (no_right(), Ownership(node, epoch - 1)):
            write = prepare_batch(unit, [entry], None, None, UUID(int=1), held=held, inbox=[first.id])
            with pytest.raises(PositionRefused):
                await record(conn, [write], RecorderCache())
        assert (await inbox.count_waiting(conn))[0] == 3
        held = Ownership(node, epoch)
        # What is another unit's stays, whoever says that he has stored it.
        ids = [first.id, others.id]
        write = prepare_batch(unit, [entry], None, None, UUID(int=1), held=held, inbox=ids)
        assert [part.inbox for part in write.halves() if part.inbox] == [ids]
        await record(conn, [write], RecorderCache())
        left = await conn.fetch("select unit_id from zapline.inbox order by id")
        assert [row.unit_id for row in left] == [unit, other]

        await conn.execute("update zapline.inbox set put_at = now() - interval '2 hours'")
        await conn.execute("delete from zapline.unit_whatsapp_connections where unit_id = %(unit)s", {"unit": other})
        assert await inbox.forget_homeless(conn) == 1


def test_a_copy_is_the_same_for_whoever_makes_it_and_another_for_everything_else() -> None:
    one = arrival(UUID(int=1), 1)
    others = [arrival(UUID(int=2), 1), arrival(UUID(int=1), 2)]
    assert inbox.copy_id(one) == inbox.copy_id(arrival(UUID(int=1), 1))
    assert len({inbox.copy_id(each) for each in (one, *others)}) == 3
