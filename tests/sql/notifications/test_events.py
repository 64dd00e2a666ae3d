"""The log of events: complete up to a place, also while transactions write out of order, and each sees but its own."""

import random
from uuid import UUID, uuid4

import trio

from zapline.domain.ids import UnitId
from zapline.domain.principals import OrganizationGrant
from zapline.sql.accounts.organizations import (
    add_unit,
    delete_organization,
    insert_organization,
    list_units,
    load_organization,
    load_units,
    prune_organizations,
    remove_unit,
)
from zapline.sql.notifications import crm_webhooks, events
from zapline.sql.notifications.crm_webhooks import NewHook, OrganizationOwner
from zapline.sql.notifications.event_replay import EventRange, replay_events
from zapline.sql.notifications.events import EventFilter
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.row_level_security import grant_scope
from zapline.sql.units.units import insert_unit
from zapline.supervisors.counters import Counters
from zapline.supervisors.notifications.event_log import EventLog

TELL = "select zapline.tell(array[(%s, 'message.received', %s, null, null)::zapline.news])"


async def make_unit(conn: Connection) -> UnitId:
    unit = UnitId(uuid4())
    await insert_unit(conn, id=unit, name="u", instance=str(unit), secret_digest=unit.bytes, time_zone="UTC")
    return unit


async def test_no_event_is_passed_over_that_commits_later_than_its_place(database: str) -> None:
    async with (
        await connect(database, role="zapline_engine") as early,
        await connect(database, role="zapline_engine") as late,
        Pool.open(database, size=2, role="zapline_engine") as pool,
        Pool.open(database, size=1, role="zapline_api") as readers,
        trio.open_nursery() as nursery,
    ):
        organization, unit = uuid4(), await make_unit(late)
        await insert_organization(late, organization, "Rede")
        await add_unit(late, organization, unit)
        grant = OrganizationGrant(organization, None, frozenset({unit}))
        counters = Counters(trio.current_time)
        wanted, log = EventFilter(organization), EventLog(pool, readers, counters)
        first, second, third = uuid4(), uuid4(), uuid4()
        other = await make_unit(late)
        nursery.start_soon(log.run)
        with log.reading(), trio.fail_after(60):
            while log.through is None:
                await log.moved.wait()
            begin = log.through
            async with early.transaction():
                await early.execute(TELL, (unit, first))
                await late.execute(TELL, (unit, second))
                log.wake(unit)
                async with pool.connection() as conn:
                    assert (await events.load_position(conn)).last == begin + 2
                    assert len(await events.list_writers(conn)) == 1
                await trio.sleep(0.2)
                assert log.through == begin, "the place before it may yet be filled"
            while log.through == begin:
                await log.moved.wait()
            await late.execute(TELL, (unit, third))
            log.wake(unit)
            while log.through < begin + 3:
                await log.moved.wait()
            async with grant_scope(readers, grant) as conn:
                found = await events.list_events(conn, wanted, begin, log.through, 10)
            assert [each.told.subject for each in found] == [first, second, third]
            assert (await log.read(wanted, grant, begin)).events == [], "nothing is left of these messages"
            assert counters.total("stream_events_gone") == 3
            assert log.concerns(begin, organization, [unit])
            assert log.concerns(begin, organization, None)
            assert log.concerns(begin - 1, organization, [other]), "nobody has followed that"
            for units in ([other], []):
                assert not log.concerns(begin, organization, units)
            assert not log.concerns(begin, uuid4(), None)
            assert not log.concerns(begin + 3, organization, [unit])
        assert await events.prune_events(late, 1, 10) == 0
        await late.execute(
            "update zapline.events set created_at = now() - interval '4 days' where seq <= %s", (begin + 2,)
        )
        assert await events.prune_events(late, 3, 10) == 2
        assert (await events.load_position(late)).pruned_through == begin + 2
        await late.execute(TELL, (unit, uuid4()))
        with log.reading() as reader, trio.fail_after(60):
            assert log.through is None, "nobody has followed it meanwhile"
            assert not log.is_fresh(reader)
            while not log.is_fresh(reader):
                await log.moved.wait()
            assert (log.through, log.pruned_through) == (begin + 4, begin + 2)
            await late.execute("update zapline.event_log set pruned_through = %s", (begin + 3,))
            page = await log.read(wanted, grant, begin)
            assert page.pruned_through == begin + 3, "as of when the page was read"
        nursery.cancel_scope.cancel()


