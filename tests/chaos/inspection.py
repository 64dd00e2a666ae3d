"""Compares the ledger with PostgreSQL, the journal and the logs: what is lost, twice, wrong, or said aloud."""

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import LiteralString
from uuid import UUID

import psycopg
import trio

from .ledger import Ledger
from .place import API_KEY, Place, until
from .traffic import CANARY

MESSAGES = """
select m.unit_id, m.external_id, m.delivery::text, m.edited_at_ms, m.edited_body, m.deleted_at is not null, m.body,
       c.unit_id, k.unit_id
  from zapline.messages m
  join zapline.conversations c on c.id = m.conversation_id
  join zapline.contacts k on k.id = c.contact_id
 order by m.unit_id, m.seq
"""
TWICE = """
select count(*) from (select 1 from zapline.messages group by unit_id, provider, external_id having count(*) > 1) x
"""
WAITING = """
select count(*) from zapline.parked_reports p
  join zapline.messages m on m.unit_id = p.unit_id and m.provider = p.provider and m.external_id = p.external_id
"""
SHOWN = 5
"""Complaints of one kind that are spelled out."""


@dataclass(slots=True)
class Findings:
    """What was found when all was calm. All but ``stored`` must be 0."""

    stored: int = 0
    lost: int = 0
    twice: int = 0
    order: int = 0
    wrong: int = 0
    """Statuses, edits, deletes and rows that nobody sent, and rows of a foreign unit."""
    parked: int = 0
    dead: int = 0
    journal: int = 0
    canaries: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (
            self.lost + self.twice + self.order + self.wrong + self.parked + self.dead + self.journal + self.canaries
        )

    def complain(self, kind: str, text: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if getattr(self, kind) <= SHOWN:
            self.notes.append(f"{kind}: {text}")


class Inspector:
    """Keeps the journal's order over the whole run, since done entries are pruned in one of the phases."""

    def __init__(self, place: Place, ledger: Ledger, phones: Iterable[str]) -> None:
        self._place = place
        self._ledger = ledger
        self._first: dict[tuple[UUID, str], int] = {}
        self._read_up_to = 0
        self._journal_id = ""
        secrets = [*place.secrets, API_KEY, place.key.decode(), CANARY, place.postgres.url.split(":")[2].split("@")[0]]
        digits = [phone[2:] for phone in phones]  # also without the country's code
        self._forbidden = re.compile("|".join(map(re.escape, [*secrets, *digits])))
        self._log_read: dict[str, int] = {}

    def unfinished(self) -> int:
        """Entries of the journal that are not done yet."""
        with closing(self._open_journal()) as journal:
            return int(journal.execute("select count(*) from unfinished").fetchone()[0])

    async def calm(self, seconds: float) -> float:
        """Wait until the journal is drained; how long it took. Gives up silently: the count is a finding."""
        started = trio.current_time()
        await until(lambda: not self.unfinished(), seconds)
        return trio.current_time() - started

    async def inspect(self) -> Findings:
        """Look at everything. Nothing may be in flight."""
        findings = Findings()
        self._read_journal(findings)
        await trio.to_thread.run_sync(self._read_database, findings)
        self._read_logs(findings)
        return findings

    # -- the journal -------------------------------------------------------------------------------------------

    def _open_journal(self) -> sqlite3.Connection:
        path = self._place.state / "journal" / "journal.db"
        return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)

    def _read_journal(self, findings: Findings) -> None:
        with closing(self._open_journal()) as journal:
            known = journal.execute("select value from meta where key = 'journal_id'").fetchone()[0]
            if self._journal_id not in ("", known):
                findings.complain("journal", "it was replaced by another")
            self._journal_id = known
            query = "select seq, unit_id, body from entries where seq > ? and event = 'messages.upsert' order by seq"
            for seq, unit, body in journal.execute(query, (self._read_up_to,)):
                self._read_up_to = seq
                self._first.setdefault((UUID(bytes=unit), json.loads(body)["data"]["key"]["id"]), seq)
        for _ in range(self.unfinished()):
            findings.complain("journal", "an entry is not done")

    # -- the database ------------------------------------------------------------------------------------------

    def _read_database(self, findings: Findings) -> None:
        with psycopg.connect(self._place.postgres.url, connect_timeout=10) as conn:
            rows = conn.execute(MESSAGES).fetchall()
            findings.twice = _number(conn, TWICE)
            findings.parked = _number(conn, WAITING)
            for reason, event, detail in conn.execute("select reason, event, detail from zapline.dead_letters"):
                findings.complain("dead", f"{reason} {event} {detail}")
        findings.stored = len(rows)
        numbers = {unit: number for number, unit in enumerate(self._place.units)}
        seen: set[tuple[int, str]] = set()
        for unit, external_id, delivery, edited_at, edited, gone, body, *owners in rows:
            key = (numbers[unit], external_id)
            told = self._ledger.told.get(key)
            where = f"unit {key[0]} {external_id}"
            seen.add(key)
            if any(owner != unit for owner in owners):
                findings.complain("wrong", f"{where}: its conversation or contact is another unit's")
            if told is None or not told.message_posted:
                findings.complain("wrong", f"{where}: never sent to this unit")
                continue
            if body != told.text:
                findings.complain("wrong", f"{where}: not the text that was sent to this unit")
            for complaint in told.complaints(delivery, edited_at, edited, gone):
                findings.complain("lost" if "lost" in complaint else "wrong", f"{where}: {complaint}")
        for key, told in self._ledger.told.items():
            if told.message_answered and key not in seen:
                findings.complain("lost", f"unit {key[0]} {key[1]}: the message")
        self._compare_order([(row[0], row[1]) for row in rows], findings)

    def _compare_order(self, rows: Iterable[tuple[UUID, str]], findings: Findings) -> None:
        """The rows come by unit and sequence: their first arrivals in the journal must rise."""
        last_unit, last = None, 0
        for unit, external_id in rows:
            seq = self._first.get((unit, external_id))
            if unit != last_unit:
                last_unit, last = unit, 0
            if seq is None:
                findings.complain("order", f"{external_id} is not in the journal")
            elif seq <= last:
                findings.complain("order", f"{external_id} (entry {seq}) is stored after entry {last}")
            else:
                last = seq

    # -- the logs ----------------------------------------------------------------------------------------------

    def _read_logs(self, findings: Findings) -> None:
        for name, line in self._new_lines():
            if self._forbidden.search(line):
                findings.complain("canaries", f"{name}: {line[:300]}")

    def _new_lines(self) -> Iterator[tuple[str, str]]:
        for path in sorted(self._place.directory.glob("daemon-*.log")):
            with path.open("rb") as file:
                file.seek(self._log_read.get(path.name, 0))
                told = file.read()
                self._log_read[path.name] = file.tell()
            for line in told.decode(errors="replace").splitlines():
                yield path.name, line


def _number(conn: psycopg.Connection, query: LiteralString) -> int:
    row = conn.execute(query).fetchone()
    assert row is not None
    return int(row[0])
