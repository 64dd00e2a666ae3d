"""Compares the ledger with PostgreSQL, the journal and the logs: what is lost, duplicated, wrong or leaked."""

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

from ..environment import API_KEY, CANARY, Environment, wait_until_none
from .webhook_ledger import WebhookLedger

MESSAGES = """
select m.unit_id, m.external_id, m.delivery::text, m.edited_at_ms, m.edited_body, m.deleted_at is not null, m.body,
       c.unit_id, k.unit_id
  from zapline.messages m
  join zapline.conversations c on c.id = m.conversation_id
  join zapline.contacts k on k.id = c.contact_id
 order by m.unit_id, m.seq
"""
DUPLICATES = """
select count(*) from (select 1 from zapline.messages group by unit_id, provider, external_id having count(*) > 1) x
"""
PARKED = """
select count(*) from zapline.parked_reports p
  join zapline.messages m on m.unit_id = p.unit_id and m.provider = p.provider and m.external_id = p.external_id
"""
MAX_NOTES = 5
"""Findings of one kind that are printed."""


@dataclass(slots=True)
class Findings:
    """Counts of what is wrong after a drain. All but ``stored`` must be 0."""

    stored: int = 0
    lost: int = 0
    twice: int = 0
    order: int = 0
    wrong: int = 0
    """Statuses, edits, deletes and rows that were never posted, and rows of another unit."""
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

    def add(self, kind: str, text: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if getattr(self, kind) <= MAX_NOTES:
            self.notes.append(f"{kind}: {text}")


class InboundInspector:
    """Remembers the order of the journal for the whole run, since one phase prunes finished entries."""

    def __init__(self, environment: Environment, ledger: WebhookLedger, phones: Iterable[str]) -> None:
        self._environment = environment
        self._ledger = ledger
        self._first: dict[tuple[UUID, str], int] = {}
        self._read_up_to = 0
        self._journal_id = ""
        secrets = [
            *environment.secrets,
            API_KEY,
            environment.key.decode(),
            CANARY,
            environment.postgres.url.split(":")[2].split("@")[0],
        ]
        digits = [phone[2:] for phone in phones]  # also without the country code
        self._forbidden = re.compile("|".join(map(re.escape, [*secrets, *digits])))
        self._log_read: dict[str, int] = {}

    def unfinished(self) -> int:
        """Count the unfinished entries of the journal."""
        with closing(self._open_journal()) as journal:
            return int(journal.execute("select count(*) from unfinished").fetchone()[0])

    async def wait_until_drained(self, patience: float) -> float:
        """Wait until the journal is drained, or nothing moved for ``patience`` seconds; return the time it took."""
        started = trio.current_time()

        async def unfinished() -> int:
            return self.unfinished()

        await wait_until_none(unfinished, patience)
        return trio.current_time() - started

    async def inspect(self) -> Findings:
        """Compare everything. No webhook may be in flight."""
        findings = Findings()
        self._read_journal(findings)
        await trio.to_thread.run_sync(self._read_database, findings)
        self._read_logs(findings)
        return findings

    # -- the journal -------------------------------------------------------------------------------------------

    def _open_journal(self) -> sqlite3.Connection:
        path = self._environment.state / "journal" / "journal.db"
        return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)

    def _read_journal(self, findings: Findings) -> None:
        with closing(self._open_journal()) as journal:
            journal_id = journal.execute("select value from meta where key = 'journal_id'").fetchone()[0]
            if self._journal_id not in ("", journal_id):
                findings.add("journal", "it was replaced by another")
            self._journal_id = journal_id
            query = "select seq, unit_id, body from entries where seq > ? and event = 'messages.upsert' order by seq"
            for seq, unit, body in journal.execute(query, (self._read_up_to,)):
                self._read_up_to = seq
                self._first.setdefault((UUID(bytes=unit), json.loads(body)["data"]["key"]["id"]), seq)
        for _ in range(self.unfinished()):
            findings.add("journal", "an entry is unfinished")

    # -- the database ------------------------------------------------------------------------------------------

    def _read_database(self, findings: Findings) -> None:
        with psycopg.connect(self._environment.postgres.url, connect_timeout=10) as conn:
            rows = conn.execute(MESSAGES).fetchall()
            findings.twice = _count(conn, DUPLICATES)
            findings.parked = _count(conn, PARKED)
            for reason, event, detail in conn.execute("select reason, event, detail from zapline.dead_letters"):
                findings.add("dead", f"{reason} {event} {detail}")
        findings.stored = len(rows)
        numbers = {unit: number for number, unit in enumerate(self._environment.units)}
        seen: set[tuple[int, str]] = set()
        for unit, external_id, delivery, edited_at, edited, deleted, body, *owners in rows:
            key = (numbers[unit], external_id)
            expected = self._ledger.messages.get(key)
            label = f"unit {key[0]} {external_id}"
            seen.add(key)
            if any(owner != unit for owner in owners):
                findings.add("wrong", f"{label}: its conversation or contact is another unit's")
            if expected is None or not expected.message_posted:
                findings.add("wrong", f"{label}: never posted to this unit")
                continue
            if body != expected.text:
                findings.add("wrong", f"{label}: not the text that was posted to this unit")
            for difference in expected.differences(delivery, edited_at, edited, deleted):
                findings.add("lost" if "lost" in difference else "wrong", f"{label}: {difference}")
        for key, expected in self._ledger.messages.items():
            if expected.message_acknowledged and key not in seen:
                findings.add("lost", f"unit {key[0]} {key[1]}: the message")
        self._compare_order([(row[0], row[1]) for row in rows], findings)

    def _compare_order(self, rows: Iterable[tuple[UUID, str]], findings: Findings) -> None:
        """Rows ordered by unit and sequence must also be in the order of their first journal entries."""
        last_unit, last = None, 0
        for unit, external_id in rows:
            seq = self._first.get((unit, external_id))
            if unit != last_unit:
                last_unit, last = unit, 0
            if seq is None:
                findings.add("order", f"{external_id} is not in the journal")
            elif seq <= last:
                findings.add("order", f"{external_id} (entry {seq}) is stored after entry {last}")
            else:
                last = seq

    # -- the logs ----------------------------------------------------------------------------------------------

    def _read_logs(self, findings: Findings) -> None:
        for name, line in self._new_lines():
            if self._forbidden.search(line):
                findings.add("canaries", f"{name}: {line[:300]}")

    def _new_lines(self) -> Iterator[tuple[str, str]]:
        for path in sorted(self._environment.directory.glob("daemon-*.log")):
            with path.open("rb") as file:
                file.seek(self._log_read.get(path.name, 0))
                content = file.read()
                self._log_read[path.name] = file.tell()
            for line in content.decode(errors="replace").splitlines():
                yield path.name, line


def _count(conn: psycopg.Connection, query: LiteralString) -> int:
    row = conn.execute(query).fetchone()
    assert row is not None
    return int(row[0])
