"""A line whose calls never return and a campaign of 50,000: the other units' replies leave in time all the same."""

import time
from collections.abc import Sequence

import trio

from .outbound_place import OutboundPlace, open_outbound
from .outbound_posts import Posted
from .report import say
from .traffic import CANARY

UNITS = 12
RECIPIENTS = 50_000
WITHIN = 1.0
"""Seconds from the request to Evolution's receipt, for 99 of 100."""
SECONDS = 20.0
EVERY = 0.04
"""Seconds between two replies of all quiet units together."""
SETTINGS = {"ZAPLINE_EVOLUTION_TIMEOUT_SECONDS": "60"}
LIMIT = 120.0


class Neighbours:
    """The first unit hangs, the second one has the campaign, the others write replies."""

    def __init__(self, house: OutboundPlace) -> None:
        self.house = house
        self.asked: dict[str, float] = {}
        """Text -> when its POST began, in UTC seconds."""

    async def hang(self) -> None:
        """From now on no call that sends for the first unit returns."""
        unit, instance = self.house.units[0]
        await self.house.simulator.plant("hang", instance=instance, path="/message/")
        await self.house.posts.post(self.house.posts.invent("hang", [(unit, instance)], 20))

    async def campaign(self) -> None:
        """The second unit writes to everybody."""
        client, unit = self.house.client, self.house.units[1][0]
        made = await client.post(f"/units/{unit}/campaigns", json={"name": "Todos", "text": f"{CANARY} oi {{{{n}}}}"})
        made.raise_for_status()
        path = made.headers["location"]
        lines = ["to,n", *(f"55119{8_000_0000 + number},{number}" for number in range(RECIPIENTS))]
        headers = {"Content-Type": "text/csv"}
        filled = await client.post(f"{path}/recipients", content="\n".join(lines), headers=headers, timeout=60)
        filled.raise_for_status()
        (await client.post(f"{path}/start", json={})).raise_for_status()

    async def write(self) -> list[Posted]:
        """Replies of the other units, at an even beat."""
        replies = self.house.posts.invent("replies", self.house.units[2:], int(SECONDS / EVERY / (UNITS - 2)))
        async with trio.open_nursery() as nursery:
            due = trio.current_time()
            for reply in replies:
                await trio.sleep_until(due)
                self.asked[reply.text] = time.time()
                nursery.start_soon(self.house.posts.post, [reply])
                due += EVERY
        return replies

    async def judge(self, replies: Sequence[Posted]) -> list[str]:
        """What was promised and not kept; says what was measured."""
        with trio.move_on_after(10):
            while True:
                await self.house.simulator.look()
                at = {copy.text: copy.at for copy in self.house.simulator.received}
                if all(reply.text in at for reply in replies):
                    break
                await trio.sleep(0.2)
        missing = [reply for reply in replies if reply.text not in at]
        took = sorted(at[reply.text] - self.asked[reply.text] for reply in replies if reply.text in at)
        p99 = took[int(len(took) * 0.99)] if took else float("inf")
        others = {instance for _, instance in self.house.units[:2]}
        sent = sum(copy.instance in others for copy in self.house.simulator.received)
        say(
            f"neighbours: {len(took)} of {len(replies)} replies received, p50 {took[len(took) // 2] * 1000:.0f} ms, "
            f"p99 {p99 * 1000:.0f} ms, worst {took[-1] * 1000:.0f} ms; {sent} messages of the campaign meanwhile"
        )
        failures = [f"{len(missing)} replies never arrived"] if missing else []
        failures += [f"p99 {p99:.2f} s"] if p99 > WITHIN else []
        return failures + ([] if sent else ["the campaign did not send"])


async def neighbours(seed: int, words: Sequence[str]) -> bool:
    """The whole part; whether every promise was kept."""
    failures = ["it did not end in time"]
    with trio.move_on_after(LIMIT):
        async with open_outbound(UNITS, seed, settings=SETTINGS) as house:
            run = Neighbours(house)
            await run.hang()
            await run.campaign()
            failures = await run.judge(await run.write())
    for failure in failures:
        say(f"  !! {failure}")
    return not failures
