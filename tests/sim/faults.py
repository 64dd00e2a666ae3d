"""Carries out what the plan has drawn: chances from the first message on, deaths, windows, a backup, a failover."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import trio

from zapline.sandbox.simulator.server import SimulatedEvolution

from .crm import Crm
from .database import DatabaseFaults
from .disk import FULL, IOERR_FSYNC, IOERR_WRITE, OK
from .evolution import NetworkFaults, PipeListener
from .host import Host
from .plan import CLOCKS, RESTORED, ROTTEN, Death, Plan, Window


@dataclass(eq=False)
class Faults:
    """The faults of one run. ``around_failover`` is called before and after the database is replaced, ``on_restored``
    with the time of the copy after it has taken the place of the state directory."""

    plan: Plan
    host: Host
    network: NetworkFaults
    backup: Path
    around_failover: Callable[[float | None], None]
    on_restored: Callable[[float], None]
    disk_modes: set[str] = field(default_factory=set)
    crm: Crm | None = None
    quiet: bool = True

    def __post_init__(self) -> None:
        self.world, self.postgres, self.disk = self.host.world, self.host.postgres, self.host.disk
        self._copied_at = 0.0
        self._evolution = trio.Lock()
        """What happens to the server and its lines happens one after another."""
        self._disk_chance = self.world.stream("disk faults")
        self.disk.refusal = self._refuse

    async def run(self, nursery: trio.Nursery, evolution: SimulatedEvolution, listener: PipeListener) -> None:
        """Strike until the last planned fault is over. ``nursery`` is the daemons'."""
        async with trio.open_nursery() as striking:
            striking.start_soon(self._deaths, nursery)
            striking.start_soon(self._back_up)
            striking.start_soon(self._set_back)
            striking.start_soon(self._clocks)
            for window in self.plan.windows:
                striking.start_soon(self._window, window, evolution, listener)

    def begin(self, evolution: SimulatedEvolution) -> None:
        plan = self.plan
        self.quiet = False
        self.postgres.faults.cut_before, self.postgres.faults.cut_after = plan.cut_before, plan.cut_after
        self.postgres.faults.cut_commit, self.postgres.faults.slow = plan.cut_commit, plan.slow
        self.network.webhook_lost, self.network.answer_lost = plan.webhook_lost, plan.answer_lost
        for kind in ("duplicate", "reorder"):
            if getattr(plan, kind):
                evolution.inject_fault(kind, probability=getattr(plan, kind), seconds=3.0)
        if self.crm is not None:
            self.crm.fails = plan.hook_fails
        for kind, chance in plan.sends.items():
            evolution.inject_fault(kind, probability=chance, path="/message/", seconds=2.0)

    def end(self, evolution: SimulatedEvolution) -> None:
        for kind, count in evolution.state.faults.triggered.items():
            self.world.struck[kind] += count
        evolution.clear_faults()
        if self.crm is not None:
            self.crm.fails, self.crm.down = 0.0, False
        self.quiet = True
        self.disk_modes.clear()
        self.postgres.faults = DatabaseFaults()
        for whose in CLOCKS:
            self.world.set_skew(whose, 0.0)
        self.network.webhook_lost = self.network.answer_lost = 0.0

    def _refuse(self, operation: str) -> int:
        if self.quiet:
            return OK
        if "disk full" in self.disk_modes and operation == "write":
            return FULL
        if "disk refuses" in self.disk_modes:
            return IOERR_WRITE if operation == "write" else IOERR_FSYNC
        chance = self.plan.disk_write if operation == "write" else self.plan.disk_sync
        if chance and self._disk_chance.random() < chance:
            self.world.strike(f"disk refuses a {operation}")
            return self._disk_chance.choice((FULL, IOERR_WRITE)) if operation == "write" else IOERR_FSYNC
        return OK

    async def _deaths(self, nursery: trio.Nursery) -> None:
        began = trio.current_time()
        for death in self.plan.deaths:
            await trio.sleep_until(max(began + death.at, trio.current_time()))
            await self._die(death)
            await trio.sleep(death.after)
            while not await self.host.start(nursery):  # noqa: ASYNC110
                await trio.sleep(2.0)  # as systemd does

    async def _die(self, death: Death) -> None:
        if death.kind in ("stop", ROTTEN):
            await self.host.stop()
        else:
            await self.host.kill(power=death.kind == "power loss")
        if death.kind == ROTTEN and (page := self.disk.rot()) is not None:
            self.world.strike(ROTTEN, f"{page}")
            self.on_restored(-inf)
        if death.kind == RESTORED and self.backup.exists():
            self.disk.restore(self.backup)
            self.world.strike(RESTORED)
            self.on_restored(self._copied_at)

    async def _back_up(self) -> None:
        if self.plan.backup is not None:
            await trio.sleep(self.plan.backup)
            self.disk.copy(self.backup)
            self._copied_at = self.world.now

    async def _set_back(self) -> None:
        """A standby takes the place of the database, without what was committed in the last moments."""
        if self.plan.set_back is None:
            return
        copied, promoted = self.plan.set_back
        await trio.sleep(copied)
        self.around_failover(None)
        self.postgres.copy()
        since = self.world.now
        await trio.sleep(promoted - copied)
        self.postgres.promote()
        self.around_failover(since)
        self.world.strike("database set back")

    async def _clocks(self) -> None:
        began = trio.current_time()
        turns = {at for jump in self.plan.clocks for at in (jump.at, jump.at + jump.seconds)}
        for at in sorted(turn for turn in turns if turn >= 0):
            await trio.sleep_until(began + at)
            self.set_clocks(at)

    def set_clocks(self, at: float) -> None:
        """Set the clocks as they are from ``at`` on; before the first message: as they are at the start."""
        for whose in CLOCKS:
            jumps = [jump for jump in self.plan.clocks if jump.whose == whose]
            by = sum(jump.by for jump in jumps if (at < 0 and jump.at < 0) or jump.at <= at < jump.at + jump.seconds)
            if by != self.world.skews[whose]:
                self.world.set_skew(whose, by)
                self.world.strike(f"{whose}'s clock", f"{by:+.0f} s")
        self.postgres.set_clock()

    async def _window(self, window: Window, evolution: SimulatedEvolution, listener: PipeListener) -> None:
        await trio.sleep(window.at)
        self.world.strike(window.kind, f"for {window.seconds:.1f} s")
        if window.kind == "database down":
            self.postgres.faults.down = True
            self.postgres.close_all()
            await trio.sleep(window.seconds)
            self.postgres.faults.down = False
        elif window.kind == "database restarts":
            self.postgres.faults.down = True
            self.postgres.close_all()
            await trio.sleep(window.seconds / 2)
            self.postgres.faults.down, self.postgres.faults.starting = False, True
            await trio.sleep(window.seconds / 2)
            self.postgres.faults.starting = False
        elif window.kind == "crm down":
            assert self.crm is not None
            self.crm.down = True
            await trio.sleep(window.seconds)
            self.crm.down = False
        elif window.kind == "evolution restarts":
            async with self._evolution:
                evolution.kill()
                await trio.sleep(window.seconds)
                evolution.start()
                await trio.sleep(2.0)
        elif window.kind == "evolution down":
            async with self._evolution:
                listener.take_down()
                await trio.sleep(window.seconds)
                listener.bring_up()
        elif window.kind == "line closes":
            async with self._evolution:
                for name in list(evolution.state.instances):
                    evolution.close(name, 428, reopen_after=window.seconds)
                await trio.sleep(window.seconds + 1.0)
        else:
            self.disk_modes.add(window.kind)
            await trio.sleep(window.seconds)
            self.disk_modes.discard(window.kind)
