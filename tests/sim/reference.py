"""What must be true at the end, known without any code of the daemon: it counts what entered and what phones got."""

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from .invariants import Placed, disorder
from .promises import Answer, Key, Promises

PHONES = re.compile(r"(?<![0-9A-Za-z-])\+?55119[0-9]{8}(?![0-9A-Za-z-])")
CANARY = "canario"
"""Part of every text of a run; no line of the log may hold it."""

CLIENT_ID = """
case when m.client_message_id like 'campaign:%%' then split_part(m.body, ' ', 2) else m.client_message_id end
"""
"""Under which the CRM knows a message; of a campaign the text says it."""
BURST, PER_SECOND = 10, 1.0
"""The pace of a unit that has none of its own."""
FAIR_SECONDS = 5.0
"""A webhook may be stored so much later than one of another unit that was answered after it."""
CAMPAIGN_SECONDS = 1.5
"""Least seconds between two messages of a campaign: two seconds, by chance a quarter less."""
LATE_SECONDS = 3.0
"""A delivery may come so much later than its call: the longest delay of the simulated Evolution and network."""


@dataclass(slots=True)
class Asked:
    """A message that the CRM asked for, and the API took: its text names it."""

    unit: str
    client_id: str
    message: str
    begun: float
    at: float


def _messages(body: bytes) -> list[Key]:
    """Instance and id of the message that a webhook tells of, if it came in."""
    told = json.loads(body)
    data = told.get("data")
    key = data.get("key") if isinstance(data, dict) else None
    if told["event"] == "messages.upsert" and isinstance(key, dict) and not key["fromMe"]:
        return [(told["instance"], key["id"])]
    return []


