"""From a campaign's recipients into the outbox: each once, in its hours and at its pace."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import time

import trio
from support.campaign_stack import campaign_stack, phone
from support.inbound_stack import until

from zapline.domain.campaigns.schedule import CampaignTiming
from zapline.domain.campaigns.states import CampaignCommand
from zapline.domain.ids import contact_id, conversation_id
from zapline.domain.line.reasons import Phase
from zapline.sql.campaigns.campaigns import move_to_reply_lane


async def test_a_campaign_is_fed_in_tens_and_ends_when_nothing_is_left(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit()
        campaign = await stack.create_campaign(unit, 12)
        assert await stack.feeder.round() == 0.25
        assert await stack.queued_messages(campaign) == [(phone(number), "queued", 0.0) for number in range(10)]
        assert stack.woken == [unit]
        assert stack.feeder.campaigning == {unit}
        # What lies ready is enough: nothing is added.
        await stack.feeder.round()
        assert len(await stack.queued_messages(campaign)) == 10
        first = await stack.claim(unit)
        assert first is not None
        assert (first.recipient, first.address) == (phone(0), phone(0)[1:])
        assert first.outgoing.content.text == "Oi N0"  # type: ignore[union-attr]
        await stack.end_message(first.message)
        for _ in range(11):
            await stack.feeder.round()
            claimed = await stack.claim(unit)
            assert claimed is not None
            await stack.end_message(claimed.message)
            assert await stack.state(campaign) == "running"
        await stack.feeder.round()
        assert await stack.state(campaign) == "done"
        ids = await stack.column("select client_message_id from zapline.messages order by seq")
        assert ids == [f"campaign:{campaign}:{number}:0" for number in range(1, 13)]
        stored = await stack.sql(
            "select m.body, m.kind, m.origin, m.delivery::text, m.from_me, k.phone, k.kind as whom,"
            " c.last_message_at is null"
            " from zapline.messages m join zapline.conversations c on c.id = m.conversation_id"
            " join zapline.contacts k on k.id = c.contact_id order by m.seq limit 1"
        )
        assert stored == [("Oi N0", "text", "sent", "queued", True, phone(0), "person", False)]


async def test_a_campaign_waits_for_its_time_its_line_and_its_hours(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit, now = await stack.add_unit(), stack.now
        campaign = await stack.create_campaign(unit, 2, CampaignTiming(None, time(9), time(13)), start=False)
        await stack.sql(f"update zapline.campaigns set start_at = to_timestamp({now + 60})")
        await stack.campaigns.change_state(unit, campaign, CampaignCommand.START)
        assert await stack.state(campaign) == "scheduled"
        assert await stack.feeder.round() <= 60
        assert await stack.state(campaign) == "scheduled"
        stack.now = now + 60
        stack.feeder.clocks_agree = lambda: False  # of two clocks one says that it is time
        assert await stack.feeder.round() == 5.0
        assert await stack.state(campaign) == "scheduled"
        stack.feeder.clocks_agree = lambda: True
        stack.set_phase(unit, Phase.BACKING_OFF)
        assert await stack.feeder.round() == 5.0
        assert (await stack.state(campaign), await stack.queued_messages(campaign)) == ("running", [])
        stack.set_phase(unit, Phase.OPEN)
        stack.now = now + 3600  # 13:00, when the window closes
        assert await stack.feeder.round() == 5.0
        assert await stack.queued_messages(campaign) == []
        stack.now = now + 3599
        await stack.feeder.round()
        assert [due for *_, due in await stack.queued_messages(campaign)] == [0.0, 0.0]
        # What lies ready as the window closes waits until it opens; whoever has written is answered all the same.
        async with stack.pool.connection() as conn:
            row = {"unit_id": unit, "conversation_id": conversation_id(unit, phone(1))}
            assert await move_to_reply_lane(conn, [row]) == {unit}
            assert await move_to_reply_lane(conn, [row]) == set()
        stack.now = now + 3600
        await stack.feeder.round()
        assert [due for *_, due in await stack.queued_messages(campaign)] == [20 * 3600.0, -1.0]
        claimed = await stack.claim(unit)
        assert claimed is not None
        assert claimed.recipient == phone(1)


async def test_the_units_night_holds_a_campaign(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit(pace="quiet_from = '12:00', quiet_until = '12:30'")
        campaign = await stack.create_campaign(unit)
        await stack.feeder.round()
        assert await stack.queued_messages(campaign) == []
        stack.now += 1800
        await stack.feeder.round()
        assert len(await stack.queued_messages(campaign)) == 3


async def test_a_slow_campaign_keeps_its_own_pace_whatever_the_line_does(database: str) -> None:
    async with campaign_stack(database, chance=lambda: 0.5) as stack:
        unit, now = await stack.add_unit(), stack.now
        campaign = await stack.create_campaign(unit, 5, CampaignTiming(60.0))
        await stack.feeder.round()
        assert await stack.queued_messages(campaign) == [(phone(0), "queued", 0.0)]
        # An hour without a line: one message lies ready, and the next is a minute behind its call.
        stack.now = now + 3600
        await stack.feeder.round()
        first = await stack.claim(unit)
        assert first is not None
        await stack.end_message(first.message)
        stack.now += 1
        await stack.feeder.round()
        assert [due for *_, due in await stack.queued_messages(campaign)][1:] == [59.0]
        assert await stack.claim(unit) is None
        stack.now += 59
        assert await stack.claim(unit) is not None


class CancelAfter(trio.abc.Instrument):
    """Cancels a scope after so many steps of its task: at the same place on a slow machine and on a fast one."""

    def __init__(self, steps: int, scope: trio.CancelScope) -> None:
        self._left, self._scope, self._task = steps, scope, trio.lowlevel.current_task()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= task is self._task
        if self._left == 0:
            self._scope.cancel()


@contextmanager
def cancelled_after(steps: int, scope: trio.CancelScope) -> Iterator[None]:
    instrument = CancelAfter(steps, scope)
    trio.lowlevel.add_instrument(instrument)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(instrument)


async def test_many_rounds_cut_short_anywhere_queue_every_recipient_once(database: str) -> None:
    chance = random.Random(5)
    async with campaign_stack(database) as stack:
        # Each round is cancelled a few steps later than the one before, until one completes.
        steps = 1
        units = [await stack.add_unit() for _ in range(2)]
        made = [await stack.create_campaign(unit, 70) for unit in units]
        cut = 0
        with trio.fail_after(60):
            while await stack.column("select count(*) from zapline.outbox") != [140]:
                with trio.CancelScope() as scope, cancelled_after(steps, scope):
                    await stack.feeder.round()
                cut += scope.cancelled_caught
                steps = steps + chance.randint(1, 3) if scope.cancelled_caught else 1
                if not scope.cancelled_caught:
                    await stack.sql("update zapline.outbox set state = 'settled' where state = 'queued'")
        assert cut > 20
        for campaign in made:
            counts = await stack.sql(
                "select count(*) as a, count(distinct o.recipient) as b, count(distinct r.message_id) as c,"
                " string_agg(distinct r.state, ',') as d"
                " from zapline.outbox o join zapline.campaign_recipients r on r.message_id = o.message_id"
                f" where o.campaign_id = '{campaign}' and r.campaign_id = o.campaign_id"
            )
            assert counts == [(70, 70, 70, "enqueued")]
        await stack.sql("update zapline.outbox set state = 'settled'")
        await stack.feeder.round()
        assert [await stack.state(campaign) for campaign in made] == ["done", "done"]


async def test_who_opts_out_meanwhile_is_skipped_also_under_another_name(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit()
        campaign = await stack.create_campaign(unit, 4)
        await stack.campaigns.suppressions.add(unit, phone(1))
        # A LID that has opted out turns out to be the third recipient.
        await stack.campaigns.suppressions.add(unit, "lid:777")
        lid, by_phone = conversation_id(unit, "lid:777"), conversation_id(unit, phone(2))
        for canonical in ("lid:777", phone(2)):
            contact = contact_id(unit, canonical)
            await stack.sql(
                "insert into zapline.contacts (id, unit_id, kind, canonical)"
                f" values ('{contact}', '{unit}', 'person', '{canonical}')"
            )
            await stack.sql(
                "insert into zapline.conversations (id, unit_id, contact_id)"
                f" values ('{conversation_id(unit, canonical)}', '{unit}', '{contact}')"
            )
        await stack.sql(f"update zapline.conversations set merged_into = '{by_phone}' where id = '{lid}'")
        await stack.feeder.round()
        assert [recipient for recipient, *_ in await stack.queued_messages(campaign)] == [phone(0), phone(3)]
        skipped = await stack.sql("select number, reason from zapline.campaign_recipients where state = 'skipped'")
        assert skipped == [(2, "opted_out"), (3, "opted_out")]


async def test_a_client_id_that_somebody_took_skips_its_recipient_and_no_other(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit()
        taken = await stack.create_campaign(unit, 1)
        await stack.feeder.round()
        campaign = await stack.create_campaign(unit, 2, first=10)
        await stack.sql(f"update zapline.messages set client_message_id = 'campaign:{campaign}:1:0'")
        await stack.feeder.round()
        assert [recipient for recipient, *_ in await stack.queued_messages(campaign)] == [phone(11)]
        reasons = "select reason from zapline.campaign_recipients where state = 'skipped'"
        assert await stack.column(reasons) == ["client_id_taken"]
        assert taken != campaign


async def test_a_campaign_that_has_ended_goes_on_when_a_person_releases_a_message(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit()
        campaign = await stack.create_campaign(unit, 1)
        await stack.feeder.round()
        claimed = await stack.claim(unit)
        assert claimed is not None
        await stack.end_message(claimed.message, "uncertain")
        await stack.feeder.round()
        assert await stack.state(campaign) == "done"
        await stack.end_message(claimed.message, "queued")
        stack.feeder._sweep_at = 0.0
        await stack.feeder.round()
        assert await stack.state(campaign) == "running"
        assert await stack.claim(unit) is not None


async def test_the_feeder_is_woken_and_survives_an_outage_of_the_database(database: str) -> None:
    async with campaign_stack(database) as stack, trio.open_nursery() as nursery:
        unit = await stack.add_unit()
        campaign = await stack.create_campaign(unit, 2, start=False)
        nursery.start_soon(stack.feeder.run)
        await until(lambda: stack.feeder._sweep_at > 0)  # it has had a first round
        # As if the database had gone away: every connection is cut.
        await stack.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        await stack.sql("update zapline.campaigns set state = 'running'")
        stack.feeder.wake()
        await until(lambda: bool(stack.woken))
        assert len(await stack.queued_messages(campaign)) == 2
        nursery.cancel_scope.cancel()
