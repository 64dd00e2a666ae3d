"""Edits and deletions are held back by all that holds back a sender, and borrow one connection at a time."""

import time
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
import trio

from zapline.evolution.client.rest_client import EvolutionClient, open_http_client
from zapline.sql.outbound import message_changes
from zapline.sql.postgres.nodes import Ownership
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.leadership import WriterStanding
from zapline.supervisors.outbound.changes.change_lookup import ChangeLookup
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

    async def plant() -> None:
        """A deletion of which nobody knows what became of it."""
        await api.sql(
            "insert into zapline.message_changes (id, unit_id, message_id, kind, state, asked_at, look_at) "
            f"values ('{uuid4()}', '{unit.id}', '{message}', 'delete', 'uncertain', now(), now()) returning 1"
        )

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
        uptimes = iter([0.0, 2.0])  # its lead is over after the first look, before the first byte
        standing = WriterStanding(uptime=lambda: next(uptimes), proven_until=1.0)
        late = MessageChanges(pool, client, api.intake, time.time, standing=standing)
        with pytest.raises(ChangesHeld):
            await late.delete(unit, UUID(str(message)))
        gone = "delete from zapline.message_changes returning state, failure"
        assert [tuple(row) for row in await api.sql(gone)] == [("failed", "claim_too_old")]
        await plant()
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(repeat)
    assert certain == [False] * 4
    # The store of the server to which its unit has moved since proves nothing, and nobody asks for an archived unit.
    parts = (api.engine_pool, client, api.intake, api.journal, api.roster, api.leadership, api.counters)
    lookup = ChangeLookup(*parts)

    async def looked() -> list[tuple[str, int]]:
        async with api.engine_pool.connection() as conn:
            due = await message_changes.list_due(conn, time.time() + 60, [], 10, 10)
        await lookup.look(unit.id, due[unit.id])
        return [
            tuple(row) for row in await api.sql("select state, looks from zapline.message_changes order by asked_at")
        ]

    unit.record = replace(unit.record, evolution_server_since=time.time() + 60)
    assert await looked() == [("unknown", 0)]
    unit.record = replace(unit.record, evolution_server_since=None)
    await plant()
    await api.sql(f"update zapline.units set archived_at = now() where id = '{unit.id}' returning 1")
    assert await looked() == [("unknown", 0)] * 2
