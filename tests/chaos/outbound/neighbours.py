"""Runs a line whose calls hang and a campaign of 50,000 beside other units, whose replies must still be in time."""

import time
from collections.abc import Sequence

import trio

from ..environment import CANARY
from ..output import log
from .environment import OutboundEnvironment, open_outbound_environment
from .message_submission import Submission

UNITS = 12
RECIPIENTS = 50_000
MAX_P99 = 1.0
"""Seconds from the request to Evolution's receipt."""
SECONDS = 20.0
INTERVAL = 0.04
"""Seconds between two replies of all other units together."""
SETTINGS = {"ZAPLINE_EVOLUTION_TIMEOUT_SECONDS": "60"}
LIMIT = 120.0


class NeighboursRun:
    """The first unit hangs, the second one has the campaign, the others send replies."""

    def __init__(self, environment: OutboundEnvironment) -> None:
        self.environment = environment
        self.posted_at: dict[str, float] = {}
        """Text -> when its POST began, in UTC seconds."""

    async def hang(self) -> None:
        """Let every send of the first unit hang from now on."""
        unit, instance = self.environment.units[0]
        await self.environment.simulator.inject_fault("hang", instance=instance, path="/message/")
        await self.environment.submitter.submit(self.environment.submitter.create("hang", [(unit, instance)], 20))

    async def start_campaign(self) -> None:
        """Start the campaign of the second unit."""
        client, unit = self.environment.client, self.environment.units[1][0]
        created = await client.post(
            f"/units/{unit}/campaigns", json={"name": "Todos", "text": f"{CANARY} oi {{{{n}}}}"}
        )
        created.raise_for_status()
        path = created.headers["location"]
        lines = ["to,n", *(f"55119{8_000_0000 + number},{number}" for number in range(RECIPIENTS))]
        headers = {"Content-Type": "text/csv"}
        imported = await client.post(f"{path}/recipients", content="\n".join(lines), headers=headers, timeout=60)
        imported.raise_for_status()
        (await client.post(f"{path}/start", json={})).raise_for_status()

    async def send_replies(self) -> list[Submission]:
        """Send replies of the other units at a constant rate."""
        replies = self.environment.submitter.create(
            "replies", self.environment.units[2:], int(SECONDS / INTERVAL / (UNITS - 2))
        )
        async with trio.open_nursery() as nursery:
            due = trio.current_time()
            for reply in replies:
                await trio.sleep_until(due)
                self.posted_at[reply.text] = time.time()
                nursery.start_soon(self.environment.submitter.submit, [reply])
                due += INTERVAL
        return replies

    async def check(self, replies: Sequence[Submission]) -> list[str]:
        """Print the measurements; return the requirements that were not met."""
        with trio.move_on_after(10):
            while True:
                await self.environment.simulator.refresh()
                at = {copy.text: copy.at for copy in self.environment.simulator.delivered}
                if all(reply.text in at for reply in replies):
                    break
                await trio.sleep(0.2)
        missing = [reply for reply in replies if reply.text not in at]
        took = sorted(at[reply.text] - self.posted_at[reply.text] for reply in replies if reply.text in at)
        p99 = took[int(len(took) * 0.99)] if took else float("inf")
        others = {instance for _, instance in self.environment.units[:2]}
        sent = sum(copy.instance in others for copy in self.environment.simulator.delivered)
        log(
            f"neighbours: {len(took)} of {len(replies)} replies received, p50 {took[len(took) // 2] * 1000:.0f} ms, "
            f"p99 {p99 * 1000:.0f} ms, worst {took[-1] * 1000:.0f} ms; {sent} messages of the campaign in that time"
        )
        failures = [f"{len(missing)} replies never arrived"] if missing else []
        failures += [f"p99 {p99:.2f} s"] if p99 > MAX_P99 else []
        return failures + ([] if sent else ["the campaign did not send"])


async def neighbours(seed: int, words: Sequence[str]) -> bool:
    """Run the part; return whether every requirement was met."""
    failures = ["it did not end in time"]
    with trio.move_on_after(LIMIT):
        async with open_outbound_environment(UNITS, seed, settings=SETTINGS) as environment:
            run = NeighboursRun(environment)
            await run.hang()
            await run.start_campaign()
            failures = await run.check(await run.send_replies())
    for failure in failures:
        log(f"  !! {failure}")
    return not failures