@dataclass
class Reference:
    """Filled while the world runs; ``violations`` compares it with the database's rows at the end."""

    sent: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    """Instance -> id of each message that a phone has sent to it -> its text."""
    promises: Promises = field(default_factory=Promises)
    """Each message whose webhook got a 200, and what may be lost of them."""
    asked: list[Asked] = field(default_factory=list)
    resent: Counter[str] = field(default_factory=Counter)
    """Message -> how often a person has asked for it to be sent once more."""
    edited: dict[tuple[str, str], str] = field(default_factory=dict)
    """(instance, id) of each message that its phone has edited -> the last text."""
    deleted: set[tuple[str, str]] = field(default_factory=set)
    log_lines: list[str] = field(default_factory=list)
    """Lines of the log that hold what no line may hold."""

    def note_begun(self, body: bytes, at: float) -> None:
        """A webhook is on its way to the daemon."""
        for key in _messages(body):
            self.promises.begun.setdefault(key, at)

    def note_answered(self, body: bytes, answer: Answer) -> None:
        """A webhook got a 200."""
        for key in _messages(body):
            self.promises.answers[key].append(answer)

    def note_log(self, line: str) -> None:
        if PHONES.search(line) or CANARY in line:
            self.log_lines.append(line)

    def violations(self, rows: "Rows", *, store: bool, honours: bool, echoed: bool, lost: int) -> list[str]:
        """What is not as it must be. ``lost``: webhooks that the daemon has counted as lost.

        ``store``: Evolution keeps messages; ``honours``: it gives them the ids that the daemon has chosen; ``echoed``:
        it reports each that it has sent.
        """
        found = [f"I11: in the log: {line[:200]}" for line in self.log_lines[:3]]
        found += self._inbound(rows, store, lost)
        found += self._outbound(rows, store, store or echoed, honours)
        found += [f"I10: not drained: {what}: {count}" for what, count in rows.waiting.items() if count]
        found += [
            f"silent: a dead letter of our own traffic: {reason} ({event})" for event, reason in rows.dead_letters
        ]
        return found

    def missing(self, rows: "Rows") -> list[tuple[str, str]]:
        """Messages whose webhook got a 200 and that are not stored, promised or not."""
        stored = {(row.instance, row.external_id) for row in rows.messages}
        return [key for key in self.promises.answers if key not in stored]

    def _inbound(self, rows: "Rows", store: bool, lost: int) -> list[str]:
        found = []
        stored = {(row.instance, row.external_id): row for row in rows.messages if not row.from_me}
        if len(stored) != sum(1 for row in rows.messages if not row.from_me):
            found.append("I2: two rows of one external id")
        missing = [key for key in self.promises.answers if key not in stored and self.promises.holds(key)]
        counted = sum(map(self.promises.may_be_counted, missing))
        if len(missing) > min(counted, lost):
            found.append(
                f"I1: answered 200 and not stored: {sorted(missing)[:5]} ({len(missing)}, counted lost: {lost})"
            )
        for instance, messages in self.sent.items():
            for id, text in messages.items():
                row = stored.get((instance, id))
                if row is None and store:
                    found.append(f"I1: sent by a phone and never read back: {instance} {id}")
                elif row is not None and (instance, id) in self.edited and row.edited != self.edited[instance, id]:
                    found.append(f"an edit is missing: {instance} {id}: {row.edited!r}")
                elif row is not None and (instance, id) in self.deleted and not row.deleted:
                    found.append(f"a deletion is missing: {instance} {id}")
                elif row is not None and row.body != text and not (row.body is None and row.changed):
                    found.append(f"I1: another text: {instance} {id}: {row.body!r}")
        unknown = [key for key in stored if key[1] not in self.sent[key[0]]]
        if unknown:
            found.append(f"stored and never sent: {unknown[:3]}")
        placed = [
            Placed(key, row.seq)
            for key, row in stored.items()
            if not row.backfilled and not row.changed and not self._read_back(key, row)
        ]
        return found + disorder(placed, self.promises)

    def _read_back(self, key: tuple[str, str], row: "MessageRow") -> bool:
        """Whether a message was read back from the store, before its webhook came or while the journal that holds it
        could not be opened; the webhook then took the mark away. Perhaps, where a wrong clock has dated it, or where a
        webhook that got no answer had brought it.
        """
        earliest, latest = row.received_at - self.promises.ahead, row.received_at + self.promises.behind
        answers = self.promises.answers.get(key, ())
        return not any(each.begun - 0.001 <= earliest and latest <= each.at + 0.001 for each in answers)

    def overtaken(self, rows: "Rows") -> list[str]:
        """I8: no unit's webhooks wait while another one's, which were answered long after them, are stored."""
        latest, name = 0.0, ""
        for row in sorted(rows.messages, key=lambda row: row.seq):
            answers = self.promises.answers.get((row.instance, row.external_id or ""))
            if not answers or row.backfilled:
                continue
            at = answers[0].at
            if at < latest - FAIR_SECONDS:
                return [f"I8: {row.instance} {row.external_id} was stored {latest - at:.1f} s behind one of {name}"]
            latest, name = (at, row.instance) if at > latest else (latest, name)
        return []

    def _outbound(self, rows: "Rows", store: bool, provable: bool, honours: bool) -> list[str]:
        found, gone = [], set[str]()
        by_client = Counter((row.unit, row.client_id) for row in rows.messages if row.client_id)
        for asked in self.asked:
            if by_client[asked.unit, asked.client_id] == 0 and self._forgotten(asked):
                gone.add(asked.client_id)
            elif by_client[asked.unit, asked.client_id] != 1:
                found.append(f"I2: {by_client[asked.unit, asked.client_id]} rows of {asked.client_id}")
        copies = Counter(each.text for each in rows.delivered)
        found += self._pace(rows)
        outbox = {row.client_id: row for row in rows.outbox}
        for text, count in copies.items():
            row = outbox.get(text.rpartition(" ")[2])
            if row is None:
                if text.rpartition(" ")[2] not in gone:
                    found.append(f"delivered and unknown: {text}")
                continue
            times = [each.at for each in rows.delivered if each.text == text]
            if count > 1 + self.resent[row.message] + sum(map(self.promises.may_forget_call, times)):
                found.append(f"I3: {text} was delivered {count} times; {row}")
            forgotten = not store and any(map(self.promises.may_forget_end, times))
            misdated = not honours and any(map(self.promises.may_misdate, times))
            provably = provable and not forgotten and not misdated
            if row.state not in (("settled",) if provably else ("settled", "uncertain")):
                found.append(f"delivered, and the row says {row.state} ({row.failure}): {text}")
        for row in rows.outbox:
            if row.state == "settled" and not copies[f"{CANARY} {row.client_id}"]:
                found.append(f"settled and never delivered: {row.client_id}")
            if row.state == "expired":
                found.append(f"expired long before its time: {row.client_id}")
            if row.tries > 3:
                found.append(f"I4: {row.tries} tries of {row.client_id}")
        return found

    def _pace(self, rows: "Rows") -> list[str]:
        """No window of time holds more deliveries of a unit than its pace allows, kills included."""
        found = []
        for instance in sorted({each.instance for each in rows.delivered}):
            times = sorted(each.at for each in rows.delivered if each.instance == instance)
            for first, begin in enumerate(times):
                for last in range(first, len(times)):
                    allowed = BURST + (times[last] - begin + LATE_SECONDS) * PER_SECOND
                    if last - first + 1 > allowed:
                        found.append(f"I7: {last - first + 1} deliveries of {instance} in {times[last] - begin:.1f} s")
            times = sorted(
                each.at for each in rows.delivered if each.instance == instance and each.client_id in rows.paced
            )
            for first, begin in enumerate(times):
                for last in range(first + 1, len(times)):
                    if times[last] - begin + LATE_SECONDS < (last - first) * CAMPAIGN_SECONDS:
                        found.append(
                            f"I7: {last - first + 1} of a campaign of {instance} in {times[last] - begin:.1f} s"
                        )
        return found[:1]

    def _forgotten(self, asked: Asked) -> bool:
        """Whether the database may have lost the request: it was committed after the copy that took its place."""
        return any(back.copied <= asked.at and asked.begun <= back.at for back in self.promises.databases)