async def test_whoever_reads_gets_what_the_units_of_his_grant_tell_and_nothing_of_others(database: str) -> None:
    """Organizations, grants and hooks drawn by chance, compared with what they come to."""
    draw = random.Random(7)
    async with (
        await connect(database, role="zapline_engine") as conn,
        Pool.open(database, size=1, role="zapline_api") as readers,
    ):
        units = [await make_unit(conn) for _ in range(8)]
        owners: dict[UnitId, UUID] = {}
        organizations = [uuid4() for _ in range(3)]
        for organization in organizations:
            await insert_organization(conn, organization, "o")
        for unit in units[:-1]:
            owners[unit] = draw.choice(organizations)
            await add_unit(conn, owners[unit], unit)
        hooks: dict[UUID, tuple[UUID, frozenset[UnitId] | None]] = {}
        for organization in organizations:
            for _ in range(3):
                mine = [unit for unit in units if owners.get(unit) == organization]
                chosen = (
                    frozenset(draw.sample(mine, draw.randint(1, len(mine)))) if mine and draw.random() < 0.7 else None
                )
                hook, owner = uuid4(), OrganizationOwner(organization, None)
                new = NewHook(
                    hook, "https://crm.example.com/", ["message.received"], sorted(chosen) if chosen else None
                )
                assert await crm_webhooks.insert_hook(conn, owner, new, 10)
                hooks[hook] = organization, chosen
        told = [(draw.choice(units), uuid4()) for _ in range(60)]
        for unit, subject in told:
            await conn.execute(TELL, (unit, subject))
        for _ in range(25):
            organization = draw.choice(organizations)
            chosen = frozenset(draw.sample(units, draw.randint(1, 5))) if draw.random() < 0.6 else None
            members = {unit for unit, owner in owners.items() if owner == organization}
            opened = frozenset(members if chosen is None else members & chosen)
            grant = OrganizationGrant(organization, chosen, opened)
            for asked in organizations:  # also those of others, as if the way there had not been barred
                async with grant_scope(readers, grant) as reader:
                    found = await events.list_events(reader, EventFilter(asked), 0, 10**9, 1000)
                expected = [subject for unit, subject in told if unit in opened and asked == organization]
                assert [each.told.subject for each in found] == expected
                assert set(await load_units(readers, asked, grant)) == (opened if asked == organization else set())
                assert (await load_organization(readers, asked, grant) is not None) == (asked == organization)
                seen = {each.id for each in await crm_webhooks.list_hooks(readers, OrganizationOwner(asked, grant))}
                fitting = {
                    hook
                    for hook, (owner, of) in hooks.items()
                    if owner == asked == organization and (chosen is None or (of is not None and of <= chosen))
                }
                assert seen == fitting
            for hook, (owner, of) in hooks.items():
                page = await crm_webhooks.list_deliveries(
                    readers, OrganizationOwner(organization, grant), hook, None, None, 1000
                )
                of_hook = [
                    subject
                    for unit, subject in told
                    if owners.get(unit) == owner and (of is None or unit in of) and unit in opened
                ]
                assert [each.subject for each in reversed(page)] == of_hook
        for organization in organizations:
            assert {owners[unit] for unit in await list_units(conn, organization)} <= {organization}


