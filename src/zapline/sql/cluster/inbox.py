"""The inbox: webhooks that any node takes in, and that the owner of their unit takes out."""

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

from zapline.domain.ids import Seq, UnitId
from zapline.sql.journal.schema import Arrival, Entry
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """A webhook in this node's hand. ``deaths``: nodes that died while they had it in hand."""

    id: int
    entry: Entry
    deaths: int


def copy_id(arrival: Arrival) -> UUID:
    """The same for each copy of what was received, whoever puts it in."""
    head = struct.pack("<16sdI", arrival.unit_id.bytes, arrival.received_at, len(arrival.event))
    digest = blake2b(head, digest_size=16)
    digest.update(arrival.event.encode("utf-8", "replace"))
    digest.update(arrival.body)
    return UUID(bytes=digest.digest())


async def put(conn: Connection, arrivals: Sequence[Arrival], replayed: Collection[int] = ()) -> set[UUID]:
    """Put webhooks in, in one transaction; returns the nodes that own their units.

    ``replayed``: the places of those that were stored before. Raises StatementFailed for a text that PostgreSQL cannot
    hold.
    """
    rows = await _SQL.rows(
        conn,
        "put",
        copies=[copy_id(arrival) for arrival in arrivals],
        units=[arrival.unit_id for arrival in arrivals],
        events=[arrival.event.replace("\0", "") for arrival in arrivals],
        received=[arrival.received_at for arrival in arrivals],
        bodies=[arrival.body for arrival in arrivals],
        replayed=[place in replayed for place in range(len(arrivals))],
    )
    return {row.owner for row in rows}


async def take(conn: Connection, node: UUID, full: Collection[UnitId], most: int, each: int) -> list[InboxEntry]:
    """Take up to ``most`` webhooks of the node's units, up to ``each`` of one, the oldest first.

    None of units that are ``full``, or archived.
    """
    rows = await _SQL.rows(conn, "take", node=node, full=list(full), most=most, each=each)
    return [
        InboxEntry(
            row.id,
            Entry(Seq(0), UnitId(row.unit_id), row.event, row.received_at, bytes(row.body), replayed=row.replayed),
            row.deaths,
        )
        for row in sorted(rows, key=lambda row: row.id)
    ]


async def has_waiting(conn: Connection, unit: UnitId, until: float) -> bool:
    """Whether anything waits that was put in for a unit before ``until`` (UTC seconds)."""
    row = await _SQL.one(conn, "find_waiting", unit_id=unit, until=until)
    return row is not None and bool(row.waits)


async def give_back(conn: Connection, node: UUID, in_hand: Sequence[int]) -> int:
    """Let go of all webhooks that the node took but those that it has ``in_hand``; returns of how many."""
    return await _SQL.execute(conn, "give_back", node=node, in_hand=list(in_hand))


async def forget_homeless(conn: Connection) -> int:
    """Delete what waits for units that are gone; returns how many."""
    return await _SQL.execute(conn, "forget_homeless")


async def count_waiting(conn: Connection) -> tuple[int, float]:
    """How many wait, and for how many seconds the oldest has waited."""
    row = await _SQL.one(conn, "count")
    assert row is not None
    return row.waiting, row.age
