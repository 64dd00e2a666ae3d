"""Posts messages as a CRM does: under an id of its own, again and again until the answer is 202."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import httpx2
import trio

from .traffic import CANARY

AT_ONCE = 16
"""Requests under way."""
FIRST_DELAY, LAST_DELAY = 0.05, 0.5
"""Seconds between the attempts of one POST."""
TRANSIENT = frozenset({429, 500, 502, 503, 504})
CONTACTS = 8
"""Phones that each unit writes to."""


@dataclass(slots=True, eq=False)
class Posted:
    """One message that was asked for. ``text`` holds the client id, so that the phone's copy can be told."""

    phase: str
    unit: UUID
    instance: str
    client_id: str
    to: str
    text: str
    accepted: bool = False
    attempts: int = 0
    refused: str = ""
    """An answer after which trying again is of no use."""


@dataclass
class Posts:
    """Everything that was asked for since the start, by phase."""

    client: httpx2.AsyncClient
    chance: random.Random
    all: list[Posted] = field(default_factory=list)
    phones: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.phones = [f"55119{9_000_0000 + self.chance.randrange(10**6) * 10 + digit}" for digit in range(CONTACTS)]

    def of(self, phase: str) -> list[Posted]:
        return [posted for posted in self.all if posted.phase == phase]

    def invent(
        self, phase: str, units: Sequence[tuple[UUID, str]], each: int, text: str | None = None, to: str | None = None
    ) -> list[Posted]:
        """Messages in turn over the units; with ``text`` they are all alike."""
        made = []
        for number in range(each):
            for unit, instance in units:
                client_id = f"{len(self.all) + len(made)}-{self.chance.randrange(16**12):012x}"
                words = text or f"{CANARY} pedido {number} {client_id}"
                phone = to or self.chance.choice(self.phones)
                made.append(Posted(phase, unit, instance, client_id, phone, words))
        self.all += made
        return made

    async def post(self, messages: Sequence[Posted], at_once: int = AT_ONCE) -> None:
        """Return when each was accepted or refused for good."""
        queue = iter(messages)
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(self._worker, queue)

    async def _worker(self, queue: "object") -> None:
        for posted in queue:  # type: ignore[attr-defined] - one iterator, shared by all workers
            pause = FIRST_DELAY
            while not await self._attempt(posted):
                await trio.sleep(pause * self.chance.uniform(0.8, 1.2))
                pause = min(pause * 2, LAST_DELAY)

    async def _attempt(self, posted: Posted) -> bool:
        """Whether it is decided."""
        posted.attempts += 1
        body = {"clientMessageId": posted.client_id, "to": posted.to, "text": posted.text}
        try:
            answer = await self.client.post(f"/units/{posted.unit}/messages", json=body)
        except httpx2.TransportError:
            return False
        if answer.status_code in (200, 202):
            posted.accepted = True
        elif answer.status_code not in TRANSIENT:
            posted.refused = f"{answer.status_code} {answer.text[:200]}"
        return posted.accepted or bool(posted.refused)
