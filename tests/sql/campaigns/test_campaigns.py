"""Campaigns in the database: created once, loaded completely or not at all, counted, stopped and retried."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import trio
from support.campaign_stack import CampaignStack, campaign_stack, phone

from zapline.domain.campaigns.recipients_csv import InvalidRecipients
from zapline.domain.campaigns.results import Outcome
from zapline.domain.campaigns.states import CampaignCommand, WrongCampaignState
from zapline.domain.campaigns.text_templates import InvalidTemplate
from zapline.domain.ids import UnitId
from zapline.domain.outbox.contents import File, Text
from zapline.domain.outbox.failure_texts import failure_text
from zapline.sql.campaigns.campaign_results import list_outcomes, read_results
from zapline.sql.campaigns.campaigns import Campaign, find_campaign, list_campaigns, list_recipients, list_variables
from zapline.sql.campaigns.recipient_counts import CountKeeper
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.campaigns.campaign_commands import (
    CampaignConflict,
    CampaignPlan,
    InvalidCampaign,
    NoRecipients,
    NotFillable,
    UnknownCampaign,
)
from zapline.supervisors.campaigns.recipient_loading import RecipientCsv
from zapline.supervisors.units.unit_commands import UnknownUnit


async def in_chunks(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def read_campaign(stack: CampaignStack, unit: object, id: object) -> Campaign:
    """The campaign as the API's role reads it."""
    async with Pool.open(stack.url, size=1, role="zapline_api") as pool:
        campaign_now = await find_campaign(pool, unit, id)  # type: ignore[arg-type]
    assert campaign_now is not None
    return campaign_now


