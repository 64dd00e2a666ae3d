"""Edits and deletions are held back by all that holds back a sender, and borrow one connection at a time."""

import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import trio

from zapline.evolution.client.rest_client import EvolutionClient, open_http_client
from zapline.sql.outbound import message_changes
from zapline.sql.postgres.nodes import Ownership
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.outbound.changes.message_changes import AT_ONCE, ChangesHeld, MessageChanges

PHONE = "5511999990001@s.whatsapp.net"


async def test_changes_are_braked_and_those_repeated_do_not_starve_each_other(api: Any, database: str) -> None:
    unit = await api.add_unit()
    data = {
        "key": {"remoteJid": PHONE, "fromMe": True, "id": "OURS1"},
        "message": {"conversation": "chega às 14 h"},
        "messageType": "conversation",
        "messageTimestamp": int(time.time()),
        "status": "DELIVERY_ACK",
    }
    await api.send(unit, "messages.upsert", data)
    ((message,),) = await api.sql("select id from zapline.messages where external_id = 'OURS1'")
    path = f"/units/{unit.id}/messages/{message}"

    unit.catching_up = 1
    held = await api.client.delete(path)
    assert (held.status_code, held.json()["code"], held.json()["retryable"]) == (409, "changes_held", True)
    unit.catching_up = None
    answers = [(await api.client.delete(path)).status_code for _ in range(AT_ONCE + 3)]
    assert answers[-1] == 429, "Evolution knows no such instance, so that each is asked anew"
    last = await api.client.delete(path)
    assert (last.json()["code"], last.json()["retryable"]) == ("changes_too_fast", True)
    assert 1 <= int(last.headers["retry-after"]) <= 5

    await api.connect_line(unit)
    certain: list[bool] = []
    async with (
        Pool.open(database, size=1, patience=1.0, role="zapline_engine") as pool,
        open_http_client() as http,
    ):
        client = EvolutionClient(http, api.evolution.url, api.evolution.api_key)
        changes = MessageChanges(pool, client, api.intake, time.time)

        async def repeat() -> None:
            certain.append((await changes.delete(unit, UUID(str(message)))).certain)

        of_now, unit.held = unit.held, Ownership(uuid4(), 1)
        with pytest.raises(ChangesHeld):
            await changes.delete(unit, UUID(str(message)))
        unit.held = of_now
        assert await api.sql("select id from zapline.message_changes") == []
        await api.sql(
            f"insert into zapline.message_changes (id, unit_id, message_id, kind, state, asked_at) "
            f"values ('{uuid4()}', '{unit.id}', '{message}', 'delete', 'uncertain', '{datetime.now(UTC)}') returning 1"
        )
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(repeat)
    assert certain == [False] * 4
    # Nobody asks the server of an archived unit any more.
    async with api.engine_pool.connection() as conn:
        ids = [id for (id,) in await api.sql("select id from zapline.message_changes")]
        assert await message_changes.end_archived(conn, ids, time.time()) == set()
        await api.sql(f"update zapline.units set archived_at = now() where id = '{unit.id}' returning 1")
        assert await message_changes.end_archived(conn, ids, time.time()) == set(ids)
    assert await api.sql("select state, text from zapline.message_changes") == [("unknown", None)]
