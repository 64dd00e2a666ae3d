"""Writes down who reports something about a message, and keeps what strangers say about messages of others.

The comparison itself stands in the statements that merge (``zapline.fits``, ``zapline.same_origin``).
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from zapline.domain.contacts.addresses import Address, AddressKind
from zapline.domain.ids import UnitId, contact_id
from zapline.domain.messages.authority import UNNAMED, Change, Claim
from zapline.sql.inbound.recorder_types import Row
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)
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
    def source(self) -> Source:
        """Names the entry that said so, among the sources of its batch."""
        row: Any = self.row
        return row["unit_id"], row["external_id"], row.get("claim") or str(row.get("conversation_id"))

    def letter(self) -> Row:
        """A dead letter of what it said, for a report whose entry was done long ago."""
        said = {name: value for name, value in self.row.items() if value is not None and name != "raw"}
        raw = msgspec.json.encode(said)
        return {
            "unit_id": self.row["unit_id"],
            "reason": self.reason,
            "detail": None,
            "event": f"!{self.change}",
            "raw": b64encode(raw).decode(),
            "size": len(raw),
            "received_at": self.row.get("parked_at") or self.row.get("received_at"),
            "journal_id": None,
            "journal_seq": None,
        }


def letters(strangers: Iterable[Stranger], sources: Mapping[Source, Row]) -> list[Row]:
    """Dead letters of what strangers said, one for each journal entry; ``sources``: those of this batch's entries."""
    written: dict[object, Row] = {}
    for stranger in strangers:
        source = sources.get(stranger.source)
        if source is None:
            written[stranger] = stranger.letter()
        else:
            written[id(source)] = source | {"reason": stranger.reason, "detail": stranger.change}
    return list(written.values())


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
