"""A campaign of 10,000 recipients that is paused and resumed, and whose daemon is killed three times.

Nobody is written to twice, nobody is left out, and the counters say what the rows say.
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import psycopg
import trio

from .outbound_inspection import OutboundInspector
from .outbound_place import OutboundPlace, open_outbound
from .outbound_run import STORED_WITHIN
from .report import say
from .traffic import CANARY

RECIPIENTS = 10_000
KILLS = 3
PACE = {"perMinute": 6000, "burst": 1000, "gapSeconds": 0, "campaignSeconds": 0.001}
SETTINGS = {"CHAOS_LINGER": "0.005"}
LIMIT = 300.0
"""Seconds for the whole part."""
PAUSED_FOR = 3.0
LEFT_AFTER_PAUSE = 1
"""A call that is under way when the campaign is paused comes to its end."""


class CampaignRun:
    """One campaign of the first unit. ``failures``: promises that were not kept."""

    def __init__(self, house: OutboundPlace) -> None:
        self.house = house
        self.unit, self.instance = house.units[0]
        self.path = ""
        self.failures: list[str] = []

    def require(self, kept: bool, promise: str) -> None:
        if not kept:
            self.failures.append(promise)

    async def make(self) -> float:
        """Create it from a CSV and start it; how long the list took."""
        client, base = self.house.client, f"/units/{self.unit}"
        (await client.put(f"{base}/pace", json=PACE)).raise_for_status()
        body = {"name": "Dez mil", "text": f"{CANARY} oferta {{{{pedido}}}}"}
        made = await client.post(f"{base}/campaigns", json=body)
        made.raise_for_status()
        self.path = made.headers["location"]
        lines = ["to,pedido", *(f"55119{8_000_0000 + number},P{number}" for number in range(RECIPIENTS))]
        started = time.monotonic()
        headers = {"Content-Type": "text/csv"}
        filled = await client.post(f"{self.path}/recipients", content="\n".join(lines), headers=headers, timeout=60)
        filled.raise_for_status()
        took = time.monotonic() - started
        self.require(filled.json()["list"]["accepted"] == RECIPIENTS, f"accepted: {filled.json()['list']}")
        await self.ask("start")
        return took

    async def ask(self, word: str) -> None:
        (await self.house.client.post(f"{self.path}/{word}", json={})).raise_for_status()

    async def shown(self) -> dict[str, Any]:
        answer = await self.house.client.get(self.path)
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
        return told

    async def sent(self) -> int:
        await self.house.simulator.look()
        return len(self.house.simulator.received)

    async def reach(self, count: int) -> None:
        """Wait until so many messages are on phones."""
        while await self.sent() < count:  # noqa: ASYNC110 - another process does it
            await trio.sleep(0.1)

    async def pause(self) -> None:
        """Paused, nothing leaves but what was under way."""
        await self.ask("pause")
        await trio.sleep(0.5)
        before = await self.sent()
        await trio.sleep(PAUSED_FOR)
        left = await self.sent() - before
        self.require(left <= LEFT_AFTER_PAUSE, f"{left} messages left while it was paused")
        await self.ask("resume")

    async def kill(self) -> None:
        await self.house.place.daemon.kill()
        await self.house.start()

    async def ended(self) -> dict[str, Any]:
        """Wait until it is done and nobody is looked for any more."""
        while (await self.shown())["state"] != "done":  # noqa: ASYNC110 - it asks as a CRM would
            await trio.sleep(0.3)
        inspector = OutboundInspector(self.house.place, self.house.simulator)
        self.require(await inspector.calm(30, looks=True), "it is done, and something is queued or looked for")
        self.require(await inspector.stored(STORED_WITHIN), "webhooks are not taken or not stored")
        return await self.shown()

    async def compare(self, shown: dict[str, Any]) -> None:
        """The phones, the rows and the counters."""
        copies = Counter(received.number for received in self.house.simulator.received)
        twice = sum(1 for count in copies.values() if count > 1)
        rows = await trio.to_thread.run_sync(self._rows)
        counts = {state: count for state, count in shown["counts"].items() if count}
        uncertain = rows.get("uncertain", 0)
        say(f"  phones: {len(copies)} different, {twice} twice; rows {rows}; counters {counts}")
        self.require(twice == 0, f"{twice} recipients got it twice")
        self.require(counts == rows, "the counters do not say what the rows say")
        self.require(sum(rows.values()) == RECIPIENTS, "not every recipient has a row")
        self.require(len(copies) >= RECIPIENTS - uncertain, "somebody was left out who is not uncertain")
        self.require(uncertain <= KILLS, f"{uncertain} are uncertain after {KILLS} kills")
        self.require(set(rows) <= {"sent", "delivered", "uncertain"}, f"ends: {rows}")

    def _rows(self) -> dict[str, int]:
        """By state, from the rows of recipients, messages and work alone."""
        query = """
            select zapline.recipient_state(r.state, o.state, m.delivery), count(*)
              from zapline.campaign_recipients r
              left join zapline.outbox o on o.message_id = r.message_id
              left join zapline.messages m on m.id = r.message_id
             group by 1
        """
        with psycopg.connect(self.house.place.postgres.url, connect_timeout=10) as conn:
            return dict(conn.execute(query).fetchall())


async def campaign10k(seed: int, words: Sequence[str]) -> bool:
    """The whole part; whether every promise was kept."""
    started = time.monotonic()
    say(f"A campaign of {RECIPIENTS} recipients, paused, resumed, its daemon killed {KILLS} times")
    failures = [f"it did not end within {LIMIT:g} s"]
    with trio.move_on_after(LIMIT):
        async with open_outbound(1, seed, statuses="", settings=SETTINGS) as house:
            run = CampaignRun(house)
            say(f"  made from a CSV in {await run.make():.2f} s")
            for number in range(1, KILLS + 1):
                await run.reach(number * RECIPIENTS // (KILLS + 1))
                say(f"  {time.monotonic() - started:5.1f}s: {await run.sent()} sent; kill {number}")
                await run.kill()
                if number == 2:
                    await run.pause()
            shown = await run.ended()
            await run.compare(shown)
            failures = run.failures
    for failure in failures:
        say(f"  !! {failure}")
    say(f"{'FAIL' if failures else 'PASS'}: campaign10k (seed {seed}, {time.monotonic() - started:.0f} s)")
    return not failures
