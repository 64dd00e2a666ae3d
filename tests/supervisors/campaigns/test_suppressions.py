"""Who wants no campaigns: by a word in a message, by a person's hand, under every name."""

from uuid import UUID

import pytest
from support.campaign_stack import CampaignStack, campaign_stack, phone

from zapline.domain.campaigns.states import CampaignCommand
from zapline.domain.contacts.addresses import Address, resolve_address
from zapline.domain.contacts.phone_numbers import InvalidPhone
from zapline.domain.ids import ExternalId, Seq, UnitId
from zapline.domain.messages.facts import ContactSeen, MessageArrived, MessageKind, OptedOut
from zapline.domain.outbox.contents import OutgoingMessage, Text
from zapline.domain.outbox.work_states import Lane
from zapline.sql.campaigns import campaign_enqueueing
from zapline.sql.campaigns.opt_outs import list_suppressions, record_opt_outs
from zapline.sql.inbound.contact_identities import RecorderCache
from zapline.sql.inbound.recorder_transaction import record
from zapline.sql.inbound.recorder_types import EntryFacts
from zapline.sql.inbound.unit_batches import prepare_batch
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.campaigns.suppressions import UnknownSuppression

SAID = "Pronto."
LID = "111222333444555@lid"


def chat(*jids: str) -> Address:
    found = resolve_address(*jids)
    assert found is not None
    return found


def jid(number: int) -> str:
    return f"{phone(number)[1:]}@s.whatsapp.net"


async def arrives(conn: Connection, stack: CampaignStack, unit: UnitId, who: Address, external: str) -> None:
    """A message comes in and is stored, as the recorder does."""
    fact = MessageArrived(ExternalId(external), who, False, MessageKind.TEXT, "sair", sent_at=stack.now)
    entries = [EntryFacts(Seq(1), "messages.upsert", stack.now, b"{}", facts=[fact, ContactSeen(who)])]
    await record(conn, [prepare_batch(unit, entries, None, None, UUID(int=1))], RecorderCache())


async def opts_out(
    conn: Connection,
    stack: CampaignStack,
    unit: UnitId,
    who: Address,
    external: str,
    confirmation: str | None = SAID,
    behind: float = 0.0,
) -> int:
    """The rows that the recorder hands on for a word; ``behind``: seconds of the clock that dates its arrival."""
    await arrives(conn, stack, unit, who, external)
    entry = EntryFacts(Seq(2), "x", stack.now - behind, b"{}", facts=[OptedOut(who, "SAIR", ExternalId(external))])
    rows = prepare_batch(unit, [entry], None, None, UUID(int=1)).rows.opt_outs
    async with conn.transaction():
        told = await record_opt_outs(conn, [{**row, "confirmation": confirmation} for row in rows])
    return told.get(unit, 0)


