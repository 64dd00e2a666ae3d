"""Sends messages as the baseline: one asyncio loop that calls Evolution and updates a row, without a queue.

It runs as a separate process with one JSON argument and prints one JSON object. It stores nothing before a call,
has no retries, no pace and no echoes: the ratio to it shows the cost of what Zapline adds.
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


class BaselineSender:
    """``evolution`` is a base URL. Each of ``concurrency`` workers has its own connection to PostgreSQL."""

    def __init__(self, evolution: str, key: str, database: str, instances: Sequence[str], concurrency: int) -> None:
        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self.http = httpx2.AsyncClient(
            base_url=evolution, headers={"apikey": key}, timeout=30, trust_env=False, limits=limits
        )
        self.database = database
        self.instances = instances
        self.concurrency = concurrency
        self.free: asyncio.Queue[psycopg.AsyncConnection] = asyncio.Queue()

    async def open(self, ids: Sequence[str]) -> None:
        for _ in range(self.concurrency):
            self.free.put_nowait(await psycopg.AsyncConnection.connect(self.database, autocommit=True))
        conn = await self.free.get()
        await conn.execute("drop table if exists bench_messages")
        await conn.execute(TABLE)
        async with conn.cursor() as cursor:
            await cursor.executemany("insert into bench_messages values (%s, 'queued')", [(id,) for id in ids])
        self.free.put_nowait(conn)

    async def send(self, number: int, text: str) -> None:
        """Call Evolution, then update the row."""
        phone = f"55119{random.randrange(10**7, 10**8)}"
        instance = self.instances[number % len(self.instances)]
        response = await self.http.post(f"/message/sendText/{instance}", json={"number": phone, "text": text})
        external = response.json()["key"]["id"]
        conn = await self.free.get()
        try:
            await conn.execute(
                "update bench_messages set state = 'sent', external_id = %s where id = %s", (external, text)
            )
        finally:
            self.free.put_nowait(conn)


async def send_all(sender: BaselineSender, ids: Sequence[str]) -> dict[str, float]:
    """Send as fast as possible: every worker sends the next message when its last one is done."""
    queue = iter(enumerate(ids))
    started, cpu = time.perf_counter(), time.process_time()

    async def worker() -> None:
        for number, text in queue:
            await sender.send(number, text)

    await asyncio.gather(*(worker() for _ in range(sender.concurrency)))
    return {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}


async def send_at_rate(sender: BaselineSender, ids: Sequence[str], rate: float) -> dict[str, object]:
    """Send each message at its time, independent of the others; ``sent`` holds the times in UTC seconds."""
    sent: dict[str, float] = {}
    started = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        for number, text in enumerate(ids):
            await asyncio.sleep(started + number / rate - asyncio.get_running_loop().time())
            sent[text] = time.time()
            group.create_task(sender.send(number, text))
    return {"sent": sent}


async def main() -> None:
    options = json.loads(sys.argv[1])
    ids = [f"naive-{os.getpid()}-{number}" for number in range(options["count"])]
    sender = BaselineSender(
        options["evolution"], options["key"], options["database"], options["instances"], options["atOnce"]
    )
    await sender.open(ids)
    rate = options.get("rate")
    result = await send_at_rate(sender, ids, rate) if rate else await send_all(sender, ids)
    sys.stdout.write(json.dumps(result))
    await sender.http.aclose()
    while not sender.free.empty():
        await sender.free.get_nowait().close()


asyncio.run(main())
