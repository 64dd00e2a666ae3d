"""From an accepted webhook to rows: journal, dispatcher, actor and recorder together."""

import random
from pathlib import Path

import trio
from support.inbound_stack import inbound_stack, text
from trio.testing import wait_all_tasks_blocked

from zapline.domain.line.events import Started
from zapline.supervisors.inbound.mailbox import Mailbox


async def test_a_message_becomes_contact_conversation_and_row(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        await stack.send(unit, "messages.upsert", text("A1", "bom dia"))
        await stack.wait_until_stored()
        assert await stack.rows("select body, kind, delivery::text, origin from zapline.messages") == [
            ("bom dia", "text", "delivered", "live")
        ]
        assert await stack.rows("select canonical, name from zapline.contacts") == [("+5511999990001", "Maria")]
        assert await stack.rows("select count(*) from zapline.conversations") == [(1,)]


async def test_the_same_message_again_changes_nothing_and_is_counted(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        data = text("A1", at=1_795_364_451)
        await stack.send(unit, "messages.upsert", data)
        await stack.wait_until_stored()
        before = await stack.rows("select m::text, xmin::text from zapline.messages m")
        for _ in range(3):
            await stack.send(unit, "messages.upsert", data)
        await stack.wait_until_stored()
        assert await stack.rows("select m::text, xmin::text from zapline.messages m") == before
        assert stack.counters.total("duplicates") == 3
        assert stack.counters.total("messages_seen") == 4


async def test_fifty_messages_of_one_chat_each_with_status_edit_and_delete_in_one_batch(
    database: str, tmp_path: Path
) -> None:
    jid = "5511999990001@s.whatsapp.net"
    async with inbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        posts: list[tuple[str, object]] = []
        for number in range(50):
            key = {"remoteJid": jid, "fromMe": True, "id": f"M{number}"}
            posts.append(("messages.upsert", {**text(f"M{number}", f"um {number}"), "key": key}))
            posts.append(
                ("messages.update", {"keyId": f"M{number}", "remoteJid": jid, "fromMe": True, "status": "READ"})
            )
            edit = {"editedMessage": {"message": {"conversation": f"dois {number}"}}}
            update = {"keyId": f"M{number}", "remoteJid": jid, "fromMe": True, "status": "SERVER_ACK", "message": edit}
            posts.append(("messages.update", update))
            posts.append(
                ("messages.delete", {"remoteJid": jid, "fromMe": True, "id": f"M{number}", "status": "DELETED"})
            )
        random.Random(7).shuffle(posts)
        async with trio.open_nursery() as nursery:
            for event, data in posts:
                nursery.start_soon(stack.send, unit, event, data)
        await stack.wait_until_stored()
        assert await stack.rows(
            "select count(*) as n, min(delivery)::text, count(deleted_at) as deleted, "
            "count(*) filter (where edited_body like 'dois %') as edited "
            "from zapline.messages"
        ) == [(50, "read", 50, 50)]
        assert await stack.rows("select count(*) from zapline.parked_reports") == [(0,)]
        assert await stack.rows("select count(*) from zapline.dead_letters") == [(0,)]


async def test_failed_heals_only_upward(database: str, tmp_path: Path) -> None:
    reports = ["ERROR", "PENDING", "SERVER_ACK", "DELIVERY_ACK", "READ", "ERROR", "DELIVERY_ACK"]
    async with inbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        for number, seed in enumerate(range(6)):
            shuffled = random.Random(seed).sample(reports, len(reports))
            for status in shuffled:
                await stack.send(
                    unit,
                    "messages.update",
                    {
                        "keyId": f"X{number}",
                        "remoteJid": "551133334444@s.whatsapp.net",
                        "fromMe": True,
                        "status": status,
                    },
                )
            await stack.send(
                unit,
                "send.message",
                {
                    **text(f"X{number}"),
                    "status": "PENDING",
                    "key": {"remoteJid": "551133334444@s.whatsapp.net", "fromMe": True, "id": f"X{number}"},
                },
            )
        await stack.wait_until_stored()
        assert await stack.rows("select distinct delivery::text from zapline.messages") == [("read",)]
        await stack.send(unit, "messages.upsert", text("Y"))
        await stack.send(
            unit,
            "messages.update",
            {"keyId": "Y", "remoteJid": "551133334444@s.whatsapp.net", "fromMe": True, "status": "ERROR"},
        )
        await stack.wait_until_stored()
        assert await stack.rows("select delivery::text from zapline.messages where external_id = 'Y'") == [
            ("delivered",)
        ]


async def test_two_units_with_the_same_contact_and_ids_never_share_a_row(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path) as stack:
        one, other = await stack.add_unit("um"), await stack.add_unit("dois")
        for number in range(20):
            await stack.send(one, "messages.upsert", text(f"S{number}", "um"))
            await stack.send(other, "messages.upsert", text(f"S{number}", "dois"))
            await stack.send(
                other,
                "messages.delete",
                {"remoteJid": "5511999990001@s.whatsapp.net", "fromMe": False, "id": f"S{number}"},
            )
        await stack.wait_until_stored()
        rows = await stack.rows(
            "select unit_id, body, count(*) as n, count(deleted_at) as deleted from zapline.messages "
            "group by 1, 2 order by body desc"
        )
        assert rows == [(one.id, "um", 20, 0), (other.id, "dois", 20, 20)]


async def test_messages_keep_the_order_in_which_they_were_journaled(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        for number in range(600):
            await stack.send(unit, "messages.upsert", text(f"{number:04}"))
        await stack.wait_until_stored()
        rows = await stack.rows("select external_id from zapline.messages order by seq")
        assert [row[0] for row in rows] == [f"{number:04}" for number in range(600)]


async def test_an_actor_that_waits_while_the_one_before_it_is_cancelled_misses_nothing() -> None:
    mailbox, before = Mailbox(), trio.CancelScope()

    async def wait_until_cancelled() -> None:
        with before:
            await mailbox.wait()

    async def put_later() -> None:
        await wait_all_tasks_blocked()
        mailbox.put_event(Started())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_until_cancelled)
        await wait_all_tasks_blocked()
        nursery.start_soon(put_later)
        before.cancel()
        with trio.fail_after(10):
            await mailbox.wait()
    assert mailbox.take_events() == [Started()]