async def test_fifty_equal_requests_create_one_campaign_and_another_content_is_refused(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit()
        plan = CampaignPlan("c", Text("Oi {{nome}}"), [{"to": phone(1), "nome": "Ana"}], client_id="k")
        created = []

        async def create() -> None:
            created.append(await stack.campaigns.create(unit, plan))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(create)
        assert len({id for id, _ in created}) == 1
        assert [fresh for _, fresh in created].count(True) == 1
        assert await stack.column("select count(*) from zapline.campaign_recipients") == [1]
        with pytest.raises(CampaignConflict):
            await stack.campaigns.create(unit, CampaignPlan("c", Text("Oi"), plan.recipients, client_id="k"))
        # Another unit has client ids of its own.
        other = await stack.add_unit()
        assert (await stack.campaigns.create(other, plan))[1]


async def test_an_invalid_campaign_is_refused_and_stores_nothing(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit()
        one = [{"to": phone(1)}]
        for content, error in [
            (Text("  \0 "), InvalidCampaign),
            (Text("Oi {{nome"), InvalidTemplate),
            (File("sticker", url="https://x.example/a"), InvalidCampaign),  # type: ignore[arg-type]
            (File("image"), InvalidCampaign),  # type: ignore[arg-type]
            (File("image", upload=unit), InvalidCampaign),  # type: ignore[arg-type]
            (File("voice", url="https://x.example/a", caption="x"), InvalidCampaign),  # type: ignore[arg-type]
        ]:
            with pytest.raises(error):
                await stack.campaigns.create(unit, CampaignPlan("c", content, one))
        with pytest.raises(InvalidRecipients):
            await stack.campaigns.create(unit, CampaignPlan("c", Text("Oi"), [*one, {"nome": "Ana"}]))
        with pytest.raises(NoRecipients):
            await stack.campaigns.create(unit, CampaignPlan("c", Text("Oi {{nome}}"), one, start=True))
        with pytest.raises(UnknownUnit):
            await stack.campaigns.create(UnitId(UUID(int=1)), CampaignPlan("c", Text("Oi"), one))
        assert await stack.column("select count(*) from zapline.campaigns") == [0]


async def test_a_list_is_checked_and_the_reasons_are_stored_with_it(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit()
        await stack.campaigns.suppressions.add(unit, phone(3))
        id, _ = await stack.campaigns.create(
            unit, CampaignPlan("c", Text("Oi {{nome}}"), [{"to": phone(1), "nome": "Ana"}])
        )
        lines = ["telefone;Nome;cidade", f"{phone(1)};de novo;", f"{phone(2)};Bia;Recife", f"{phone(2)};Bia;"]
        data = "\n".join([*lines, f"{phone(3)};Caio;", "abc;Davi;", f"{phone(4)};;Natal"])
        dry = await stack.campaigns.forecast_load(unit, id, RecipientCsv(in_chunks(data.encode())))
        tally = await stack.campaigns.load(unit, id, RecipientCsv(in_chunks(data[:30].encode(), data[30:].encode())))
        assert dry.counts == tally
        assert (tally.received, tally.accepted) == (6, 1)
        assert dry.ends_at == stack.now + 2
        campaign_now = await read_campaign(stack, unit, id)
        assert campaign_now.counts == {"pending": 2, "skipped": 5}
        assert campaign_now.skipped == {"duplicate": 2, "opted_out": 1, "invalid_phone": 1, "missing_variable": 1}
        async with Pool.open(stack.url, size=1, role="zapline_api") as pool:
            page = await list_recipients(pool, unit, id, None, 1, 4)
            skipped = await list_recipients(pool, unit, id, ["skipped"], 0, 9)
            assert await list_variables(pool, unit, id) == {"nome", "cidade"}
        assert [(one.number, one.recipient, one.state, one.reason) for one in page] == [
            (2, phone(1), "skipped", "duplicate"),
            (3, phone(2), "pending", None),
            (4, phone(2), "skipped", "duplicate"),
            (5, phone(3), "skipped", "opted_out"),
        ]
        assert (skipped[-1].detail, skipped[-1].values, skipped[-2].recipient) == ("nome", {"cidade": "Natal"}, "abc")


async def test_a_list_that_is_not_loaded_completely_stores_nothing(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit()
        id, _ = await stack.campaigns.create(unit, CampaignPlan("c", Text("Oi"), [{"to": phone(1)}]))
        many = b"to\n" + b"".join(f"{phone(number)}\n".encode() for number in range(2, 2500))
        hangs = trio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield many
            hangs.set()
            await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stack.campaigns.load, unit, id, RecipientCsv(endless()))
            await hangs.wait()
            # While the list is loading it is counted, and other changes are refused.
            campaign_now = await read_campaign(stack, unit, id)
            assert (campaign_now.state, campaign_now.counts.total() > 1) == ("loading", True)
            for refused in (
                stack.campaigns.load(unit, id, [{"to": phone(9)}]),
                stack.campaigns.change_state(unit, id, CampaignCommand.START),
            ):
                with pytest.raises((NotFillable, WrongCampaignState)):
                    await refused
            stack.feeder._sweep_at = 0.0
            await stack.feeder.round()
            assert (await read_campaign(stack, unit, id)).state == "loading"
            nursery.cancel_scope.cancel()
        assert (await read_campaign(stack, unit, id)).counts == {"pending": 1}
        with pytest.raises(InvalidRecipients, match="line 2500"):
            await stack.campaigns.load(unit, id, RecipientCsv(in_chunks(many, b"\xff\n")))
        campaign_now = await read_campaign(stack, unit, id)
        assert (campaign_now.state, campaign_now.counts) == ("ready", {"pending": 1})
        # As after a crash: rows exist, but no load is running.
        await stack.sql("update zapline.campaigns set state = 'loading', loading_from = 2")
        await stack.sql(
            "insert into zapline.campaign_recipients (campaign_id, number, unit_id, recipient)"
            f" values ('{id}', 2, '{unit}', 'x')"
        )
        stack.feeder._sweep_at = 0.0
        await stack.feeder.round()
        campaign_now = await read_campaign(stack, unit, id)
        assert (campaign_now.state, campaign_now.counts) == ("ready", {"pending": 1})
        assert (await stack.campaigns.load(unit, id, RecipientCsv(in_chunks(many)))).accepted == 2498


async def test_counts_are_those_of_the_rows_in_every_state_of_the_messages(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit()
        campaign = await stack.create_campaign(unit, 13)
        await stack.feeder.round()
        works = ["leased", "settled", "settled", "settled", "settled", "uncertain", "dead", "expired", "cancelled"]
        for number, work in enumerate(works, 1):
            await stack.sql(
                f"update zapline.outbox o set state = '{work}', failure = 'f{number}'"
                " from zapline.campaign_recipients r"
                f" where r.message_id = o.message_id and r.number = {number}"
            )
        for number, delivery in ((3, "delivered"), (4, "played"), (5, "failed")):
            await stack.sql(
                f"update zapline.messages m set delivery = '{delivery}' from zapline.campaign_recipients r"
                f" where r.message_id = m.id and r.number = {number}"
            )
        expected = {"sending": 1, "sent": 1, "delivered": 1, "read": 1, "undelivered": 1, "uncertain": 1, "failed": 2}
        expected |= {"cancelled": 1, "queued": 1, "pending": 3}
        assert (await read_campaign(stack, unit, campaign)).counts == expected
        async with Pool.open(stack.url, size=1, role="zapline_api") as pool:
            failed = await list_recipients(pool, unit, campaign, ["failed", "uncertain"], 0, 9)
            assert [(one.number, one.state, one.reason) for one in failed] == [
                (6, "uncertain", "f6"),
                (7, "failed", "f7"),
                (8, "failed", "f8"),
            ]
            # Another unit sees none of it.
            other = await stack.add_unit()
            assert await find_campaign(pool, other, campaign) is None
            assert await list_recipients(pool, other, campaign, None, 0, 9) == []
            second = await stack.create_campaign(unit, 1, first=50)
            page = await list_campaigns(pool, unit, None, 1)
            page += await list_campaigns(pool, unit, (page[0].created_at, page[0].id), 5)
            assert {one.id for one in page} == {campaign, second}
            assert sum(one.counts.total() for one in page) == 14


async def test_a_large_campaign_is_counted_once_in_a_while_and_after_each_change_of_its_state(database: str) -> None:
    async with campaign_stack(database) as stack, Pool.open(stack.url, size=1, role="zapline_api") as pool:
        unit = await stack.add_unit()
        large, small = await stack.create_campaign(unit, 4), await stack.create_campaign(unit, 2, first=50)
        keeper, short = CountKeeper(max_age=3600, large=3), CountKeeper(max_age=0, large=3)

        async def pending(state: str, keeper: CountKeeper = keeper, fresh: bool = False) -> list[int]:
            counts = await keeper.count(pool, unit, {large: state, small: state}, fresh=fresh)
            return [sum(each.recipients for each in counts[id] if each.state == "pending") for id in (large, small)]

        async def skip_one() -> None:
            for id in (large, small):
                one = f"select min(number) from zapline.campaign_recipients where campaign_id = '{id}'"
                await stack.sql(
                    "update zapline.campaign_recipients set state = 'skipped', reason = 'opted_out'"
                    f" where campaign_id = '{id}' and number = ({one} and state = 'pending')"
                )

        assert await pending("running") == await pending("running", short) == [4, 2]
        await skip_one()
        # Exact: the small one; the large one where its state is another, where it is asked for, where it was forgotten.
        assert await pending("running") == [4, 1]
        assert await pending("running", short) == [3, 1]
        assert await pending("paused") == [3, 1]
        await skip_one()
        assert await pending("paused") == [3, 0]
        assert await pending("paused", fresh=True) == await pending("paused") == [2, 0]
        await skip_one()
        keeper.forget(large)
        assert await pending("paused") == [1, 0]
        # Many ask at once: they wait for one count, also without a connection for each.
        keeper.forget(large)
        answers: list[list[int]] = []

        async def ask() -> None:
            answers.append(await pending("paused"))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
        assert answers == [[1, 0]] * 20
        other = await stack.add_unit()
        assert await CountKeeper(large=0).count(pool, other, {large: "paused"}) == {large: ()}


async def test_failed_recipients_are_retried_and_uncertain_ones_are_not(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit()
        campaign = await stack.create_campaign(unit, 4)
        await stack.feeder.round()
        for state in ("dead", "expired", "uncertain", "settled"):
            claimed = await stack.claim(unit)
            assert claimed is not None
            await stack.end_message(claimed.message, state)
        await stack.feeder.round()
        assert await stack.state(campaign) == "done"
        await stack.campaigns.suppressions.add(unit, phone(1))
        assert await stack.campaigns.change_state(unit, campaign, CampaignCommand.RETRY_FAILED) == 2
        assert (await read_campaign(stack, unit, campaign)).counts == {
            "pending": 1,
            "skipped": 1,
            "uncertain": 1,
            "sent": 1,
        }
        assert await stack.campaigns.change_state(unit, campaign, CampaignCommand.RETRY_FAILED) == 0
        await stack.feeder.round()
        claimed = await stack.claim(unit)
        assert claimed is not None
        assert claimed.recipient == phone(0)
        ids = f"select client_message_id from zapline.messages where id = '{claimed.message}'"
        assert await stack.column(ids) == [f"campaign:{campaign}:1:1"]
        await stack.end_message(claimed.message)
        await stack.feeder.round()
        assert await stack.state(campaign) == "done"
        assert await stack.campaigns.change_state(unit, campaign, CampaignCommand.RETRY_FAILED) == 0
        assert await stack.state(campaign) == "done"


async def test_what_whatsapp_refused_is_told_in_words_and_retried(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit()
        campaign = await stack.create_campaign(unit, 3)
        await stack.feeder.round()
        for _ in range(3):
            claimed = await stack.claim(unit)
            assert claimed is not None
            await stack.end_message(claimed.message)
        await stack.sql(
            "update zapline.messages set delivery = 'failed', refused_at = now(),"
            " refusal = case when body = 'Oi N1' then 'whatsapp_refused_463' end where body <> 'Oi N2'"
        )
        async with Pool.open(stack.url, size=2, role="zapline_api") as pool:
            rows = await list_recipients(pool, unit, campaign, ["undelivered"], 0, 10)
        assert [row.reason for row in rows] == ["whatsapp_refused", "whatsapp_refused_463"]
        assert [row.detail for row in rows] == [failure_text(row.reason or "") for row in rows]
        await stack.feeder.round()
        assert await stack.campaigns.change_state(unit, campaign, CampaignCommand.RETRY_FAILED) == 2
        assert (await read_campaign(stack, unit, campaign)).counts == {"pending": 2, "sent": 1}


async def test_a_campaign_is_paused_resumed_and_cancelled(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit()
        campaign = await stack.create_campaign(unit, 12)
        await stack.feeder.round()
        for _ in range(2):
            await stack.campaigns.change_state(unit, campaign, CampaignCommand.PAUSE)
        await stack.feeder.round()
        assert await stack.claim(unit) is None
        assert stack.feeder.campaigning == set()
        await stack.campaigns.change_state(unit, campaign, CampaignCommand.RESUME)
        claimed = await stack.claim(unit)
        assert claimed is not None
        for _ in range(2):
            await stack.campaigns.change_state(unit, campaign, CampaignCommand.CANCEL)
        campaign_now = await read_campaign(stack, unit, campaign)
        assert campaign_now.counts == {"sending": 1, "cancelled": 11}
        assert (campaign_now.started_at is not None, campaign_now.ended_at is not None) == (True, True)
        query = "select distinct o.failure, m.delivery::text from zapline.outbox o join zapline.messages m"
        query += " on m.id = o.message_id where o.state = 'cancelled'"
        assert await stack.sql(query) == [("campaign_cancelled", "failed")]
        for ask in (CampaignCommand.START, CampaignCommand.RESUME, CampaignCommand.PAUSE, CampaignCommand.RETRY_FAILED):
            with pytest.raises(WrongCampaignState):
                await stack.campaigns.change_state(unit, campaign, ask)
        with pytest.raises(NotFillable):
            await stack.campaigns.load(unit, campaign, [{"to": phone(99)}])
        for unknown in (
            stack.campaigns.change_state(unit, unit, CampaignCommand.START),
            stack.campaigns.load(unit, unit, []),
            stack.campaigns.forecast_load(unit, unit, []),
            stack.campaigns.change_state(await stack.add_unit(), campaign, CampaignCommand.CANCEL),
        ):
            with pytest.raises(UnknownCampaign):
                await unknown


async def test_a_dry_run_stores_nothing_and_forecasts_the_end(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit(pace="daily_cap = 2, warm_up_first = 1")
        await stack.campaigns.suppressions.add(unit, phone(2))
        recipients = [{"to": phone(number), "nome": f"N{number}"} for number in range(1, 6)]
        forecast = await stack.campaigns.forecast(
            unit, CampaignPlan("c", Text("Oi {{nome}}"), [*recipients, {"to": "x"}])
        )
        tally = forecast.counts
        assert (tally.received, tally.accepted, tally.skipped) == (6, 4, {"opted_out": 1, "invalid_phone": 1})
        assert tally.previews[0] == ("****0001", "Oi N1")
        assert [one.recipient for one in tally.examples] == ["****0002", "x"]
        # One today, two tomorrow, and the last the day after.
        assert forecast.starts_at == stack.now
        assert forecast.ends_at == stack.now + 12 * 3600 + 86_400
        assert await stack.column("select count(*) from zapline.campaign_recipients") == [0]


async def test_results_say_who_was_reached_and_who_has_replied_or_wants_no_more(database: str) -> None:
    async with campaign_stack(database) as stack, Pool.open(stack.url, size=1, role="zapline_api") as pool:
        unit = await stack.add_unit()
        campaign = await stack.create_campaign(unit, 7)
        await stack.feeder.round()
        of = "from zapline.campaign_recipients r where r.message_id = {} and r.number {}"
        settled = "state = 'settled', settled_at = '2026-11-23 15:01:00+00'"
        await stack.sql(f"update zapline.outbox o set {settled} {of.format('o.message_id', '<= 6')}")
        for numbers, values in (
            ("in (2, 3)", "delivery = 'delivered', told_delivered_at = '2026-11-23 15:02:00+00'"),
            ("= 4", "delivery = 'read', told_read_at = '2026-11-24 15:00:00+00'"),
            ("= 5", "delivery = 'failed', refusal = 'whatsapp_refused_463'"),
        ):
            await stack.sql(f"update zapline.messages m set {values} {of.format('m.id', numbers)}")

        async def receive(number: int, at: str, external_id: str, chat: str = "m.conversation_id") -> None:
            await stack.sql(
                "insert into zapline.messages (id, unit_id, conversation_id, provider, external_id, from_me, kind,"
                " kind_rank, origin, sent_at, received_at)"
                f" select gen_random_uuid(), m.unit_id, {chat}, 'evolution', '{external_id}', false, 'text', 2, 'live',"
                f" '{at}', now() from zapline.messages m, zapline.campaign_recipients r"
                f" where r.message_id = m.id and r.campaign_id = '{campaign}' and r.number = {number}"
            )

        # One answers, twice; one has written before; one answers too late; one under a LID wants no more, and says so.
        await receive(4, "2026-11-24 16:00:00+00", "A1")
        await receive(4, "2026-11-24 17:00:00+00", "A2")
        await receive(2, "2026-11-23 15:00:00+00", "B1")
        await receive(3, "2026-12-01 15:00:00+00", "C1")
        await stack.sql(
            "insert into zapline.contacts (id, unit_id, kind, canonical) values"
            f" ('00000000-0000-0000-0000-0000000000c1', '{unit}', 'person', '77@lid')"
        )
        await stack.sql(
            "insert into zapline.conversations (id, unit_id, contact_id, last_message_at, merged_into)"
            f" select '00000000-0000-0000-0000-0000000000c2', '{unit}', '00000000-0000-0000-0000-0000000000c1', now(),"
            " m.conversation_id from zapline.messages m, zapline.campaign_recipients r"
            f" where r.message_id = m.id and r.campaign_id = '{campaign}' and r.number = 6"
        )
        lid = "'00000000-0000-0000-0000-0000000000c2'::uuid"
        await receive(6, "2026-11-25 15:00:00+00", "D1", lid)
        await stack.sql(
            "insert into zapline.suppressions (unit_id, canonical, reason, word, external_id, created_at) values"
            f" ('{unit}', '77@lid', 'opt_out', 'SAIR', 'D1', '2026-11-25 15:00:01+00')"
        )
        results = await read_results(pool, unit, campaign)
        assert results is not None
        expected = {"sent": 6, "delivered": 3, "read": 1, "undelivered": 1, "replied": 1, "opted_out": 1}
        assert {each.value: results.total[each] for each in Outcome} == expected
        assert results.total.percent(Outcome.DELIVERED) == 50.0
        (_, first), (_, last) = results.timeline[0], results.timeline[-1]
        assert (first[Outcome.SENT], first[Outcome.DELIVERED], first[Outcome.READ]) == (6, 2, 0)
        assert last == results.total
        assert len(results.timeline) > 4

        rows = await list_outcomes(pool, unit, campaign, 0, 3) + await list_outcomes(pool, unit, campaign, 3, 9)
        assert [row.number for row in rows] == list(range(1, 8))
        states = ["sent", "delivered", "delivered", "read", "undelivered", "sent", "queued"]
        assert [row.state for row in rows] == states
        assert [row.number for row in rows if row.replied_at is not None] == [4]
        assert [row.number for row in rows if row.opted_out_at is not None] == [6]
        assert (rows[4].reason, rows[6].sent_at) == ("whatsapp_refused_463", None)
        assert [f"{at:%d %H:%M}" for at in (rows[3].delivered_at, rows[3].read_at, rows[3].replied_at) if at] == [
            *("24 15:00", "24 15:00", "24 16:00")
        ]
        other = await stack.add_unit()
        assert await read_results(pool, other, campaign) is None
        assert await list_outcomes(pool, other, campaign, 0, 9) == []
