"""Waits after the last fault until everything is at rest, and holds it to the stated times: liveness."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import trio

from zapline.sandbox.simulator.server import SimulatedEvolution

from .host import Host
from .plan import Plan
from .reference import Reference
from .world import World

DRAIN_SECONDS = 300.0
"""Virtual seconds after the last fault within which everything has to be at rest: the longest is an uncertain
message, which is looked up three times in about three minutes, after a sleep of at most two."""
INBOUND_DRAIN_SECONDS = 45.0
"""The same for webhooks that were answered: the longest pause of a part is 10 s, and a start may wait as long.
A database that is slow for each kilobyte may take six times that, and one that takes half a second for each, which is
more than docs/reliability.md promises anything for, as long as ``VERY_SLOW_SECONDS``."""
VERY_SLOW, VERY_SLOW_SECONDS = 0.1, 900.0
"""From so many seconds for each kilobyte on, all times are this one: each write ends by a timeout before it is cut."""
SLOW_SECONDS = 20.0
"""The longest of a slow statement, which may have begun before the faults were over."""
DRAIN_PER_SECOND, DRAIN_SLACK_SECONDS = 100.0, 5.0
"""How fast the journal is emptied once it has begun: what waited is stored at the usual speed."""


@dataclass(eq=False)
class Rest:
    """Times are virtual seconds from the last fault on."""

    world: World
    plan: Plan
    host: Host
    reference: Reference
    watcher: Callable[[], psycopg.Connection[Any]]
    longest: float = DRAIN_SECONDS
    drained: float = 0.0
    """Until everything was at rest."""
    stored: float | None = None
    """Until the journal held nothing that is not stored."""
    began: float = 0.0
    """Until the journal's backlog became smaller for the first time."""
    backlog: int = 0
    """Webhooks that waited by then."""
    left: str = ""
    """What never came to rest."""

    def __post_init__(self) -> None:
        if self.plan.kilobyte > VERY_SLOW and self.longest == DRAIN_SECONDS:
            self.longest = VERY_SLOW_SECONDS

    @property
    def _inbound_longest(self) -> float:
        if self.plan.kilobyte > VERY_SLOW:
            return VERY_SLOW_SECONDS
        return INBOUND_DRAIN_SECONDS * (6 if self.plan.kilobyte else 1)

    def violations(self) -> list[str]:
        """What took longer than is stated."""
        found = [f"liveness: not at rest after {self.drained:.0f} s: {self.left}"] if self.left else []
        if self.stored is None:
            return found
        if self.stored > self._inbound_longest:
            found.append(f"liveness: what was journaled was stored after {self.stored:.0f} s")
        seconds = self.stored - self.began
        slack = DRAIN_SLACK_SECONDS + (SLOW_SECONDS if self.plan.slow else 0.0)
        if seconds > slack + self.backlog / DRAIN_PER_SECOND and not self.plan.kilobyte:
            found.append(f"liveness: {self.backlog} webhooks that had waited took {seconds:.0f} s to be stored")
        return found

    async def wait(self, evolution: SimulatedEvolution) -> None:
        """Wait until everything is at rest; what is not after the stated time is a violation that the rows show."""
        began = trio.current_time()
        backlog, moves = self._journaled(), 0.0
        with trio.move_on_after(self.longest):
            while self._unrest(evolution):
                if self.stored is None and not self._journaled():
                    self.stored = trio.current_time() - began
                elif self.stored is None and self._journaled() >= backlog:
                    backlog, moves = self._journaled(), trio.current_time() - began
                await trio.sleep(1.0)
        self.drained = trio.current_time() - began
        self.stored = self.stored if self.stored is not None else self.drained
        self.began = moves
        self.backlog = backlog
        if self.drained >= self.longest:
            self.left = self._unrest(evolution)
        self.world.tell(f"at rest after {self.drained:.0f} s")

    def _journaled(self) -> int:
        """Webhooks that are journaled and not stored."""
        return self.host.running.core.journal.statistics().depth if self.host.running is not None else 1

    def _unrest(self, evolution: SimulatedEvolution) -> str:
        """What is not at rest yet; empty: everything is."""
        running = self.host.running
        if running is None:
            return "no daemon"
        waiting: list[tuple[str, Any]] = [
            ("webhooks not posted", evolution.state.webhook_sender.pending),
            ("entries in the journal", running.core.journal.statistics().depth),
            ("writes in the recorder", running.recorder.statistics().waiting),
            ("calls", running.outbound.senders.statistics().calling),
        ]
        if not any(count for _, count in waiting):
            undecided, due, stored = self._count_rows()
            missing = sum(map(len, self.reference.sent.values())) - stored if self.plan.store else 0
            waiting += [("undecided messages", undecided), ("deliveries to the CRM that are due", due)]
            waiting.append(("messages to be read back", max(0, missing)))
        return ", ".join(f"{count} {name}" for name, count in waiting if count)

    def _count_rows(self) -> tuple[int, int, int]:
        """Messages to be sent that are undecided, deliveries that are due, and messages of phones that are stored."""
        row = (
            self.watcher()
            .execute(
                "select (select count(*) from zapline.outbox where state in ('queued', 'leased')"
                "         or (state = 'uncertain' and look_at is not null))"
                " + (select count(*) from zapline.campaign_recipients where state = 'pending'),"
                " (select count(*) from zapline.hook_deliveries where state = 'queued' and due_at <= now()),"
                " (select count(*) from zapline.messages where not from_me)"
            )
            .fetchone()
        )
        assert row is not None
        return row
