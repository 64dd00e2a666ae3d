"""Compares what was asked for with the phones and the database: who got it once, twice, never, or perhaps."""

import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
import trio

from zapline.sandbox.simulator.server import API_KEY

from .ledger import RANKS
from .outbound_posts import Posted
from .outbound_simulator import Simulator
from .place import Place, until
from .traffic import CANARY

MOST_TRIES = 3
SHOWN = 4
"""Complaints of one kind that are spelled out."""
AT_WORK = """
select count(*) filter (where state in ('queued', 'leased')), count(*) filter (where look_at is not null)
  from zapline.outbox where state in ('queued', 'leased', 'uncertain')
"""
MESSAGES = """
select m.client_message_id, m.external_id, m.delivery::text, o.state, o.tries, o.failure, o.twice, m.unit_id
  from zapline.outbox o join zapline.messages m on m.id = o.message_id
"""
SHARED = """
select count(*) from (
    select 1 from zapline.attempts where external_id is not null
     group by unit_id, external_id having count(distinct message_id) > 1) x
"""
FOREIGN = """
select count(*) from zapline.messages where from_me and client_message_id is null
"""
CROSSED = """
select count(*) from zapline.attempts a join zapline.outbox o on o.message_id = a.message_id
 where a.unit_id <> o.unit_id or a.recipient <> o.recipient
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """A message as the database has it."""

    external_id: str | None
    delivery: str | None
    state: str
    tries: int
    failure: str | None
    twice: bool


@dataclass(slots=True)
class Outcome:
    """What became of the messages of one phase."""

    posted: int = 0
    sent: int = 0
    """On a phone at least once."""
    settled: int = 0
    uncertain: int = 0
    known: int = 0
    """Uncertain, though Evolution has stored them and could be asked."""
    failed: int = 0
    twice: int = 0
    lost: int = 0
    wrong: int = 0
    failures: set[str] = field(default_factory=set)
    """Codes of the dead."""
    notes: list[str] = field(default_factory=list)

    def complain(self, kind: str, text: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if sum(note.startswith(kind) for note in self.notes) < SHOWN:
            self.notes.append(f"{kind}: {text}")


class OutboundInspector:
    """Reads the database anew for each look."""

    def __init__(self, place: Place, simulator: Simulator, secrets: Iterable[str] = ()) -> None:
        self._place = place
        self._simulator = simulator
        self._secrets = [*place.secrets, place.key.decode(), API_KEY, CANARY, *secrets]

    async def at_work(self) -> tuple[int, int]:
        """Messages queued or leased, and uncertain ones that are still looked for."""
        (row,) = await trio.to_thread.run_sync(self._rows, AT_WORK)
        return row[0], row[1]

    async def calm(self, seconds: float, *, looks: bool = False) -> bool:
        """Wait until nothing is queued (with ``looks``: nor looked for); False where something is left."""
        deadline = trio.current_time() + seconds
        while True:
            waiting, looked_for = await self.at_work()
            if not waiting and not (looks and looked_for):
                return True
            if trio.current_time() > deadline:
                return False
            await trio.sleep(0.1)

    async def stored(self, seconds: float) -> bool:
        """Wait until the phones' webhooks are taken and everything in the journal is stored."""
        taken = await self._simulator.quiet(seconds)
        return await until(lambda: not self._unfinished(), seconds) and taken

    def _unfinished(self) -> int:
        path = self._place.state / "journal" / "journal.db"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as journal:
            return int(journal.execute("select count(*) from unfinished").fetchone()[0])

    async def compare(self, posted: Iterable[Posted]) -> Outcome:
        """Every message against its copies on the phones. The simulator was looked at before."""
        standings = await trio.to_thread.run_sync(self._standings)
        outcome = Outcome()
        for one in posted:
            outcome.posted += 1
            self._judge(one, standings.get((str(one.unit), one.client_id)), outcome)
        return outcome

    async def compare_alike(self, posted: Sequence[Posted]) -> Outcome:
        """The same for messages of one unit that nothing tells apart but the ids they were given."""
        standings = await trio.to_thread.run_sync(self._standings)
        copies = self._simulator.by_text.get((posted[0].instance, posted[0].text), [])
        found = [standings.get((str(one.unit), one.client_id)) for one in posted]
        states = [standing.state if standing else "missing" for standing in found]
        owned = [standing.external_id for standing in found if standing and standing.external_id]
        stored = {copy.id for copy in copies if copy.echoed}
        outcome = Outcome(
            len(posted), min(len(copies), len(posted)), states.count("settled"), states.count("uncertain")
        )
        outcome.failed = states.count("dead")
        outcome.known = len(stored - set(owned))
        if len(copies) > len(posted):
            outcome.complain("twice", f"{len(copies)} copies of {len(posted)} messages")
        if states.count("missing") or len(copies) < outcome.settled:
            outcome.complain("lost", f"{outcome.settled} settled, {len(copies)} on the phone")
        if len(set(owned)) != len(owned) or not set(owned) <= stored:
            outcome.complain("wrong", f"{len(owned)} ids are owned, {len(set(owned))} of them different")
        return outcome

    async def whole(self) -> list[str]:
        """What must not be anywhere in the database."""
        said = []
        for name, query in (
            ("ids that two messages own", SHARED),
            ("echoes that were taken for somebody else's messages", FOREIGN),
            ("calls of another unit or to another recipient than their message", CROSSED),
        ):
            (row,) = await trio.to_thread.run_sync(self._rows, query)
            if row[0]:
                said.append(f"{row[0]} {name}")
        said += [f"a canary in {name}: {line[:200]}" for name, line in self._told_aloud()]
        return said

    def _told_aloud(self) -> list[tuple[str, str]]:
        """Log lines that hold what must stay inside; a few of them."""
        forbidden = re.compile("|".join(map(re.escape, self._secrets)))
        found = []
        for path in sorted(self._place.directory.glob("daemon-*.log")):
            with path.open(errors="replace") as log:
                found += [(path.name, line) for line in log if forbidden.search(line)]
        return found[:SHOWN]

    # -- one message -------------------------------------------------------------------------------------------

    def _judge(self, one: Posted, standing: Standing | None, outcome: Outcome) -> None:
        copies = self._simulator.by_text.get((one.instance, one.text), [])
        where = f"{one.instance} {one.client_id}"
        if one.refused or not one.accepted:
            outcome.complain("wrong", f"{where}: not accepted: {one.refused}")
            return
        if standing is None:
            outcome.complain("lost", f"{where}: accepted, and not in the database")
            return
        outcome.sent += bool(copies)
        if len(copies) > 1:
            outcome.complain("twice", f"{where}: {len(copies)} copies, {standing}")
        if standing.tries > MOST_TRIES:
            outcome.complain("wrong", f"{where}: {standing.tries} tries")
        match standing.state:
            case "settled":
                outcome.settled += 1
                self._judge_settled(where, [copy.id for copy in copies], standing, outcome)
            case "uncertain":
                outcome.uncertain += 1
                outcome.known += any(copy.echoed for copy in copies)
            case "queued" | "leased":
                outcome.complain("wrong", f"{where}: still {standing.state}")
            case _:
                outcome.failed += 1
                outcome.failures.add(str(standing.failure))
                if copies:
                    outcome.complain("wrong", f"{where}: {standing.state}, and on the phone")

    def _judge_settled(self, where: str, copies: Sequence[str], standing: Standing, outcome: Outcome) -> None:
        if not copies:
            outcome.complain("lost", f"{where}: settled, and on no phone")
        elif standing.external_id not in copies:
            outcome.complain("wrong", f"{where}: goes by the id of another message")
        elif standing.delivery is None or RANKS.index(standing.delivery) < RANKS.index("delivered"):
            outcome.complain("wrong", f"{where}: {standing.delivery}, and it was reported as delivered")

    # -- the database ------------------------------------------------------------------------------------------

    def _standings(self) -> dict[tuple[str, str], Standing]:
        return {
            (str(row[7]), row[0]): Standing(row[1], row[2], row[3], row[4], row[5], row[6])
            for row in self._rows(MESSAGES)
        }

    def _rows(self, query: LiteralString) -> list[Any]:
        with psycopg.connect(self._place.postgres.url, connect_timeout=10) as conn:
            return conn.execute(query).fetchall()
