"""Phases in which Evolution dies under load, alone or with the daemon, while phones write, edit and delete."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg
import trio

from ..environment import CANARY, wait_until_none
from .inspection import PhaseOutcome
from .run import OutboundRun, Phase

WITHIN = 60.0
"""Longest time without any progress, after the last ``open``, until what phones did is stored."""
RESTARTS = 3
FALSE_DISCONNECTS = b"Line is disconnected"
STORED = """
select external_id, coalesce(edited_body, body), deleted_at is not null, count(*) over (partition by external_id)
  from zapline.messages where external_id = any(%s)
"""


@dataclass
class Phones:
    """What the phones of a run's contacts did: message id -> newest text, or None if it was deleted."""

    run: OutboundRun
    written: dict[str, str | None] = field(default_factory=dict)

    def acts(self, instance: str, sender: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Three messages: one stays, one is edited, one deleted."""
        for fate in ("stays", "edited", "deleted"):
            id, text = f"3EB0{uuid4().hex[:18].upper()}", f"{CANARY} {fate}"
            self.written[id] = text
            yield "receive", {"instance": instance, "external_id": id, "text": text, "sender": sender}
            if fate == "edited":
                self.written[id] = f"{text} depois"
                yield "edit", {"instance": instance, "id": id, "text": self.written[id]}
            if fate == "deleted":
                self.written[id] = None
                yield "revoke", {"instance": instance, "id": id}

    def all_acts(self) -> list[tuple[str, dict[str, Any]]]:
        phone = self.run.environment.submitter.phones[0]
        return [act for _, instance in self.run.environment.units for act in self.acts(instance, phone)]

    async def act(self) -> None:
        for command, arguments in self.all_acts():
            await self.run.simulator.control("POST", command, arguments)

    async def restart_evolution(self, seconds: float) -> None:
        """Kill Evolution and start it again; phones write before and meanwhile. Returns when it is back."""
        await self.act()
        body = {"seconds": seconds, "meanwhile": self.all_acts()}
        await self.run.simulator.control("POST", "restart", body)
        await trio.sleep(seconds + 0.5)

    async def check(self) -> None:
        """Wait until everything is stored as the phones left it, and once."""

        async def wrong() -> int:
            return len(await trio.to_thread.run_sync(self._wrong))

        right = await wait_until_none(wrong, WITHIN)
        self.run.remarks.append(f"{len(self.written)} written by phones")
        self.run.require(right, f"{await wrong()} messages of phones are missing or not as they were left")

    def _wrong(self) -> list[str]:
        with psycopg.connect(self.run.base.postgres.url, connect_timeout=5) as conn:
            rows = conn.execute(STORED, (list(self.written),)).fetchall()
        stored = {id: (None if deleted else text) for id, text, deleted, count in rows if count == 1}
        return [id for id, text in self.written.items() if id not in stored or stored[id] != text]


async def evolution_restarts(run: OutboundRun) -> int:
    """Kill Evolution several times while messages are sent."""
    phones, before = Phones(run), run.base.daemon.log.stat().st_size
    for _ in range(RESTARTS):
        await run.pause(0.2, 0.6)
        await phones.restart_evolution(0.5)
        await run.pause(1.0, 2.0)
    await phones.check()
    _require_no_disconnect(run, before)
    return RESTARTS


async def both_restart(run: OutboundRun) -> int:
    """Kill the daemon and Evolution together; both come back within ten seconds."""
    phones, before = Phones(run), run.base.daemon.log.stat().st_size
    await run.pause(0.3, 0.8)
    await run.base.daemon.kill()
    await phones.restart_evolution(1.0)
    await run.pause(0.0, 1.0)
    await run.environment.start()
    await phones.check()
    _require_no_disconnect(run, before)
    return 2


def _require_no_disconnect(run: OutboundRun, start: int) -> None:
    """No line was logged as disconnected since the log was ``start`` bytes long: none ever was."""
    with run.base.daemon.log.open("rb") as log:
        log.seek(start)
        found = log.read().count(FALSE_DISCONNECTS)
    run.remarks.append(f"{found} false disconnects")
    run.require(not found, f"{found} false disconnects")


def settled_by_the_store(run: OutboundRun, outcome: PhaseOutcome) -> None:
    """Echoes and answers die with Evolution; its store settles them. What it was about to send was sent or was not."""
    run.require(outcome.failed == 0, f"{outcome.failed} dead")
    run.require(outcome.settled + outcome.uncertain == outcome.posted, f"{outcome.settled} of {outcome.posted} settled")
    run.require(outcome.uncertain <= 3 * len(run.environment.units), f"{outcome.uncertain} uncertain")


def restarts() -> list[Phase]:
    return [
        Phase("Evolution restarts", attack=evolution_restarts, per_unit=20, check=settled_by_the_store),
        Phase("Evolution and the daemon restart", attack=both_restart, per_unit=20, check=settled_by_the_store),
    ]
