"""Runs one seed: builds the world, lets phones and CRM do their work under faults, and compares at the end."""

import gc
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any

import trio
import trio.testing

from zapline.daemon.logs import configuration
from zapline.domain.errors import LocalError, RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.line.reasons import Phase
from zapline.domain.outbox.contents import Text
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.supervisors.outbound.message_composition import SendRequest

from . import world as worlds
from .crm import Crm, make_hooks, untold
from .database import SteppedPostgres
from .disk import Disk
from .evolution import EvolutionTransport, NetworkFaults, PipeListener, WebhookWire, evolution_in_process
from .faults import Faults
from .host import Host
from .invariants import Deliveries, Owners, leaks
from .people import People
from .plan import RESTORED, ROTTEN, Plan, draw
from .planted import Plant
from .promises import CLOSED_SECONDS, Answer, Replaced
from .reference import CANARY, Asked, Delivered, Reference, read_rows, stored_messages
from .rest import DRAIN_SECONDS, Rest
from .server import Place

SETUP_SECONDS = 120.0
"""Virtual seconds until all lines are open."""
_real_clock = time.perf_counter


@dataclass
class Result:
    """How a run ended. ``drained``: virtual seconds from the last fault until everything was at rest."""

    seed: int
    plan: Plan
    violations: list[str]
    trace: str
    steps: int
    virtual: float
    real: float
    drained: float
    struck: dict[str, int]
    history: list[str] = field(default_factory=list)
    inbound: int = 0
    outbound: int = 0
    webhooks: int = 0
    """Answers 200."""
    delivered: int = 0
    """Messages that reached a phone."""


class _Log:
    """Where the daemon's log goes: into the history, and past the reference."""

    def __init__(self, world: worlds.World, reference: Reference) -> None:
        self._world, self._reference = world, reference

    def write(self, text: Any) -> int:
        line = (text.decode() if isinstance(text, bytes) else text).strip()
        if line:
            self._world.history.append(f"{self._world.now - worlds.EPOCH:10.4f}    log: {line[:300]}")
            self._reference.note_log(line)
        return len(text)

    def flush(self) -> None:
        pass


