"""Compares the submitted messages with the phones and the database: sent once, twice, never, or uncertain."""

import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
import trio

from zapline.sandbox.simulator.server import API_KEY

from ..environment import CANARY, Environment, wait_until_none
from ..inbound.webhook_ledger import DELIVERY_ORDER
from .message_submission import Submission
from .simulator import Simulator

MOST_TRIES = 3
MAX_NOTES = 4
"""Findings of one kind that are printed."""
WORK_COUNTS = """
select count(*) filter (where state in ('queued', 'leased')), count(*) filter (where look_at is not null)
  from zapline.outbox where state in ('queued', 'leased', 'uncertain')
"""
MESSAGES = """
select m.client_message_id, m.external_id, m.delivery::text, o.state, o.tries, o.failure, o.twice, m.unit_id
  from zapline.outbox o join zapline.messages m on m.id = o.message_id
"""
SHARED_IDS = """
select count(*) from (
    select 1 from zapline.attempts where external_id is not null
     group by unit_id, external_id having count(distinct message_id) > 1) x
"""
UNEXPECTED_ECHOES = """
select count(*) from zapline.messages where from_me and client_message_id is null
"""
CROSSED_CALLS = """
select count(*) from zapline.attempts a join zapline.outbox o on o.message_id = a.message_id
 where a.unit_id <> o.unit_id or a.recipient <> o.recipient
"""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as stored in the database."""

    external_id: str | None
    delivery: str | None
    state: str
    tries: int
    failure: str | None
    twice: bool


@dataclass(slots=True)
class PhaseOutcome:
    """Counts of the messages of one phase by their result."""

    posted: int = 0
    sent: int = 0
    """On a phone at least once."""
    settled: int = 0
    uncertain: int = 0
    known: int = 0
    """Uncertain, though Evolution has stored them."""
    failed: int = 0
    twice: int = 0
    lost: int = 0
    wrong: int = 0
    failures: set[str] = field(default_factory=set)
    """Codes of the failed messages."""
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, text: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if sum(note.startswith(kind) for note in self.notes) < MAX_NOTES:
            self.notes.append(f"{kind}: {text}")


class OutboundInspector:
    """Reads the database and the journal for each comparison."""

    def __init__(self, environment: Environment, simulator: Simulator, secrets: Iterable[str] = ()) -> None:
        self._environment = environment
        self._simulator = simulator
        self._secrets = [*environment.secrets, environment.key.decode(), API_KEY, CANARY, *secrets]

    async def work_counts(self) -> tuple[int, int]:
        """Count the messages queued or leased, and the uncertain ones that are still looked up."""
        (row,) = await trio.to_thread.run_sync(self._rows, WORK_COUNTS)
        return row[0], row[1]

    async def wait_for_queue(self, patience: float, *, lookups: bool = False) -> bool:
        """Wait until nothing is queued (``lookups``: nor looked up); False where nothing moved for ``patience``."""

        async def left() -> int:
            queued, looked_up = await self.work_counts()
            return queued + (looked_up if lookups else 0)

        return await wait_until_none(left, patience)

    async def wait_until_stored(self, patience: float) -> bool:
        """Wait until the simulator's webhooks are accepted and the journal is drained.

        False where nothing moved for ``patience`` seconds.
        """
        accepted = await self._simulator.wait_until_idle(patience)
        return await wait_until_none(self._unfinished, patience) and accepted

    async def _unfinished(self) -> int:
        path = self._environment.state / "journal" / "journal.db"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as journal:
            return int(journal.execute("select count(*) from unfinished").fetchone()[0])

    async def compare(self, submissions: Iterable[Submission]) -> PhaseOutcome:
        """Compare every message with its copies on the phones, as of the last ``Simulator.refresh``."""
        stored_messages = await trio.to_thread.run_sync(self._stored_messages)
        outcome = PhaseOutcome()
        for submission in submissions:
            outcome.posted += 1
            stored = stored_messages.get((str(submission.unit), submission.client_id))
            self._compare_one(submission, stored, outcome)
        return outcome

    async def compare_identical(self, submissions: Sequence[Submission]) -> PhaseOutcome:
        """Compare messages of one unit that differ only in their external ids."""
        stored_messages = await trio.to_thread.run_sync(self._stored_messages)
        copies = self._simulator.by_text.get((submissions[0].instance, submissions[0].text), [])
        messages = [stored_messages.get((str(submission.unit), submission.client_id)) for submission in submissions]
        states = [stored.state if stored else "missing" for stored in messages]
        owned_ids = [stored.external_id for stored in messages if stored and stored.external_id]
        echoed_ids = {copy.id for copy in copies if copy.echoed}
        outcome = PhaseOutcome(
            len(submissions), min(len(copies), len(submissions)), states.count("settled"), states.count("uncertain")
        )
        outcome.failed = states.count("dead")
        outcome.known = len(echoed_ids - set(owned_ids))
        if len(copies) > len(submissions):
            outcome.add("twice", f"{len(copies)} copies of {len(submissions)} messages")
        if states.count("missing") or len(copies) < outcome.settled:
            outcome.add("lost", f"{outcome.settled} settled, {len(copies)} on the phone")
        if len(set(owned_ids)) != len(owned_ids) or not set(owned_ids) <= echoed_ids:
            outcome.add("wrong", f"{len(owned_ids)} ids are owned, {len(set(owned_ids))} of them different")
        return outcome

    async def check_database(self) -> list[str]:
        """Return what must not be in the database or the logs."""
        problems = []
        for name, query in (
            ("ids that two messages own", SHARED_IDS),
            ("echoes that were stored as messages from elsewhere", UNEXPECTED_ECHOES),
            ("calls of another unit or to another recipient than their message", CROSSED_CALLS),
        ):
            (row,) = await trio.to_thread.run_sync(self._rows, query)
            if row[0]:
                problems.append(f"{row[0]} {name}")
        problems += [f"a canary in {name}: {line[:200]}" for name, line in self._leaks()]
        return problems

    def _leaks(self) -> list[tuple[str, str]]:
        """Return some of the log lines that hold a secret."""
        forbidden = re.compile("|".join(map(re.escape, self._secrets)))
        leaks = []
        for path in sorted(self._environment.directory.glob("daemon-*.log")):
            with path.open(errors="replace") as log:
                leaks += [(path.name, line) for line in log if forbidden.search(line)]
        return leaks[:MAX_NOTES]

    # -- one message -------------------------------------------------------------------------------------------

    def _compare_one(self, submission: Submission, stored: StoredMessage | None, outcome: PhaseOutcome) -> None:
        copies = self._simulator.by_text.get((submission.instance, submission.text), [])
        label = f"{submission.instance} {submission.client_id}"
        if submission.refused or not submission.accepted:
            outcome.add("wrong", f"{label}: not accepted: {submission.refused}")
            return
        if stored is None:
            outcome.add("lost", f"{label}: accepted, and not in the database")
            return
        outcome.sent += bool(copies)
        if len(copies) > 1:
            outcome.add("twice", f"{label}: {len(copies)} copies, {stored}")
        if stored.tries > MOST_TRIES:
            outcome.add("wrong", f"{label}: {stored.tries} tries")
        match stored.state:
            case "settled":
                outcome.settled += 1
                self._compare_settled(label, [copy.id for copy in copies], stored, outcome)
            case "uncertain":
                outcome.uncertain += 1
                outcome.known += any(copy.echoed for copy in copies)
            case "queued" | "leased":
                outcome.add("wrong", f"{label}: still {stored.state}")
            case _:
                outcome.failed += 1
                outcome.failures.add(str(stored.failure))
                if copies:
                    outcome.add("wrong", f"{label}: {stored.state}, and on the phone")

    def _compare_settled(self, label: str, copies: Sequence[str], stored: StoredMessage, outcome: PhaseOutcome) -> None:
        if not copies:
            outcome.add("lost", f"{label}: settled, and on no phone")
        elif stored.external_id not in copies:
            outcome.add("wrong", f"{label}: has the id of another message")
        elif stored.delivery is None or DELIVERY_ORDER.index(stored.delivery) < DELIVERY_ORDER.index("delivered"):
            outcome.add("wrong", f"{label}: {stored.delivery}, and it was reported as delivered")

    # -- the database ------------------------------------------------------------------------------------------

    def _stored_messages(self) -> dict[tuple[str, str], StoredMessage]:
        return {
            (str(row[7]), row[0]): StoredMessage(row[1], row[2], row[3], row[4], row[5], row[6])
            for row in self._rows(MESSAGES)
        }

    def _rows(self, query: LiteralString) -> list[Any]:
        with psycopg.connect(self._environment.postgres.url, connect_timeout=10) as conn:
            return conn.execute(query).fetchall()
