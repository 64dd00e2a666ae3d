"""Writes down who reports something about a message, and keeps what strangers say about messages of others.

The comparison itself stands in the statements that merge (``zapline.fits``, ``zapline.same_origin``).
"""

import re
from base64 import b64encode
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from zapline.domain.contacts.addresses import Address, AddressKind
from zapline.domain.ids import UnitId, contact_id
from zapline.domain.messages.authority import UNNAMED, Change, Claim
from zapline.domain.text import clean_text
from zapline.sql.inbound.recorder_types import EntryFacts, Row
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)
_LONGEST_EVENT = 200
_SECRET = re.compile(
    rb'("messageSecret"\s*+:\s*+)(?:"[^"]*+(?:"|\Z)|\{(?:[^{}]++|\{[^{}]*+\})*+(?:\}|\Z)|\[[^][]*+(?:\]|\Z))'
)
Source = tuple[UnitId, str, str]
"""Unit, external id, and the claim of a report or the conversation of a message."""
FOREIGN, UNPROVEN = "foreign_author", "unproven_author"
"""Reasons of dead letters: the message is somebody else's; it cannot be told whose it is."""


def encode_claim(unit: UnitId, change: Change, claim: Claim) -> str:
    """The claim as it is stored with a report; it names contacts by their ids."""
    if claim is UNNAMED:
        return ""
    fields = {
        "change": change.value,
        "chat": _id(unit, claim.chat),
        "chatKind": _kind(claim.chat),
        "fromMe": claim.from_me,
        "author": _id(unit, claim.author),
        "authorKind": _kind(claim.author),
        "proven": claim.proven,
    }
    return msgspec.json.encode(fields).decode()


def _id(unit: UnitId, address: Address | None) -> str | None:
    return None if address is None else contact_id(unit, address.canonical)


def _kind(address: Address | None) -> str:
    if address is None or address.kind is not AddressKind.PERSON:
        return "o"
    return "l" if address.canonical.startswith("lid:") else "p"


@dataclass(frozen=True, slots=True, eq=False)
class Stranger:
    """A message or report that fits no message of its id. ``proven``: the message is certainly somebody else's."""

    change: str
    row: Row
    """What it said."""
    proven: bool

    @property
    def reason(self) -> str:
        return FOREIGN if self.proven else UNPROVEN

    @property
    def unit(self) -> UnitId:
        unit: Any = self.row["unit_id"]
        return UnitId(unit)

    @property
    def sources(self) -> Sequence[str | Source]:
        """The journal's entries that said so; where there are none, the name of the source within its batch."""
        row: Any = self.row
        source = (row["unit_id"], row["external_id"], row.get("claim") or str(row.get("conversation_id")))
        return row.get("entries") or [source]

    def letter(self, entry: str | None) -> Row:
        """A dead letter of what it said, for a report whose entry was done long ago."""
        said = {name: value for name, value in self.row.items() if value is not None and name not in _UNSAID}
        raw = msgspec.json.encode(said)
        journal, _, seq = (entry or "").partition(":")
        return {
            "unit_id": self.row["unit_id"],
            "reason": self.reason,
            "detail": None,
            "event": f"!{self.change}",
            "raw": b64encode(raw).decode(),
            "size": len(raw),
            "received_at": self.row.get("parked_at") or self.row.get("received_at"),
            "journal_id": journal or None,
            "journal_seq": int(seq) if seq else None,
        }


_UNSAID = ("raw", "entries", "ord")
"""What of a row is no part of what it says, or too long."""


def letters(strangers: Iterable[Stranger], sources: Mapping[str | Source, Row]) -> list[Row]:
    """Dead letters of what strangers said, one for each journal entry; ``sources``: those of this batch's entries."""
    written: dict[Hashable, Row] = {}
    for stranger in strangers:
        for source in stranger.sources:
            of_batch = sources.get(source)
            if of_batch is not None:
                written[source] = of_batch | {"reason": stranger.reason, "detail": stranger.change}
            elif isinstance(source, str):
                written.setdefault(source, stranger.letter(source))
            else:
                written[stranger] = stranger.letter(None)
    return list(written.values())


def dead_letter_row(unit: UnitId, entry: EntryFacts, journal_id: UUID) -> Row:
    # A body over the limit was not stored: the entry holds its size in digits instead.
    stored = entry.dead_reason != "too_large"
    return {
        "unit_id": unit,
        "reason": entry.dead_reason,
        "detail": entry.dead_detail,
        "event": clean_text(entry.event, _LONGEST_EVENT),
        "raw": b64encode(without_secrets(entry.body)).decode() if stored else None,
        "size": len(entry.body) if stored else int(entry.body),
        "received_at": entry.received_at,
        "journal_id": journal_id if entry.seq is not None else None,
        "journal_seq": entry.seq,
    }


def without_secrets(body: bytes) -> bytes:
    """A raw body as it is stored with a row: message secrets have their own place, and their own time."""
    return _SECRET.sub(rb"\1null", body) if b"messageSecret" in body else body


async def store_letters(conn: Connection, rows: Sequence[Row]) -> None:
    """Store dead letters inside a transaction."""
    await _SQL.run_batch(conn, "insert_dead_letters", rows)


async def bury_reactions(conn: Connection, messages: Sequence[Row]) -> list[Stranger]:
    """Remove reactions and votes that came before these messages and that their senders may not give them.

    To be called before the messages are stored, so that nobody is told of them.
    """
    return [
        Stranger("react", {"unit_id": row.unit_id, "external_id": row.external_id, **row.said}, bool(row.proven))
        for row in await _SQL.run_batch(conn, "bury_reactions", messages)
    ]