class Simulation:
    """One seed's world."""

    def __init__(
        self,
        seed: int,
        place: Place,
        plan: Plan | None = None,
        plant: Plant | None = None,
        rest_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self._plant = plant
        self.world = worlds.World(seed)
        self.plan = plan or draw(seed)
        self.reference = Reference()
        self.place = place.directory / f"seed-{seed}"
        self.postgres = SteppedPostgres(self.world, place.server, f"simulated_{os.getpid()}", place.clock, place.kept)
        self.disk = Disk(self.place / "disk", self.world.stream("power"))
        self.host = Host(self.world, self.postgres, self.disk)
        self.network = NetworkFaults()
        self.disk.now = lambda: self.world.now
        self.reference.promises.refusals = self.disk.refusals
        self.reference.promises.wrong_clocks = self.world.wrong
        told = (lambda body: self.reference.note_begun(body, self.world.now), self._note_answered)
        self.wire = WebhookWire(self.world, self.host.alive, *told, self.network)
        self.deliveries, self.owners = Deliveries(), Owners()
        self.people = People(self.world, self.plan, self.host, self.reference, self._call)
        self.postgres.kilobyte_seconds = self.plan.kilobyte
        self.units: dict[str, UnitId] = {}
        self.webhooks = 0
        self._delivered: list[Delivered] = []
        self.rest = Rest(self.world, self.plan, self.host, self.reference, lambda: self._watcher, rest_seconds)
        backup = self.place / "backup"
        self.faults = Faults(self.plan, self.host, self.network, backup, self._around_failover, self._note_restored)
        self.crm = self.faults.crm = Crm(self.world)

    def run(self) -> Result:
        """Run the seed to its end."""
        shutil.rmtree(self.place, ignore_errors=True)
        (self.place / "disk").mkdir(parents=True)
        began = _real_clock()
        problem: list[str] = []
        with worlds.installed(self.world) as patch, self.disk.mounted(), self.postgres.created():
            undo = configuration.configure("json", "warning", _Log(self.world, self.reference))
            self.postgres.install(patch)
            self.host.install(patch)
            self.crm.install(patch)
            if self._plant is not None:
                self._plant(patch)
            self._watcher = self.postgres.watcher()
            try:
                virtual = worlds.run(self.world, self._main)
            except Exception as failure:
                problem, virtual = [f"crash: {_root(failure)!r}"], 0.0
                self.world.history.append(_trace_of(failure))
            finally:
                undo()
            found = problem or self._compare()
        shutil.rmtree(self.place, ignore_errors=True)
        world = self.world
        return Result(
            seed=world.seed,
            plan=self.plan,
            violations=found,
            trace=world.trace,
            steps=world.steps,
            virtual=virtual,
            real=_real_clock() - began,
            drained=self.rest.drained,
            struck=dict(world.struck),
            history=list(world.history),
            inbound=sum(map(len, self.reference.sent.values())),
            outbound=len(self.reference.asked),
            webhooks=self.webhooks,
            delivered=len(self._delivered),
        )

    def _around_failover(self, since: float | None) -> None:
        """Leave the database before it is copied; note what it has lost when the copy has taken its place."""
        if since is None:
            self._watcher.close()
        else:
            self._watcher = self.postgres.watcher()
            stored = stored_messages(self._watcher)
            self.deliveries.forget()
            self.owners.forget()
            self.reference.promises.databases.append(Replaced(since, self.world.now, stored))

    def _note_restored(self, copied: float) -> None:
        """An older state directory has taken the place of the newer one."""
        stored = stored_messages(self.postgres.watcher())
        self.reference.promises.directories.append(Replaced(copied, self.world.now, stored))

    def _note_answered(self, body: bytes, begun: float) -> None:
        self.webhooks += 1
        refused = self.disk.refused_at >= begun - CLOSED_SECONDS
        self.reference.note_answered(body, Answer(begun, self.world.now, refused))

    def _compare(self) -> list[str]:
        conn = self.postgres.watcher()
        rows = read_rows(conn, self._delivered)
        self.deliveries.look(conn)
        self.owners.look(conn)
        among = self.deliveries.fallen[:3] + self.owners.wrong[:3] + leaks(conn)
        among += untold(conn, self.crm.taken) if self.plan.hooks else []
        if self.world.struck[ROTTEN]:
            rows.dead_letters = [letter for letter in rows.dead_letters if letter[1] != "damaged_on_disk"]
        lost = self.host.counted["lost", ""]
        told = sum(count for (name, _), count in self.host.counted.items() if name == "journal_losses")
        violations = self.reference.violations(
            rows,
            store=self.plan.store,
            honours=self.plan.honours_ids,
            # The echo of a message may have stood on the page that the disk has lost.
            echoed="echo_off" not in self.plan.sends and not self.world.struck[ROTTEN],
            lost=lost,
        )
        violations += among
        if told and not (self.world.struck[RESTORED] or self.world.struck[ROTTEN]):
            violations.append("the journal has lost something")
        if self.world.struck[ROTTEN] and not told and (missing := self.reference.missing(rows)):
            violations.append(f"silent: {len(missing)} webhooks are gone with a page of the disk, and nobody was told")
        for role in ("actor_crashes", "sender_crashes"):
            if self.host.counted[role, ""]:
                violations.append(f"{role}: {self.host.counted[role, '']}")
        violations += self.rest.violations()
        if not self.plan.delays_storing:
            violations += self.reference.overtaken(rows)
        violations += [f"the daemon ended by itself: {reason}" for reason in self.host.exits]
        self.world.step("rows", [(row.instance, row.external_id, row.client_id, row.seq) for row in rows.messages])
        self.world.step("outbox", rows.outbox, violations)
        return violations

    # -- the story ---------------------------------------------------------------------------------------------------

    async def _main(self) -> float:
        version = "2.4.0-rc2" if self.plan.honours_ids else "2.3.7"
        async with (
            evolution_in_process(self.world, self.wire, store=self.plan.store, version=version) as (
                evolution,
                listener,
            ),
            trio.open_nursery() as nursery,
        ):
            self.host.transport = EvolutionTransport(self.world, evolution, listener)
            self.faults.set_clocks(-inf)
            if await self.host.start(nursery):
                with trio.fail_after(SETUP_SECONDS):
                    await self._open_lines(evolution)
                await self._story(nursery, evolution, listener)
                ledger = evolution.ledger
                self._delivered = [Delivered(each.instance, each.text, each.at) for each in ledger.messages]
            await self.host.stop()
            nursery.cancel_scope.cancel()
        return self.world.now - worlds.EPOCH

    async def _open_lines(self, evolution: SimulatedEvolution) -> None:
        running = self.host.running
        assert running is not None
        for number in range(self.plan.units):
            name = f"unit{number}"
            unit = await running.core.commands.create_unit(f"Unit {number}", name)
            self.units[name] = unit.id
            await running.core.commands.connect(unit.id)
            while name not in evolution.state.instances or evolution.instance(name).qr_code is None:  # noqa: ASYNC110
                await trio.sleep(0.1)
            evolution.scan(name, f"551130000{number:03d}0")
            while unit.state is None or unit.state.stored.phase is not Phase.OPEN:  # noqa: ASYNC110
                await trio.sleep(0.1)

        if self.plan.hooks:
            make_hooks(self._watcher, self.units.values(), self.world.stream("hooks"))

    async def _story(self, nursery: trio.Nursery, evolution: SimulatedEvolution, listener: PipeListener) -> None:
        self.world.tell("the lines are open")
        self.faults.begin(evolution)
        nursery.start_soon(self._look)
        if self.plan.decided:
            nursery.start_soon(self.people.decide, self.units, lambda: self._watcher)
        async with trio.open_nursery() as story:
            story.start_soon(self._phones, story, evolution)
            story.start_soon(self._crm)
            story.start_soon(self.people.hand_over, evolution, list(self.units))
            story.start_soon(self.people.write_to_many, list(self.units.values()))
            story.start_soon(self.people.be_noisy, evolution, next(iter(self.units)))
            story.start_soon(self.faults.run, nursery, evolution, listener)
        self.faults.end(evolution)
        if self.host.running is None:
            await self.host.start(nursery)
        self.world.tell("the faults are over")
        await self.rest.wait(evolution)

    async def _look(self) -> None:
        while True:
            if not self._watcher.closed:
                self.deliveries.look(self._watcher)
                self.owners.look(self._watcher)
            await trio.sleep(0.5)

    # -- phones, CRM, faults -------------------------------------------------------------------------------------

    async def _phones(self, story: trio.Nursery, evolution: SimulatedEvolution) -> None:
        chance = self.world.stream("phones")
        names = list(self.units)
        for number in range(self.plan.inbound):
            await trio.sleep(chance.expovariate(self.plan.inbound / self.plan.seconds))
            name, text = chance.choice(names), f"{CANARY} in {number}"
            sender = f"55119{90000000 + chance.randrange(6)}"
            id = evolution.receive(name, text, sender)
            self.reference.sent[name][id] = text
            self.world.step("phone", name, id)

            if chance.random() < self.plan.changes:
                story.start_soon(self._change, evolution, name, id, sender, chance.uniform(0.0, 6.0), chance.random())

    async def _change(
        self, evolution: SimulatedEvolution, name: str, id: str, sender: str, after: float, dice: float
    ) -> None:
        """A phone edits or deletes its message some seconds later."""
        await trio.sleep(after)
        if dice < 0.6:
            text = f"{self.reference.sent[name][id]} edited"
            evolution.edit(name, id, text, sender=sender)
            self.reference.edited[name, id] = text
        else:
            evolution.revoke(name, id, sender=sender)
            self.reference.deleted.add((name, id))
        self.world.step("change", name, id)

    async def _crm(self) -> None:
        chance = self.world.stream("crm")
        names = list(self.units)
        async with trio.open_nursery() as calls:
            for number in range(self.plan.outbound):
                if not self.plan.at_once:
                    await trio.sleep(chance.expovariate(self.plan.outbound / self.plan.seconds))
                to = f"55119{90000000 + chance.randrange(6)}"
                calls.start_soon(self._ask, self.units[chance.choice(names)], f"order-{number}", to)

    async def _ask(self, unit: UnitId, client_id: str, to: str) -> None:
        """Ask for a message until the API has taken it, as a CRM does that got no answer."""
        request, begun = SendRequest(client_id, Text(f"{CANARY} {client_id}"), to=to), self.world.now
        while True:
            running = self.host.running if self.host.alive() is not None else None
            if running is not None:
                answer: list[Any] = []
                ended = trio.Event()
                call = partial(self._call, partial(running.outbound.outgoing.send, unit, request), answer, ended)
                running.nursery.start_soon(call)
                await ended.wait()
                if answer:
                    message = str(answer[0][0].message.id)
                    self.reference.asked.append(Asked(str(unit), client_id, message, begun, self.world.now))
                    self.world.step("asked", client_id)
                    return
            await trio.sleep(1.0)

    async def _call(self, call: Callable[[], Any], answer: list[Any], ended: trio.Event) -> None:
        """One call of the API in the daemon; it dies with it."""
        worlds.ON_MACHINE.set(True)
        try:
            result = await call()
            if self.host.alive() is not None:
                answer.append(result)
        except (RemoteError, LocalError) as refused:
            self.world.step("refused", type(refused).__name__)
        finally:
            ended.set()


def _root(failure: BaseException) -> BaseException:
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


def _trace_of(failure: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(_root(failure)))[-3000:]


def simulate(
    seed: int,
    place: Place,
    plan: Plan | None = None,
    plant: Plant | None = None,
    rest_seconds: float = DRAIN_SECONDS,
) -> Result:
    """Run a seed. ``plan``: in place of what the seed draws; ``plant``: takes a guard of the daemon away;
    ``rest_seconds``: virtual ones after the last fault within which everything has to be at rest."""
    gc.freeze()  # what is imported stays; the world that ends here is looked through less often
    gc.set_threshold(20_000, 20, 20)
    return Simulation(seed, place, plan, plant, rest_seconds).run()