async def test_a_word_takes_back_what_lies_ready_and_is_confirmed_once(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit()
        campaign = await stack.create_campaign(unit, 3)
        await stack.feeder.round()
        async with stack.pool.connection() as conn:
            assert await opts_out(conn, stack, unit, chat(jid(1)), "A") == 1
            # Again, and from a copy of the same webhook: known already.
            assert await opts_out(conn, stack, unit, chat(jid(1)), "B") == 0
            assert await opts_out(conn, stack, unit, chat(jid(1)), "A") == 0
            assert await opts_out(conn, stack, unit, chat(jid(9)), "C", confirmation=None) == 1
            assert await record_opt_outs(conn, []) == {}
        assert [(recipient, state) for recipient, state, _ in await stack.queued_messages(campaign)] == [
            (phone(0), "queued"),
            (phone(1), "cancelled"),
            (phone(2), "queued"),
        ]
        failures = await stack.sql(
            "select o.failure, m.delivery::text from zapline.outbox o join zapline.messages m on m.id = o.message_id"
            " where o.state = 'cancelled'"
        )
        assert failures == [("opted_out", "failed")]
        ids = await stack.column(
            "select client_message_id from zapline.messages where client_message_id like 'optout%'"
        )
        assert ids == ["optout:A"]
        claimed = await stack.claim(unit)
        assert claimed is not None
        assert (claimed.lane, claimed.recipient, claimed.address) == (Lane.REPLY, phone(1), phone(1)[1:])
        assert claimed.outgoing == OutgoingMessage(Text(SAID))
        assert claimed.campaign is None
        assert claimed.expires_at == stack.now + 86_400
        async with stack.pool.connection() as conn:
            assert await opts_out(conn, stack, unit, chat(jid(7)), "D", behind=40 * 86_400.0) == 1
        claimed = await stack.claim(unit)
        assert claimed is not None
        assert (claimed.recipient, claimed.expires_at) == (phone(7), stack.now + 86_400)


async def test_a_lid_opts_out_for_the_phone_it_belongs_to(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit()
        await stack.create_campaign(unit, 2)
        await stack.feeder.round()
        async with stack.pool.connection() as conn:
            # The two names are known to be one person; then the word comes under the LID alone.
            await arrives(conn, stack, unit, chat(LID, jid(0)), "A")
            assert await opts_out(conn, stack, unit, chat(LID), "B") == 1
            assert await opts_out(conn, stack, unit, chat("999@lid"), "C") == 1
        states = dict(await stack.sql("select recipient, state from zapline.outbox where campaign_id is not null"))
        assert states == {phone(0): "cancelled", phone(1): "queued"}
        confirmations = await stack.sql(
            "select recipient, address from zapline.outbox where lane = 'reply' order by recipient"
        )
        assert confirmations == [(phone(0), phone(0)[1:]), ("lid:999", "999@lid")]
        async with Pool.open(stack.url, size=1, role="zapline_api") as pool:
            found = {one.canonical: one for one in await list_suppressions(pool, unit, None, 10)}
            assert found["lid:111222333444555"].phone == phone(0)
            assert (found["lid:999"].phone, found["lid:999"].lid) == (None, "999")
            assert (found["lid:999"].reason, found["lid:999"].word) == ("opt_out", "SAIR")
            # In pages, and of this unit alone.
            first = await list_suppressions(pool, unit, None, 1)
            rest = await list_suppressions(pool, unit, (first[0].created_at, first[0].canonical), 5)
            assert {one.canonical for one in first + rest} == set(found)
            assert await list_suppressions(pool, await stack.add_unit(), None, 10) == []
        # A campaign made now leaves the phone out, and takes it in again once a person has released it.
        states_of = "select state from zapline.campaign_recipients where campaign_id = '{}'"
        again = await stack.create_campaign(unit, 1, start=False)
        assert await stack.column(states_of.format(again)) == ["skipped"]
        await stack.campaigns.suppressions.remove(unit, phone(0))
        assert await stack.column("select canonical from zapline.suppressions") == ["lid:999"]
        third = await stack.create_campaign(unit, 1, start=False)
        assert await stack.column(states_of.format(third)) == ["pending"]


async def test_a_person_keeps_campaigns_from_somebody_and_lets_them_in_again(database: str) -> None:
    async with campaign_stack(database) as stack:
        unit = await stack.add_unit()
        assert await stack.campaigns.suppressions.add(unit, "(11) 90000-0005".replace("90000", "99000")) == (
            phone(5),
            True,
        )
        assert await stack.campaigns.suppressions.add(unit, phone(5)) == (phone(5), False)
        assert await stack.campaigns.suppressions.add(unit, "LID:123") == ("lid:123", True)
        for nobody in ("lid:", "lid:x", "abc", "123"):
            with pytest.raises(InvalidPhone):
                await stack.campaigns.suppressions.add(unit, nobody)
        assert await stack.column("select count(*) from zapline.outbox") == [0]
        await stack.campaigns.suppressions.remove(unit, phone(5)[1:])
        await stack.campaigns.suppressions.remove(unit, "lid:123")
        for gone in (phone(5), "lid:123"):
            with pytest.raises(UnknownSuppression):
                await stack.campaigns.suppressions.remove(unit, gone)


async def test_units_of_an_organization_share_opt_outs_and_a_limit(database: str) -> None:
    async with campaign_stack(database) as stack:
        first, second, stranger = [await stack.add_unit(pace="campaign_seconds = 0.001") for _ in range(3)]
        organization = UUID(int=7)
        await stack.sql(f"insert into zapline.organizations (id, name) values ('{organization}', 'Rede')")
        for unit in (first, second):
            await stack.sql(f"insert into zapline.organization_units values ('{unit}', '{organization}')")
        one_has_had_one = await stack.create_campaign(first, 1)
        await stack.feeder.round()
        assert len(await stack.queued_messages(one_has_had_one)) == 1
        async with stack.pool.connection() as conn:
            await opts_out(conn, stack, first, chat(jid(2)), "A")
            # Under a LID that this unit knows to be the phone, and the others have never seen.
            await opts_out(conn, stack, first, chat(jid(3), LID), "B")
        reasons = (
            "select reason from zapline.campaign_recipients"
            " where campaign_id = '{}' and state = 'skipped' order by number"
        )

        async def skipped(unit: UnitId) -> list[str | None]:
            """Why some of four, of whom nothing has been sent yet, are skipped; what lies ready is taken away again."""
            campaign = await stack.create_campaign(unit, 4)
            await stack.feeder.round()
            found = await stack.column(reasons.format(campaign))
            await stack.campaigns.change_state(unit, campaign, CampaignCommand.CANCEL)
            return found

        assert await skipped(second) == ["opted_out", "opted_out"]
        assert await skipped(stranger) == []
        limits = "campaign_messages = {}, campaign_days = 7"
        await stack.sql(f"update zapline.organizations set {limits.format(1)}")
        assert await skipped(second) == ["frequency_cap", "opted_out", "opted_out"]
        assert await skipped(stranger) == []
        # Who counts for one of its units keeps those from counting that count for another.
        lock = campaign_enqueueing._SQL.rows
        async with stack.pool.connection() as one, stack.pool.connection() as other:
            await other.execute("set lock_timeout = '20ms'")
            async with one.transaction():
                assert await lock(one, "lock_organization", unit_id=stranger) == []
                assert len(await lock(one, "lock_organization", unit_id=first)) == 1
                with pytest.raises(StatementFailed):
                    await lock(other, "lock_organization", unit_id=second)
            await other.execute("reset lock_timeout")
        await stack.sql(f"update zapline.organizations set {limits.format(2)}, shared_opt_outs = false")
        assert await skipped(second) == []
        # What is too long ago does not count.
        await stack.sql(f"update zapline.organizations set {limits.format(1)}")
        await stack.sql(f"update zapline.outbox set due_at = due_at - interval '8 days' where unit_id = '{first}'")
        assert await skipped(second) == []