@dataclass(frozen=True, slots=True)
class MessageRow:
    instance: str
    unit: str
    external_id: str | None
    client_id: str | None
    from_me: bool
    body: str | None
    seq: int
    edited: str | None
    deleted: bool
    backfilled: bool
    received_at: float

    @property
    def changed(self) -> bool:
        """Read back after an edit or a deletion: Evolution's store does not hold the original any more."""
        return self.deleted or self.edited is not None


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message that reached a phone, and when."""

    instance: str
    text: str
    at: float

    @property
    def client_id(self) -> str:
        return self.text.rpartition(" ")[2]


@dataclass(frozen=True, slots=True)
class OutboxRow:
    client_id: str
    message: str
    state: str
    tries: int
    failure: str | None
    lane: str


@dataclass(slots=True)
class Rows:
    """What the database and the phones hold at the end."""

    messages: list[MessageRow] = field(default_factory=list)
    outbox: list[OutboxRow] = field(default_factory=list)
    dead_letters: list[tuple[str, str]] = field(default_factory=list)
    delivered: list[Delivered] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)

    @property
    def paced(self) -> frozenset[str]:
        """Messages of campaigns, but those to people who had just written: these leave as replies."""
        return frozenset(row.client_id for row in self.outbox if row.lane == "campaign")


def stored_messages(conn: Any) -> frozenset[tuple[str, str]]:
    """Instance and id of each message that came in, as the database holds them now."""
    return frozenset(
        conn.execute(
            "select u.instance_id, m.external_id from zapline.messages m"
            " join zapline.unit_whatsapp_connections u using (unit_id) where not m.from_me"
        ).fetchall()
    )


def read_rows(conn: Any, delivered: list[Delivered]) -> Rows:
    """Read everything over an administrator's connection."""
    messages = conn.execute(
        f"select u.instance_id, u.unit_id::text, m.external_id, {CLIENT_ID}, m.from_me,"
        " m.body, m.seq, m.edited_body, m.deleted_at is not null, m.backfilled,"
        " extract(epoch from m.received_at)::float8"
        " from zapline.messages m join zapline.unit_whatsapp_connections u using (unit_id) order by m.seq"
    ).fetchall()
    outbox = conn.execute(
        f"select {CLIENT_ID}, m.id::text, o.state, o.tries, o.failure, o.lane from zapline.outbox o"
        " join zapline.messages m on m.id = o.message_id order by o.seq"
    ).fetchall()
    letters = conn.execute("select event, reason from zapline.dead_letters order by 1, 2").fetchall()
    waiting = {"parked reports": conn.execute("select count(*) from zapline.parked_reports").fetchone()[0]}
    for state in ("queued", "leased"):
        waiting[state] = sum(1 for row in outbox if row[2] == state)
    return Rows(
        [MessageRow(*row) for row in messages],
        [OutboxRow(*row) for row in outbox],
        [(str(event), str(reason)) for event, reason in letters],
        delivered,
        waiting,
    )
