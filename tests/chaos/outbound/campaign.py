"""Runs a campaign of 10,000 recipients that is paused and resumed, and whose daemon is killed three times.

Every recipient gets the message exactly once, and the counters agree with the rows.
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import psycopg
import trio

from ..environment import CANARY, HANGS_AFTER
from ..output import log
from .environment import OutboundEnvironment, open_outbound_environment
from .inspection import OutboundInspector
from .run import STORE_SECONDS

RECIPIENTS = 10_000
KILLS = 3
PACE = {"perMinute": 6000, "burst": 1000, "gapSeconds": 0, "campaignSeconds": 0.001}
SETTINGS = {"CHAOS_LINGER": "0.005"}
PAUSE_SECONDS = 3.0
MAX_SENT_WHILE_PAUSED = 1
"""A call in progress when the campaign is paused is completed."""


class CampaignRun:
    """One campaign of the first unit. ``failures``: requirements that were not met."""

    def __init__(self, environment: OutboundEnvironment) -> None:
        self.environment = environment
        self.unit, self.instance = environment.units[0]
        self.path = ""
        self.failures: list[str] = []

    def require(self, condition: bool, failure: str) -> None:
        if not condition:
            self.failures.append(failure)

    async def start(self) -> float:
        """Create the campaign from a CSV and start it; return the seconds that the import took."""
        client, base = self.environment.client, f"/units/{self.unit}"
        (await client.put(f"{base}/pace", json=PACE)).raise_for_status()
        body = {"name": "Dez mil", "text": f"{CANARY} oferta {{{{pedido}}}}"}
        created = await client.post(f"{base}/campaigns", json=body)
        created.raise_for_status()
        self.path = created.headers["location"]
        lines = ["to,pedido", *(f"55119{8_000_0000 + number},P{number}" for number in range(RECIPIENTS))]
        started = time.monotonic()
        headers = {"Content-Type": "text/csv"}
        imported = await client.post(f"{self.path}/recipients", content="\n".join(lines), headers=headers, timeout=60)
        imported.raise_for_status()
        took = time.monotonic() - started
        self.require(imported.json()["list"]["accepted"] == RECIPIENTS, f"accepted: {imported.json()['list']}")
        await self.command("start")
        return took

    async def command(self, name: str) -> None:
        (await self.environment.client.post(f"{self.path}/{name}", json={})).raise_for_status()

    async def document(self) -> dict[str, Any]:
        response = await self.environment.client.get(self.path)
        response.raise_for_status()
        campaign: dict[str, Any] = response.json()
        return campaign

    async def sent(self) -> int:
        await self.environment.simulator.refresh()
        return len(self.environment.simulator.delivered)

    async def wait_for_sent(self, count: int) -> None:
        """Wait until ``count`` messages are on phones."""
        while await self.sent() < count:  # noqa: ASYNC110 - in another process
            await trio.sleep(0.1)

    async def pause(self) -> None:
        """Pause and resume the campaign; while it is paused, only calls in progress are completed."""
        await self.command("pause")
        await trio.sleep(0.5)
        before = await self.sent()
        await trio.sleep(PAUSE_SECONDS)
        sent = await self.sent() - before
        self.require(sent <= MAX_SENT_WHILE_PAUSED, f"{sent} messages were sent while it was paused")
        await self.command("resume")

    async def kill(self) -> None:
        await self.environment.base.daemon.kill()
        await self.environment.start()

    async def wait_for_end(self) -> dict[str, Any]:
        """Wait until the campaign is done and no message is looked up any more."""
        while (await self.document())["state"] != "done":  # noqa: ASYNC110 - polls as a CRM does
            await trio.sleep(0.3)
        inspector = OutboundInspector(self.environment.base, self.environment.simulator)
        self.require(
            await inspector.wait_for_queue(30, lookups=True), "it is done, and messages are queued or looked up"
        )
        self.require(await inspector.wait_until_stored(STORE_SECONDS), "webhooks are not accepted or not stored")
        return await self.document()

    async def compare(self, campaign: dict[str, Any]) -> None:
        """Compare the phones, the rows and the counters."""
        copies = Counter(message.number for message in self.environment.simulator.delivered)
        twice = sum(1 for count in copies.values() if count > 1)
        rows = await trio.to_thread.run_sync(self._rows)
        counts = {state: count for state, count in campaign["counts"].items() if count}
        uncertain = rows.get("uncertain", 0)
        log(f"  phones: {len(copies)} different, {twice} twice; rows {rows}; counters {counts}")
        self.require(twice == 0, f"{twice} recipients got it twice")
        self.require(counts == rows, "the counters differ from the rows")
        self.require(sum(rows.values()) == RECIPIENTS, "not every recipient has a row")
        self.require(len(copies) >= RECIPIENTS - uncertain, "a recipient without a message is not uncertain")
        self.require(uncertain <= KILLS, f"{uncertain} are uncertain after {KILLS} kills")
        self.require(set(rows) <= {"sent", "delivered", "uncertain"}, f"ends: {rows}")

    def _rows(self) -> dict[str, int]:
        """Count the recipients by state, from the rows of recipients, messages and outbox."""
        query = """
            select zapline.recipient_state(r.state, o.state, m.delivery), count(*)
              from zapline.campaign_recipients r
              left join zapline.outbox o on o.message_id = r.message_id
              left join zapline.messages m on m.id = r.message_id
             group by 1
        """
        with psycopg.connect(self.environment.base.postgres.url, connect_timeout=10) as conn:
            return dict(conn.execute(query).fetchall())


async def campaign10k(seed: int, words: Sequence[str]) -> bool:
    """Run the part; return whether every requirement was met."""
    started = time.monotonic()
    log(f"A campaign of {RECIPIENTS} recipients, paused, resumed, its daemon killed {KILLS} times")
    failures = [f"it did not end within {HANGS_AFTER:g} s"]
    with trio.move_on_after(HANGS_AFTER):
        async with open_outbound_environment(1, seed, statuses="", settings=SETTINGS) as environment:
            run = CampaignRun(environment)
            log(f"  imported from a CSV in {await run.start():.2f} s")
            for number in range(1, KILLS + 1):
                await run.wait_for_sent(number * RECIPIENTS // (KILLS + 1))
                log(f"  {time.monotonic() - started:5.1f}s: {await run.sent()} sent; kill {number}")
                await run.kill()
                if number == 2:
                    await run.pause()
            campaign = await run.wait_for_end()
            await run.compare(campaign)
            failures = run.failures
    for failure in failures:
        log(f"  !! {failure}")
    log(f"{'FAIL' if failures else 'PASS'}: campaign10k (seed {seed}, {time.monotonic() - started:.0f} s)")
    return not failures
