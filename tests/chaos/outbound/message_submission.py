"""Submits messages as a CRM does: with its own id, and retried until the response is 202."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import httpx2
import trio

from ..environment import CANARY

CONCURRENCY = 16
"""Concurrent requests."""
FIRST_DELAY, LAST_DELAY = 0.05, 0.5
"""Seconds between the attempts of one POST."""
TRANSIENT = frozenset({429, 500, 502, 503, 504})
CONTACTS = 8
"""Phones that each unit sends to."""


@dataclass(slots=True, eq=False)
class Submission:
    """One message. ``text`` holds the client id, which identifies the copy on the phone."""

    phase: str
    unit: UUID
    instance: str
    client_id: str
    to: str
    text: str
    accepted: bool = False
    attempts: int = 0
    refused: str = ""
    """A response after which no retry can succeed."""


@dataclass
class Submitter:
    """Submits messages, and keeps all of them since the start."""

    client: httpx2.AsyncClient
    rng: random.Random
    all: list[Submission] = field(default_factory=list)
    phones: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.phones = [f"55119{9_000_0000 + self.rng.randrange(10**6) * 10 + digit}" for digit in range(CONTACTS)]

    def of_phase(self, phase: str) -> list[Submission]:
        return [submission for submission in self.all if submission.phase == phase]

    def create(
        self,
        phase: str,
        units: Sequence[tuple[UUID, str]],
        per_unit: int,
        text: str | None = None,
        to: str | None = None,
    ) -> list[Submission]:
        """Create ``per_unit`` messages for every unit; with ``text`` they all have the same text."""
        submissions: list[Submission] = []
        for number in range(per_unit):
            for unit, instance in units:
                client_id = f"{len(self.all) + len(submissions)}-{self.rng.randrange(16**12):012x}"
                body = text or f"{CANARY} pedido {number} {client_id}"
                phone = to or self.rng.choice(self.phones)
                submissions.append(Submission(phase, unit, instance, client_id, phone, body))
        self.all += submissions
        return submissions

    async def submit(self, messages: Sequence[Submission], concurrency: int = CONCURRENCY) -> None:
        """Return when each message was accepted or refused for good."""
        queue = iter(messages)
        async with trio.open_nursery() as nursery:
            for _ in range(concurrency):
                nursery.start_soon(self._worker, queue)

    async def _worker(self, queue: Iterator[Submission]) -> None:
        for submission in queue:  # shared by all workers
            pause = FIRST_DELAY
            while not await self._attempt(submission):
                await trio.sleep(pause * self.rng.uniform(0.8, 1.2))
                pause = min(pause * 2, LAST_DELAY)

    async def _attempt(self, submission: Submission) -> bool:
        """Whether the message is accepted or refused for good."""
        submission.attempts += 1
        body = {"clientMessageId": submission.client_id, "to": submission.to, "text": submission.text}
        try:
            response = await self.client.post(f"/units/{submission.unit}/messages", json=body)
        except httpx2.TransportError:
            return False
        if response.status_code in (200, 202):
            submission.accepted = True
        elif response.status_code not in TRANSIENT:
            submission.refused = f"{response.status_code} {response.text[:200]}"
        return submission.accepted or bool(submission.refused)
