"""Nodes that share the units: joining, surveying, burying the dead, taking units and handing them over."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.nodes import NodeName
from zapline.sql.postgres.queries import Queries, from_row

_SQL = Queries(__name__)
UNITS_CHANNEL = "zapline_units"
"""Every node listens here: units were made, changed, archived or moved."""


def inbox_channel(node: UUID) -> str:
    """Where a node listens for webhooks of its units."""
    return f"zapline_inbox_{node.hex}"


@dataclass(frozen=True, slots=True)
class Survey:
    """What a node sees of all. ``living``: nodes that take units; ``eldest``: it is the one that joined first.

    ``settled``: seconds since the last of them joined. ``calm``: all are of one version and none leaves. ``total``,
    ``mine``, ``free``: units. ``held`` and ``all_lines`` change whenever its own units, or any units, do.
    """

    living: int
    eldest: bool
    settled: float
    calm: bool
    total: int
    mine: int
    free: int
    held: str
    all_lines: str

    @property
    def share(self) -> int:
        """How many units a node may own."""
        return -(-self.total // self.living) if self.living else 0


@dataclass(frozen=True, slots=True)
class DeadNode:
    """A node whose lease is over. ``sessions``: the name of its process's sessions, if they are to be ended."""

    id: UUID
    name: str
    sessions: str


async def join_members(conn: Connection, node: UUID, called: NodeName, epoch: int, lease: float) -> None:
    """Have a new node share the units; it owns none yet. ``lease`` in seconds."""
    named = {"name": called.name, "version": called.version, "sessions": called.sessions}
    await _SQL.execute(conn, "insert_member", node=node, epoch=epoch, lease=lease, **named)


async def survey(conn: Connection, node: UUID) -> Survey:
    """What a node sees."""
    row = await _SQL.one(conn, "survey", node=node)
    assert row is not None
    return from_row(Survey, row)


async def find_dead(conn: Connection, node: UUID) -> list[DeadNode]:
    """Nodes whose lease is over, other than ``node``."""
    return [from_row(DeadNode, row) for row in await _SQL.rows(conn, "find_dead", node=node)]


async def bury(conn: Connection, dead: DeadNode) -> tuple[int, int]:
    """End a dead node's sessions and free its units; returns how many of each. Its lease is looked at once more.

    Raises StatementFailed where its transactions do not let go of its units yet.
    """
    ended = 0
    if dead.sessions:
        async with conn.transaction():
            await _SQL.rows(conn, "leave_role")
            row = await _SQL.one(conn, "end_sessions", sessions=dead.sessions)
            ended = row.ended if row is not None else 0
    return ended, await _SQL.execute(conn, "bury", node=dead.id)


async def claim_units(conn: Connection, node: UUID, most: int, known: int) -> list[UnitId]:
    """Take up to ``most`` units that nobody owns, under an epoch above ``known``; returns which."""
    rows = await _SQL.rows(conn, "claim_units", node=node, most=most, known=known)
    return [UnitId(row.unit_id) for row in rows]


async def find_takers(conn: Connection, node: UUID, share: int) -> list[tuple[UUID, int]]:
    """Other nodes that own less than ``share`` units, and how many more each may take."""
    return [(row.id, row.room) for row in await _SQL.rows(conn, "find_takers", node=node, share=share)]


async def hand_over(conn: Connection, node: UUID, taker: UUID, units: Sequence[UnitId], known: int) -> list[UnitId]:
    """Give units of ``node`` to another living one, under an epoch above ``known``; returns which have moved."""
    rows = await _SQL.rows(conn, "hand_over", node=node, taker=taker, units=list(units), known=known)
    return [UnitId(row.unit_id) for row in rows]


async def begin_leaving(conn: Connection, node: UUID) -> None:
    """Note that a node takes no more units."""
    await _SQL.execute(conn, "begin_leaving", node=node)


async def notify(conn: Connection, channels: Sequence[str], what: str = "") -> None:
    """Wake who listens on these channels."""
    await _SQL.rows(conn, "notify", channels=list(channels), what=what)