async def test_what_is_queued_or_dead_of_a_unit_that_has_left_is_neither_due_nor_revived(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        organization, hook = uuid4(), uuid4()
        units = [await make_unit(conn) for _ in range(3)]
        await insert_organization(conn, organization, "Rede")
        owner = OrganizationOwner(organization, None)
        for unit in units:
            await add_unit(conn, organization, unit)
        new = NewHook(hook, "https://crm.example.com/", ["message.received"])
        assert await crm_webhooks.insert_hook(conn, owner, new, 1)
        assert not await crm_webhooks.insert_hook(conn, owner, NewHook(uuid4(), new.url, new.events), 1)
        for unit in units:
            for _ in range(3):
                await conn.execute(TELL, (unit, uuid4()))
        await conn.execute("update zapline.hook_deliveries set created_at = now() - interval '1 minute'")
        await conn.execute("update zapline.organization_units set added_at = now() - interval '1 hour'")
        for unit in units[1:]:
            assert await remove_unit(conn, organization, unit)
        await add_unit(conn, organization, units[2])  # again, and told of nothing that was before
        assert {each.unit for each in await crm_webhooks.list_due_deliveries(conn, hook, 0, 10)} == {units[0]}
        assert [await crm_webhooks.bury_left(conn, 0, 4) for _ in range(3)] == [4, 2, 0]
        await conn.execute("update zapline.hook_deliveries set state = 'dead', ended_at = now()")
        dead = await conn.fetch("select id, unit_id from zapline.hook_deliveries")
        for row in dead:
            may = row.unit_id == units[0]
            assert await crm_webhooks.has_delivery(conn, owner, hook, row.id) == may
            if row is dead[0] or not may:
                assert await crm_webhooks.replay_delivery(conn, owner, hook, row.id) == may
        assert await crm_webhooks.replay_dead(conn, owner, hook, 0, 100) == 2
        assert {each.unit for each in await crm_webhooks.list_due_deliveries(conn, hook, 2e9, 10)} == {units[0]}
        await remove_unit(conn, organization, units[0])
        await remove_unit(conn, organization, units[2])
        assert await delete_organization(conn, organization)
        assert await add_unit(conn, organization, units[0]) is None
        assert await prune_organizations(conn) == 0, "its hook is there yet"
        await conn.execute("delete from zapline.hooks")
        assert await prune_organizations(conn) == 1


async def test_of_what_is_read_back_a_hook_is_told_only_what_happened_since_it_and_since_the_unit_came(
    database: str,
) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        organization, hook, unit = uuid4(), uuid4(), await make_unit(conn)
        await insert_organization(conn, organization, "Rede")
        await add_unit(conn, organization, unit)
        new = NewHook(hook, "https://crm.example.com/", ["message.received"])
        assert await crm_webhooks.insert_hook(conn, OrganizationOwner(organization, None), new, 1)
        for joined, made, written, delivered in ((60, 0, 1, 0), (0, 60, 0, 0), (60, 60, 1, 1)):  # minutes ago
            await conn.execute(
                "update zapline.organization_units set added_at = now() - %s * interval '1 minute'", (joined,)
            )
            await conn.execute("update zapline.hooks set created_at = now() - %s * interval '1 minute'", (made,))
            subject = uuid4()
            await conn.execute(
                "select zapline.tell(array[(%s, 'message.received', %s, null, now() - interval '30 minutes')"
                "::zapline.news])",
                (unit, subject),
            )
            for table, expected in (("events", written), ("hook_deliveries", delivered)):
                rows = await conn.fetch(f"select from zapline.{table} where subject = %s", (subject,))
                assert len(rows) == expected, (joined, made, table)


async def test_pages_of_a_replay_come_to_all_events_whatever_their_times(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        organization, hook, unit = uuid4(), uuid4(), await make_unit(conn)
        await insert_organization(conn, organization, "Rede")
        await add_unit(conn, organization, unit)
        owner, new = OrganizationOwner(organization, None), NewHook(hook, "https://x.example/", ["message.received"])
        assert await crm_webhooks.insert_hook(conn, owner, new, 1)
        for _ in range(5):
            await conn.execute(TELL, (unit, uuid4()))
        await conn.execute("delete from zapline.hook_deliveries")
        await conn.execute(  # the transaction of a later place has begun earlier, and two have begun at once
            "update zapline.events e set created_at = e.created_at + (7 - n.place) / 2 * interval '1 second' from "
            "(select seq, row_number() over (order by seq) as place from zapline.events where unit_id = %s) n "
            "where n.seq = e.seq",
            (unit,),
        )
        after, pages = 0, []
        for _ in range(4):
            wanted = EventRange(0, 4e9, after=after)
            page = await replay_events(conn, owner, hook, wanted, pause=0, limit=2)
            pages.append((page.found, page.replayed))
            after = page.last or after
        assert pages == [(2, 2), (2, 2), (1, 1), (0, 0)]


async def test_of_two_who_make_a_hook_at_once_one_is_the_last_that_may(database: str) -> None:
    made: list[bool] = []

    async def insert(conn: Connection, unit: UnitId) -> None:
        async with conn.transaction():
            assert await crm_webhooks.lock_owner(conn, unit)
            made.append(
                await crm_webhooks.insert_hook(conn, unit, NewHook(uuid4(), "https://x.example/", ["unit.status"]), 1)
            )
            await trio.sleep(0.2)

    async with await connect(database, role="zapline_engine") as one, await connect(database) as two:
        unit = await make_unit(one)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(insert, one, unit)
            nursery.start_soon(insert, two, unit)
    assert sorted(made) == [False, True]
