"""People beside those who write now and then: one who decides about uncertain messages, phones that hand over what they
hold, and a unit to which everybody writes at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import trio

from zapline.domain.campaigns.schedule import CampaignTiming
from zapline.domain.ids import UnitId
from zapline.domain.outbox.contents import Text
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.supervisors.campaigns.campaign_commands import CampaignPlan
from zapline.supervisors.outbound.submission import Decision

from .host import Host
from .plan import Plan
from .reference import CANARY, Asked, Reference
from .world import World

NOISE_PER_SECOND = 30.0
PATIENCE = (0.2, 4.0)
"""Seconds after which a person decides about an uncertain message."""


@dataclass(eq=False)
class People:
    """``call`` runs a call of the API in the daemon, as ``Simulation`` does."""

    world: World
    plan: Plan
    host: Host
    reference: Reference
    call: Callable[..., Any]

    async def decide(self, units: dict[str, UnitId], watcher: Callable[[], psycopg.Connection[Any]]) -> None:
        """Have some of the messages that become uncertain sent once more, until cancelled."""
        chance = self.world.stream("decisions")
        seen = set[UUID]()
        query = "select unit_id, message_id from zapline.outbox where state = 'uncertain' order by seq"
        async with trio.open_nursery() as deciding:
            while True:
                await trio.sleep(0.5)
                if watcher().closed:
                    continue  # the database is being replaced
                for unit, message in watcher().execute(query).fetchall():
                    if message not in seen:
                        seen.add(message)
                        if chance.random() < self.plan.decided:
                            deciding.start_soon(self._resend, UnitId(unit), message, chance.uniform(*PATIENCE))

    async def write_to_many(self, units: Sequence[UnitId]) -> None:
        """The CRM asks for a campaign until the API has taken it; each of its texts names its recipient."""
        chance, count = self.world.stream("campaign"), self.plan.campaign
        if not count:
            return
        await trio.sleep(chance.uniform(0.0, self.plan.seconds / 2))
        unit = chance.choice(list(units))
        rows = [{"to": f"55119{80000000 + number}", "number": f"c{number}"} for number in range(count)]
        timing = CampaignTiming(seconds=3.0 if self.plan.slowly else None)
        content = Text(f"{CANARY} {{{{number}}}}")
        campaign = CampaignPlan("campaign", content, rows, timing, client_id="campaign", start=True)
        begun, answer = self.world.now, list[Any]()
        while not answer:
            running = self.host.running if self.host.alive() is not None else None
            if running is not None:
                ended = trio.Event()
                create = partial(running.outbound.campaigns.create, unit, campaign)
                running.nursery.start_soon(partial(self.call, create, answer, ended))
                await ended.wait()
            await trio.sleep(1.0)
        for row in rows:
            self.reference.asked.append(Asked(str(unit), row["number"], "", begun, self.world.now))

    async def _resend(self, unit: UnitId, message: UUID, after: float) -> None:
        await trio.sleep(after)
        running = self.host.running if self.host.alive() is not None else None
        if running is None:
            return
        # Whatever the answer is: the decision may have been stored.
        self.reference.resent[str(message)] += 1
        ended = trio.Event()
        decision = partial(running.outbound.outgoing.release, unit, message, Decision.RESEND)
        running.nursery.start_soon(self.call, decision, [], ended)
        await ended.wait()
        self.world.step("decided")

    async def hand_over(self, evolution: SimulatedEvolution, names: list[str]) -> None:
        """A phone hands over what it has sent, all in one webhook, and its address book."""
        plan = self.plan
        if plan.history is None:
            return
        await trio.sleep(plan.history)
        for name in names:
            stored = list(evolution.instance(name).messages)
            sent = [each.message | {"status": "READ"} for each in stored if each.message["key"]["fromMe"]]
            contacts = [
                {"id": f"5511977{number:06d}@s.whatsapp.net", "name": f"{CANARY} {number}"}
                for number in range(plan.contacts)
            ]
            evolution.hand_over_history(name, contacts=contacts, messages=sent)
            self.world.step("history", name, len(sent), len(contacts))

    async def be_noisy(self, evolution: SimulatedEvolution, name: str) -> None:
        """Everybody writes to one unit."""
        chance = self.world.stream("noise")
        for number in range(self.plan.noise):
            await trio.sleep(chance.expovariate(NOISE_PER_SECOND))
            text = f"{CANARY} noise {number}"
            id = evolution.receive(name, text, f"55119{80000000 + chance.randrange(6)}")
            self.reference.sent[name][id] = text
            self.world.step("noise", name, id)
