"""The yardstick of sending: one asyncio loop that calls Evolution and updates a row, without a queue.

Run as a process of its own with one JSON argument; prints one JSON object. It remembers nothing of a call before
it is made, retries nothing, keeps no pace and hears no echo: what Zapline adds is what the ratio shows.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Sequence

import httpx2
import psycopg

TABLE = "create table bench_messages (id text primary key, state text, external_id text)"


class Loop:
    """``evolution`` is the base URL. One connection to PostgreSQL for each of ``at_once`` workers."""

    def __init__(self, evolution: str, key: str, database: str, instances: Sequence[str], at_once: int) -> None:
        limits = httpx2.Limits(max_connections=at_once, max_keepalive_connections=at_once)
        self.http = httpx2.AsyncClient(
            base_url=evolution, headers={"apikey": key}, timeout=30, trust_env=False, limits=limits
        )
        self.database = database
        self.instances = instances
        self.at_once = at_once
        self.free: asyncio.Queue[psycopg.AsyncConnection] = asyncio.Queue()

    async def open(self, ids: Sequence[str]) -> None:
        for _ in range(self.at_once):
            self.free.put_nowait(await psycopg.AsyncConnection.connect(self.database, autocommit=True))
        conn = await self.free.get()
        await conn.execute("drop table if exists bench_messages")
        await conn.execute(TABLE)
        async with conn.cursor() as cursor:
            await cursor.executemany("insert into bench_messages values (%s, 'queued')", [(each,) for each in ids])
        self.free.put_nowait(conn)

    async def send(self, number: int, text: str) -> None:
        """Call, then update."""
        phone = f"55119{random.randrange(10**7, 10**8)}"
        instance = self.instances[number % len(self.instances)]
        answer = await self.http.post(f"/message/sendText/{instance}", json={"number": phone, "text": text})
        external = answer.json()["key"]["id"]
        conn = await self.free.get()
        try:
            await conn.execute(
                "update bench_messages set state = 'sent', external_id = %s where id = %s", (external, text)
            )
        finally:
            self.free.put_nowait(conn)


async def as_fast_as_it_goes(loop: Loop, ids: Sequence[str]) -> dict[str, float]:
    """Every worker sends the next message when its last one is done."""
    queue = iter(enumerate(ids))
    started, cpu = time.perf_counter(), time.process_time()

    async def worker() -> None:
        for number, text in queue:
            await loop.send(number, text)

    await asyncio.gather(*(worker() for _ in range(loop.at_once)))
    return {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}


async def at_a_rate(loop: Loop, ids: Sequence[str], rate: float) -> dict[str, object]:
    """Each message leaves at its time, whatever the others do; ``sent`` says when that was (UTC seconds)."""
    sent: dict[str, float] = {}
    started = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        for number, text in enumerate(ids):
            await asyncio.sleep(started + number / rate - asyncio.get_running_loop().time())
            sent[text] = time.time()
            group.create_task(loop.send(number, text))
    return {"sent": sent}


async def main() -> None:
    given = json.loads(sys.argv[1])
    ids = [f"naive-{os.getpid()}-{number}" for number in range(given["count"])]
    loop = Loop(given["evolution"], given["key"], given["database"], given["instances"], given["atOnce"])
    await loop.open(ids)
    rate = given.get("rate")
    told = await at_a_rate(loop, ids, rate) if rate else await as_fast_as_it_goes(loop, ids)
    sys.stdout.write(json.dumps(told))
    await loop.http.aclose()
    while not loop.free.empty():
        await loop.free.get_nowait().close()


asyncio.run(main())
